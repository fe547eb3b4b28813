// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
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
		if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
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
