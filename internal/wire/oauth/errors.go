// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/oauth2"
)

// Errors of a [Keeper], by what has to be done.
var (
	// ErrConsent says that nobody has given consent yet, or that it is over.
	ErrConsent = errors.New("the account's owner has to give consent: run `mailcaddy mail oauth login NAME`, with the name of the server")
	// ErrClient says that the provider refuses the client, its secret, or what
	// it asks for.
	ErrClient = errors.New("check client, secret, scope and tenant against what the provider has registered")
	// ErrUnavailable says that the provider did not answer, or only that it
	// cannot at the moment.
	ErrUnavailable = errors.New("the provider cannot be asked at the moment")
)

// Errors of a login.
var (
	// ErrAsk says that no login can be begun as it is asked for.
	ErrAsk = errors.New("no login can be made like that")
	// ErrNoLogin says that no login waits under that id: it was never begun,
	// it is over, or a newer one has taken its place.
	ErrNoLogin = errors.New("no such login waits; begin again")
	// ErrAnswer says that what was handed to [Keeper.Finish] does not belong to
	// the login. The login goes on.
	ErrAnswer = errors.New("that is not the answer to this login; copy the whole address of the page that the browser was sent to")
)

// maxSaid is the most of what a provider says of an error that is kept, in
// bytes: it stands in logs and in the queue.
const maxSaid = 200

// A ProviderError is an error that the provider answered with (RFC 6749
// section 5.2). It wraps one of the errors above.
type ProviderError struct {
	// Code is the error's code, such as invalid_grant; where there is none,
	// the HTTP status.
	Code string
	// Text is what the provider said beside it, cut short.
	Text string

	kind error
}

// Error says what the provider answered, and what to do.
func (e *ProviderError) Error() string {
	s := "provider answered " + e.Code
	if e.Text != "" {
		s += ", " + e.Text
	}
	return s + ": " + e.kind.Error()
}

// Unwrap returns what is to be done.
func (e *ProviderError) Unwrap() error { return e.kind }

// Codes of errors that have a meaning of their own.
var (
	// consentCodes are of RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section
	// 3.5 and OpenID Connect Core section 3.1.2.6.
	consentCodes = []string{"invalid_grant", "access_denied", "expired_token", "interaction_required", "consent_required", "login_required"}
	// laterCodes are of RFC 6749 section 4.1.2.1 and RFC 8628 section 3.5.
	laterCodes = []string{"temporarily_unavailable", "server_error", "slow_down", "authorization_pending"}
)

// explain makes of an error of a request what its kind is; doing says the
// request in a gerund.
func explain(doing string, err error) error {
	said, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
	}
	status := 0
	if said.Response != nil {
		status = said.Response.StatusCode
	}
	return fmt.Errorf("%s: %w", doing, providerError(said.ErrorCode, said.ErrorDescription, status))
}

// providerError returns the error that a code, its text and the HTTP status
// stand for.
func providerError(code, text string, status int) *ProviderError {
	e := &ProviderError{Code: plain(code), Text: plain(text), kind: ErrClient}
	if code == "" {
		e.Code = fmt.Sprintf("HTTP %d", status)
	}
	switch {
	case slices.Contains(consentCodes, code):
		e.kind = ErrConsent
	case slices.Contains(laterCodes, code), status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
		e.kind = ErrUnavailable
	}
	return e
}

// plain returns what can be shown of a stranger's text: its first line, cut
// short, without what Microsoft puts behind it for its own support.
func plain(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s, _, _ = strings.Cut(s, " Trace ID:")
	if len(s) > maxSaid {
		s = s[:maxSaid]
	}
	return strings.TrimRight(strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "")), " .\r")
}
