// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// A site is the server of policies of the test's process.
type site struct {
	*httptest.Server

	roots *x509.CertPool
	asked atomic.Int32

	mu      sync.Mutex
	handler http.HandlerFunc
}

// newSite starts a server for mta-sts.example.com.
func newSite(t *testing.T) *site {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<34, 0), DNSNames: []string{"mta-sts.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{roots: x509.NewCertPool()}
	s.roots.AddCert(cert)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		handler := s.handler
		s.mu.Unlock()
		handler(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// serve answers with handler from now on.
func (s *site) serve(handler http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = handler
}

// policy answers with a policy of that mode.
func policy(mode string) http.HandlerFunc {
	return text("version: STSv1\nmode: " + mode + "\nmx: mx.example.com\nmax_age: 86400\n")
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path || r.Host != "mta-sts.example.com" && r.Host != "mta-sts.other.example" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, body)
	}
}

// client returns a client that finds s, with an empty cache.
func (s *site) client(now func() time.Time) (*Client, *mailflowtest.Resolver) {
	dns := &mailflowtest.Resolver{Zone: map[string][]string{
		"_mta-sts.example.com TXT":   {"v=STSv1; id=1"},
		"mta-sts.example.com IP":     {"192.0.2.1"},
		"_mta-sts.other.example TXT": {"v=STSv1; id=1"},
		"mta-sts.other.example IP":   {"192.0.2.1"},
	}}
	return &Client{Fetcher: Fetcher{Resolver: dns, Roots: s.roots, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "192.0.2.1:443" {
			return nil, fmt.Errorf("dialled %s", address)
		}
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}}, Cache: new(Cache), Now: now}, dns
}

func TestFetch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	tests := []struct {
		name, domain string
		handler      http.HandlerFunc
		want         string
	}{
		{"good", "example.com", policy("enforce"), ""},
		{"none there", "example.com", http.NotFound, "server answered 404"},
		{"redirect", "example.com", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://mta-sts.example.com"+path+"?again", http.StatusFound)
		}, "server answered 302"},
		{"no text", "example.com", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "version: STSv1\nmode: none\nmax_age: 1\n")
		}, "it is no text/plain"},
		{"too long", "example.com", text("version: STSv1\nmode: none\nmax_age: 1\n" + strings.Repeat("x", maxPolicy)), "it is longer than 65536 bytes"},
		{"no policy", "example.com", text("hello"), "not an MTA-STS policy"},
		{"certificate of another name", "other.example", policy("enforce"), "certificate is valid for mta-sts.example.com, not mta-sts.other.example"},
		{"no server", "nowhere.example", policy("enforce"), "no such DNS record"},
	}
	for _, tt := range tests {
		s.serve(tt.handler)
		c, _ := s.client(nil)
		_, err := c.Fetch(t.Context(), tt.domain)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	s.serve(policy("enforce"))
	c, _ := s.client(nil)
	c.Roots = x509.NewCertPool()
	if _, err := c.Fetch(t.Context(), "example.com"); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("certificate of an unknown authority: %v", err)
	}
}

// A life is a client with a clock, through the changes of a policy.
type life struct {
	t    *testing.T
	s    *site
	c    *Client
	dns  *mailflowtest.Resolver
	time time.Time
}

func newLife(t *testing.T) *life {
	t.Helper()
	l := &life{t: t, s: newSite(t), time: time.Unix(1e9, 0)}
	l.c, l.dns = l.s.client(func() time.Time { return l.time })
	return l
}

// want holds the policy to mode, empty for none, after that many fetches.
func (l *life) want(what, mode string, fetches int32) error {
	l.t.Helper()
	p, ok, err := l.c.Policy(l.t.Context(), "example.com")
	if p.Mode != mode || ok != (mode != "") {
		l.t.Errorf("%s: mode %q, %v, %v", what, p.Mode, ok, err)
	}
	if got := l.s.asked.Swap(0); got != fetches {
		l.t.Errorf("%s: %d fetches, want %d", what, got, fetches)
	}
	return err
}

