// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// token asks k for a token, and fails if there is none.
func token(t *testing.T, k *Keeper, b *box, a Account, rejected string) string {
	t.Helper()
	got, err := k.Token(t.Context(), b, a, rejected)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestRotation goes on with the refresh token that came last, also after a
// restart and by another name of the server.
func TestRotation(t *testing.T) {
	t.Parallel()
	p, c := newProvider(), newClock()
	a := p.account()
	b := loggedIn(t, a)
	for _, want := range []string{"access-1", "access-2", "access-3"} {
		restarted := &Keeper{Now: c.read, Transport: p}
		if got := token(t, restarted, b, a, ""); got != want {
			t.Errorf("token %s, want %s", got, want)
		}
	}
	if got := b.refreshToken(t, a); got != "refresh-4" {
		t.Errorf("%s is kept", got)
	}
	if form := p.last(); form.Get("refresh_token") != "refresh-3" || form.Get("grant_type") != "refresh_token" {
		t.Errorf("the last request was %v", form)
	}
	if p.basic[0] != "client:"+clientSecret {
		t.Errorf("the client proved itself by %q", p.basic[0])
	}
}

// TestLife asks again shortly before a token ends.
func TestLife(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		life any
		good time.Duration
	}{
		{"an hour", 3600, 58 * time.Minute},
		{"as a text", "3600", 58 * time.Minute},
		{"short", 100, 80 * time.Second},
		{"not said", nil, 8 * time.Minute},
		{"nonsense", -5, 8 * time.Minute},
		{"for ever", int64(1) << 40, 24*time.Hour - 2*time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, c := newProvider(), newClock()
			p.life = tt.life
			a := p.account()
			b, k := loggedIn(t, a), &Keeper{Now: c.read, Transport: p}
			for _, step := range []struct {
				wait time.Duration
				want string
			}{{0, "access-1"}, {tt.good - time.Second, "access-1"}, {time.Second, "access-2"}} {
				c.advance(step.wait)
				if got := token(t, k, b, a, ""); got != step.want {
					t.Errorf("after another %s: %s, want %s", step.wait, got, step.want)
				}
			}
		})
	}
}

// TestClientCredentials needs nobody and keeps nothing.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	p, c := newProvider(), newClock()
	a := p.account()
	a.Grant, a.Scopes = GrantClient, []string{"https://outlook.office365.com/.default"}
	a.Provider.style = Microsoft("t").style
	b, k := newBox(), &Keeper{Now: c.read, Transport: p}
	if got := token(t, k, b, a, ""); got != "access-1" {
		t.Errorf("token %s", got)
	}
	form := p.last()
	want := url.Values{
		"grant_type": {"client_credentials"}, "scope": {"https://outlook.office365.com/.default"},
		"client_id": {"client"}, "client_secret": {clientSecret},
	}
	if form.Encode() != want.Encode() {
		t.Errorf("asked with %v", form)
	}
	c.advance(time.Hour)
	if got := token(t, k, b, a, ""); got != "access-2" || len(b.values) != 0 {
		t.Errorf("an hour later: %s, kept %v", got, b.values)
	}
	login, err := k.Begin(t.Context(), b, a, Ask{})
	if err != nil || login.Flow != FlowNone || p.count() != 3 {
		t.Errorf("login %+v, %v, %d requests", login, err, p.count())
	}
}

// TestErrors tells who has to act.
func TestErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer answer
		kind   error
		want   string
	}{
		{"revoked", fails("invalid_grant"), ErrConsent, "refreshing the access token: provider answered invalid_grant, said so: the account's owner has to give consent: run `mailcaddy mail oauth login NAME`"},
		{"interaction", fails("interaction_required"), ErrConsent, "oauth login"},
		{"wrong secret", fails("invalid_client"), ErrClient, "provider answered invalid_client, said so: check client, secret, scope and tenant"},
		{"scope", fails("invalid_scope"), ErrClient, "invalid_scope"},
		{"wrong endpoint", answer{http.StatusNotFound, "<html>refresh-1</html>"}, ErrClient, "HTTP 404"},
		{"redirected", answer{http.StatusFound, ""}, ErrClient, "HTTP 302"},
		{"later", fails("temporarily_unavailable"), ErrUnavailable, "cannot be asked at the moment"},
		{"down", answer{http.StatusBadGateway, "<html>refresh-1</html>"}, ErrUnavailable, "HTTP 502"},
		{"too many", answer{http.StatusTooManyRequests, "{}"}, ErrUnavailable, "HTTP 429"},
		{"no token", answer{http.StatusOK, "{}"}, ErrUnavailable, "missing access_token"},
		{"garbage", answer{http.StatusOK, "<html>"}, ErrUnavailable, "refreshing the access token"},
		{"hostile", answer{http.StatusBadRequest, `{"error":"\u001b[2Jx","error_description":"` + strings.Repeat("é", 5000) + `"}`}, ErrClient, "provider answered ?[2Jx, "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newProvider()
			p.answers = []answer{tt.answer}
			a := p.account()
			b, k := loggedIn(t, a), &Keeper{Now: newClock().read, Transport: p}
			_, err := k.Token(t.Context(), b, a, "")
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 600 {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			discreet(t, err)
			if got := b.refreshToken(t, a); got != firstRefresh {
				t.Errorf("%s is kept", got)
			}
			if errors.Is(err, ErrUnavailable) {
				if got := token(t, k, b, a, ""); got != "access-1" {
					t.Errorf("when it is back: %s", got)
				}
			}
		})
	}
}

