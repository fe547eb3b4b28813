// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// wrong and right are logins of the user app.
const (
	wrong = "AUTH PLAIN AGFwcAB3cm9uZw==\r\n"
	right = "AUTH PLAIN AGFwcAByaWdodA==\r\n"
)

// guessOnce fails to log in from there, on a connection of its own.
func guessOnce(b *bench, from fixedAddr) string {
	c := b.dial(from)
	c.want("EHLO c\r\n", "220 250")
	c.send(wrong)
	time.Sleep(time.Minute)
	return codesOf(c.ask("QUIT\r\n"))
}

// TestGuessingAcross shuts a peer out that guesses on many connections, for a
// while, and nobody else.
func TestGuessingAcross(t *testing.T) {
	t.Parallel()
	k := &keeper{users: map[string]string{"app": "right"}}
	local := func(ip netip.Addr) bool { return ip.IsLoopback() }
	guarded(t, k, Options{MaxGuesses: 3, Exempt: local}, func(b *bench) {
		for _, from := range []fixedAddr{"192.0.2.9:1", "127.0.0.1:1", "[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.9:2", "[2001:db8::3]:1", "127.0.0.1:2", "192.0.2.9:3", "127.0.0.1:3"} {
			if got := guessOnce(b, from); got != "535 221" {
				t.Errorf("%s: got %q", from, got)
			}
		}
		for from, want := range map[fixedAddr]string{
			"192.0.2.9:4": "421", "[2001:db8::4]:1": "421", // though it knows the password now
			"192.0.2.8:1": "235", "[2001:db8:0:1::1]:1": "235", "127.0.0.1:4": "235",
		} {
			c := b.dial(from)
			c.want("EHLO c\r\n", "220 250")
			c.want(right, want)
			c.ask("QUIT\r\n")
		}
		mail := b.dial("192.0.2.9:5")
		mail.want("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<r@a.example>\r\nQUIT\r\n", "220 250 250 250 221")
		time.Sleep(GuessWindow)
		c := b.dial("192.0.2.9:6")
		c.want("EHLO c\r\n"+right, "220 250 235")
	})
}

// TestGuessingSlowsDown makes the first guess of a new connection wait for those
// of earlier ones.
func TestGuessingSlowsDown(t *testing.T) {
	t.Parallel()
	k := &keeper{users: map[string]string{"app": "right"}}
	guarded(t, k, Options{}, func(b *bench) {
		guessOnce(b, "192.0.2.9:1")
		guessOnce(b, "192.0.2.9:2")
		c := b.dial("192.0.2.9:3")
		c.want("EHLO c\r\n", "220 250")
		c.send(wrong)
		time.Sleep(3 * time.Second)
		if got := c.heard(); got != "" {
			t.Errorf("after 3 s got %q", got)
		}
		time.Sleep(2 * time.Second)
		if got := codesOf(c.heard()); got != "535" {
			t.Errorf("after 5 s got %q", got)
		}
	})
}

// TestGuessesBounded fills the tables: they stay within their bound and keep
// what is new.
func TestGuessesBounded(t *testing.T) {
	t.Parallel()
	g, now := NewGuesses(), time.Unix(1000, 0)
	ip := netip.MustParseAddr("10.0.0.0")
	for range 5 * maxGuessers {
		g.failed(ip, now)
		ip = ip.Next()
	}
	if n := len(g.young) + len(g.old); n > 2*maxGuessers {
		t.Errorf("%d peers are remembered", n)
	}
	last := ip.Prev()
	if got := g.count(last, now); got != 1 {
		t.Errorf("count of the last one: %d", got)
	}
	g.failed(last, now.Add(GuessWindow))
	if got := g.count(last, now.Add(2*GuessWindow)); got != 2 {
		t.Errorf("two failures within a window each: %d", got)
	}
	if got := g.count(last, now.Add(2*GuessWindow+1)); got != 0 {
		t.Errorf("after the window: %d", got)
	}
	g.failed(netip.Addr{}, now)
	if got := g.count(netip.Addr{}, now); got != 0 {
		t.Errorf("a unix socket counts %d", got)
	}
}

