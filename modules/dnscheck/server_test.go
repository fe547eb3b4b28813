// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/miekg/dns"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/resolver"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// load makes the resolver that an option of a block names, as the app does.
func load(t *testing.T, option string) (mailflow.Resolver, string, error) {
	t.Helper()
	var raw json.RawMessage
	err := caddyblock.Read(caddyfile.NewTestDispenser("dns {\n"+option+"\n}"), caddyblock.Options{
		"resolver": caddyblock.Guest(&raw, "mail.resolvers", "module", "resolver"),
	})
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	holder := struct {
		Resolver json.RawMessage `caddy:"namespace=mail.resolvers inline_key=module"`
	}{raw}
	module, err := ctx.LoadModule(&holder, "Resolver")
	if err != nil {
		return nil, string(raw), err
	}
	return module.(mailflow.Resolver), string(raw), nil
}

func TestOption(t *testing.T) {
	t.Setenv("DNS_SERVER", "192.0.2.53")
	tests := []struct{ option, want string }{
		{"resolver system", `{"module":"system"}`},
		{"resolver udp 192.0.2.1 [2001:db8::1]:5353 2001:db8::1 {env.DNS_SERVER}", `{"module":"udp","servers":["192.0.2.1","[2001:db8::1]:5353","2001:db8::1","{env.DNS_SERVER}"]}`},
		{"resolver dot 9.9.9.9#dns.quad9.net 192.0.2.1:8853", `{"module":"dot","servers":["9.9.9.9#dns.quad9.net","192.0.2.1:8853"]}`},
		{"resolver dot 9.9.9.9#dns.quad9.net {\n trust_ad\n}", `{"module":"dot","servers":["9.9.9.9#dns.quad9.net"],"trust_ad":true}`},
	}
	for _, tt := range tests {
		if _, got, err := load(t, tt.option); err != nil || got != tt.want {
			t.Errorf("%s:\n got %s %v\nwant %s", tt.option, got, err, tt.want)
		}
	}
}

func TestOptionRefused(t *testing.T) {
	t.Parallel()
	const write = "write an IP address, with a port where it is another than the usual one: 9.9.9.9, 127.0.0.1:5353 or [2620:fe::fe]:53"
	tests := []struct{ option, want string }{
		{"resolver systm", `unrecognized resolver "systm"; did you mean "system"?, at Testfile:2`},
		{"resolver system 192.0.2.1", "wrong argument count"},
		{"resolver udp", "wrong argument count"},
		{"resolver dot", "wrong argument count"},
		{"resolver dot 9.9.9.9 {\n trust\n}", `unrecognized dot option "trust"`},
		{"resolver udp dns.example.com", `name server "dns.example.com": ` + write},
		{"resolver udp 192.0.2.1:0", `name server "192.0.2.1:0": ` + write},
		{"resolver udp 9.9.9.9#dns.quad9.net", write},
		{"resolver udp {env.DNS_NO_SERVER}", "name server {env.DNS_NO_SERVER}: evaluated placeholder {env.DNS_NO_SERVER} is empty: set the variable that it names"},
		{"resolver dot 9.9.9.9#", "write the name of its certificate behind the #: 9.9.9.9#dns.quad9.net"},
		{"resolver dot dns.quad9.net", write},
	}
	for _, tt := range tests {
		if _, _, err := load(t, tt.option); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.option, err, tt.want)
		}
	}
}

// TestTrusted believes in servers of this machine, and behind TLS in those
// that the operator believes in.
func TestTrusted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		read    func(string) (resolver.Server, error)
		text    string
		trusted bool
	}{
		{parsePlain, "127.0.0.1", true},
		{parsePlain, "127.0.0.53:53", true},
		{parsePlain, "::1", true},
		{parsePlain, "127.0.0.11", false},
		{parsePlain, "192.0.2.1", false},
		{parseTLS, "192.0.2.1", false},
		{parseTLS, "127.0.0.1", true},
	}
	for _, tt := range tests {
		if s, err := tt.read(tt.text); err != nil || s.Trusted != tt.trusted {
			t.Errorf("%s: trusted = %v, %v", tt.text, s.Trusted, err)
		}
	}
}

func TestUDP(t *testing.T) {
	t.Parallel()
	r, _, err := load(t, "resolver udp "+nameServer(t).String())
	if err != nil {
		t.Fatal(err)
	}
	testRecords(t, r)
	testNotFound(t, r)
}

func TestDoT(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0), DNSNames: []string{"dns.example"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{Listener: ln, Handler: dns.HandlerFunc(serve), NotifyStartedFunc: func() { close(started) }}
	go func() { _ = server.ActivateAndServe() }() // it ends with an error when it is shut down
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })

	r := &DoT{
		Servers: []string{ln.Addr().String() + "#dns.example"}, TrustAD: true,
		tls: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
	}
	if err := r.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Cleanup() })
	testRecords(t, r)
	testNotFound(t, r)
	a, err := r.IPs(t.Context(), "mx.example.com")
	if err != nil || !a.Secure || a.Records[0] != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("got %+v, %v", a, err)
	}
	strange := &DoT{Servers: []string{ln.Addr().String() + "#other.example"}, tls: r.tls}
	if err := strange.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if _, err := strange.IPs(t.Context(), "mx.example.com"); err == nil || !strings.Contains(err.Error(), "not other.example") {
		t.Errorf("a server of another name: %v", err)
	}
}
