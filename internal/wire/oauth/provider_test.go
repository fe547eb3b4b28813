// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Secrets of the tests, which no error may show.
const (
	clientSecret = "cl13nt-s3cr3t"
	firstRefresh = "refresh-1"
)

// provider is an identity provider in the test's process. It rotates refresh
// tokens, and takes each only once.
type provider struct {
	base string

	mu        sync.Mutex
	requests  []url.Values
	basic     []string // user:password of each request, "" without
	refresh   string   // the one that is good
	n         int      // tokens given so far
	life      any      // expires_in; nil for none
	keep      bool     // the refresh token stays
	tolerant  bool     // old refresh tokens are good too
	noRefresh bool     // gives none
	answers   []answer // of the next requests, first of all
	before    func(url.Values)
	challenge string // of the page for browsers
}

// answer is an answer other than a token; status 0 is the good one.
type answer struct {
	status int
	body   string
}

func fails(code string) answer {
	return answer{http.StatusBadRequest, fmt.Sprintf(`{"error":%q,"error_description":"said so. Trace ID: 1"}`, code)}
}

func newProvider() *provider {
	return &provider{base: "https://id.example", refresh: firstRefresh, life: 3600}
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	p.mu.Lock()
	before := p.before
	p.before = nil
	p.mu.Unlock()
	if before != nil {
		before(r.PostForm)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r.PostForm)
	user, password, _ := r.BasicAuth()
	p.basic = append(p.basic, strings.TrimSuffix(user+":"+password, ":"))
	w.Header().Set("Content-Type", "application/json")
	if len(p.answers) > 0 {
		a := p.answers[0]
		p.answers = p.answers[1:]
		if a.status != 0 {
			w.WriteHeader(a.status)
			_, _ = w.Write([]byte(a.body))
			return
		}
	}
	switch r.URL.Path {
	case "/device":
		p.reply(w, map[string]any{
			"device_code": "dc", "user_code": "ABCD-EFGH", "verification_uri": p.base + "/activate", "expires_in": 900, "interval": 5,
		})
	case "/token":
		p.token(w, r.PostForm)
	case "/.well-known/openid-configuration":
		p.reply(w, map[string]any{"issuer": p.base, "token_endpoint": p.base + "/token", "authorization_endpoint": p.base + "/auth"})
	default:
		http.NotFound(w, r)
	}
}

func (*provider) reply(w http.ResponseWriter, v map[string]any) { _ = json.NewEncoder(w).Encode(v) }

func (p *provider) token(w http.ResponseWriter, form url.Values) {
	bad := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(fails(code).body))
	}
	p.n++
	out := map[string]any{"access_token": fmt.Sprintf("access-%d", p.n), "token_type": "Bearer"}
	switch form.Get("grant_type") {
	case "refresh_token":
		if form.Get("refresh_token") != p.refresh && !p.tolerant {
			bad("invalid_grant")
			return
		}
		if !p.keep {
			p.refresh = fmt.Sprintf("refresh-%d", p.n+1)
			out["refresh_token"] = p.refresh
		}
	case "authorization_code":
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if form.Get("code") != "good" || base64.RawURLEncoding.EncodeToString(sum[:]) != p.challenge {
			bad("invalid_grant")
			return
		}
		out["refresh_token"] = p.refresh
	case "urn:ietf:params:oauth:grant-type:device_code":
		out["refresh_token"] = p.refresh
	}
	if p.noRefresh {
		delete(out, "refresh_token")
	}
	if p.life != nil {
		out["expires_in"] = p.life
	}
	p.reply(w, out)
}

// RoundTrip lets a keeper ask p without a network.
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), nil
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

// last returns the last request.
func (p *provider) last() url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[len(p.requests)-1]
}

// account is one of p, with all its endpoints.
func (p *provider) account() Account {
	return Account{
		Provider: Provider{Name: "test", TokenURL: p.base + "/token", DeviceURL: p.base + "/device", AuthURL: p.base + "/auth"},
		Client:   "client", Secret: clientSecret, User: "Me@a.example", Scopes: []string{"mail", "offline_access"},
	}
}

// box is a store's values.
type box struct {
	mu       sync.Mutex
	values   map[string][]byte
	versions map[string]int64
	refuse   error // the next SetValue
}

func newBox() *box { return &box{values: make(map[string][]byte), versions: make(map[string]int64)} }

