// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// TestWantsTLS says for each way to write a door whether it has TLS, whether it
// is of no use without, and whether that is implicit on its port.
func TestWantsTLS(t *testing.T) {
	t.Parallel()
	const no, may, must = "no", "may", "must"
	for _, tt := range []struct {
		door     string
		want     string
		port     int
		implicit bool
	}{
		{"smtp :25", may, 25, false},
		{"smtp :465", must, 465, true},
		{"smtp 127.0.0.1:465", must, 465, true},
		{"smtp :465 :587", must, 587, false},
		{"smtp :465 :587", must, 465, true},
		{"smtp :460-470", must, 465, true},
		{"smtp 127.0.0.1:25", no, 25, false},
		{"smtp localhost:2525 unix//run/m.sock", no, 2525, false},
		{"smtp 127.0.0.1:25 192.0.2.1:25", may, 25, false},
		{"smtp :25 {\ntls off\n}", no, 25, false},
		{"smtp :465 {\ntls off\n}", no, 465, false},
		{"smtp :465 {\ntls starttls\n}", must, 465, false},
		{"smtp :2465 {\ntls implicit\n}", must, 2465, true},
		{"smtp 127.0.0.1:25 {\ntls starttls\n}", must, 25, false},
		{"smtp 127.0.0.1:25 {\ntls auto\n}", no, 25, false},
		{"smtp 127.0.0.1:25 {\ntls {\nconnection_policy\n}\n}", may, 25, false},
		{"lmtp unix//run/m.sock", no, 24, false},
		{"lmtp :24", may, 24, false},
	} {
		door := newDoor(t, tt.door)
		got := no
		if len(door.ConnectionPolicies()) > 0 {
			got = may
		}
		if door.RequiresTLS() {
			got = must
		}
		if got != tt.want {
			t.Errorf("%s: TLS %s, want %s", tt.door, got, tt.want)
		}
		if on := (&net.TCPAddr{Port: tt.port}); door.implicit(on) != tt.implicit {
			t.Errorf("%s: implicit on %d is %t", tt.door, tt.port, !tt.implicit)
		}
	}
}

// TestTLSForms reads the forms that tls has in JSON, and writes them again.
func TestTLSForms(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`"off"`:               `"off"`,
		`{"mode":"starttls"}`: `"starttls"`,
		`{"connection_policies":[{"protocol_min":"tls1.3"}]}`:                  `{"connection_policies":[{"protocol_min":"tls1.3"}]}`,
		`{"mode":"implicit","connection_policies":[{"default_sni":"a.test"}]}`: `{"mode":"implicit","connection_policies":[{"default_sni":"a.test"}]}`,
		`{"mod":"off"}`: `json: unknown field "mod"`,
		`5`:             "json: cannot unmarshal number",
	} {
		var s SMTP
		err := json.Unmarshal([]byte(`{"tls":`+in+`}`), &s)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", in, err)
			}
			continue
		}
		out, err := json.Marshal(s.TLS)
		if err != nil || string(out) != want {
			t.Errorf("%s becomes %s (%v), want %s", in, out, err, want)
		}
	}
}

// testConfig returns a TLS configuration with a certificate for that name.
func testConfig(t *testing.T, name string) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// hello says EHLO and returns the offers.
func (p *player) hello() string {
	p.tb.Helper()
	p.send("EHLO c\r\n")
	var all strings.Builder
	for {
		line, err := p.in.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "250") {
			p.tb.Fatalf("got %q, %v", line, err)
		}
		all.WriteString(line)
		if line[3] == ' ' {
			return all.String()
		}
	}
}

// encrypt puts TLS on the player's connection and returns the name in the
// certificate.
func (p *player) encrypt() string {
	p.tb.Helper()
	conn := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
	if err := conn.Handshake(); err != nil {
		p.tb.Fatal(err)
	}
	p.conn, p.in = conn, bufio.NewReader(conn)
	return conn.ConnectionState().PeerCertificates[0].DNSNames[0]
}

