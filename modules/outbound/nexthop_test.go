// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	tests := []struct{ segment, want string }{
		{"smtp smtp.example.com", `{"address":"smtp.example.com"}`},
		{"smtp smtp.example.com:587 {\n tls starttls\n auth plain {env.U} {file./run/p}\n timeout 90s\n}", `{"address":"smtp.example.com:587","tls":"starttls","auth":{"mechanism":"plain","user":"{env.U}","password":"{file./run/p}"},"timeout":90000000000}`},
		{"lmtp unix//run/lmtp.sock", `{"address":"unix//run/lmtp.sock"}`},
		{"capture", `{}`},
	}
	for _, tt := range tests {
		d := caddyfile.NewTestDispenser(tt.segment)
		d.Next()
		guest, err := caddyfile.UnmarshalModule(d, "mail.transports."+d.Val())
		if err != nil {
			t.Errorf("%s: %v", tt.segment, err)
			continue
		}
		if got, err := json.Marshal(guest); err != nil || string(got) != tt.want {
			t.Errorf("%s:\n got %s %v\nwant %s", tt.segment, got, err, tt.want)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	const write = "write HOST or HOST:PORT, such as smtp.example.com:587, or unix//path/of/socket"
	tests := []struct{ segment, want string }{
		{"smtp", "no server address: " + write + ", or the provider's preset"},
		{"smtp a.example b.example", "wrong argument count"},
		{"capture x", "wrong argument count"},
		{"smtp a.example {\n tsl off\n}", `unrecognized smtp option "tsl"; did you mean "tls"?, at Testfile:2`},
		{"smtp a.example {\n tls of\n}", `did you mean "off"?, at Testfile:2`},
		{"smtp a.example {\n tls off\n tls starttls\n}", `duplicate smtp option "tls"`},
		{"smtp a.example {\n auth plain anna\n}", "wrong argument count"},
		{"smtp a.example {\n auth cram anna secret\n}", `option auth: "cram" is none of ["plain" "login" "oauth2"], at Testfile:2`},
		{"smtp a.example {\n auth plain anna \"\"\n}", "auth needs a user and a password"},
		{"smtp a.example {\n tls off\n auth plain anna secret\n}", "would send the password to a.example in clear: write tls starttls or tls implicit"},
		{"smtp a.example:0", `port "0" is not between 1 and 65535: ` + write},
		{"smtp a.example:65536", `port "65536" is not between 1 and 65535: ` + write},
		{"smtp a.example:smtp", `port "smtp" is not between 1 and 65535: ` + write},
		{"smtp smtp://a.example:25", "more than a host and a port: " + write},
		{"smtp :25", "empty domain: " + write},
		{"smtp \"a b.example\"", "is malformed: " + write},
		{"smtp [a.example]:25", "brackets are for IPv6 addresses: " + write},
		{"lmtp unix/run/lmtp", "the path of a socket begins with a slash: " + write},
	}
	for _, tt := range tests {
		_, err := load(t, tt.segment)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", tt.segment, err, tt.want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v shows the password", err)
		}
	}
}

