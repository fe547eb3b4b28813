// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/mailcaddy/mailcaddy"
)

const (
	// bodySize is the length of a message's body: what a notification of an
	// application has.
	bodySize = 4 << 10
	// attempts is how many addresses are tried for a door: none is free for
	// sure.
	attempts = 10
)

// connections are the numbers of clients that submit at once.
var connections = []int{1, 20}

// capture is a gateway that only accepts: without an outgoing server every
// message is captured in the commit that accepts it.
const capture = `{
	admin off
	log {
		level ERROR
	}
	mail {
		hostname mx.mycompany.com
		store sqlite %q
		domain mycompany.com
		smtp %s
	}
}
`

// relaying is a gateway that sends everything on.
const relaying = `{
	admin off
	log {
		level ERROR
	}
	mail {
		hostname mx.mycompany.com
		store sqlite %q
		domain mycompany.com
		outgoing far {
			via smtp %s {
				tls off
			}
		}
		smtp %s
	}
}
`

// BenchmarkAccept measures from the first command of a message to its 250:
// the door, the routes, and the commit of message and decision to the disk.
func BenchmarkAccept(b *testing.B) {
	for _, n := range connections {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			door := load(b, func(door string) string { return fmt.Sprintf(capture, b.TempDir(), door) })
			submit(b, door, n, outgoing, nil)
		})
	}
}

// BenchmarkCycle measures from the first command of a message until the far
// end has the last one: what BenchmarkAccept does, the queue, and the SMTP
// transport. The far end answers at once and keeps nothing.
func BenchmarkCycle(b *testing.B) {
	for _, n := range connections {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			far := startFarEnd(b)
			door := load(b, func(door string) string { return fmt.Sprintf(relaying, b.TempDir(), far.ln.Addr(), door) })
			submit(b, door, n, outgoing, far)
		})
	}
}

// load runs the configuration until the benchmark ends, and returns the
// address of its door.
func load(b *testing.B, caddyfile func(door string) string) string {
	b.Helper()
	var err error
	for range attempts {
		door := unusedAddress(b)
		var config []byte
		config, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile(door)), nil)
		if err != nil {
			b.Fatal(err)
		}
		if err = caddy.Load(config, true); err == nil {
			b.Cleanup(func() {
				if err := caddy.Stop(); err != nil {
					b.Error(err)
				}
			})
			return door
		}
	}
	b.Fatal(err)
	return ""
}

// unusedAddress returns an address of the loopback that nothing listens at.
func unusedAddress(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		b.Fatal(err)
	}
	return ln.Addr().String()
}

// submit submits b.N messages over n connections, and waits until far has them
// all; nil waits for no one. Message number i is what write says.
func submit(b *testing.B, door string, n int, write func(i int64) mail, far *farEnd) {
	b.Helper()
	clients := make([]*client, n)
	for i := range clients {
		c, err := dial(door)
		if err != nil {
			b.Fatal(err)
		}
		defer c.close()
		clients[i] = c
	}
	var next atomic.Int64
	var group sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for _, c := range clients {
		group.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := c.send(write(i)); err != nil {
					b.Errorf("message %d: %v", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	if far != nil && !b.Failed() {
		far.await(int64(b.N))
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// client is an SMTP session that submits.
type client struct {
	nc net.Conn
	r  *bufio.Reader
}

func dial(door string) (*client, error) {
	nc, err := net.Dial("tcp", door)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, r: bufio.NewReader(nc)}
	if err := errors.Join(c.expect("220"), c.say("EHLO client.example\r\n"), c.expect("250")); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

func (c *client) close() {
	_ = c.say("QUIT\r\n")
	_ = c.nc.Close()
}

func (c *client) say(text string) error {
	_, err := io.WriteString(c.nc, text)
	return err
}

// expect reads one reply, which must have that code.
func (c *client) expect(code string) error {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, code) {
			return fmt.Errorf("reply %q, want %s", line, code)
		}
		if len(line) < 4 || line[3] != '-' {
			return nil
		}
	}
}

// text is the body of every message.
var text = strings.Repeat(strings.Repeat("x", 62)+"\r\n", bodySize/64)

// mail is one message and its envelope.
type mail struct {
	from, to, content string
}

// outgoing returns message number i of an application.
func outgoing(i int64) mail {
	return mail{"anna@mycompany.com", "bob@example.net", fmt.Sprintf("From: anna@mycompany.com\r\nTo: bob@example.net\r\n"+
		"Subject: message %d\r\nDate: Sat, 21 Nov 2026 16:00:00 +0000\r\nMessage-Id: <%d@client.example>\r\n\r\n%s", i, i, text)}
}

// send submits m with pipelined commands, as applications do.
func (c *client) send(m mail) error {
	if err := c.say("MAIL FROM:<" + m.from + ">\r\nRCPT TO:<" + m.to + ">\r\nDATA\r\n"); err != nil {
		return err
	}
	for _, code := range []string{"250", "250", "354"} {
		if err := c.expect(code); err != nil {
			return err
		}
	}
	if err := c.say(m.content + ".\r\n"); err != nil {
		return err
	}
	return c.expect("250")
}

// farEnd is an SMTP server that takes everything, keeps nothing and counts.
type farEnd struct {
	ln    net.Listener
	count atomic.Int64
	came  chan struct{} // holds one token when count has changed
}

func startFarEnd(b *testing.B) *farEnd {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	f := &farEnd{ln: ln, came: make(chan struct{}, 1)}
	b.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go f.serve(nc)
		}
	}()
	return f
}

// await waits until n messages came.
func (f *farEnd) await(n int64) {
	for f.count.Load() < n {
		<-f.came
	}
}

// serve answers one connection. It flushes when it has nothing left to read.
func (f *farEnd) serve(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	r, w := bufio.NewReader(nc), bufio.NewWriter(nc)
	_, _ = w.WriteString("220 far.example ESMTP\r\n")
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		answer := "250 2.0.0 ok\r\n"
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			answer = "250-far.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n"
		case bytes.HasPrefix(line, []byte("QUIT")):
			return
		case bytes.HasPrefix(line, []byte("DATA")):
			_, _ = w.WriteString("354 go on\r\n")
			if w.Flush() != nil || skipContent(r) != nil {
				return
			}
			f.count.Add(1)
			select {
			case f.came <- struct{}{}:
			default:
			}
		}
		_, _ = w.WriteString(answer)
	}
}

// skipContent reads to the final dot.
func skipContent(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if string(line) == ".\r\n" {
			return nil
		}
	}
}
