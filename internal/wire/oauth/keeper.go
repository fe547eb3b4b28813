// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// requestTimeout bounds one request to a provider: mail waits for it, on
	// an open connection to its server.
	requestTimeout = 20 * time.Second
	// refreshTimeout bounds all that is done for one access token. It goes on
	// when nobody waits any more, since a refresh token that was used and not
	// kept would be lost.
	refreshTimeout = time.Minute
	// unknownLife is how long an access token is used whose provider does not
	// say how long it is good.
	unknownLife = 10 * time.Minute
	// maxLife bounds what a provider says of it.
	maxLife = 24 * time.Hour
	// early is how long before its end a token is replaced, so that it is good
	// while a mail server looks at it and where clocks differ; a fifth of a
	// shorter life.
	early = 2 * time.Minute
	// rejectPause is how long a token counts that took the place of a refused
	// one: a mail server that refuses that as well has another reason.
	rejectPause = time.Minute
)

// Keeper gives access tokens. It outlives configurations, and is safe for
// concurrent use.
type Keeper struct {
	// Now is the clock.
	Now func() time.Time
	// Transport makes the requests; nil for a copy of [http.DefaultTransport].
	Transport http.RoundTripper

	mu      sync.Mutex
	held    map[string]*held // by Account.memory
	found   map[string]found // by issuer
	logins  map[string]*login
	web     *http.Client
	flights singleflight.Group
}

// held is an access token in memory.
type held struct {
	token    string
	until    time.Time
	rejected time.Time // when the one before was
	unsaved  *unsaved
}

// unsaved is a refresh token that could not be kept.
type unsaved struct {
	record  record
	version int64 // of what it takes the place of
}

// Token returns an access token of a. Where rejected is one that a mail server
// has refused, another is returned; the same one where that was just replaced,
// and another would not help. Values keeps the refresh token.
func (k *Keeper) Token(ctx context.Context, values mailflow.Values, a Account, rejected string) (string, error) {
	if err := a.check(); err != nil {
		return "", err
	}
	key := a.memory()
	if rejected != "" {
		k.reject(key, rejected)
	}
	if token, ok := k.fresh(key); ok {
		return token, nil
	}
	flight := k.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
		defer cancel()
		return k.renew(ctx, values, &a)
	})
	select {
	case result := <-flight:
		if result.Err != nil {
			return "", result.Err
		}
		return result.Val.(string), nil
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for an access token: %w", context.Cause(ctx))
	}
}

// fresh returns the token in memory, if it is good and nothing is to be done.
func (k *Keeper) fresh(key string) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[key]
	if h == nil || h.token == "" || h.unsaved != nil || !k.Now().Before(h.until) {
		return "", false
	}
	return h.token, true
}

// reject forgets a token that a mail server has refused, unless it is there
// since the one before was refused a moment ago.
func (k *Keeper) reject(key, rejected string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h := k.held[key]
	now := k.Now()
	if h == nil || h.token != rejected || now.Sub(h.rejected) < rejectPause {
		return
	}
	h.token, h.rejected = "", now
}

// hold keeps an access token in memory, and what could not be kept elsewhere.
func (k *Keeper) hold(key string, t *oauth2.Token, u *unsaved) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = make(map[string]*held)
	}
	h := k.held[key]
	if h == nil {
		h = new(held)
		k.held[key] = h
	}
	life := lifeOf(t)
	h.token, h.unsaved = t.AccessToken, u
	h.until = k.Now().Add(life - min(early, life/5))
}

// lifeOf returns how long t is good.
func lifeOf(t *oauth2.Token) time.Duration {
	seconds := t.ExpiresIn
	if said, ok := t.Extra("expires_in").(float64); ok && seconds == 0 {
		seconds = int64(said)
	}
	if seconds <= 0 {
		return unknownLife
	}
	return min(time.Duration(min(seconds, int64(maxLife/time.Second)))*time.Second, maxLife)
}