// TestConnectionsShared counts connections that began with another server, as
// after a reload.
func TestConnectionsShared(t *testing.T) {
	t.Parallel()
	all := NewConnections()
	if !all.enter(2) || !all.identify(netip.MustParseAddr("192.0.2.1"), 1) {
		t.Fatal("no room for the first")
	}
	k := new(keeper)
	guarded(t, k, Options{MaxSessions: 2, MaxSessionsPerIP: 1, Connections: all}, func(b *bench) {
		if got := codesOf(b.dial("192.0.2.1:1").heard()); got != "421" {
			t.Errorf("the second of an address got %q", got)
		}
		c := b.dial("192.0.2.2:1")
		if got := codesOf(c.heard()); got != "220" {
			t.Errorf("another got %q", got)
		}
		if got := codesOf(b.dial("192.0.2.3:1").heard()); got != "421" {
			t.Errorf("the third got %q", got)
		}
		c.want("QUIT\r\n", "221")
		all.forget(netip.MustParseAddr("192.0.2.1"))
		all.leave()
	})
	if len(all.perIP) != 0 {
		t.Errorf("left over: %v", all.perIP)
	}
}

// silent is a connection that says where it comes from only when told to, as
// one does whose PROXY header has not come.
type silent struct {
	addressed

	tell chan struct{}
}

func (s *silent) RemoteAddr() net.Addr {
	<-s.tell
	return s.peer
}

func (s *silent) Write(p []byte) (int, error) {
	<-s.tell
	return s.Conn.Write(p)
}

// TestSilentProxy has peers that keep their address to themselves: the others
// are served meanwhile, also where the silent ones are too many.
func TestSilentProxy(t *testing.T) {
	t.Parallel()
	k := new(keeper)
	guarded(t, k, Options{MaxSessions: 3}, func(b *bench) {
		tell := make(chan struct{})
		defer close(tell)
		hide := func() *silent {
			near, far := net.Pipe()
			b.t.Cleanup(func() { _ = near.Close() })
			return &silent{addressed: addressed{Conn: far, peer: "192.0.2.1:1"}, tell: tell}
		}
		b.ln.conns <- hide()
		b.ln.conns <- hide()
		c := b.dial("192.0.2.2:1")
		c.want("EHLO c\r\n", "220 250")
		for range 2 * maxTurningAway {
			b.ln.conns <- hide()
		}
		synctest.Wait() // the last one is turned away, before a place is free
		c.want("QUIT\r\n", "221")
		synctest.Wait()
		b.dial("192.0.2.2:1").want("EHLO c\r\nQUIT\r\n", "220 250 221")
	})
}

// failing is a listener whose Accept fails now and then.
type failing struct {
	*pipe

	left int
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left > 0 {
		f.left--
		return nil, errors.New("no such peer")
	}
	return f.pipe.Accept()
}

// TestAcceptFails goes on after a connection that could not be accepted.
func TestAcceptFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := new(keeper)
		ln := &failing{pipe: newPipe(), left: 3}
		s := New(Options{Hostname: "mx.example", Now: time.Now, Report: k.report}, k)
		ctx, cancel := context.WithCancel(t.Context())
		go s.Serve(ctx, ln)
		b := &bench{t: t, keeper: k, server: s, ln: ln.pipe}
		b.dial("192.0.2.2:1").want("QUIT\r\n", "220 221")
		if got := fmt.Sprint(k.kinds()); got != "[accepting failed accepting failed accepting failed]" {
			t.Errorf("incidents %s", got)
		}
		_ = ln.Close()
		cancel()
		time.Sleep(time.Minute)
		synctest.Wait()
	})
}