// TestProtection checks how each address is reached when nothing is said, and
// what is said.
func TestProtection(t *testing.T) {
	t.Parallel()
	type dial struct {
		Host string
		Port uint16
		Path string
		TLS  smtprelay.TLSMode
		Any  bool // any certificate is taken
	}
	tests := []struct {
		segment string
		want    dial
	}{
		{"smtp smtp.example.com", dial{"smtp.example.com", 587, "", smtprelay.TLSRequired, false}},
		{"smtp SMTP.Example.com.:25", dial{"smtp.example.com", 25, "", smtprelay.TLSRequired, false}},
		{"smtp bücher.example:2525", dial{"xn--bcher-kva.example", 2525, "", smtprelay.TLSRequired, false}},
		{"smtp smtp.example.com:465", dial{"smtp.example.com", 465, "", smtprelay.TLSImplicit, false}},
		{"smtp smtp.example.com:465 {\n tls starttls\n}", dial{"smtp.example.com", 465, "", smtprelay.TLSRequired, false}},
		{"smtp smtp.example.com {\n tls implicit\n}", dial{"smtp.example.com", 465, "", smtprelay.TLSImplicit, false}},
		{"smtp smtp.example.com {\n tls off\n}", dial{"smtp.example.com", 587, "", smtprelay.TLSOff, false}},
		{"smtp mail_relay:25", dial{"mail_relay", 25, "", smtprelay.TLSRequired, false}},
		{"smtp 192.0.2.1:25", dial{"192.0.2.1", 25, "", smtprelay.TLSRequired, false}},
		{"smtp 2001:db8::1", dial{"2001:db8::1", 587, "", smtprelay.TLSRequired, false}},
		{"smtp [2001:db8::1]:25", dial{"2001:db8::1", 25, "", smtprelay.TLSRequired, false}},
		{"smtp localhost:25", dial{"localhost", 25, "", smtprelay.TLSOptional, true}},
		{"smtp 127.0.0.9:25", dial{"127.0.0.9", 25, "", smtprelay.TLSOptional, true}},
		{"smtp [::1]:25", dial{"::1", 25, "", smtprelay.TLSOptional, true}},
		{"smtp [::1]", dial{"::1", 587, "", smtprelay.TLSOptional, true}},
		{"smtp localhost:465", dial{"localhost", 465, "", smtprelay.TLSImplicit, false}},
		{"smtp localhost:25 {\n tls starttls\n}", dial{"localhost", 25, "", smtprelay.TLSRequired, false}},
		{"smtp localhost.example:25", dial{"localhost.example", 25, "", smtprelay.TLSRequired, false}},
		{"lmtp dovecot.example", dial{"dovecot.example", 24, "", smtprelay.TLSRequired, false}},
		{"lmtp 127.0.0.1", dial{"127.0.0.1", 24, "", smtprelay.TLSOptional, true}},
		{"lmtp unix//run/lmtp", dial{"", 24, "/run/lmtp", smtprelay.TLSOptional, true}},
	}
	for _, tt := range tests {
		t.Run(tt.segment, func(t *testing.T) {
			t.Parallel()
			tr := mustLoad(t, tt.segment)
			var h *NextHop
			switch tr := tr.(type) {
			case *SMTP:
				h = &tr.NextHop
			case *LMTP:
				h = &tr.NextHop
			}
			cfg, err := h.config()
			if err != nil {
				t.Fatal(err)
			}
			got := dial{cfg.Host, cfg.Port, cfg.Path, cfg.TLS, cfg.TLSConfig.InsecureSkipVerify}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("dials (-want +got):\n%s", diff)
			}
		})
	}
}

// certificate makes a root and a server's certificate for those names.
func certificate(t *testing.T, names []string, ips ...net.IP) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0), IsCA: true,
		BasicConstraintsValid: true, DNSNames: names, IPAddresses: ips,
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
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}

