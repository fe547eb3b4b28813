// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// floods is how many peers flood at once: what each of them had buffered
	// would show.
	floods = 8
	// oversize is a message far beyond max_size, which is read away.
	oversize = 8 << 20
	// maxGrowthBySize is less than the floods of messages together: none of
	// them is kept in memory.
	maxGrowthBySize = 12 << 20
	// endless is more than anybody may send in vain on one connection:
	// 64 MiB beyond the size limit, and what sockets hold.
	endless = 100 << 20
)

// together runs n attacks at once.
func together(n int, attack func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { attack(i) })
	}
	group.Wait()
}

// TestHostileSize sends more than max_size, announced and not, by DATA and by
// BDAT. Who ends is told so and may go on; who does not is cut off.
func TestHostileSize(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	m := submission{from: "anna@mycompany.com", to: "large@example.net", mailParams: "SIZE=2000000"}
	f.besiege(t, maxGrowthBySize, func() {
		c := mustDial(t, f.door)
		if a, err := c.send(m); err != nil || a.code != 552 {
			t.Errorf("an announced size: %v, %v, want 552", a, err)
		}
		m.mailParams = ""
		line := []byte(strings.Repeat("x", 998) + "\r\n")
		together(floods, func(int) {
			m, c := m, mustDialIn(t, f.door)
			m.content = "Subject: large\r\n\r\n" + strings.Repeat(string(line), oversize/len(line))
			if a, err := c.send(m); err != nil || a.code != 552 {
				t.Errorf("a large message by DATA: %v, %v, want 552", a, err)
			}
			if a, err := c.sendChunks(m, 1<<20); err != nil || a.code != 552 {
				t.Errorf("a large message by BDAT: %v, %v, want 552", a, err)
			}
		})
		for _, verb := range []string{"DATA\r\n", "BDAT 1000000000000 LAST\r\n"} {
			c := mustDial(t, f.door)
			if err := c.write([]byte(m.envelope() + verb)); err != nil {
				t.Fatal(err)
			}
			if n := flood(c.nc, line, endless); n >= endless {
				t.Errorf("%q: the gateway reads %d bytes, and goes on", verb, n)
			}
		}
		// A chunk that nobody asked for is no better.
		c = mustDial(t, f.door)
		if err := c.write([]byte("BDAT 1000000000000 LAST\r\n")); err != nil {
			t.Fatal(err)
		}
		if n := flood(c.nc, line, endless); n >= endless {
			t.Errorf("BDAT without MAIL: the gateway reads %d bytes, and goes on", n)
		}
	})
	f.checkLedger(t)
}

// mustDialIn is mustDial for other goroutines than that of the test: without a
// session it returns one that fails.
func mustDialIn(t *testing.T, address string) *client {
	t.Helper()
	c, err := dial(address)
	if err != nil {
		t.Error(err)
		near, far := net.Pipe()
		_, _ = near.Close(), far.Close()
		return &client{nc: near}
	}
	t.Cleanup(c.close)
	return c
}