// renew gets a new access token of a, or saves what could not be kept before.
func (k *Keeper) renew(ctx context.Context, values mailflow.Values, a *Account) (string, error) {
	key := a.memory()
	if token, ok := k.fresh(key); ok { // of a flight that has just ended
		return token, nil
	}
	if token, ok := k.save(ctx, values, a); ok {
		return token, nil
	}
	p, err := k.endpoints(ctx, a.Provider)
	if err != nil {
		return "", err
	}
	if a.Grant == GrantClient {
		t, err := a.clientConfig(p).Token(k.with(ctx))
		if err != nil {
			return "", explain("getting an access token for the client", err)
		}
		k.hold(key, t, nil)
		return t.AccessToken, nil
	}
	t, u, err := k.refresh(ctx, values, a, p)
	if err != nil {
		return "", err
	}
	k.hold(key, t, u)
	return t.AccessToken, nil
}

// refresh uses the refresh token, and keeps the one that comes in its place.
func (k *Keeper) refresh(ctx context.Context, values mailflow.Values, a *Account, p Provider) (*oauth2.Token, *unsaved, error) {
	const doing = "refreshing the access token"
	r, version, err := k.kept(ctx, values, a)
	for range maxRaces {
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", doing, err)
		}
		var t *oauth2.Token
		t, err = a.config(p).TokenSource(k.with(ctx), &oauth2.Token{RefreshToken: r.Refresh}).Token()
		if err == nil {
			return t, k.rotate(ctx, values, a, r, version, t), nil
		}
		if err = explain(doing, err); !errors.Is(err, ErrConsent) {
			return nil, nil, err
		}
		// Another process may have used it a moment ago, and kept what came in
		// its place.
		newer, v, again := k.kept(ctx, values, a)
		if again != nil || v == version {
			return nil, nil, err
		}
		r, version, err = newer, v, nil
	}
	return nil, nil, fmt.Errorf("%s: %w", doing, ErrConsent)
}

// kept returns the refresh token of a: what is kept, or what could not be.
func (k *Keeper) kept(ctx context.Context, values mailflow.Values, a *Account) (record, int64, error) {
	r, version, err := read(ctx, values, a.Key())
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.held[a.memory()]; err == nil && h != nil && h.unsaved != nil && h.unsaved.version == version {
		r = h.unsaved.record
	}
	return r, version, err
}

// rotate keeps the refresh token that came with t, if it is another than r,
// which was read at version. It returns what could not be kept. Where somebody
// else was faster, his stays: it is as good.
func (k *Keeper) rotate(ctx context.Context, values mailflow.Values, a *Account, r record, version int64, t *oauth2.Token) *unsaved {
	if t.RefreshToken == "" || t.RefreshToken == r.Refresh {
		return nil
	}
	r = record{Refresh: t.RefreshToken, Obtained: k.Now().UTC()}
	if err := write(ctx, values, a.Key(), r, version); err != nil && !errors.Is(err, mailflow.ErrStale) {
		return &unsaved{record: r, version: version}
	}
	return nil
}

// save tries again to keep what could not be kept. It returns the token in
// memory if that is still good: a login must not fail for the store's sake.
func (k *Keeper) save(ctx context.Context, values mailflow.Values, a *Account) (string, bool) {
	key := a.memory()
	k.mu.Lock()
	h := k.held[key]
	if h == nil || h.unsaved == nil {
		k.mu.Unlock()
		return "", false
	}
	u, token, good := h.unsaved, h.token, h.token != "" && k.Now().Before(h.until)
	k.mu.Unlock()
	err := write(ctx, values, a.Key(), u.record, u.version)
	if err == nil || errors.Is(err, mailflow.ErrStale) {
		k.mu.Lock()
		h.unsaved = nil
		k.mu.Unlock()
	}
	return token, good
}

// with returns ctx for the requests of package oauth2.
func (k *Keeper) with(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, k.client())
}

// client returns what makes the requests. It follows no redirect, since secrets
// are for the endpoint alone.
func (k *Keeper) client() *http.Client {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.web == nil {
		transport := k.Transport
		if standard, ok := http.DefaultTransport.(*http.Transport); ok && transport == nil {
			transport = standard.Clone()
		}
		k.web = &http.Client{
			Transport: transport, Timeout: requestTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return k.web
}
