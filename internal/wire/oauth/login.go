// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// loginLife is the longest time that a login waits for somebody. Providers
// give 5 to 30 minutes.
const loginLife = 30 * time.Minute

// Flow is a way to give consent.
type Flow string

// The flows.
const (
	// FlowDevice is a code that is typed in at a page of the provider.
	FlowDevice Flow = "device"
	// FlowCode is a page of the provider that sends the browser on.
	FlowCode Flow = "code"
	// FlowNone needs nobody: the client's own credentials are enough.
	FlowNone Flow = "none"
)

// Ask says how a login is wanted.
type Ask struct {
	// Flow is the way; empty for the one that fits: FlowDevice where the
	// provider has it for such a client, else FlowCode.
	Flow Flow
	// Redirect is where FlowCode sends the browser on to: a URL of the
	// loopback.
	Redirect string
}

// Login is a login that waits, as somebody is told of it.
type Login struct {
	// ID names it to [Keeper.Finish]. Who knows it may finish it.
	ID string `json:"id,omitempty"`
	// Flow is its way.
	Flow Flow `json:"flow"`
	// URL is the page to open. Code is to be typed in there, in FlowDevice.
	URL  string `json:"url,omitempty"`
	Code string `json:"code,omitempty"`
	// User is the account that the page should be opened as.
	User string `json:"user"`
	// Expires is when it is over.
	Expires time.Time `json:"expires,omitzero"`
}

// login is a login that waits.
type login struct {
	Login

	account  Account
	provider Provider
	values   mailflow.Values
	ask      Ask
	state    string
	verifier string

	cancel context.CancelFunc // of FlowDevice
	done   chan struct{}      // closed at the end of FlowDevice
	err    error              // after done
}

// Begin starts a login of a; one that waits already is over. The error may be
// [ErrAsk], [ErrClient] or [ErrUnavailable]. With [GrantClient] it tries the client's
// credentials instead, and there is nothing to finish.
func (k *Keeper) Begin(ctx context.Context, values mailflow.Values, a Account, ask Ask) (Login, error) {
	if err := a.check(); err != nil {
		return Login{}, err
	}
	if a.Grant == GrantClient {
		if token, ok := k.fresh(a.memory()); ok {
			k.reject(a.memory(), token) // so that it is really tried
		}
		_, err := k.Token(ctx, values, a, "")
		return Login{Flow: FlowNone, User: a.User}, err
	}
	p, err := k.endpoints(ctx, a.Provider)
	if err != nil {
		return Login{}, err
	}
	l := &login{account: a, provider: p, values: values, ask: ask}
	l.ID, l.User, l.Expires = rand.Text(), a.User, k.Now().Add(loginLife)
	if l.Flow, err = choose(p, a.Secret, ask.Flow); err != nil {
		return Login{}, err
	}
	if l.Flow == FlowDevice {
		err = k.beginDevice(ctx, l)
	} else {
		err = l.beginCode()
	}
	if err != nil {
		return Login{}, err
	}
	k.wait(l)
	return l.Login, nil
}

// choose returns the flow that is asked for, or that fits.
func choose(p Provider, secret string, asked Flow) (Flow, error) {
	device := p.DeviceURL != "" && (secret == "" || !p.PublicDevice)
	switch {
	case asked == "" && device:
		return FlowDevice, nil
	case asked == "" && p.AuthURL != "":
		return FlowCode, nil
	case asked == FlowDevice && p.DeviceURL != "", asked == FlowCode && p.AuthURL != "":
		return asked, nil
	case asked != "" && asked != FlowDevice && asked != FlowCode:
		return "", fmt.Errorf("%w: flow %q is none of %q", ErrAsk, plain(string(asked)), []Flow{FlowDevice, FlowCode})
	case asked == FlowDevice:
		return "", fmt.Errorf("%w: %s has no device flow for mail; use the flow %s", ErrAsk, p.Name, FlowCode)
	case asked == FlowCode:
		return "", fmt.Errorf("%w: %s has no page for browsers; use the flow %s", ErrAsk, p.Name, FlowDevice)
	}
	return "", fmt.Errorf("%w: %s has neither a device flow nor a page for browsers", ErrAsk, p.Name)
}

// wait puts l in the place of the login that waits for the same account.
func (k *Keeper) wait(l *login) {
	key := l.account.Key()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.logins == nil {
		k.logins = make(map[string]*login)
	}
	if old := k.logins[key]; old != nil && old.cancel != nil {
		old.cancel()
	}
	k.logins[key] = l
}

