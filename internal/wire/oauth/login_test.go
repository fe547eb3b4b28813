// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestDevice asks until somebody has typed in the code.
func TestDevice(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		answers []answer // behind that to the first request
		polls   []int    // seconds after the beginning
		kind    error
		want    string
	}{
		{"at once", nil, []int{5}, nil, ""},
		{"pending", []answer{fails("authorization_pending"), fails("authorization_pending")}, []int{5, 10, 15}, nil, ""},
		{"slow down", []answer{fails("authorization_pending"), fails("slow_down"), fails("authorization_pending")}, []int{5, 10, 20, 30}, nil, ""},
		{"down for a while", []answer{{http.StatusBadGateway, ""}, {http.StatusBadGateway, ""}}, []int{5, 15, 35}, nil, ""},
		{"refused", []answer{fails("authorization_pending"), fails("access_denied")}, []int{5, 10}, ErrConsent, "provider answered access_denied"},
		{"expired", []answer{fails("expired_token")}, []int{5}, ErrConsent, "expired_token"},
		{"wrong client", []answer{fails("invalid_client")}, []int{5}, ErrClient, "invalid_client"},
		{"never", slices.Repeat([]answer{fails("authorization_pending")}, 1000), nil, ErrConsent, "nobody gave consent in time"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p, began := newProvider(), time.Now()
				a := p.account()
				b, k := newBox(), &Keeper{Now: time.Now, Transport: p}
				login, err := k.Begin(t.Context(), b, a, Ask{})
				if err != nil {
					t.Fatal(err)
				}
				if login.Flow != FlowDevice || login.Code != "ABCD-EFGH" || login.URL != "https://id.example/activate" ||
					login.User != a.User || login.Expires.Sub(began) > 15*time.Minute {
					t.Errorf("login %+v", login)
				}
				var polls []int
				p.mu.Lock()
				p.answers = tt.answers
				p.mu.Unlock()
				k.web.Transport = tripper(func(r *http.Request) (*http.Response, error) {
					polls = append(polls, int(time.Since(began).Seconds()))
					return p.RoundTrip(r)
				})
				soon, cancel := context.WithTimeout(t.Context(), time.Second)
				if done, err := k.Finish(soon, a, login.ID, ""); done || err != nil {
					t.Errorf("after a second: %v, %v", done, err)
				}
				cancel()
				done, err := k.Finish(t.Context(), a, login.ID, "")
				if !done || !errors.Is(err, tt.kind) || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("done %v, error %v, want %q", done, err, tt.want)
				}
				if tt.polls != nil && !slices.Equal(polls, tt.polls) {
					t.Errorf("asked after %v seconds, want %v", polls, tt.polls)
				}
				if tt.kind == nil {
					if b.refreshToken(t, a) != firstRefresh || p.last().Get("device_code") != "dc" {
						t.Errorf("%s is kept, the last request was %v", b.refreshToken(t, a), p.last())
					}
					if got := token(t, k, b, a, ""); got != "access-1" {
						t.Errorf("token %s", got)
					}
				} else if len(b.values) > 0 {
					t.Error("something is kept")
				}
				if _, err := k.Finish(t.Context(), a, login.ID, ""); !errors.Is(err, ErrNoLogin) {
					t.Errorf("once more: %v", err)
				}
				time.Sleep(requestTimeout) // package oauth2 leaves the body to the client's timer
			})
		})
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestDeviceReplaced ends a login by a newer one, and by the keeper's end.
func TestDeviceReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		a := p.account()
		b, k := newBox(), &Keeper{Now: time.Now, Transport: p}
		first, err := k.Begin(t.Context(), b, a, Ask{})
		if err != nil {
			t.Fatal(err)
		}
		second, err := k.Begin(t.Context(), b, a, Ask{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Finish(t.Context(), a, first.ID, ""); !errors.Is(err, ErrNoLogin) {
			t.Errorf("the first: %v", err)
		}
		p.mu.Lock()
		p.answers = slices.Repeat([]answer{fails("authorization_pending")}, 1000)
		p.mu.Unlock()
		before := p.count()
		time.Sleep(time.Minute + time.Second)
		if asked := p.count() - before; asked != 12 {
			t.Errorf("the provider was asked %d times in a minute, want 12: by the second alone", asked)
		}
		other := a
		other.User = "other@a.example"
		if _, err := k.Finish(t.Context(), other, second.ID, ""); !errors.Is(err, ErrNoLogin) {
			t.Errorf("of another account: %v", err)
		}
		k.Close()
		if _, err := k.Finish(t.Context(), a, second.ID, ""); !errors.Is(err, ErrNoLogin) {
			t.Errorf("after the end: %v", err)
		}
		before = p.count()
		time.Sleep(time.Minute) // also for package oauth2, which leaves the body to the client's timer
		if p.count() != before {
			t.Error("the provider is still asked")
		}
	})
}

