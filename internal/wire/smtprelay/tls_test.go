// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// An authority is a root of its own, with a server's certificate by it and the
// configuration of a client that trusts it.
type authority struct {
	server, client *tls.Config
}

// newAuthority makes a root and a certificate for relay.example, 127.0.0.1 and
// what change makes of it.
func newAuthority(tb testing.TB, change ...func(*x509.Certificate)) authority {
	tb.Helper()
	rootKey, rootCert := newCertificate(tb, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0), KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "relay"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0),
		DNSNames: []string{"relay.example"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	for _, c := range change {
		c(leaf)
	}
	key, cert := newCertificate(tb, leaf, rootCert, rootKey)
	roots := x509.NewCertPool()
	roots.AddCert(rootCert)
	return authority{
		server: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}},
		client: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}
}

// newCertificate makes a key and a certificate, signed by parent or itself.
func newCertificate(tb testing.TB, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return key, cert
}

func TestTLS(t *testing.T) {
	t.Parallel()
	good := newAuthority(t)
	login := &Login{Mechanism: "LOGIN", User: "anna", Password: "secret"}
	tests := []struct {
		name   string
		relay  *mailflowtest.Relay
		mode   TLSMode
		client *tls.Config
		want   string // of the error; empty for a delivery
		tls    bool
	}{
		{"starttls", &mailflowtest.Relay{TLS: good.server}, TLSRequired, good.client, "", true},
		{"implicit", &mailflowtest.Relay{TLS: good.server, Implicit: true}, TLSImplicit, good.client, "", true},
		{"optional, offered", &mailflowtest.Relay{TLS: good.server}, TLSOptional, good.client, "", true},
		{"optional, not offered", &mailflowtest.Relay{}, TLSOptional, good.client, "", false},
		{"optional, refused", &mailflowtest.Relay{
			TLS: good.server, Script: mailflowtest.RelayAt(mailflowtest.RelayStartTLS, mailflowtest.RelaySay("454 4.7.0 no")),
		}, TLSOptional, good.client, "", false},
		{"off", &mailflowtest.Relay{TLS: good.server}, TLSOff, good.client, "", false},
		{"not offered", &mailflowtest.Relay{}, TLSRequired, good.client, "server does not offer STARTTLS", false},
		{"unknown authority", &mailflowtest.Relay{TLS: good.server}, TLSRequired, newAuthority(t).client, "signed by unknown authority", false},
		{"no trust at all", &mailflowtest.Relay{TLS: good.server}, TLSRequired, nil, "signed by unknown authority", false},
		{"other name", &mailflowtest.Relay{TLS: good.server}, TLSRequired, &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: good.client.RootCAs, ServerName: "other.example",
		}, "valid for relay.example, not other.example", false},
		{"clear where TLS is implicit", &mailflowtest.Relay{}, TLSImplicit, good.client, "does not look like a TLS handshake", false},
		{"injected reply", &mailflowtest.Relay{
			TLS: good.server, Script: mailflowtest.RelayAt(mailflowtest.RelayStartTLS, mailflowtest.RelaySay("220 go", "250 injected")),
		}, TLSRequired, good.client, "bytes in clear after the reply to STARTTLS", false},
	}
	expired := newAuthority(t, func(c *x509.Certificate) { c.NotAfter = time.Unix(1, 0) })
	tests = append(tests, tests[0])
	last := &tests[len(tests)-1]
	last.name, last.client, last.want = "expired", expired.client, "certificate has expired"
	last.relay = &mailflowtest.Relay{TLS: expired.server}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.relay.Users = map[string]string{"anna": "secret"}
			cfg := config(t, tt.relay.Start(t))
			cfg.TLS, cfg.TLSConfig, cfg.Login, cfg.Timeouts = tt.mode, tt.client, login, patient
			c, err := Dial(t.Context(), cfg)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, mailflow.ErrUnreachable) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Quit()
			results, err := c.Deliver(t.Context(), attempt("b@b.example"))
			if got := outcomeOf(results, err); got != "sent" {
				t.Fatalf("outcome %s: %v", got, err)
			}
			if m := tt.relay.Messages()[0]; m.TLS != tt.tls || m.User != "anna" {
				t.Errorf("TLS %v, user %q; want TLS %v", m.TLS, m.User, tt.tls)
			}
		})
	}
}

// TestLogin checks what is never sent, and what servers answer.
func TestLogin(t *testing.T) {
	t.Parallel()
	users := map[string]string{"anna": "secret"}
	tests := []struct {
		name   string
		relay  *mailflowtest.Relay
		login  Login
		remote bool // the server seems to be elsewhere
		want   string
	}{
		{"plain", &mailflowtest.Relay{Users: users}, Login{Mechanism: "PLAIN", User: "anna", Password: "secret"}, false, ""},
		{"login", &mailflowtest.Relay{Users: users}, Login{Mechanism: "LOGIN", User: "anna", Password: "secret"}, false, ""},
		{"wrong password", &mailflowtest.Relay{Users: users}, Login{Mechanism: "PLAIN", User: "anna", Password: "secreT"}, false, "logging in: server answered 535 5.7.8 authentication failed"},
		{"wrong user", &mailflowtest.Relay{Users: users}, Login{Mechanism: "LOGIN", User: "bert", Password: "secret"}, false, "logging in: server answered 535 5.7.8 authentication failed"},
		{"not offered", &mailflowtest.Relay{}, Login{Mechanism: "PLAIN", User: "anna", Password: "secret"}, false, `logging in: server does not offer AUTH by this mechanism: PLAIN, it offers []`},
		{"other offered", &mailflowtest.Relay{Users: users, Offers: []string{"AUTH=LOGIN"}}, Login{Mechanism: "PLAIN", User: "anna", Password: "secret"}, false, `logging in: server does not offer AUTH by this mechanism: PLAIN, it offers ["LOGIN"]`},
		{"in clear", &mailflowtest.Relay{Users: users}, Login{Mechanism: "PLAIN", User: "anna", Password: "secret"}, true, "logging in: refusing to send a password in clear"},
		{"endless", &mailflowtest.Relay{Users: users, Script: mailflowtest.RelayAt(mailflowtest.RelayAuth, mailflowtest.RelaySay("334 "))}, Login{Mechanism: "PLAIN", User: "anna", Password: "secret"}, false, "logging in: server answered 334"},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, tt.relay.Start(t))
			cfg.Login = &tt.login
			if tt.remote {
				cfg.Dial = dialAs("192.0.2.1:25")
			}
			c, err := Dial(t.Context(), cfg)
			if c != nil {
				c.Quit()
			}
			if got := errorText(err); got != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
			for _, line := range tt.relay.Commands() {
				if tt.remote && strings.HasPrefix(line, "AUTH") {
					t.Errorf("%q left in clear", line)
				}
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
