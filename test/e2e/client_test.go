// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is an SMTP session as a test leads it, byte by byte where it must.
type client struct {
	nc net.Conn
	r  *bufio.Reader
	// offers is the answer to EHLO, one line for each extension.
	offers []string
}

// answer is a reply of the gateway.
type answer struct {
	code int
	text string // the lines behind the code, joined by a blank
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.code, a.text) }

// dial connects to a door and says EHLO.
func dial(address string) (*client, error) {
	nc, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	c := &client{nc: nc, r: bufio.NewReader(nc)}
	if err := c.greet(); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

// greet hears the greeting and says EHLO.
func (c *client) greet() error { return c.greetBy("EHLO") }

// greetBy is greet with that command, which is LHLO in LMTP.
func (c *client) greetBy(verb string) error {
	hello, err := c.read()
	if err != nil {
		return err
	}
	if hello.code != 220 {
		return fmt.Errorf("greeting %v", hello)
	}
	offers, err := c.command(verb + " client.example")
	if err != nil {
		return err
	}
	if offers.code != 250 {
		return fmt.Errorf("answer to %s %v", verb, offers)
	}
	c.offers = strings.Split(offers.text, "\n")
	return nil
}

// mustDial is dial for a test that needs the session.
func mustDial(t *testing.T, address string) *client {
	t.Helper()
	c, err := dial(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func (c *client) close() { _ = c.nc.Close() }

// quit ends the session in peace.
func (c *client) quit() {
	_, _ = c.command("QUIT")
	c.close()
}

// write sends bytes as they are.
func (c *client) write(b []byte) error {
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return err
}

// read reads one reply.
func (c *client) read() (answer, error) {
	if err := c.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return answer{}, err
	}
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return answer{}, err
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 3 {
			return answer{}, fmt.Errorf("reply %q", line)
		}
		code, err := strconv.Atoi(line[:3])
		if err != nil {
			return answer{}, fmt.Errorf("reply %q", line)
		}
		text := line[3:]
		lines = append(lines, strings.TrimLeft(text, " -"))
		if !strings.HasPrefix(text, "-") {
			return answer{code: code, text: strings.Join(lines, "\n")}, nil
		}
	}
}

// command sends a line and reads its reply.
func (c *client) command(line string) (answer, error) {
	if err := c.write([]byte(line + "\r\n")); err != nil {
		return answer{}, err
	}
	return c.read()
}

// submission is a message with its envelope.
type submission struct {
	from, to string
	// mailParams and rcptParams stand behind the addresses, such as
	// "BODY=8BITMIME".
	mailParams, rcptParams string
	content                string
}

// envelope returns the lines of MAIL and RCPT.
func (m submission) envelope() string {
	line := func(verb, path, params string) string {
		return strings.TrimRight(verb+":<"+path+"> "+params, " ") + "\r\n"
	}
	return line("MAIL FROM", m.from, m.mailParams) + line("RCPT TO", m.to, m.rcptParams)
}

// send submits m with pipelined commands and returns the answer that decides:
// the first refusal, or the reply to the content.
func (c *client) send(m submission) (answer, error) {
	if err := c.write([]byte(m.envelope() + "DATA\r\n")); err != nil {
		return answer{}, err
	}
	var refusal *answer
	for range 3 {
		a, err := c.read()
		if err != nil {
			return answer{}, err
		}
		if a.code >= 400 && refusal == nil {
			refusal = &a
		}
	}
	if refusal != nil {
		_, err := c.command("RSET")
		return *refusal, err
	}
	if err := c.write(stuffed(m.content)); err != nil {
		return answer{}, err
	}
	return c.read()
}

// sendChunks submits m with BDAT, in chunks of size bytes, all pipelined.
func (c *client) sendChunks(m submission, size int) (answer, error) {
	wire := bytes.NewBufferString(m.envelope())
	replies := 2
	for rest := m.content; ; replies++ {
		chunk := rest[:min(size, len(rest))]
		rest = rest[len(chunk):]
		last := ""
		if rest == "" {
			last = " LAST"
		}
		fmt.Fprintf(wire, "BDAT %d%s\r\n%s", len(chunk), last, chunk)
		if rest == "" {
			break
		}
	}
	if err := c.write(wire.Bytes()); err != nil {
		return answer{}, err
	}
	for range replies {
		if a, err := c.read(); err != nil || a.code >= 400 {
			return a, err
		}
	}
	return c.read()
}

// mustSend is send for mail that must be taken.
func (c *client) mustSend(t *testing.T, m submission) {
	t.Helper()
	if a, err := c.send(m); err != nil || a.code != 250 {
		t.Fatalf("sending from %s to %s: %v, %v", m.from, m.to, a, err)
	}
}

// stuffed returns content as DATA sends it, with its final dot.
func stuffed(content string) []byte {
	var b bytes.Buffer
	for line := range strings.SplitAfterSeq(content, "\r\n") {
		if strings.HasPrefix(line, ".") {
			b.WriteByte('.')
		}
		b.WriteString(line)
	}
	if !strings.HasSuffix(content, "\r\n") && content != "" {
		b.WriteString("\r\n")
	}
	b.WriteString(".\r\n")
	return b.Bytes()
}

// gate is an address that can be closed and opened while a far end behind it
// lives on.
type gate struct {
	t       *testing.T
	address string
	far     string
	ln      net.Listener
}

// newGate returns a closed gate to far.
func newGate(t *testing.T, far string) *gate {
	t.Helper()
	g := &gate{t: t, address: freeAddress(t), far: far}
	t.Cleanup(g.close)
	return g
}

// open lets connections through.
func (g *gate) open() {
	g.t.Helper()
	ln, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.ln = ln
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go g.pass(nc)
		}
	}()
}

// close lets no new connection through.
func (g *gate) close() {
	if g.ln != nil {
		_ = g.ln.Close()
		g.ln = nil
	}
}

// pass copies both ways until both have ended.
func (g *gate) pass(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	far, err := net.Dial("tcp", g.far)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	go func() {
		_, _ = io.Copy(far, nc)
		_ = far.Close()
	}()
	_, _ = io.Copy(nc, far)
}
