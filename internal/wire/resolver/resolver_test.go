// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var zone = []string{
	"example.com. 60 IN SOA ns.example.com. root.example.com. 1 2 3 4 30",
	"example.com. 60 IN MX 10 MX.Example.com.",
	"silent.example.com. 60 IN MX 0 .",
	`example.com. 60 IN TXT "v=spf1 " "-all" `,
	`example.com. 60 IN TXT "a\"b\\c\009d"`,
	"mx.example.com. 60 IN A 192.0.2.1",
	"mx.example.com. 60 IN AAAA 2001:db8::1",
	"_25._tcp.mx.example.com. 60 IN TLSA 3 1 1 00ff",
	"1.2.0.192.in-addr.arpa. 60 IN PTR MX.example.com.",
	"alias.example.com. 7 IN CNAME other.example.com.",
	"other.example.com. 60 IN CNAME mx.example.com.",
	"a.loop.example.com. 60 IN CNAME b.loop.example.com.",
	"b.loop.example.com. 60 IN CNAME a.loop.example.com.",
	"lost.example.com. 60 IN CNAME nowhere.example.com.",
}

// A clock is set by the test.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// ask returns a resolver that asks servers.
func ask(t *testing.T, servers ...Server) (*Resolver, *clock) {
	t.Helper()
	c := new(clock)
	r := New(Config{Servers: servers, Timeout: 10 * time.Second, Now: c.now})
	t.Cleanup(func() { _ = r.Close() })
	return r, c
}

func want[T any](t *testing.T, got mailflow.Answer[T], err error, wanted mailflow.Answer[T]) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	if diff := cmp.Diff(wanted, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	s := &nameServer{zone: zone}
	r, _ := ask(t, Server{Address: s.start(t)})
	ctx := t.Context()
	ips := mailflow.Answer[netip.Addr]{Records: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}}

	a, err := r.IPs(ctx, "MX.example.com")
	want(t, a, err, ips)
	a, err = r.IPs(ctx, "alias.example.com")
	want(t, a, err, ips)
	mx, err := r.MX(ctx, "example.com")
	want(t, mx, err, mailflow.Answer[mailflow.MX]{Records: []mailflow.MX{{Preference: 10, Host: "mx.example.com"}}})
	mx, err = r.MX(ctx, "silent.example.com")
	want(t, mx, err, mailflow.Answer[mailflow.MX]{Records: []mailflow.MX{{}}})
	txt, err := r.TXT(ctx, "example.com")
	want(t, txt, err, mailflow.Answer[string]{Records: []string{"v=spf1 -all", "a\"b\\c\td"}})
	tlsa, err := r.TLSA(ctx, "_25._tcp.mx.example.com")
	want(t, tlsa, err, mailflow.Answer[mailflow.TLSA]{Records: []mailflow.TLSA{{Usage: 3, Selector: 1, MatchingType: 1, Data: []byte{0, 255}}}})
	names, err := r.Names(ctx, netip.MustParseAddr("::ffff:192.0.2.1"))
	want(t, names, err, mailflow.Answer[string]{Records: []string{"mx.example.com"}})
}

// TestErrors tells what does not exist from what cannot be known now.
func TestErrors(t *testing.T) {
	t.Parallel()
	answer := func(change func(*dns.Msg)) func(string, dns.Question) *dns.Msg {
		return func(string, dns.Question) *dns.Msg {
			msg := new(dns.Msg)
			change(msg)
			return msg
		}
	}
	tests := []struct {
		name     string
		act      func(string, dns.Question) *dns.Msg
		host     string
		want     string
		notFound bool
	}{
		{"no name", nil, "nobody.example.com", "looking up MX of nobody.example.com: no such DNS record", true},
		{"no record", nil, "mx.example.com", "no such DNS record", true},
		{"alias to nowhere", nil, "lost.example.com", "no such DNS record", true},
		{"impossible name", nil, "a..b", "no such DNS record", true},
		{"name with a backslash", nil, `a\.b`, "no such DNS record", true},
		{"loop of aliases", nil, "a.loop.example.com", "too many aliases", false},
		{"servfail", answer(func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure }), "example.com", "name server answered SERVFAIL", false},
		{"refused", answer(func(m *dns.Msg) { m.Rcode = dns.RcodeRefused }), "example.com", "name server answered REFUSED", false},
		{"unknown code", answer(func(m *dns.Msg) { m.Rcode = 12 }), "example.com", "name server answered 12", false},
		{"another question", answer(func(m *dns.Msg) { m.SetQuestion("other.example.", dns.TypeMX) }), "example.com", "answered another question", false},
		{"another type", answer(func(m *dns.Msg) { m.SetQuestion("example.com.", dns.TypeA) }), "example.com", "answered another question", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &nameServer{zone: zone, act: tt.act}
			r, _ := ask(t, Server{Address: s.start(t)})
			_, err := r.MX(t.Context(), tt.host)
			if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, mailflow.ErrNotFound) != tt.notFound {
				t.Errorf("got %v, want %q, not found = %v", err, tt.want, tt.notFound)
			}
		})
	}
}