// TestPolicyLife goes through what becomes of a policy.
func TestPolicyLife(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	l.s.serve(policy("testing"))
	_ = l.want("first", "testing", 1)
	_ = l.want("again", "testing", 0)
	l.s.serve(policy("enforce"))
	_ = l.want("changed, not announced", "testing", 0)
	l.dns.Set("_mta-sts.example.com TXT", "v=STSv1; id=2")
	_ = l.want("announced", "enforce", 1)
	l.time = l.time.Add(13 * time.Hour)
	_ = l.want("half of its time over", "enforce", 1)

	// An attacker takes the record away, then the server.
	l.dns.Set("_mta-sts.example.com TXT")
	_ = l.want("record gone", "enforce", 0)
	l.dns.Fail("_mta-sts.example.com TXT", errors.New("servfail"))
	if err := l.want("record failing", "enforce", 0); err == nil {
		t.Error("the failure is not told")
	}
	l.dns.Fail("_mta-sts.example.com TXT", nil)
	l.dns.Set("_mta-sts.example.com TXT", "v=STSv1; id=3")
	l.s.serve(http.NotFound)
	if err := l.want("server failing", "enforce", 1); err == nil {
		t.Error("the failure is not told")
	}
	_ = l.want("server not asked at once", "enforce", 0)
	l.time = l.time.Add(retryAfter)
	_ = l.want("server asked again", "enforce", 1)
	l.dns.Set("_mta-sts.example.com TXT")
	l.time = l.time.Add(24*time.Hour - retryAfter - 1)
	_ = l.want("just before its end", "enforce", 0)
	l.time = l.time.Add(1)
	_ = l.want("ended", "", 0)
}

// TestPolicyNeverFound hinders nothing.
func TestPolicyNeverFound(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	l.s.serve(http.NotFound)
	if err := l.want("failing", "", 1); err == nil {
		t.Error("the failure is not told")
	}
	_ = l.want("not at once again", "", 0)
	l.dns.Set("_mta-sts.example.com TXT", "v=STSv1; id=2")
	_ = l.want("a new one is announced", "", 1)
	l.s.serve(policy("enforce"))
	l.time = l.time.Add(retryAfter)
	_ = l.want("later", "enforce", 1)
	l.dns.Set("_mta-sts.example.com TXT", "v=STSv1; id=9")
	l.s.serve(policy("none"))
	_ = l.want("taken back", "none", 1)
}

func TestPolicyNotAnnounced(t *testing.T) {
	t.Parallel()
	l := newLife(t)
	l.dns.Set("_mta-sts.example.com TXT")
	if err := l.want("no record", "", 0); err != nil {
		t.Error(err)
	}
	l.dns.Fail("_mta-sts.example.com TXT", errors.New("servfail"))
	if err := l.want("record failing", "", 0); err == nil {
		t.Error("the failure is not told")
	}
	if _, ok, err := l.c.Policy(t.Context(), "[192.0.2.1]"); ok || err != nil {
		t.Errorf("address literal: %v, %v", ok, err)
	}
}

// TestPolicyTogether fetches once for many.
func TestPolicyTogether(t *testing.T) {
	t.Parallel()
	const many = 20
	s := newSite(t)
	release := make(chan struct{})
	s.serve(func(w http.ResponseWriter, r *http.Request) {
		<-release
		policy("enforce")(w, r)
	})
	c, _ := s.client(time.Now)
	var started, done sync.WaitGroup
	started.Add(many)
	for range many {
		done.Go(func() {
			started.Done()
			if p, ok, err := c.Policy(t.Context(), "example.com"); !ok || p.Mode != "enforce" || err != nil {
				t.Errorf("got %+v, %v, %v", p, ok, err)
			}
		})
	}
	started.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok, err := c.Policy(ctx, "example.com"); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("one who does not wait: %v, %v", ok, err)
	}
	close(release)
	done.Wait()
	if got := s.asked.Load(); got != 1 {
		t.Errorf("%d fetches", got)
	}
}

func TestCacheBound(t *testing.T) {
	t.Parallel()
	var c Cache
	start := time.Unix(0, 0)
	for i := range maxPolicies + 100 {
		c.put(fmt.Sprint(i), entry{policy: Policy{Mode: "none", MaxAge: time.Hour}, fetched: start.Add(time.Duration(i))}, start)
	}
	if got := len(c.entries); got != maxPolicies {
		t.Errorf("%d entries", got)
	}
	if _, ok := c.get(fmt.Sprint(maxPolicies+99), start); !ok {
		t.Error("the newest is gone")
	}
}