// waiting returns the login of that account and id. Error: [ErrNoLogin].
func (k *Keeper) waiting(key, id string) (*login, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.logins[key]
	if l == nil || subtle.ConstantTimeCompare([]byte(l.ID), []byte(id)) != 1 {
		return nil, ErrNoLogin
	}
	return l, nil
}

// forget ends l.
func (k *Keeper) forget(l *login) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key := l.account.Key(); k.logins[key] == l {
		delete(k.logins, key)
	}
}

// Finish ends the login of a that id names, and reports whether it has ended.
// In FlowCode the answer is the address that the browser was sent on to; empty
// to ask only. In FlowDevice it waits until the consent is given or refused, or
// ctx ends: then the login still waits. Errors: [ErrNoLogin], [ErrAnswer] (the
// login waits on), [ErrConsent] if it was refused, [ErrClient],
// [ErrUnavailable].
func (k *Keeper) Finish(ctx context.Context, a Account, id, answer string) (done bool, err error) {
	l, err := k.waiting(a.Key(), id)
	if err != nil {
		return false, err
	}
	if l.Flow == FlowDevice {
		select {
		case <-l.done:
			k.forget(l)
			return true, l.err
		case <-ctx.Done():
			return false, nil
		}
	}
	switch {
	case !k.Now().Before(l.Expires):
		k.forget(l)
		return true, fmt.Errorf("the login took longer than %s: %w", loginLife, ErrNoLogin)
	case answer == "":
		return false, nil
	}
	return k.finishCode(ctx, l, answer)
}

// beginCode makes the address of the page for browsers.
func (l *login) beginCode() error {
	if err := checkRedirect(l.ask.Redirect); err != nil {
		return err
	}
	l.state, l.verifier = rand.Text(), oauth2.GenerateVerifier()
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(l.verifier), oauth2.SetAuthURLParam("login_hint", l.account.User)}
	l.URL = l.config().AuthCodeURL(l.state, append(options, l.provider.extra...)...)
	return nil
}

func (l *login) config() *oauth2.Config {
	c := l.account.config(l.provider)
	c.RedirectURL = l.ask.Redirect
	return c
}

// finishCode reads the address that the browser was sent on to, and exchanges
// the code in it for tokens. A code is good once.
func (k *Keeper) finishCode(ctx context.Context, l *login, answer string) (bool, error) {
	query, err := l.readAnswer(answer)
	if err != nil {
		return false, err
	}
	k.forget(l)
	if code := query.Get("error"); code != "" {
		return true, fmt.Errorf("giving consent: %w", providerError(code, query.Get("error_description"), 0))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
	defer cancel()
	t, err := l.config().Exchange(k.with(ctx), query.Get("code"), oauth2.VerifierOption(l.verifier))
	if err != nil {
		return true, explain("exchanging the consent for a token", err)
	}
	return true, k.settle(ctx, l, t)
}

// readAnswer returns the parameters of an answer that belongs to l.
func (l *login) readAnswer(answer string) (url.Values, error) {
	answer = strings.TrimSpace(answer)
	if _, query, ok := strings.Cut(answer, "?"); ok {
		answer = query
	}
	answer, _, _ = strings.Cut(answer, "#")
	query, err := url.ParseQuery(answer)
	if err != nil || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(l.state)) != 1 {
		return nil, ErrAnswer
	}
	if query.Get("code") == "" && query.Get("error") == "" {
		return nil, ErrAnswer
	}
	if iss := query.Get("iss"); iss != "" && l.provider.Issuer != "" &&
		strings.TrimRight(iss, "/") != strings.TrimRight(l.provider.Issuer, "/") {
		return nil, fmt.Errorf("%w: it comes from %s", ErrAnswer, plain(iss))
	}
	return query, nil
}

// errNoRefresh says that a login would end with its first access token.
var errNoRefresh = errors.New("the provider gave no refresh token: ask for one by `scope`, mostly offline_access")

// settle keeps what a login has brought.
func (k *Keeper) settle(ctx context.Context, l *login, t *oauth2.Token) error {
	if t.RefreshToken == "" {
		return fmt.Errorf("%w: %w", errNoRefresh, ErrClient)
	}
	if err := overwrite(ctx, l.values, l.account.Key(), record{Refresh: t.RefreshToken, Obtained: k.Now().UTC()}); err != nil {
		return err
	}
	k.hold(l.account.memory(), t, nil)
	return nil
}

// Close ends the logins that wait.
func (k *Keeper) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range k.logins {
		if l.cancel != nil {
			l.cancel()
		}
	}
	k.logins = nil
}
