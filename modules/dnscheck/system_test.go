// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// records are what the server of these tests knows.
var records = []string{
	"mx.example.com. 60 IN A 192.0.2.1",
	"mx.example.com. 60 IN AAAA 2001:db8::1",
	"example.com. 60 IN MX 10 MX.Example.com.",
	"silent.example.com. 60 IN MX 0 .",
	`example.com. 60 IN TXT "v=spf1 " "-all"`,
	"1.2.0.192.in-addr.arpa. 60 IN PTR MX.example.com.",
}

// system returns a resolver that asks a server of its own.
func system(t *testing.T) *System {
	t.Helper()
	pc, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(serve), NotifyStartedFunc: func() { close(started) }}
	go func() { _ = server.ActivateAndServe() }() // it ends with an error when it is shut down
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	return &System{resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}}
}

func serve(w dns.ResponseWriter, question *dns.Msg) {
	q := question.Question[0]
	answer := new(dns.Msg).SetReply(question)
	answer.RecursionAvailable = true
	answer.Rcode = dns.RcodeNameError
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		if !strings.EqualFold(rr.Header().Name, q.Name) {
			continue
		}
		answer.Rcode = dns.RcodeSuccess
		if rr.Header().Rrtype == q.Qtype {
			answer.Answer = append(answer.Answer, rr)
		}
	}
	if strings.HasPrefix(q.Name, "broken.") {
		answer.Rcode = dns.RcodeServerFailure
	}
	_ = w.WriteMsg(answer)
}

func TestSystem(t *testing.T) {
	t.Parallel()
	r := system(t)
	ctx := t.Context()

	ips, err := r.IPs(ctx, "mx.example.com")
	slices.SortFunc(ips.Records, netip.Addr.Compare)
	check(t, "IPs", ips.Records, err, netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	mx, err := r.MX(ctx, "example.com")
	check(t, "MX", mx.Records, err, mailflow.MX{Preference: 10, Host: "mx.example.com"})
	mx, err = r.MX(ctx, "silent.example.com")
	check(t, "null MX", mx.Records, err, mailflow.MX{})
	txt, err := r.TXT(ctx, "example.com")
	check(t, "TXT", txt.Records, err, "v=spf1 -all")
	names, err := r.Names(ctx, netip.MustParseAddr("::ffff:192.0.2.1"))
	check(t, "Names", names.Records, err, "mx.example.com")
}

func check[T comparable](t *testing.T, what string, got []T, err error, want ...T) {
	t.Helper()
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s: got %v, %v; want %v", what, got, err, want)
	}
}

// TestSystemNotFound tells what does not exist from what cannot be known now.
func TestSystemNotFound(t *testing.T) {
	t.Parallel()
	r := system(t)
	ctx := t.Context()
	tests := map[string]struct {
		look     func(name string) error
		name     string
		notFound bool
	}{
		"no name":     {func(n string) error { _, err := r.IPs(ctx, n); return err }, "nobody.example.com", true},
		"no record":   {func(n string) error { _, err := r.MX(ctx, n); return err }, "mx.example.com", true},
		"no text":     {func(n string) error { _, err := r.TXT(ctx, n); return err }, "mx.example.com", true},
		"never TLSA":  {func(n string) error { _, err := r.TLSA(ctx, n); return err }, "_25._tcp.mx.example.com", true},
		"server fail": {func(n string) error { _, err := r.TXT(ctx, n); return err }, "broken.example.com", false},
	}
	for name, tt := range tests {
		err := tt.look(tt.name)
		if err == nil || errors.Is(err, mailflow.ErrNotFound) != tt.notFound {
			t.Errorf("%s: got %v, want not found = %v", name, err, tt.notFound)
		}
	}
}