// TestAuthNeedsTLS offers AUTH off loopback only when nobody can listen in.
func TestAuthNeedsTLS(t *testing.T) {
	t.Parallel()
	door := newDoor(t, strings.Replace(behindProxy, "behind-proxy", "auth\nuser app "+testHash(t), 1))
	config := testConfig(t, "mx.example")
	door.UseTLS(func() *tls.Config { return config })
	gate := new(mailflowtest.Gate)
	gate.SetCurrent(door)
	p := dial(t, serve(t, door, gate))
	p.send("PROXY TCP4 198.51.100.7 192.0.2.200 40000 25\r\n")
	p.talk("S: 220 *")
	if offers := p.hello(); strings.Contains(offers, "AUTH") || !strings.Contains(offers, "STARTTLS") {
		t.Errorf("in clear: %q", offers)
	}
	p.talk("C: AUTH PLAIN AGFwcAByaWdodA==\nS: 503 *\nC: STARTTLS\nS: 220 *")
	p.encrypt()
	if offers := p.hello(); !strings.Contains(offers, "AUTH PLAIN LOGIN") || strings.Contains(offers, "STARTTLS") {
		t.Errorf("in TLS: %q", offers)
	}
	p.talk("C: AUTH PLAIN AGFwcAByaWdodA==\nS: 235 *\nC: MAIL FROM:<s@a.example>\nS: 250 *\nC: RCPT TO:<r@world.example>\nS: 250 *\n" +
		"C: DATA\nS: 354 *\nC: x\nC: .\nS: 250 *\nC: QUIT\nS: 221 *\nEND")
	if m := gate.Mails()[0].Peer; m.TLS != "TLS 1.3" || m.Protocol != "ESMTPSA" || !m.Submits || m.User != "app" {
		t.Errorf("the peer: %+v", m)
	}
}

// TestCertificateComes offers STARTTLS as soon as there is a certificate, and
// asks the newest configuration for it.
func TestCertificateComes(t *testing.T) {
	t.Parallel()
	door, next := newDoor(t, "smtp :25"), newDoor(t, "smtp :25")
	var config atomic.Pointer[tls.Config]
	door.UseTLS(config.Load)
	other := testConfig(t, "new.example")
	next.UseTLS(func() *tls.Config { return other })
	gate := new(mailflowtest.Gate)
	gate.SetCurrent(door)
	addr := serve(t, door, gate)

	p := dial(t, addr)
	p.talk("S: 220 *")
	if offers := p.hello(); strings.Contains(offers, "STARTTLS") {
		t.Errorf("without a certificate: %q", offers)
	}
	p.talk("C: STARTTLS\nS: 502 *")
	config.Store(testConfig(t, "old.example"))
	if offers := p.hello(); !strings.Contains(offers, "STARTTLS") {
		t.Errorf("with one: %q", offers)
	}
	config.Store(nil)
	p.talk("C: STARTTLS\nS: 454 4.7.0 *")
	gate.SetCurrent(next)
	p.talk("C: STARTTLS\nS: 220 *")
	if name := p.encrypt(); name != "new.example" {
		t.Errorf("the certificate is for %s", name)
	}
	gate.SetCurrent(nil)
	q := dial(t, addr)
	q.talk("S: 220 *")
	if offers := q.hello(); strings.Contains(offers, "STARTTLS") {
		t.Errorf("while draining: %q", offers)
	}
}

// TestShutOut has a peer guess at a door, which a reload does not make forget.
func TestShutOut(t *testing.T) {
	t.Parallel()
	text := strings.Replace(behindProxy, "behind-proxy", "guessed\nmax_auth_failures 1\nuser app "+testHash(t), 1)
	config := testConfig(t, "mx.example")
	for _, step := range []struct{ peer, dialogue string }{
		{"203.0.113.9", "C: AUTH PLAIN AGFwcAB3cm9uZw==\nS: 535 *\nC: QUIT\nS: 221 *\nEND"},
		{"203.0.113.9", "C: AUTH PLAIN AGFwcAByaWdodA==\nS: 421 4.7.0 Too many failed logins, try again later\nEND"},
		{"203.0.113.8", "C: AUTH PLAIN AGFwcAByaWdodA==\nS: 235 *\nC: QUIT\nS: 221 *\nEND"},
	} {
		door := newDoor(t, text)
		door.UseTLS(func() *tls.Config { return config })
		gate := new(mailflowtest.Gate)
		gate.SetCurrent(door)
		p := dial(t, serve(t, door, gate))
		p.send("PROXY TCP4 " + step.peer + " 192.0.2.200 40000 25\r\n")
		p.talk("S: 220 *")
		p.hello()
		p.talk("C: STARTTLS\nS: 220 *")
		p.encrypt()
		p.hello()
		p.talk(step.dialogue)
	}
}
