// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/credential"
	"github.com/mailcaddy/mailcaddy/internal/wire/oauth"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// values is a store's values in memory.
type values struct {
	mu       sync.Mutex
	kept     map[string][]byte
	versions map[string]int64
}

func newValues() *values {
	return &values{kept: make(map[string][]byte), versions: make(map[string]int64)}
}

func (v *values) Value(_ context.Context, key string) ([]byte, int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.versions[key] == 0 {
		return nil, 0, mailflow.ErrNoRecord
	}
	return v.kept[key], v.versions[key], nil
}

func (v *values) SetValue(_ context.Context, key string, value []byte, version int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.versions[key] != version {
		return mailflow.ErrStale
	}
	v.kept[key], v.versions[key] = value, version+1
	return nil
}

// tokens is a token server: the n-th access token is "t<n>".
type tokens struct {
	*httptest.Server
	given  atomic.Int32
	refuse atomic.Value // the error code of each answer
}

func newTokens(t *testing.T) *tokens {
	t.Helper()
	s := new(tokens)
	s.refuse.Store("")
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if code := s.refuse.Load().(string); code != "" {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": code})
			return
		}
		n := s.given.Add(1)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": fmt.Sprintf("t%d", n), "refresh_token": fmt.Sprintf("r%d", n), "token_type": "Bearer", "expires_in": 3600,
		})
	}))
	t.Cleanup(s.Close)
	return s
}

// server loads an outgoing server whose user is proven by tokens of s. Each
// test has a user of its own, since a process has one memory of tokens.
func (s *tokens) server(t *testing.T, address, user string, options ...string) *SMTP {
	t.Helper()
	tr := mustLoad(t, fmt.Sprintf("smtp %s {\n auth oauth2 %s {\n client c\n secret s3cr3t\n user %s\n token_endpoint %s/token\n authorization_endpoint %s/auth\n %s\n}\n}",
		address, s.URL, user, s.URL, s.URL, strings.Join(options, "\n"))).(*SMTP)
	tr.UseValues(newValues())
	return tr
}

// consent logs tr in.
func consent(t *testing.T, tr *SMTP) {
	t.Helper()
	login, err := tr.OAuth2().Begin(t.Context(), oauth.Ask{Redirect: "http://127.0.0.1:1/"})
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(login.URL)
	if err != nil {
		t.Fatal(err)
	}
	done, err := tr.OAuth2().Finish(t.Context(), login.ID, "http://127.0.0.1:1/?code=x&state="+u.Query().Get("state"))
	if !done || err != nil {
		t.Fatalf("done %v, %v", done, err)
	}
}

// TestOAuth2 sends with access tokens, by both mechanisms.
func TestOAuth2(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"XOAUTH2", "OAUTHBEARER"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			var good atomic.Value
			good.Store("t1")
			user := strings.ToLower(mechanism) + "@a.example"
			relay := &mailflowtest.Relay{
				Offers: []string{"AUTH PLAIN " + mechanism},
				Bearer: func(u, token string) bool { return u == user && token == good.Load() },
			}
			s := newTokens(t)
			tr := s.server(t, relay.Start(t), user)

			// Nobody has given consent: the mail waits, and says why.
			_, err := tr.Deliver(t.Context(), attempt("b@b.example"))
			if !errors.Is(err, mailflow.ErrUnreachable) || !errors.Is(err, oauth.ErrConsent) || !strings.Contains(err.Error(), "mail oauth login") {
				t.Errorf("without consent: %v", err)
			}
			consent(t, tr)
			sent := []string{"b@b.example sent 250 2.0.0 taken"}
			if got := states(tr.Deliver(t.Context(), attempt("b@b.example"))); !slices.Equal(got, sent) {
				t.Errorf("with consent: %q", got)
			}

			// The token is revoked before its time: a fresh one takes its place.
			good.Store("t2")
			relay.CloseConnections()
			if got := states(tr.Deliver(t.Context(), attempt("b@b.example"))); !slices.Equal(got, sent) {
				t.Errorf("with a revoked token: %q", got)
			}
			// The mail server takes none any more: one try, no further tokens.
			good.Store("none")
			relay.CloseConnections()
			got := states(tr.Deliver(t.Context(), attempt("b@b.example")))
			if !slices.Equal(got, []string{"error: logging in: server answered 535 5.7.8 authentication failed"}) || s.given.Load() != 2 {
				t.Errorf("refused: %q after %d tokens", got, s.given.Load())
			}
			for _, m := range relay.Messages() {
				if m.User != user {
					t.Errorf("sent as %s", m.User)
				}
			}
		})
	}
}

// TestOAuth2ClientCredentials sends without anybody's consent.
func TestOAuth2ClientCredentials(t *testing.T) {
	t.Parallel()
	relay := &mailflowtest.Relay{Bearer: func(u, token string) bool { return u == "app@a.example" && token == "t1" }}
	s := newTokens(t)
	tr := s.server(t, relay.Start(t), "app@a.example", "grant client_credentials")
	if got := states(tr.Deliver(t.Context(), attempt("b@b.example"))); !slices.Equal(got, []string{"b@b.example sent 250 2.0.0 taken"}) {
		t.Errorf("%q", got)
	}
}

