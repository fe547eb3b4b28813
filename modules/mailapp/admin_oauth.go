// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/credential"
	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/internal/wire/oauth"
)

const (
	// finishWait is how long a request waits for a consent that is given
	// elsewhere. The client asks again.
	finishWait = 20 * time.Second
	// maxAnswer bounds what a browser was sent on with: a code of some hundred
	// bytes, a state, and the scopes.
	maxAnswer = 8 << 10
)

// accountFinder returns the OAuth2 account of the server of that name.
type accountFinder func(server string) (*credential.OAuth2, error)

// oauthRoutes are the endpoints of logins by OAuth2.
//
//	POST /mail/oauth/NAME/begin    what somebody has to open: flow, redirect
//	POST /mail/oauth/NAME/finish   whether it is done: id, answer
//
// Over TCP nobody has to prove who he is, as with all of Caddy's admin API
// there, which also takes whole configurations. So begin and finish give nobody
// a token or a secret: the tokens stay in the gateway. Who begins a login gets
// its id, and only who has that can finish it; the browser's answer has to bear
// the state and match the verifier of that login. There is one login at a time
// for an account, the newest, for half an hour. A stranger on this machine
// could end a login that waits, or give the consent of an account of his own;
// what is kept is replaced only by a consent, and the mail server refuses a
// token whose account is not the configured user's. Where that is too much, set
// `admin unix//path/to/socket`.
func oauthRoutes(find accountFinder) []caddy.AdminRoute {
	return []caddy.AdminRoute{
		on(http.MethodPost, "/mail/oauth/{name}/begin", find.begin),
		on(http.MethodPost, "/mail/oauth/{name}/finish", find.finish),
	}
}

// begin answers POST /mail/oauth/NAME/begin with an [oauth.Login].
func (find accountFinder) begin(w http.ResponseWriter, r *http.Request) error {
	args, err := arguments(w, r, "flow", "redirect")
	if err != nil {
		return err
	}
	account, err := find(r.PathValue("name"))
	if err != nil {
		return refusal(err)
	}
	// The admin server's read timeout would end the request's own context.
	login, err := account.Begin(context.WithoutCancel(r.Context()), oauth.Ask{Flow: oauth.Flow(args["flow"]), Redirect: args["redirect"]})
	if err != nil {
		return loginRefusal(err)
	}
	return reply(w, http.StatusOK, login)
}

// loginState is what finish answers with.
type loginState struct {
	// Done is set when the consent is kept. Until then the login waits.
	Done bool `json:"done"`
	// Problem says what is wrong with an answer; another may follow.
	Problem string `json:"problem,omitempty"`
}

// finish answers POST /mail/oauth/NAME/finish with a [loginState].
func (find accountFinder) finish(w http.ResponseWriter, r *http.Request) error {
	args, err := arguments(w, r, "id", "answer")
	if err != nil {
		return err
	}
	if len(args["answer"]) > maxAnswer {
		return apiError(http.StatusBadRequest, "answer is longer than %d bytes", maxAnswer)
	}
	account, err := find(r.PathValue("name"))
	if err != nil {
		return refusal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), finishWait)
	defer cancel()
	done, err := account.Finish(ctx, args["id"], args["answer"])
	switch {
	case errors.Is(err, oauth.ErrAnswer):
		return reply(w, http.StatusOK, loginState{Problem: err.Error()})
	case err != nil:
		return loginRefusal(err)
	}
	return reply(w, http.StatusOK, loginState{Done: done})
}

// loginRefusal returns err of a login as the answer that its kind deserves.
func loginRefusal(err error) error {
	var status int
	switch {
	case errors.Is(err, oauth.ErrNoLogin):
		status = http.StatusNotFound
	case errors.Is(err, oauth.ErrAsk):
		status = http.StatusBadRequest
	case errors.Is(err, oauth.ErrUnavailable):
		status = http.StatusBadGateway
	case errors.Is(err, oauth.ErrConsent), errors.Is(err, oauth.ErrClient):
		status = http.StatusConflict
	default:
		return refusal(err)
	}
	return apiError(status, "%w", err)
}

// liveAccount returns the account of an outgoing server of the configuration
// that runs now.
func liveAccount(server string) (*credential.OAuth2, error) {
	app, err := caddy.ActiveContext().AppIfConfigured("mail")
	a, ok := app.(*App)
	if err != nil || !ok || a.engine == nil {
		return nil, engine.ErrNotRunning
	}
	return accountOf(a.config.Servers, server)
}

// accountOf returns the account of the server of that name.
func accountOf(servers map[string]*engine.Server, name string) (*credential.OAuth2, error) {
	var able []string
	for _, n := range slices.Sorted(maps.Keys(servers)) {
		if user, ok := servers[n].Transport.(credential.OAuth2User); ok && user.OAuth2() != nil {
			able = append(able, n)
		}
	}
	switch {
	case slices.Contains(able, name):
		return servers[name].Transport.(credential.OAuth2User).OAuth2(), nil
	case len(able) == 0:
		return nil, apiError(http.StatusNotFound, "no outgoing server logs in with OAuth2; write auth oauth2 in its via")
	case servers[name] != nil:
		return nil, apiError(http.StatusConflict, "outgoing server %q does not log in with OAuth2; these do: %s", name, joined(able))
	}
	return nil, apiError(http.StatusNotFound, "no outgoing server is named %q; with OAuth2 there are: %s", name, joined(able))
}
