// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// tape is a connection whose peer sends what is on it, piece by piece, and
// takes all replies.
type tape struct {
	in     []byte
	step   int
	out    bytes.Buffer
	closed chan struct{}
}

func (c *tape) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.step)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *tape) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *tape) Close() error                     { close(c.closed); return nil }
func (c *tape) LocalAddr() net.Addr              { return fixedAddr("192.0.2.1:25") }
func (c *tape) RemoteAddr() net.Addr             { return fixedAddr("192.0.2.9:1000") }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// runTape lets a guard round k listen to a tape, and returns what it said.
func runTape(tb testing.TB, k *keeper, in []byte, step int) string {
	tb.Helper()
	return runTapeWith(tb, Options{}, k, in, step)
}

// runTapeWith is runTape for a guard with options.
func runTapeWith(tb testing.TB, o Options, k *keeper, in []byte, step int) string {
	tb.Helper()
	ln := newPipe()
	o.Hostname, o.Now, o.Report, o.Timeouts.AuthDelay = "mx.example", time.Now, k.report, time.Nanosecond
	s := New(o, k)
	go s.Serve(context.Background(), ln)
	c := &tape{in: in, step: step, closed: make(chan struct{})}
	ln.conns <- c
	select {
	case <-c.closed:
	case <-time.After(time.Minute):
		tb.Fatal("the session does not end")
	}
	_ = ln.Close()
	return c.out.String()
}

const opening = "EHLO c\r\nMAIL FROM:<s@x.example>\r\nRCPT TO:<r@a.example>\r\nDATA\r\n"

// FuzzGuard sends anything as a session, and as content in a session.
func FuzzGuard(f *testing.F) {
	for _, text := range contents {
		if len(text) < 1000 {
			f.Add([]byte(text), 3)
		}
	}
	for _, text := range []string{
		opening + "x\r\n.\r\nQUIT\r\n",
		"EHLO c\r\nMAIL FROM:<> SIZE=1\r\nRCPT TO:<r@a.example>\r\nBDAT 3\r\nab\rRSET\r\nBDAT 1 LAST\r\nx",
		"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<r@a.example>\r\nBDAT 2\r\na\rBDAT 1 LAST\r\n\n",
		"HELO c\r\nAUTH PLAIN AGFwcAByaWdodA==\r\nAUTH LOGIN\r\nYXBw\r\ncmlnaHQ=\r\n",
		"EHLO c\r\nSTARTTLS\r\nNOOP\r\nVRFY x\r\nHELP\r\n",
		`MAIL FROM:<@a,@b:"a\"b> "@x.example> SMTPUTF8 ENVID=+41` + "\r\n",
	} {
		f.Add([]byte(text), 1000)
	}
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		step = 1 + max(0, step)%2000
		k := &keeper{maxSize: 1 << 20, users: map[string]string{"app": "right"}}
		said := runTape(t, k, data, step)
		checkSession(t, k, said)

		k = &keeper{maxSize: 1 << 20}
		said = runTape(t, k, []byte(opening+string(data)), step)
		checkSession(t, k, said)
		want, faulty, length := unstuff(data)
		switch taken := len(k.mails) > 0; {
		case length < 0 || faulty:
			if length < 0 && taken {
				t.Errorf("content without an end was taken: %q", k.mails[0].content)
			}
			if faulty && taken && k.mails[0].content == string(want) {
				t.Errorf("content with a fault was taken: %q", want)
			}
		case !taken || k.mails[0].content != string(want):
			t.Errorf("content %q was not taken as %q", data[:length], want)
		}
	})
}

// checkSession checks what holds for every session.
func checkSession(t *testing.T, k *keeper, said string) {
	t.Helper()
	k.check(t)
	for _, m := range k.mails {
		rest := strings.ReplaceAll(m.content, "\r\n", "")
		if strings.ContainsAny(rest, "\r\n\x00") || m.content != "" && !strings.HasSuffix(m.content, "\r\n") {
			t.Errorf("content %q", m.content)
		}
		for _, r := range m.env.Recipients {
			if a, err := mailflow.ParseAddress(r.Address.String()); err != nil || a != r.Address {
				t.Errorf("address %q is read back as %q: %v", r.Address, a, err)
			}
		}
	}
	for line := range strings.SplitAfterSeq(said, "\n") {
		body := strings.TrimSuffix(line, "\r\n")
		if line != "" && (len(line) == len(body) || len(line) > 512 || len(body) < 4) {
			t.Errorf("a line of a reply is %q", line)
		}
		for i := range len(body) {
			if body[i] < ' ' || body[i] > '~' {
				t.Errorf("a line of a reply is %q", line)
			}
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"<a@b>", "<>", `<"a>b"@c> X=1`, "<@a:b@c>", "a@b X", "<Postmaster>", `<"\">`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		path, params, err := cutPath("TO:"+s, "TO:")
		if err != nil {
			return
		}
		if len(path)+len(params) > len(s) {
			t.Errorf("%q gives %q and %q", s, path, params)
		}
		a, reply := readPath(path, true, errRecipient)
		if reply != nil {
			return
		}
		again, _, err := cutPath("TO:"+a.Path(), "TO:")
		if err != nil {
			t.Fatalf("%q: %v", a.Path(), err)
		}
		if b, err := mailflow.ParseAddress(again); err != nil || b != a {
			t.Errorf("%q is read back as %q: %v", a, b, err)
		}
	})
}
