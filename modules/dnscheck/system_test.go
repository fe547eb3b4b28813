// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mailcaddy/mailcaddy/internal/wire/resolver"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// records are what the server of these tests knows.
var records = []string{
	"mx.example.com. 60 IN A 192.0.2.1",
	"mx.example.com. 60 IN AAAA 2001:db8::1",
	"example.com. 60 IN MX 10 MX.Example.com.",
	"silent.example.com. 60 IN MX 0 .",
	`example.com. 60 IN TXT "v=spf1 " "-all"`,
	"_25._tcp.mx.example.com. 60 IN TLSA 3 1 1 00ff",
	"1.2.0.192.in-addr.arpa. 60 IN PTR MX.example.com.",
}

// nameServer starts a server that knows the records.
func nameServer(t *testing.T) netip.AddrPort {
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
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// system returns a resolver that asks a server of its own by the system's
// means.
func system(t *testing.T) *System {
	t.Helper()
	server := nameServer(t)
	return &System{config: filepath.Join(t.TempDir(), "none"), system: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.String())
	}}}
}

// configured returns a resolver that finds its server in a file.
func configured(t *testing.T) *System {
	t.Helper()
	r := system(t)
	r.port = nameServer(t).Port()
	if err := os.WriteFile(r.config, []byte("search example.com\nnameserver nobody\nnameserver 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func serve(w dns.ResponseWriter, question *dns.Msg) {
	q := question.Question[0]
	answer := new(dns.Msg).SetReply(question)
	answer.AuthenticatedData = question.AuthenticatedData
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
	for name, r := range map[string]*System{"system": system(t), "configured": configured(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testRecords(t, r)
		})
	}
}

func testRecords(t *testing.T, r mailflow.Resolver) {
	t.Helper()
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
	for name, r := range map[string]*System{"system": system(t), "configured": configured(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testNotFound(t, r)
		})
	}
}

func testNotFound(t *testing.T, r mailflow.Resolver) {
	t.Helper()
	ctx := t.Context()
	tests := map[string]struct {
		look     func(name string) error
		name     string
		notFound bool
	}{
		"no name":     {func(n string) error { _, err := r.IPs(ctx, n); return err }, "nobody.example.com", true},
		"no record":   {func(n string) error { _, err := r.MX(ctx, n); return err }, "mx.example.com", true},
		"no text":     {func(n string) error { _, err := r.TXT(ctx, n); return err }, "mx.example.com", true},
		"no TLSA":     {func(n string) error { _, err := r.TLSA(ctx, n); return err }, "_24._tcp.mx.example.com", true},
		"server fail": {func(n string) error { _, err := r.TXT(ctx, n); return err }, "broken.example.com", false},
	}
	for name, tt := range tests {
		err := tt.look(tt.name)
		if err == nil || errors.Is(err, mailflow.ErrNotFound) != tt.notFound {
			t.Errorf("%s: got %v, want not found = %v", name, err, tt.notFound)
		}
	}
}

// TestSystemProof takes the word of a name server on this machine, and reads
// TLSA records where it can ask one.
func TestSystemProof(t *testing.T) {
	t.Parallel()
	const name = "_25._tcp.mx.example.com"
	if _, err := system(t).TLSA(t.Context(), name); !errors.Is(err, mailflow.ErrNotFound) {
		t.Errorf("by the system's means: %v", err)
	}
	a, err := configured(t).TLSA(t.Context(), name)
	if err != nil || !a.Secure || len(a.Records) != 1 {
		t.Errorf("by a name server: %+v, %v", a, err)
	}
}

// TestSystemHosts finds the names of /etc/hosts.
func TestSystemHosts(t *testing.T) {
	t.Parallel()
	a, err := configured(t).IPs(t.Context(), "localhost")
	if err != nil || !slices.ContainsFunc(a.Records, netip.Addr.IsLoopback) || a.Secure {
		t.Errorf("localhost: %+v, %v", a, err)
	}
}

// TestSystemChanges reads the file again when it has changed.
func TestSystemChanges(t *testing.T) {
	t.Parallel()
	r := configured(t)
	before := r.servers()
	if before == nil {
		t.Fatal("no server")
	}
	if r.servers() != before {
		t.Error("the cache is lost at each question")
	}
	later := func() *resolver.Resolver {
		r.mu.Lock()
		r.checked = r.checked.Add(-2 * checkEvery)
		r.mu.Unlock()
		return r.servers()
	}
	if later() != before {
		t.Error("the cache is lost though nothing changed")
	}
	if err := os.WriteFile(r.config, []byte("nameserver 127.0.0.2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if after := later(); after == before || after == nil {
		t.Error("a change is not seen")
	}
	if err := os.WriteFile(r.config, []byte("# none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if later() != nil {
		t.Error("a server where there is none")
	}
	if err := os.Remove(r.config); err != nil {
		t.Fatal(err)
	}
	if later() != nil {
		t.Error("a server without a file")
	}
}
