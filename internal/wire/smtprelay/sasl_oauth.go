// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The mechanisms that prove a user by an access token of OAuth2.
const (
	// xoauth2 is what Google and Microsoft document for their servers.
	xoauth2 = "XOAUTH2"
	// oauthbearer is the standard (RFC 7628).
	oauthbearer = "OAUTHBEARER"
)

// tokenMechanisms are those mechanisms, in the order of preference: what the
// large providers document comes first.
var tokenMechanisms = []string{xoauth2, oauthbearer}

// tokenSteps is the most lines of one login by token: the command, the
// response to a server that does not take it there, and the end of a failure.
const tokenSteps = 3

// A TokenError says that the server refused an access token. The [StageError]
// that it comes with holds the reply.
type TokenError struct {
	// Status and Scope are what the server said of the reason: a status such
	// as "invalid_token" or "400", and the scope that a token needs. Both may
	// be empty.
	Status, Scope string
}

// Error says the status, and the scope if the server named one.
func (e *TokenError) Error() string {
	s := "server refused the access token"
	if e.Status != "" {
		s += ", status " + e.Status
	}
	if e.Scope != "" {
		s += ", it wants the scope " + e.Scope
	}
	return s
}

// authToken logs in with an access token. A token that the server refuses is
// replaced once: it may have been revoked before its time.
func (c *Conn) authToken(ctx context.Context, l *Login) error {
	i := slices.IndexFunc(tokenMechanisms, func(m string) bool { return slices.Contains(c.ext.Auth, m) })
	if i < 0 {
		return broken(StageAuth, fmt.Errorf("%w: %q, it offers %q", ErrMechanism, tokenMechanisms, c.ext.Auth))
	}
	token, err := l.Token(ctx, "")
	if err != nil {
		return broken(StageAuth, err)
	}
	refusal := c.presentToken(tokenMechanisms[i], l.User, token)
	at, ok := errors.AsType[*StageError](refusal)
	if !ok || at.Reply == nil || !at.Reply.Permanent() {
		return refusal
	}
	fresh, err := l.Token(ctx, token)
	switch {
	case err != nil:
		return broken(StageAuth, err)
	case fresh == token || c.dead:
		return refusal
	}
	return c.presentToken(tokenMechanisms[i], l.User, fresh)
}

// presentToken makes one try to log in by a token mechanism.
func (c *Conn) presentToken(mechanism, user, token string) error {
	if !checkWord(user) || !checkWord(token) {
		return broken(StageAuth, errors.New("the user or the access token has a blank or a control character in it"))
	}
	response, refusal := encode(c.tokenResponse(mechanism, user, token)), new(TokenError)
	line, given := "AUTH "+mechanism+" "+response, false
	for range tokenSteps {
		rep, err := c.command(c.cfg.Timeouts.Command, line)
		switch {
		case err != nil:
			return broken(StageAuth, err)
		case rep.code == 235:
			return nil
		case rep.code != 334:
			return &StageError{Stage: StageAuth, Reply: rep.public(), Err: refusal}
		case strings.TrimSpace(rep.lines[0]) == "" && !given:
			line, given = response, true // it takes no response with the command
		default:
			refusal = parseChallenge(rep.lines[0])
			line, given = failureResponse(mechanism), true
		}
	}
	return broken(StageAuth, fmt.Errorf("%w: another challenge after the login had failed", errGarbage))
}

// tokenResponse returns the client's response, before base64.
func (c *Conn) tokenResponse(mechanism, user, token string) string {
	const end = "\x01"
	if mechanism == xoauth2 {
		return "user=" + user + end + "auth=Bearer " + token + end + end
	}
	// RFC 7628 section 3.1; the user's name as in RFC 5801 section 4.
	s := "n,a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user) + "," + end
	if c.cfg.Path == "" {
		s += "host=" + c.cfg.Host + end + "port=" + strconv.Itoa(int(c.cfg.Port)) + end
	}
	return s + "auth=Bearer " + token + end + end
}

// failureResponse answers the challenge that tells of a failure, so that the
// server says its reply: a single ^A (RFC 7628 section 3.2.3), in XOAUTH2 an
// empty line.
func failureResponse(mechanism string) string {
	if mechanism == oauthbearer {
		return encode("\x01")
	}
	return ""
}

// maxChallengeWord is the most of one value in a challenge that is kept, in
// bytes: it stands in an error that an operator reads.
const maxChallengeWord = 128

// parseChallenge reads what a server says of a failure: JSON in base64 (RFC
// 7628 section 3.2.2). One that cannot be read says nothing; the reply follows.
func parseChallenge(text string) *TokenError {
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		raw, err = base64.RawStdEncoding.DecodeString(strings.TrimSpace(text))
	}
	var said struct {
		Status string `json:"status"`
		Scope  string `json:"scope"`
	}
	if err != nil || json.Unmarshal(raw, &said) != nil {
		return new(TokenError)
	}
	return &TokenError{
		Status: cut(printable(said.Status), maxChallengeWord),
		Scope:  cut(printable(said.Scope), maxChallengeWord),
	}
}