// TestTest goes through what an operator sees.
func TestTest(t *testing.T) {
	t.Parallel()
	local := net.IPv4(127, 0, 0, 1)
	server, roots := certificate(t, []string{"relay.example"}, local)
	elsewhere, elsewhereRoots := certificate(t, []string{"mx1.example", "mx2.example"})
	users := map[string]string{"anna": "secret"}
	say := func(stage mailflowtest.RelayStage, lines ...string) func(mailflowtest.RelayEvent) mailflowtest.RelayAct {
		return mailflowtest.RelayAt(stage, mailflowtest.RelaySay(lines...))
	}
	tests := []struct {
		name     string
		relay    *mailflowtest.Relay
		options  string
		roots    *x509.CertPool
		steps    []string // the names; "!" behind the failed one
		detail   string   // of the last step, or its error
		hint     string
		unproven string
	}{
		{
			"all well", &mailflowtest.Relay{TLS: server, Users: users}, "tls starttls\n auth plain anna secret", roots,
			[]string{"resolve", "connect", "ehlo", "tls", "auth", "mail", "rcpt"},
			"250 2.1.5 recipient ok", "", "No message was sent",
		},
		{
			"implicit", &mailflowtest.Relay{TLS: server, Implicit: true}, "tls implicit", roots,
			[]string{"resolve", "connect", "tls", "ehlo", "mail", "rcpt"},
			"250 2.1.5 recipient ok", "", "No message was sent",
		},
		{
			"in clear", &mailflowtest.Relay{}, "tls off", nil,
			[]string{"resolve", "connect", "ehlo", "mail", "rcpt"},
			"250 2.1.5 recipient ok", "", "not encrypted",
		},
		{
			"not wanted", &mailflowtest.Relay{Script: say(mailflowtest.RelayGreeting, "554 go away")}, "tls off", nil,
			[]string{"resolve", "connect!"},
			"connecting: server answered 554 go away", "what it answered says why", "Not tried: ehlo, mail, rcpt.",
		},
		{
			"no STARTTLS", &mailflowtest.Relay{}, "tls starttls", roots,
			[]string{"resolve", "connect", "ehlo", "tls!"},
			"server does not offer STARTTLS", "`tls implicit`", "Not tried: mail, rcpt.",
		},
		{
			"other name", &mailflowtest.Relay{TLS: elsewhere}, "tls starttls", elsewhereRoots,
			[]string{"resolve", "connect", "ehlo", "tls!"},
			"cannot validate certificate", "The certificate is for mx1.example, mx2.example", "Not tried: mail, rcpt.",
		},
		{
			"not trusted", &mailflowtest.Relay{TLS: server}, "tls starttls", elsewhereRoots,
			[]string{"resolve", "connect", "ehlo", "tls!"},
			"unknown authority", "trust store", "Not tried",
		},
		{
			"no TLS at all", &mailflowtest.Relay{}, "tls implicit", roots,
			[]string{"resolve", "connect", "tls!"},
			"does not look like a TLS handshake", "write `tls starttls`", "Not tried",
		},
		{
			"wrong password", &mailflowtest.Relay{Users: users}, "auth plain anna secreT", nil,
			[]string{"resolve", "connect", "ehlo", "auth!"},
			"535 5.7.8", "Check user and password", "Not tried: mail, rcpt.",
		},
		{
			"other mechanism", &mailflowtest.Relay{Users: users, Offers: []string{"AUTH LOGIN"}}, "auth plain anna secret", nil,
			[]string{"resolve", "connect", "ehlo", "auth!"},
			`it offers ["LOGIN"]`, "Write the mechanism", "Not tried",
		},
		{
			"sender refused", &mailflowtest.Relay{Script: say(mailflowtest.RelayMail, "553 5.7.1 not yours")}, "tls off", nil,
			[]string{"resolve", "connect", "ehlo", "mail!"},
			"553 5.7.1 not yours", "refuses the sender", "Not tried: rcpt.",
		},
		{
			"recipient refused", &mailflowtest.Relay{Script: say(mailflowtest.RelayRcpt, "554 5.7.1 relaying denied")}, "tls off", nil,
			[]string{"resolve", "connect", "ehlo", "mail", "rcpt!"},
			"554 5.7.1 relaying denied", "it needs `auth`", "No message was sent",
		},
		{
			"unset password", &mailflowtest.Relay{}, "auth plain anna {env.MAILCADDY_UNSET}", nil,
			[]string{"resolve!"},
			"{env.MAILCADDY_UNSET} is empty", "placeholder", "Nothing was tried",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := mustLoad(t, "smtp "+tt.relay.Start(t)+" {\n "+tt.options+"\n}").(*SMTP)
			tr.roots = tt.roots
			report := tr.Test(t.Context(), mailflow.MustParseAddress("a@a.example"), mailflow.MustParseAddress("b@b.example"))
			var steps []string
			for _, s := range report.Steps {
				name := s.Name
				if s.Error != "" {
					name += "!"
				}
				steps = append(steps, name)
			}
			if diff := cmp.Diff(tt.steps, steps); diff != "" {
				t.Fatalf("steps (-want +got):\n%s", diff)
			}
			last := report.Steps[len(report.Steps)-1]
			if !strings.Contains(last.Detail+last.Error, tt.detail) || !strings.Contains(last.Hint, tt.hint) || report.OK != (last.Error == "") {
				t.Errorf("last step %+v, OK %v", last, report.OK)
			}
			if !slices.ContainsFunc(report.Unproven, func(s string) bool { return strings.Contains(s, tt.unproven) }) {
				t.Errorf("unproven %q", report.Unproven)
			}
			if text, err := json.Marshal(report); err != nil || strings.Contains(string(text), "secret") {
				t.Errorf("report %s, %v", text, err)
			}
			if report.OK {
				commands := tt.relay.Commands()
				if diff := cmp.Diff([]string{"RSET", "QUIT"}, commands[len(commands)-2:]); diff != "" || slices.Contains(commands, "DATA") {
					t.Errorf("commands %q", commands)
				}
			}
		})
	}
}

// TestTestWithoutServer has no server at all to test.
func TestTestWithoutServer(t *testing.T) {
	t.Parallel()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for segment, want := range map[string]string{
		"smtp " + address: "Nothing listens there",
		"lmtp unix/" + filepath.Join(t.TempDir(), "none"): "Check the path of the socket",
	} {
		report := mustLoad(t, segment).(mailflow.Tester).Test(t.Context(), mailflow.Address{}, mailflow.MustParseAddress("b@b.example"))
		if last := report.Steps[len(report.Steps)-1]; report.OK || last.Name != "connect" || !strings.Contains(last.Hint, want) {
			t.Errorf("%s: %+v", segment, last)
		}
	}
}