// TestDown asks a provider that does not run.
func TestDown(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	p := newProvider()
	p.base = server.URL
	a := p.account()
	_, err := (&Keeper{Now: newClock().read}).Token(t.Context(), loggedIn(t, a), a, "")
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %v", err)
	}
	_, err = (&Keeper{Now: newClock().read}).Token(t.Context(), newBox(), a, "")
	if !errors.Is(err, ErrConsent) || !strings.Contains(err.Error(), "nobody has logged in yet") {
		t.Errorf("without a login: %v", err)
	}
}

// TestOneRequest lets many ask at once, and one of them leave early.
func TestOneRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider()
		release := make(chan struct{})
		p.before = func(url.Values) { <-release }
		a := p.account()
		b, k := loggedIn(t, a), &Keeper{Now: time.Now, Transport: p}
		var all sync.WaitGroup
		leaving, leave := context.WithCancel(t.Context())
		all.Go(func() { // it comes first, so that the request is its own
			if _, err := k.Token(leaving, b, a, ""); !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if got, err := k.Token(t.Context(), b, a, ""); got != "access-1" || err != nil {
					t.Errorf("token %s, %v", got, err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(release)
		all.Wait()
		if p.count() != 1 || b.refreshToken(t, a) != "refresh-2" {
			t.Errorf("%d requests, %s is kept", p.count(), b.refreshToken(t, a))
		}
	})
}

// TestLateFlight asks for nothing where another flight has just ended.
func TestLateFlight(t *testing.T) {
	t.Parallel()
	p := newProvider()
	a := p.account()
	b, k := loggedIn(t, a), &Keeper{Now: newClock().read, Transport: p}
	token(t, k, b, a, "")
	if got, err := k.renew(t.Context(), b, &a); got != "access-1" || err != nil || p.count() != 1 {
		t.Errorf("token %s, %v, %d requests", got, err, p.count())
	}
}

// TestRejected replaces a token that a mail server refuses, but not again and
// again.
func TestRejected(t *testing.T) {
	t.Parallel()
	p, c := newProvider(), newClock()
	a := p.account()
	b, k := loggedIn(t, a), &Keeper{Now: c.read, Transport: p}
	for _, step := range []struct {
		wait           time.Duration
		rejected, want string
	}{
		{0, "", "access-1"},
		{0, "access-1", "access-2"},
		{0, "access-1", "access-2"},
		{30 * time.Second, "access-2", "access-2"},
		{time.Minute, "", "access-2"},
		{0, "access-2", "access-3"},
		{0, "access-3", "access-3"},
	} {
		c.advance(step.wait)
		if got := token(t, k, b, a, step.rejected); got != step.want {
			t.Errorf("%+v: %s", step, got)
		}
	}
}

// TestTwoProcesses refreshes at two places at once.
func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	for name, tolerant := range map[string]bool{"the old token ends at once": false, "the old token stays good": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, c := newProvider(), newClock()
			p.tolerant = tolerant
			a := p.account()
			b := loggedIn(t, a)
			one, two := &Keeper{Now: c.read, Transport: p}, &Keeper{Now: c.read, Transport: p}
			p.before = func(url.Values) { // one has read what is kept, and now the other is faster
				if got := token(t, two, b, a, ""); got != "access-1" {
					t.Errorf("the other got %s", got)
				}
			}
			first := token(t, one, b, a, "")
			if !tolerant && (first != "access-3" || b.refreshToken(t, a) != p.refresh) {
				t.Errorf("got %s, %s is kept, %s is good", first, b.refreshToken(t, a), p.refresh)
			}
			if tolerant && (first != "access-2" || b.refreshToken(t, a) != "refresh-2") {
				t.Errorf("got %s, %s is kept", first, b.refreshToken(t, a))
			}
			if got := token(t, &Keeper{Now: c.read, Transport: p}, b, a, ""); got == "" {
				t.Error("the login is lost")
			}
		})
	}
}

// TestStoreFails holds what cannot be kept until it can.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	p, c := newProvider(), newClock()
	a := p.account()
	b, k := loggedIn(t, a), &Keeper{Now: c.read, Transport: p}
	b.refuse = errors.New("disk full")
	if got := token(t, k, b, a, ""); got != "access-1" {
		t.Errorf("token %s", got)
	}
	if got := b.refreshToken(t, a); got != firstRefresh {
		t.Errorf("%s is kept", got)
	}
	b.refuse = errors.New("still full")
	c.advance(2 * time.Hour)
	if got := token(t, k, b, a, ""); got != "access-2" || b.refreshToken(t, a) != "refresh-3" {
		t.Errorf("two hours later: %s, %s is kept", got, b.refreshToken(t, a))
	}
	b.refuse = errors.New("full again")
	c.advance(2 * time.Hour)
	if got := token(t, k, b, a, ""); got != "access-3" {
		t.Errorf("token %s", got)
	}
	if got := token(t, k, b, a, ""); got != "access-3" || b.refreshToken(t, a) != "refresh-4" || p.count() != 3 {
		t.Errorf("with room again: %s, %s is kept, %d requests", got, b.refreshToken(t, a), p.count())
	}
}
