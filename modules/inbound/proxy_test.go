// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// behindProxy is a door that this machine may speak the PROXY protocol to. A
// silent proxy has longer to do so than a test waits.
const behindProxy = `smtp 192.0.2.200:25 {
	receive
	submit 192.0.2.0/24
	max_connections_per_ip 1
	name behind-proxy
	listener_wrappers {
		proxy_protocol {
			timeout 5m
			allow 127.0.0.0/8
		}
	}
}`

// served runs a door, and returns its gate and address.
func served(t *testing.T, text string) (*mailflowtest.Gate, string) {
	t.Helper()
	door, gate := newDoor(t, text), new(mailflowtest.Gate)
	gate.SetCurrent(door)
	return gate, serve(t, door, gate)
}

// TestProxy sends the address of peers ahead: it is what trust and limits go
// by.
func TestProxy(t *testing.T) {
	t.Parallel()
	gate, addr := served(t, behindProxy)
	const mail = "S: 220 *\nC: HELO c\nS: 250 *\nC: MAIL FROM:<s@x.example>\nS: 250 *\nC: RCPT TO:<r@a.example>\nS: 250 *\n" +
		"C: DATA\nS: 354 *\nC: x\nC: .\nS: 250 *\n"
	inside, outside := dial(t, addr), dial(t, addr)
	inside.send("PROXY TCP4 192.0.2.7 192.0.2.200 40000 25\r\n")
	inside.talk(mail)
	outside.send("PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n")
	outside.talk(mail)
	got := gate.Mails()
	if len(got) != 2 {
		t.Fatalf("%d mails", len(got))
	}
	if p := got[0].Peer; p.IP.String() != "192.0.2.7" || !p.Submits {
		t.Errorf("the peer of the trusted network: %+v", p)
	}
	if p := got[1].Peer; p.IP.String() != "2001:db8::7" || p.Submits {
		t.Errorf("the stranger: %+v", p)
	}

	another := dial(t, addr)
	another.send("PROXY TCP6 2001:db8::8 2001:db8::1 40000 25\r\n")
	another.talk("S: 421 4.7.0 *\nEND")
	trusted := dial(t, addr)
	trusted.send("PROXY TCP4 192.0.2.7 192.0.2.200 40001 25\r\n")
	trusted.talk(mail)
}

// TestProxyNotAllowed has a peer that may not say who it is: it is greeted at
// once, without waiting for a header, and what it claims is no command.
func TestProxyNotAllowed(t *testing.T) {
	t.Parallel()
	gate, addr := served(t, `smtp 192.0.2.200:25 {
		receive
		submit 192.0.2.0/24
		listener_wrappers {
			proxy_protocol {
				timeout 5m
				allow 198.51.100.0/24
			}
		}
	}`)
	p := dial(t, addr)
	p.talk("S: 220 *")
	p.send("PROXY TCP4 192.0.2.7 192.0.2.200 40000 25\r\n")
	p.talk("S: 500 5.5.2 *\nC: HELO c\nS: 250 *\nC: MAIL FROM:<s@x.example>\nS: 250 *\nC: RCPT TO:<r@a.example>\nS: 250 *\n" +
		"C: DATA\nS: 354 *\nC: x\nC: .\nS: 250 *\nC: QUIT\nS: 221 *\nEND")
	if p := gate.Mails()[0].Peer; !p.IP.IsLoopback() || p.Submits {
		t.Errorf("the peer: %+v", p)
	}
}

// TestProxySilent has proxies that never send their header: others are served,
// and a door that ends does not wait for them.
func TestProxySilent(t *testing.T) {
	t.Parallel()
	_, addr := served(t, behindProxy)
	var all []net.Conn
	for range 20 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	p := dial(t, addr)
	p.send("PROXY TCP4 198.51.100.7 192.0.2.200 40000 25\r\n")
	p.talk("S: 220 *\nC: QUIT\nS: 221 *\nEND")
	for _, conn := range all {
		_ = conn.Close()
	}
}

// TestUnixLMTP takes mail on a unix socket, from a peer without an address.
func TestUnixLMTP(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lmtp.sock")
	door, gate := newDoor(t, "lmtp unix/"+path), new(mailflowtest.Gate)
	gate.SetCurrent(door)
	serveOn(t, "unix", path, door, gate)
	dial(t, path).talk("S: 220 mx.example LMTP ready\nC: LHLO c\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250 *\n" +
		"C: MAIL FROM:<>\nS: 250 *\nC: RCPT TO:<r@a.example>\nS: 250 *\nC: RCPT TO:<R@a.example>\nS: 250 *\n" +
		"C: DATA\nS: 354 *\nC: x\nC: .\nS: 250 *\nS: 250 *\nC: QUIT\nS: 221 *\nEND")
	if p := gate.Mails()[0].Peer; p.IP.IsValid() || p.Submits || p.Protocol != "LMTP" {
		t.Errorf("the peer: %+v", p)
	}
}

// TestLimitsOutlive counts connections across configurations of a door.
func TestLimitsOutlive(t *testing.T) {
	t.Parallel()
	const text = "smtp 127.0.0.1:25 {\nname outliving\nmax_connections 1\n}"
	_, before := served(t, text)
	first := dial(t, before)
	first.talk("S: 220 *")
	_, after := served(t, text)
	dial(t, after).talk("S: 421 4.7.0 mx.example Too many connections, try again later\nEND")
	first.talk("C: QUIT\nS: 221 *\nEND")
	deadline := time.Now().Add(peerTimeout)
	for {
		p := dial(t, after)
		line, err := p.in.ReadString('\n')
		if err == nil && line[:3] == "220" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %q, %v", line, err)
		}
	}
}

// TestManyFromLoopback opens more connections from loopback than an address
// may have: no limit stands in the way of tools on this machine.
func TestManyFromLoopback(t *testing.T) {
	t.Parallel()
	_, addr := served(t, "smtp 127.0.0.1:25 {\nname crowded\nmax_connections_per_ip 1\nmax_auth_failures 1\n}")
	for range 3 * defaultMaxPerIP {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		code := make([]byte, 3)
		if _, err := io.ReadFull(conn, code); err != nil || string(code) != "220" {
			t.Fatalf("got %s, %v", code, err)
		}
	}
}