// TestOneFamily counts the addresses of one family when those of the other
// cannot be known.
func TestOneFamily(t *testing.T) {
	t.Parallel()
	fail := func(qtype uint16) func(string, dns.Question) *dns.Msg {
		return func(_ string, q dns.Question) *dns.Msg {
			if q.Qtype != qtype {
				return nil
			}
			return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
		}
	}
	tests := []struct {
		name, host, want string
		fails            uint16
	}{
		{"no AAAA", "mx.example.com", "[192.0.2.1]", dns.TypeAAAA},
		{"no A", "mx.example.com", "[2001:db8::1]", dns.TypeA},
		{"neither known", "example.com", "SERVFAIL", dns.TypeAAAA},
		{"neither known", "example.com", "SERVFAIL", dns.TypeA},
	}
	for _, tt := range tests {
		s := &nameServer{zone: zone, act: fail(tt.fails)}
		r, _ := ask(t, Server{Address: s.start(t)})
		a, err := r.IPs(t.Context(), tt.host)
		if got := fmt.Sprint(a.Records, err); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		if errors.Is(err, mailflow.ErrNotFound) {
			t.Errorf("%s: %v is for certain", tt.name, err)
		}
	}
}

// TestSecure takes the word of trusted servers only.
func TestSecure(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                  string
		proven, trusted, want bool
	}{
		{"proven by one that is trusted", true, true, true},
		{"not proven", false, true, false},
		{"proven by anybody", true, false, false},
	}
	for _, tt := range tests {
		s := &nameServer{zone: zone, secure: tt.proven}
		r, _ := ask(t, Server{Address: s.start(t), Trusted: tt.trusted})
		for _, again := range []bool{false, true} { // the second answer is from the cache
			a, err := r.IPs(t.Context(), "mx.example.com")
			if err != nil || a.Secure != tt.want {
				t.Errorf("%s: secure = %v (again %v), %v", tt.name, a.Secure, again, err)
			}
		}
	}
}

// TestTrustedFailure does not get round a forgery that a trusted server found.
func TestTrustedFailure(t *testing.T) {
	t.Parallel()
	validating := &nameServer{act: func(string, dns.Question) *dns.Msg {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
	}}
	other := &nameServer{zone: zone}
	r, _ := ask(t, Server{Address: validating.start(t), Trusted: true}, Server{Address: other.start(t)})
	if _, err := r.MX(t.Context(), "example.com"); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("got %v", err)
	}
	if got := other.questions(); len(got) > 0 {
		t.Errorf("asked another: %q", got)
	}
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	s := &nameServer{zone: zone}
	long := strings.Repeat("x", 200)
	for i := range 20 {
		s.zone = append(s.zone, fmt.Sprintf(`big.example.com. 60 IN TXT "%02d%s"`, i, long))
	}
	r, _ := ask(t, Server{Address: s.start(t)})
	a, err := r.TXT(t.Context(), "big.example.com")
	if err != nil || len(a.Records) != 20 {
		t.Errorf("got %d records, %v", len(a.Records), err)
	}
	if diff := cmp.Diff([]string{"udp big.example.com. TXT", "tcp big.example.com. TXT"}, s.questions()); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

func TestCache(t *testing.T) {
	t.Parallel()
	s := &nameServer{zone: append(slices.Clone(zone), "long.example.com. 864000 IN TXT x", "short.example.com. 0 IN TXT x")}
	noSOA := &nameServer{zone: zone[1:]}
	tests := []struct {
		name   string
		server *nameServer
		ask    string
		kept   time.Duration
	}{
		{"for its time", s, "example.com", time.Minute},
		{"not for ever", s, "long.example.com", maxTTL},
		{"not for nothing", s, "short.example.com", minTTL},
		{"no record", s, "mx.example.com", 30 * time.Second},
		{"no name", s, "nobody.example.com", 30 * time.Second},
		{"alias, the shortest of the chain", s, "alias.example.com", 7 * time.Second},
		{"no record and nothing said", noSOA, "mx.example.com", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := &nameServer{zone: tt.server.zone}
			r, c := ask(t, Server{Address: server.start(t)})
			look := func() int {
				_, _ = r.TXT(t.Context(), tt.ask)
				return len(server.questions())
			}
			if got := look(); got != 1 {
				t.Fatalf("asked %d times", got)
			}
			if tt.kept > 0 {
				c.advance(tt.kept - 1)
				if got := look(); got != 0 {
					t.Errorf("asked again before %s", tt.kept)
				}
				c.advance(1)
			}
			if got := look(); got != 1 {
				t.Errorf("not asked again after %s", tt.kept)
			}
		})
	}
}

// TestFailureNotKept asks again after a failure.
func TestFailureNotKept(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	s := &nameServer{zone: zone, act: func(string, dns.Question) *dns.Msg {
		if broken.Load() {
			return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}
		}
		return nil
	}}
	r, _ := ask(t, Server{Address: s.start(t)})
	if _, err := r.MX(t.Context(), "example.com"); err == nil {
		t.Fatal("no error")
	}
	broken.Store(false)
	if _, err := r.MX(t.Context(), "example.com"); err != nil {
		t.Error(err)
	}
}