// TestHostileTalk pipelines commands without end: the gateway ends it with 421
// soon, and no mail comes of it.
func TestHostileTalk(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	for name, tt := range map[string]struct {
		lead    string
		line    func(i int) string
		lines   int
		answers int // at most
	}{
		"recipients": {
			lead:  "MAIL FROM:<anna@mycompany.com>\r\n",
			line:  func(i int) string { return fmt.Sprintf("RCPT TO:<r%d@example.net>\r\n", i) },
			lines: 100_000, answers: 2200,
		},
		"unknown recipients": {
			lead:  "MAIL FROM:<anna@client.example>\r\n",
			line:  func(i int) string { return fmt.Sprintf("RCPT TO:<r%d@@mycompany.com>\r\n", i) },
			lines: 100_000, answers: 250,
		},
		"bad commands":    {line: func(i int) string { return fmt.Sprintf("FOO%d\r\n", i) }, lines: 10_000, answers: 50},
		"bad sequence":    {line: func(int) string { return "DATA\r\n" }, lines: 10_000, answers: 50},
		"nothing":         {line: func(int) string { return "NOOP\r\n" }, lines: 10_000, answers: 150},
		"hellos":          {line: func(int) string { return "EHLO x\r\n" }, lines: 10_000, answers: 150},
		"empty mails":     {line: func(int) string { return "MAIL FROM:<anna@mycompany.com>\r\nRSET\r\n" }, lines: 10_000, answers: 300},
		"empty chunks":    {lead: "MAIL FROM:<anna@mycompany.com>\r\nRCPT TO:<r@example.net>\r\n", line: func(int) string { return "BDAT 0\r\n" }, lines: 100_000, answers: 150},
		"long commands":   {line: func(int) string { return "NOOP " + strings.Repeat("x", 10_000) + "\r\n" }, lines: 1_000, answers: 50},
		"binary commands": {line: func(i int) string { return fmt.Sprintf("\x01\x02%d\r\n", i) }, lines: 10_000, answers: 50},
	} {
		f.besiege(t, maxGrowth, func() {
			var text bytes.Buffer
			text.WriteString(tt.lead)
			for i := range tt.lines {
				text.WriteString(tt.line(i))
			}
			c := mustDial(t, f.door)
			written := make(chan struct{})
			go func() {
				defer close(written)
				_ = c.write(text.Bytes()) // it fails when the gateway has enough
			}()
			got, err := c.codes()
			<-written
			if n := len(got); err != nil || n == 0 || got[n-1] != 421 || n > tt.answers {
				t.Errorf("%s: %d replies, ending in %v, %v, want at most %d and 421 at the end", name, n, got[max(0, n-3):], err, tt.answers)
			}
		})
	}
	f.checkLedger(t)
}

// TestHostileLine sends commands without an end: the gateway reads little of
// them, says 500 and closes.
func TestHostileLine(t *testing.T) {
	t.Parallel()
	const most = 10 << 20 // what sockets hold, and some
	f := newFortress(t)
	f.besiege(t, maxGrowth, func() {
		together(floods, func(i int) {
			for _, lead := range []string{"", "NOOP ", "AUTH PLAIN ", "MAIL FROM:<anna@mycompany.com> "} {
				c := mustDialIn(t, f.door)
				if err := c.write([]byte(lead)); err != nil {
					t.Error(err)
				}
				if n := flood(c.nc, bytes.Repeat([]byte("x"), 1<<16), 20_000_000); n > most {
					t.Errorf("%q and then no end: the gateway took %d bytes, want at most %d", lead, n, most)
				}
			}
		})
	})
	f.checkLedger(t)
}

// TestHostileSilence opens sessions that stop at every point, or go on with one
// byte a second: nobody is held up by them, and a mail that comes slowly is
// taken. How long the gateway is patient with them is tested with its clock.
func TestHostileSilence(t *testing.T) {
	t.Parallel()
	const each = 50
	f := newFortress(t)
	m := submission{from: "anna@mycompany.com", to: "half@example.net"}
	halves := []string{
		"", "MAIL", "MAIL FROM:<anna@mycompany.com>\r\nRCP", m.envelope(), m.envelope() + "DATA\r\n",
		m.envelope() + "DATA\r\nSubject: half\r\n\r\nhalf\r\n.", m.envelope() + "BDAT 1000\r\nhalf",
		m.envelope() + "BDAT 4\r\nhalf", m.envelope() + "BDAT 4 LAST\r\nha", "AUTH PLAIN", "EHLO",
	}
	f.besiege(t, maxGrowth, func() {
		var open []*client
		for i := range each * len(halves) {
			c := mustDial(t, f.door)
			if err := c.write([]byte(halves[i%len(halves)])); err != nil {
				t.Error(err)
			}
			open = append(open, c)
		}
		together(each, func(i int) {
			if err := f.drip(fmt.Sprintf("slow%d", i)); err != nil {
				t.Error(err)
			}
		})
		for i, c := range open {
			if i%2 == 0 {
				_ = c.nc.(*net.TCPConn).SetLinger(0) // a reset
			}
			c.close()
		}
	})
	f.checkLedger(t)
}