// loggedIn returns values in which a has logged in.
func loggedIn(t *testing.T, a Account) *box {
	t.Helper()
	b := newBox()
	if err := write(t.Context(), b, a.Key(), record{Refresh: firstRefresh}, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *box) Value(_ context.Context, key string) ([]byte, int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v, ok := b.values[key]
	if !ok {
		return nil, 0, mailflow.ErrNoRecord
	}
	return slices.Clone(v), b.versions[key], nil
}

func (b *box) SetValue(ctx context.Context, key string, value []byte, version int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refuse; err != nil {
		b.refuse = nil
		return err
	}
	if b.versions[key] != version {
		return mailflow.ErrStale
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.values[key] = slices.Clone(value)
	b.versions[key]++
	return nil
}

// refreshToken returns what is kept of a.
func (b *box) refreshToken(t *testing.T, a Account) string {
	t.Helper()
	r, _, err := read(t.Context(), b, a.Key())
	if err != nil {
		t.Fatal(err)
	}
	return r.Refresh
}

// clock is a clock that stands.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)} }

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// discreet fails if err shows a secret.
func discreet(t *testing.T, err error) {
	t.Helper()
	for _, secret := range []string{clientSecret, firstRefresh, "access-", "verifier"} {
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%v shows %q", err, secret)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"https://id.example":           "",
		"https://id.example/realm/x":   "",
		"http://127.0.0.1:8080/x":      "",
		"http://localhost":             "",
		"http://[::1]:80":              "",
		"http://id.example":            "not https",
		"http://localhost.example":     "not https",
		"ftp://id.example":             "not https",
		"id.example":                   "not a URL such as",
		"https://":                     "not a URL such as",
		"https://user:pw@id.example":   "not a URL such as",
		"https://id.example/#fragment": "not a URL such as",
		"https://id example":           "is no URL",
	} {
		if err := CheckURL(s); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", s, err, want)
		}
	}
}

func TestCheckRedirect(t *testing.T) {
	t.Parallel()
	for s, good := range map[string]bool{
		"http://127.0.0.1:8080/": true, "http://localhost": true, "http://[::1]:1234/": true,
		"": false, "https://127.0.0.1/": false, "http://id.example/": false, "http://127.0.0.1.example/": false,
		"http://127.0.0.1/?code=x": false, "http://a@127.0.0.1/": false, "http://127.0.0.1/#x": false,
	} {
		if err := checkRedirect(s); good != (err == nil) || !good && !errors.Is(err, ErrAsk) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestKey holds the name of what is kept: a change would end every login.
func TestKey(t *testing.T) {
	t.Parallel()
	for want, a := range map[string]Account{
		"oauth/google/c.apps.googleusercontent.com/me@a.example":       {Provider: Google(), Client: "c.apps.googleusercontent.com", User: "Me@A.example", Scopes: []string{"x"}},
		"oauth/microsoft/1234/me@a.example":                            {Provider: Microsoft("a.example"), Client: "1234", User: "me@a.example"},
		"oauth/https:%2F%2Fid.example%2Frealms%2Fx/a%2Fb/me@a.example": {Provider: At("https://id.example/realms/x"), Client: "a/b", User: "me@a.example"},
	} {
		if got := a.Key(); got != want {
			t.Errorf("key %s, want %s", got, want)
		}
	}
}

// TestDiscovery finds the endpoints over TLS, and refuses what cannot be right.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	document := func(issuer, token string) string {
		return fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q,"device_authorization_endpoint":"https://id.example/d"}`, issuer, token)
	}
	tests := []struct {
		name, issuer string
		pages        map[string]string // HOST is the server
		want         string            // the token endpoint, or the error
		kind         error
	}{
		{"OpenID Connect", "HOST", map[string]string{"/.well-known/openid-configuration": document("HOST", "HOST/t")}, "HOST/t", nil},
		{"with a path", "HOST/realms/x", map[string]string{"/realms/x/.well-known/openid-configuration": document("HOST/realms/x", "HOST/t")}, "HOST/t", nil},
		{"RFC 8414", "HOST/x/", map[string]string{"/.well-known/oauth-authorization-server/x": document("HOST/x", "HOST/t")}, "HOST/t", nil},
		{"nothing there", "HOST", nil, "nothing is found there", ErrClient},
		{"other issuer", "HOST", map[string]string{"/.well-known/openid-configuration": document("https://evil.example", "HOST/t")}, `calls itself "https://evil.example"`, ErrClient},
		{"endpoint in clear", "HOST", map[string]string{"/.well-known/openid-configuration": document("HOST", "http://id.example/t")}, "is not https", ErrClient},
		{"no token endpoint", "HOST", map[string]string{"/.well-known/openid-configuration": document("HOST", "")}, "no token endpoint", ErrClient},
		{"no JSON", "HOST", map[string]string{"/.well-known/openid-configuration": "<html>"}, "is no JSON object", ErrClient},
		{"broken", "HOST", map[string]string{"/.well-known/openid-configuration": "503"}, "HTTP 503", ErrUnavailable},
		{"redirected", "HOST", map[string]string{"/.well-known/openid-configuration": "302"}, "HTTP 302", ErrClient},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var server *httptest.Server
			server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, ok := tt.pages[r.URL.Path]
				switch {
				case !ok:
					http.NotFound(w, r)
				case text == "503":
					w.WriteHeader(http.StatusServiceUnavailable)
				case text == "302":
					http.Redirect(w, r, "/elsewhere", http.StatusFound)
				default:
					_, _ = w.Write([]byte(strings.ReplaceAll(text, "HOST", server.URL)))
				}
			}))
			defer server.Close()
			k := &Keeper{Now: newClock().read, Transport: server.Client().Transport}
			p, err := k.endpoints(t.Context(), At(strings.ReplaceAll(tt.issuer, "HOST", server.URL)))
			if tt.kind != nil {
				if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || p.TokenURL != strings.ReplaceAll(tt.want, "HOST", server.URL) || p.DeviceURL != "https://id.example/d" {
				t.Errorf("endpoints %+v, %v", p, err)
			}
			server.Close()
			if again, err := k.endpoints(t.Context(), At(strings.ReplaceAll(tt.issuer, "HOST", server.URL))); err != nil || again.TokenURL != p.TokenURL {
				t.Errorf("they were not remembered: %v", err)
			}
		})
	}
}