// TestDeviceAnswers refuses what cannot be shown or waited for.
func TestDeviceAnswers(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{}`: "no code to type in",
		`{"device_code":"d","user_code":"A\u001b[2J","verification_uri":"https://id.example/"}`: "no code to type in",
		`{"device_code":"d","user_code":"A","verification_uri":"javascript:alert(1)"}`:          "not a URL such as",
		`{"device_code":"d","user_code":"A","verification_uri":"http://id.example/"}`:           "not https",
		`<html>`: "asking for a device code",
	} {
		p := newProvider()
		p.answers = []answer{{http.StatusOK, body}}
		_, err := (&Keeper{Now: time.Now, Transport: p}).Begin(t.Context(), newBox(), p.account(), Ask{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
	for said, want := range map[int64]int64{0: 5, -3: 5, 1: 1, 7: 7, 1 << 40: 60} {
		if got := pause(said); got != want {
			t.Errorf("pause of %d: %d, want %d", said, got, want)
		}
	}
}

// TestCode goes by the page for browsers.
func TestCode(t *testing.T) {
	t.Parallel()
	const redirect = "http://127.0.0.1:4321/"
	tests := []struct {
		name   string
		answer string // STATE is the login's
		change func(*provider)
		done   bool
		kind   error
		want   string
	}{
		{"the whole address", redirect + "?state=STATE&code=good&scope=x", nil, true, nil, ""},
		{"with blanks", "  " + redirect + "?code=good&state=STATE#_\n", nil, true, nil, ""},
		{"parameters only", "code=good&state=STATE", nil, true, nil, ""},
		{"only asked", "", nil, false, nil, ""},
		{"another state", redirect + "?state=STATEx&code=good", nil, false, ErrAnswer, "copy the whole address"},
		{"no state", redirect + "?code=good", nil, false, ErrAnswer, "copy the whole address"},
		{"the code alone", "good", nil, false, ErrAnswer, "copy the whole address"},
		{"no code", redirect + "?state=STATE", nil, false, ErrAnswer, ""},
		{"another issuer", redirect + "?state=STATE&code=good&iss=https://evil.example", nil, false, ErrAnswer, "https://evil.example"},
		{"refused", redirect + "?state=STATE&error=access_denied", nil, true, ErrConsent, "giving consent: provider answered access_denied"},
		{"another code", redirect + "?state=STATE&code=bad", nil, true, ErrConsent, "exchanging the consent"},
		{"another verifier", redirect + "?state=STATE&code=good", func(p *provider) { p.challenge = "x" }, true, ErrConsent, "invalid_grant"},
		{"no refresh token", redirect + "?state=STATE&code=good", func(p *provider) { p.noRefresh = true }, true, ErrClient, "no refresh token"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, c := newProvider(), newClock()
			a := p.account()
			a.Provider = At(p.base) // found there, without a device flow
			b, k := newBox(), &Keeper{Now: c.read, Transport: p}
			login, err := k.Begin(t.Context(), b, a, Ask{Redirect: redirect})
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(login.URL)
			if err != nil || !strings.HasPrefix(login.URL, p.base+"/auth?") || login.Flow != FlowCode || login.Code != "" {
				t.Fatalf("login %+v, %v", login, err)
			}
			q := u.Query()
			want := fmt.Sprint("code ", "client ", redirect, " mail offline_access S256 Me@a.example")
			if got := fmt.Sprint(q.Get("response_type"), " ", q.Get("client_id"), " ", q.Get("redirect_uri"), " ", q.Get("scope"), " ", q.Get("code_challenge_method"), " ", q.Get("login_hint")); got != want {
				t.Errorf("the page is asked for %s, want %s", got, want)
			}
			p.challenge = q.Get("code_challenge")
			if tt.change != nil {
				tt.change(p)
			}
			done, err := k.Finish(t.Context(), a, login.ID, strings.ReplaceAll(tt.answer, "STATE", q.Get("state")))
			if done != tt.done || !errors.Is(err, tt.kind) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("done %v, error %v, want %v, %q", done, err, tt.done, tt.want)
			}
			discreet(t, err)
			if kept := len(b.values) > 0; kept != (tt.done && tt.kind == nil) {
				t.Errorf("kept: %v", kept)
			}
			_, err = k.Finish(t.Context(), a, login.ID, "")
			if waits := err == nil; waits == tt.done {
				t.Errorf("it waits: %v, %v", waits, err)
			}
			if c.advance(loginLife); !tt.done {
				if _, err := k.Finish(t.Context(), a, login.ID, "x"); !errors.Is(err, ErrNoLogin) {
					t.Errorf("half an hour later: %v", err)
				}
			}
		})
	}
}

// TestSecondLogin takes the place of the first only when it has succeeded.
func TestSecondLogin(t *testing.T) {
	t.Parallel()
	p, c := newProvider(), newClock()
	a := p.account()
	b, k := loggedIn(t, a), &Keeper{Now: c.read, Transport: p}
	if err := write(t.Context(), b, a.Key(), record{Refresh: "old"}, 1); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ code, want string }{{"bad", "old"}, {"good", firstRefresh}} {
		login, err := k.Begin(t.Context(), b, a, Ask{Flow: FlowCode, Redirect: "http://localhost:1/"})
		if err != nil {
			t.Fatal(err)
		}
		if got := b.refreshToken(t, a); got != "old" {
			t.Errorf("%s is kept before the end", got)
		}
		u, err := url.Parse(login.URL)
		if err != nil {
			t.Fatal(err)
		}
		p.challenge = u.Query().Get("code_challenge")
		done, err := k.Finish(t.Context(), a, login.ID, "code="+step.code+"&state="+u.Query().Get("state"))
		if got := b.refreshToken(t, a); !done || got != step.want {
			t.Errorf("%s is kept after a %s code (%v)", got, step.code, err)
		}
	}
}

// TestUnreadable puts a new login over what nobody can read.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	p := newProvider()
	a := p.account()
	b, k := newBox(), &Keeper{Now: newClock().read, Transport: p}
	if err := b.SetValue(t.Context(), a.Key(), []byte("{}"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Token(t.Context(), b, a, ""); !errors.Is(err, ErrConsent) {
		t.Errorf("error %v", err)
	}
	if err := overwrite(t.Context(), b, a.Key(), record{Refresh: firstRefresh}); err != nil || b.refreshToken(t, a) != firstRefresh {
		t.Errorf("it stays: %v", err)
	}
}

// TestChoose picks the flow that the provider has for such a client.
func TestChoose(t *testing.T) {
	t.Parallel()
	both := Provider{Name: "p", DeviceURL: "d", AuthURL: "a"}
	for _, tt := range []struct {
		p      Provider
		secret string
		asked  Flow
		want   string
	}{
		{Google(), "s", "", "code"},
		{Google(), "s", FlowDevice, "no login can be made like that: google has no device flow for mail; use the flow code"},
		{Microsoft(""), "", "", "device"},
		{Microsoft(""), "s", "", "code"},
		{Microsoft(""), "s", FlowDevice, "device"},
		{both, "s", "", "device"},
		{both, "", FlowCode, "code"},
		{Provider{Name: "p", DeviceURL: "d"}, "", FlowCode, "no login can be made like that: p has no page for browsers; use the flow device"},
		{Provider{Name: "p"}, "", "", "no login can be made like that: p has neither a device flow nor a page for browsers"},
		{both, "", "magic", `no login can be made like that: flow "magic" is none of ["device" "code"]`},
	} {
		got, err := choose(tt.p, tt.secret, tt.asked)
		if s := string(got); s != tt.want && (err == nil || err.Error() != tt.want) {
			t.Errorf("%s, secret %q, asked %q: %q, %v", tt.p.Name, tt.secret, tt.asked, got, err)
		}
	}
}

// TestProviders holds the endpoints of the known providers.
func TestProviders(t *testing.T) {
	t.Parallel()
	p := newProvider()
	a := Account{Provider: Google(), Client: "c", Secret: "s", User: "me@a.example", Scopes: []string{"https://mail.google.com/"}}
	login, err := (&Keeper{Now: newClock().read, Transport: p}).Begin(t.Context(), newBox(), a, Ask{Redirect: "http://127.0.0.1:1/"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"https://accounts.google.com/o/oauth2/v2/auth?", "access_type=offline", "prompt=consent", "scope=https%3A%2F%2Fmail.google.com%2F"} {
		if !strings.Contains(login.URL, want) {
			t.Errorf("%s lacks %s", login.URL, want)
		}
	}
	m := Microsoft("a b")
	if m.TokenURL != "https://login.microsoftonline.com/a%20b/oauth2/v2.0/token" || Microsoft("").DeviceURL != "https://login.microsoftonline.com/common/oauth2/v2.0/devicecode" {
		t.Errorf("microsoft %+v", m)
	}
}

// FuzzAnswer holds what is pasted to the login that it belongs to.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		"http://127.0.0.1:1/?state=STATE&code=x", "state=STATE&error=access_denied", "?#&", "state=STATE&code=%zz", "state=STATE;code=x",
		"http://127.0.0.1:1/?state=STATE&code=x&iss=https://id.example", "state=STATE&state=other&code=x", "code=x&iss=\x00",
	} {
		f.Add(s)
	}
	l := &login{state: "STATE", provider: At("https://id.example")}
	f.Fuzz(func(t *testing.T, answer string) {
		query, err := l.readAnswer(answer)
		if err != nil {
			if !errors.Is(err, ErrAnswer) || strings.ContainsAny(err.Error(), "\x00\r\n\x1b") {
				t.Errorf("%q: %q", answer, err)
			}
			return
		}
		if !strings.Contains(answer, "STATE") && !strings.Contains(answer, "%") || query.Get("code")+query.Get("error") == "" {
			t.Errorf("%q is taken", answer)
		}
	})
}