// drip sends a mail whose content begins with a few bytes, one a second.
func (f *fortress) drip(name string) error {
	m := mailOf(name)
	c, err := dial(f.door)
	if err != nil {
		return err
	}
	defer c.quit()
	if err := c.write([]byte(m.envelope() + "DATA\r\n")); err != nil {
		return err
	}
	for range 3 {
		if a, err := c.read(); err != nil || a.code >= 400 {
			return fmt.Errorf("%v, %w", a, err)
		}
	}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for i := range 3 {
		if err := c.write([]byte(m.content[i : i+1])); err != nil {
			return err
		}
		<-second.C
	}
	a, err := c.finish(m, 3)
	if err != nil || a.code != 250 {
		return fmt.Errorf("the end of %s: %v, %w", name, a, err)
	}
	f.acknowledged(m.to)
	return nil
}

// TestHostileBinary sends what is no SMTP at all to a door in clear.
func TestHostileBinary(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	f.besiege(t, maxGrowth, func() {
		nc, err := net.Dial("tcp", f.door)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_ = nc.SetDeadline(began.Add(patience))
		if err := tls.Client(nc, &tls.Config{ServerName: "mx.mycompany.com"}).HandshakeContext(t.Context()); err == nil {
			t.Error("a door in clear speaks TLS")
		}
		if took := time.Since(began); took > promptly {
			t.Errorf("a TLS client learned only after %v that there is no TLS", took)
		}
		_ = nc.Close()

		// A hello of TLS, from a client that waits for its answer.
		for name, start := range map[string]string{
			"TLS": "\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + strings.Repeat("\x00\xff", 94) + "\x00",
			"SMB": "\x00\x00\x00\x54\xffSMB\x72\x00\x00\x00\x00",
		} {
			c := mustDial(t, f.door)
			if err := c.write([]byte(start)); err != nil {
				t.Fatal(err)
			}
			if got, err := c.codes(); err != nil || !slices.Equal(got, []int{500}) {
				t.Errorf("%s: the replies are %v, %v, want 500 and the end", name, got, err)
			}
		}
		together(floods, func(i int) {
			c := mustDialIn(t, f.door)
			_, _ = io.CopyN(c.nc, rand.NewChaCha8([32]byte{byte(i)}), 10<<20) // the gateway closes soon
			if got, err := c.codes(); err != nil || len(got) > 0 && got[len(got)-1] < 400 {
				t.Errorf("random bytes: the replies are %v, %v, want a refusal and the end", got, err)
			}
		})
	})
	f.checkLedger(t)
}

// TestHostileDeaf pipelines thousands of commands and mails and never reads a
// reply: the session ends, and mail that was complete is there once.
func TestHostileDeaf(t *testing.T) {
	t.Parallel()
	const mails = 200
	f := newFortress(t)
	f.besiege(t, maxGrowth, func() {
		together(floods, func(i int) {
			c := mustDialIn(t, f.door)
			_ = c.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
			text := bytes.Repeat([]byte("EHLO x\r\n"), 5000)
			if n := flood(c.nc, text, endless); n >= endless {
				t.Errorf("the gateway took %d bytes of commands, and goes on", n)
			}
		})
		c := mustDial(t, f.door)
		_ = c.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
		for i := range mails {
			m := mailOf(fmt.Sprintf("deaf%d", i))
			if err := c.write(append([]byte(m.envelope()+"DATA\r\n"), stuffed(m.content)...)); err != nil {
				t.Fatal(err)
			}
			f.acknowledged(m.to) // it will be, read or not
		}
		await(t, "the mails of the deaf have come", func() bool {
			return f.health().Queue["sent"] >= mails
		})
	})
	f.checkLedger(t)
}