// TestOAuth2Hints is what an operator sees of a login that fails.
func TestOAuth2Hints(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		code       string // the token server's; "down" if it does not run
		offers     []string
		logIn      bool
		want, hint string
	}{
		{"no consent", "", nil, false, "nobody has logged in yet", "Run `mailcaddy mail oauth login` with the name of this server, and give consent as "},
		{"wrong secret", "invalid_client", nil, false, "provider answered invalid_client", "Compare client, secret, scope and tenant"},
		{"down", "down", nil, false, "connection refused", "reaches the provider by HTTPS"},
		{"refused", "", nil, true, "535 5.7.8", "does not take it"},
		{"not offered", "", []string{"AUTH PLAIN"}, true, "does not offer AUTH", "takes no access tokens there"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTokens(t)
			grant := "grant client_credentials"
			if tt.name == "no consent" {
				grant = ""
			}
			relay := &mailflowtest.Relay{Offers: tt.offers, Bearer: func(string, string) bool { return false }}
			tr := s.server(t, relay.Start(t), fmt.Sprintf("hint%d@a.example", i), grant)
			if s.refuse.Store(tt.code); tt.code == "down" {
				s.Close()
			}
			report := tr.Test(t.Context(), mailflow.MustParseAddress("a@a.example"), mailflow.MustParseAddress("b@b.example"))
			last := report.Steps[len(report.Steps)-1]
			if report.OK || last.Name != "auth" || !strings.Contains(last.Error, tt.want) || !strings.Contains(last.Hint, tt.hint) {
				t.Errorf("last step %+v", last)
			}
			if strings.Contains(fmt.Sprint(report), "s3cr3t") {
				t.Errorf("%v shows the secret", report)
			}
		})
	}
}

// TestOAuth2Grammar holds the auth line to its JSON, and refuses what it cannot
// be.
func TestOAuth2Grammar(t *testing.T) {
	t.Parallel()
	d := caddyfile.NewTestDispenser("smtp {\n preset gmail\n auth oauth2 google {\n client {env.C}\n secret {file./run/s}\n user me@a.example\n }\n}")
	d.Next()
	guest, err := caddyfile.UnmarshalModule(d, "mail.transports.smtp")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"preset":"gmail","auth":{"mechanism":"oauth2","user":"me@a.example","oauth2":{"provider":"google","client":"{env.C}","secret":"{file./run/s}"}}}`
	if got, err := json.Marshal(guest); err != nil || string(got) != want {
		t.Errorf("got %s %v\nwant %s", got, err, want)
	}
	for auth, want := range map[string]string{
		"{\n auth oauth2\n}":                                                      "wrong argument count",
		"{\n auth oauth2 google me secret\n}":                                     "wrong argument count",
		"{\n auth oauth2 google {\n user m\n}\n}":                                 "needs a client and a user",
		"{\n tls off\n auth oauth2 google {\n client c\n secret s\n user m\n}\n}": "in clear",
		"{\n auth plain\n}":                                                       "wrong argument count",
	} {
		if _, err := load(t, "smtp smtp.example.com "+auth); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", auth, err, want)
		}
	}
	for config, want := range map[string]string{
		`{"address":"a.example","auth":{"mechanism":"oauth2","user":"m"}}`:                                                                               "needs a provider",
		`{"address":"a.example","auth":{"mechanism":"oauth2","user":"m","password":"x","oauth2":{"provider":"google"}}}`:                                 "takes no password",
		`{"address":"a.example","auth":{"mechanism":"plain","user":"m","password":"x","oauth2":{"provider":"google"}}}`:                                  "takes no oauth2 account",
		`{"address":"a.example","auth":{"user":"m","oauth2":{"provider":"google","client":"c"}}}`:                                                        "gives every client a secret",
		`{"address":"a.example","auth":{"user":"m","oauth2":{"provider":"https://id.example","client":"c","token_endpoint":"http://id.example/token"}}}`: "not https",
	} {
		if _, err := caddyContext(t).LoadModuleByID("mail.transports.smtp", []byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

// TestOAuth2User tells which servers can be logged in.
func TestOAuth2User(t *testing.T) {
	t.Parallel()
	for segment, want := range map[string]bool{
		"smtp a.example":                       false,
		"smtp a.example {\n auth plain u p\n}": false,
		"smtp a.example {\n auth oauth2 microsoft {\n client c\n user u\n}\n}":    true,
		"lmtp mail.example {\n auth oauth2 microsoft {\n client c\n user u\n}\n}": true,
	} {
		user, ok := mustLoad(t, segment).(credential.OAuth2User)
		if !ok || (user.OAuth2() != nil) != want {
			t.Errorf("%s: %v", segment, ok)
		}
	}
}
