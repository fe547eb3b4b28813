// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"context"
	"errors"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// login is a login under way. It turns every error into a reply.
type login struct {
	conn *conn
	mech sasl.Server
}

// newLogin begins a login by mech, which is PLAIN or LOGIN.
func newLogin(a *adapter, mech string) sasl.Server {
	check := func(identity, user, password string) error {
		return a.conn.login(a.session, identity, user, password)
	}
	if mech == "LOGIN" {
		return &login{conn: a.conn, mech: &loginServer{check: check}}
	}
	return &login{conn: a.conn, mech: sasl.NewPlainServer(check)}
}

// Next implements [sasl.Server].
func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = l.mech.Next(response)
	var told *smtp.SMTPError
	if err != nil && !errors.As(err, &told) {
		err = l.conn.instead(errBase64)
	}
	return challenge, done, err
}

// login checks a user and password, and makes the peer wait for a refusal.
func (c *conn) login(s Session, identity, user, password string) error {
	var refused *mailflow.Reply
	if identity != "" && identity != user {
		refused = errBadLogin // nobody acts for somebody else here
	} else {
		err := c.safely(func() error { return s.Auth(c.ctx, user, password) })
		if err == nil {
			c.state.user = true
			return nil
		}
		refused = c.state.answer[0]
	}
	if !refused.Permanent() {
		return c.instead(refused)
	}
	o := &c.server.options
	o.Report(Incident{Kind: AuthFailed, IP: c.client.IP, User: user[:min(len(user), maxShownUser)], Err: refused.Err})
	before := c.counts.auth
	if !o.Exempt(c.client.IP) {
		before = max(before, o.Guesses.count(c.client.IP, o.Now()))
		o.Guesses.failed(c.client.IP, o.Now())
	}
	wait(c.ctx, o.Timeouts.AuthDelay<<min(before, MaxAuthFailures))
	if c.counts.auth++; c.counts.auth >= MaxAuthFailures {
		refused = errTooManyErrors
	}
	return c.instead(refused)
}

// shutOut reports whether the peer has guessed too often to log in now.
func (c *conn) shutOut() bool {
	o := &c.server.options
	if o.MaxGuesses <= 0 || o.Exempt(c.client.IP) || o.Guesses.count(c.client.IP, o.Now()) < o.MaxGuesses {
		return false
	}
	o.Report(Incident{Kind: TooManyGuesses, IP: c.client.IP})
	return true
}

// wait waits for d, or for the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// loginServer is the server's side of LOGIN, which has no RFC: two questions,
// the first of which an initial response answers.
type loginServer struct {
	check  sasl.PlainAuthenticator
	user   []byte
	asked  bool
	second bool
}

// Next implements [sasl.Server].
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case !l.second:
		l.user, l.asked, l.second = response, true, true
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check("", string(l.user), string(response))
}
