// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestDrainMeets holds a drain that comes while the session works to the next
// read, whose deadline must not undo it.
func TestDrainMeets(t *testing.T) {
	t.Parallel()
	k := new(keeper)
	guarded(t, k, Options{}, func(b *bench) {
		k.before = func() {
			b.stop()
			time.Sleep(time.Second) // the drain does its part
		}
		c := b.begun()
		c.send("DATA\r\n")
		time.Sleep(2 * time.Second)
		if got := codesOf(c.heard()); got != "354 421" {
			t.Errorf("got %q", got)
		}
		if !c.ended() {
			t.Error("the connection is open")
		}
	})
}

// TestDiscarded cuts off a peer that goes on with a message it was refused.
func TestDiscarded(t *testing.T) {
	t.Parallel()
	guarded(t, &keeper{maxSize: 1000}, Options{}, func(b *bench) {
		c := b.begun()
		c.want("DATA\r\n", "354")
		block := strings.Repeat(strings.Repeat("x", 1022)+"\r\n", 1024)
		for range MaxDiscarded/len(block) + 2 {
			c.send(block)
		}
		if got := codesOf(c.heard()); got != "552" {
			t.Errorf("got %q", got)
		}
		if !c.ended() {
			t.Error("the connection is open")
		}
	})
}

// TestLinger lets a peer that sent much more read why it was cut off: closing a
// TCP connection with unread bytes would take the reply from it.
func TestLinger(t *testing.T) {
	t.Parallel()
	addr := listen(t)
	for range 20 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "EHLO c\r\nNOOP\nNOOP\r\n"+strings.Repeat("NOOP\r\n", 20_000)); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(said), "\r\n500 5.5.2 Command has bare LF") {
			t.Fatalf("got %q, %v", said, err)
		}
		_ = conn.Close()
	}
}

// leaving is a connection whose server hears of its end later than the peer.
type leaving struct{ addressed }

func (l *leaving) Close() error {
	err := l.addressed.Close()
	time.Sleep(time.Second)
	return err
}

// TestComesAgain has a peer come again as soon as it has seen the end of the
// one connection that it may have.
func TestComesAgain(t *testing.T) {
	t.Parallel()
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	for name, implicit := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{MaxSessions: 1, MaxSessionsPerIP: 1, Implicit: implicit, TLS: func() *tls.Config { return config }}
			guarded(t, new(keeper), o, func(b *bench) {
				for range 3 {
					conn, far := net.Pipe()
					b.ln.conns <- &leaving{addressed{Conn: far, peer: "192.0.2.9:1"}}
					b.t.Cleanup(func() { _ = far.Close() })
					if implicit {
						conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
					}
					r := bufio.NewReader(conn)
					readReply(t, r, "220")
					_, _ = io.WriteString(conn, "QUIT\r\n")
					readReply(t, r, "221")
					if line, err := r.ReadString('\n'); err != io.EOF {
						t.Fatalf("got %q, %v, want the end", line, err)
					}
				}
			})
		})
	}
}

// TestHandshakeTimeout ends those who begin no handshake, stop in it, or go on
// with a byte a second, when its time is over, and not before.
func TestHandshakeTimeout(t *testing.T) {
	t.Parallel()
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	const half = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half"
	for name, tt := range map[string]struct {
		implicit bool
		first    string
		drip     string
	}{
		"silence":                 {true, "", ""},
		"half":                    {true, half, ""},
		"drip":                    {true, half, "x"},
		"silence behind STARTTLS": {false, "", ""},
		"half behind STARTTLS":    {false, half, ""},
		"drip behind STARTTLS":    {false, half, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const limit = 20 * time.Second
			k := new(keeper)
			o := Options{Implicit: tt.implicit, TLS: func() *tls.Config { return config }, Timeouts: Timeouts{Handshake: limit}}
			guarded(t, k, o, func(b *bench) {
				c := b.dial("192.0.2.9:1")
				if !tt.implicit {
					c.want("EHLO c\r\nSTARTTLS\r\n", "220 250 220")
				}
				c.send(tt.first)
				for range limit/time.Second - 1 {
					time.Sleep(time.Second)
					c.send(tt.drip)
				}
				if said := c.heard(); said != "" {
					t.Errorf("before its time is over the guard says %q", said)
				}
				if kinds := k.kinds(); len(kinds) != 0 {
					t.Errorf("before its time is over: %q", kinds)
				}
				time.Sleep(2 * time.Second)
				if !c.ended() {
					t.Error("the connection is open")
				}
				if kinds := k.kinds(); len(kinds) != 1 || kinds[0] != TLSFailed {
					t.Errorf("incidents %q", kinds)
				}
			})
		})
	}
}