func TestCacheBound(t *testing.T) {
	t.Parallel()
	c := cache{entries: make(map[question]entry)}
	for i := range maxEntries + 100 {
		c.put(question{name: fmt.Sprint(i)}, result{}, time.Unix(int64(i), 0))
	}
	if got := len(c.entries); got != maxEntries {
		t.Errorf("%d entries", got)
	}
	if _, ok := c.get(question{name: fmt.Sprint(maxEntries + 99)}, time.Unix(0, 0)); !ok {
		t.Error("the newest is gone")
	}
}

// TestNextServer goes on when a server does not answer, and begins with the
// one that did the next time.
func TestNextServer(t *testing.T) {
	t.Parallel()
	closed := &nameServer{act: func(string, dns.Question) *dns.Msg {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeRefused}}
	}}
	good := &nameServer{zone: zone}
	r, _ := ask(t, Server{Address: closed.start(t)}, Server{Address: good.start(t)})
	for range 2 {
		if _, err := r.MX(t.Context(), "example.com"); err != nil {
			t.Error(err)
		}
		if _, err := r.TXT(t.Context(), "example.com"); err != nil {
			t.Error(err)
		}
	}
	if got := closed.questions(); len(got) != 1 {
		t.Errorf("asked the closed one %q", got)
	}
}

// TestSilentServer ends by the timeout.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	silent := &nameServer{}
	address := silent.start(t)
	r := New(Config{Servers: []Server{{Address: address}}, Timeout: 50 * time.Millisecond, Now: new(clock).now})
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	silent.mu.Lock()
	silent.act = func(string, dns.Question) *dns.Msg {
		<-stop
		return nil
	}
	silent.mu.Unlock()
	if _, err := r.MX(t.Context(), "example.com"); err == nil || !strings.Contains(err.Error(), "i/o timeout") {
		t.Errorf("got %v", err)
	}
	// The server may hear of the last one after the resolver has given up.
	got := 0
	for deadline := time.Now().Add(time.Minute); got < rounds && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		got += len(silent.questions())
	}
	if got != rounds {
		t.Errorf("asked %d times", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.MX(ctx, "example.com"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestTogether asks once for many.
func TestTogether(t *testing.T) {
	t.Parallel()
	const many = 20
	release := make(chan struct{})
	s := &nameServer{zone: zone, act: func(string, dns.Question) *dns.Msg {
		<-release
		return nil
	}}
	r, _ := ask(t, Server{Address: s.start(t)})
	var started, done sync.WaitGroup
	started.Add(many)
	for range many {
		done.Go(func() {
			started.Done()
			if _, err := r.MX(t.Context(), "example.com"); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	close(release)
	done.Wait()
	if got := len(s.questions()); got != 1 {
		t.Errorf("asked %d times", got)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := &nameServer{zone: zone, secure: true}
	address, client := s.startTLS(t, "dns.example")
	tests := []struct {
		name   string
		server Server
		want   string
	}{
		{"by name", Server{Address: address, TLS: true, Name: "dns.example", TLSConfig: client, Trusted: true}, ""},
		{"by address", Server{Address: address, TLS: true, TLSConfig: client, Trusted: true}, ""},
		{"other name", Server{Address: address, TLS: true, Name: "other.example", TLSConfig: client}, "not other.example"},
		{"unknown authority", Server{Address: address, TLS: true, Name: "dns.example"}, "unknown authority"},
	}
	for _, tt := range tests {
		r, _ := ask(t, tt.server)
		a, err := r.MX(t.Context(), "example.com")
		switch {
		case tt.want == "" && (err != nil || !a.Secure):
			t.Errorf("%s: secure = %v, %v", tt.name, a.Secure, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

// TestTLSReuse keeps a connection for the next question, not for ever.
func TestTLSReuse(t *testing.T) {
	t.Parallel()
	s := &nameServer{zone: zone}
	address, client := s.startTLS(t, "dns.example")
	r, c := ask(t, Server{Address: address, TLS: true, TLSConfig: client})
	connections := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.conns
	}
	look := func() {
		t.Helper()
		if _, err := r.MX(t.Context(), "example.com"); err != nil {
			t.Error(err)
		}
		if _, err := r.TXT(t.Context(), "example.com"); err != nil {
			t.Error(err)
		}
		c.advance(2 * maxTTL)
	}
	look()
	if got := connections(); got != 1 {
		t.Errorf("%d connections for two questions", got)
	}
	look()
	if got := connections(); got != 2 {
		t.Errorf("%d connections after a long pause", got)
	}
	_ = r.links[0].idle[0].conn.Close() // as the server may
	r.links[0].idle[0].since = c.now()
	look()
	if got := connections(); got != 3 {
		t.Errorf("%d connections after one broke", got)
	}
	_ = r.Close()
	look()
	if got := len(r.links[0].idle); got != 0 {
		t.Errorf("%d connections kept after the end", got)
	}
}
