// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mailcaddy/mailcaddy/internal/wire/resolver"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// TestMXSuite holds via mx to the contract of transports, with recipients of
// two domains.
func TestMXSuite(t *testing.T) {
	t.Parallel()
	mailflowtest.RunTransportSuite(t, func(t *testing.T) mailflow.Transport {
		t.Helper()
		return newWorld(t, map[string][]string{
			"example.org MX": {"10 mx.example.org"}, "mx.example.org IP": {"192.0.2.1"},
			"example.net IP": {"192.0.2.2"}, "sender.example IP": {"192.0.2.2"},
		}, map[string]*mailflowtest.Relay{"192.0.2.1": {}, "192.0.2.2": {}}).transport(t)
	})
}

// nameServer starts a validating name server that knows the records, and fails
// where a name begins with "broken.".
func nameServer(t *testing.T, records []string) netip.AddrPort {
	t.Helper()
	pc, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(started) }}
	server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		q := question.Question[0]
		answer := new(dns.Msg).SetRcode(question, dns.RcodeNameError)
		answer.AuthenticatedData = question.AuthenticatedData
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			if strings.EqualFold(rr.Header().Name, q.Name) {
				answer.Rcode = dns.RcodeSuccess
				if rr.Header().Rrtype == q.Qtype {
					answer.Answer = append(answer.Answer, rr)
				}
			}
		}
		if strings.HasPrefix(q.Name, "broken.") {
			answer.Rcode = dns.RcodeServerFailure
		}
		_ = w.WriteMsg(answer)
	})
	go func() { _ = server.ActivateAndServe() }() // it ends with an error when it is shut down
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// TestMXNameServer goes the whole way, from a question to a name server to a
// mail that DANE protects.
func TestMXNameServer(t *testing.T) {
	t.Parallel()
	cert := newAuthority(t, never, "mx.b.example")
	relay := &mailflowtest.Relay{TLS: cert.server}
	w := newWorld(t, nil, map[string]*mailflowtest.Relay{"192.0.2.1": relay})
	address := nameServer(t, []string{
		"b.example. 60 IN MX 10 MX.b.example.", "mx.b.example. 60 IN A 192.0.2.1", "null.example. 60 IN MX 0 .",
		"_25._tcp.mx.b.example. 60 IN TLSA " + cert.tlsa311(),
		"c.example. 60 IN MX 10 broken.example.", "d.example. 60 IN MX 10 mx.d.example.", "mx.d.example. 60 IN A 192.0.2.1",
		"_25._tcp.mx.d.example. 60 IN TLSA " + newAuthority(t, never, "mx.d.example").tlsa311(),
	})
	tr := w.transport(t)
	err := tr.UseServices(&mailflow.Services{Hostname: "gate.example", Resolver: resolver.New(resolver.Config{
		Servers: []resolver.Server{{Address: address, Trusted: true}}, Now: time.Now,
	})})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ rcpt, want string }{
		{"b@b.example", "b@b.example sent 250 2.0.0 taken"},
		{"b@null.example", "error: 556 5.1.10 Domain does not accept mail"},
		{"b@nobody.example", "error: 550 5.1.2 Domain not found"},
		{"b@broken.example", "error: server cannot be reached: looking up MX of broken.example: "},
		{"b@c.example", "error: server cannot be reached: no host of c.example can be used: looking up A of broken.example: "},
		{"b@d.example", "certificate agrees with no TLSA record"},
	}
	for _, tt := range tests {
		results, err := tr.Deliver(t.Context(), attempt(tt.rcpt))
		if got := states(results, err)[0]; !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.rcpt, got, tt.want)
		}
	}
	if got := relay.Messages(); len(got) != 1 || !got[0].TLS {
		t.Errorf("%d mails", len(got))
	}
}
