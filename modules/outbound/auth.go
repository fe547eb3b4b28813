// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap/zapcore"

	"github.com/mailcaddy/mailcaddy/internal/credential"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
)

// Login is a user and the way to prove it.
type Login struct {
	// How it is proven: by the SASL mechanism `plain` or `login`, or by the
	// access tokens of `oauth2`.
	// Default: `plain`; `oauth2` where that is set.
	Mechanism string `json:"mechanism,omitempty"`

	// The user's name.
	User string `json:"user"`

	// The password; better a placeholder than the word itself.
	Password Secret `json:"password,omitempty"`

	// The account at the provider, with `oauth2`.
	OAuth2 *credential.OAuth2 `json:"oauth2,omitempty"`
}

// byToken is the mechanism that has no password.
const byToken = "oauth2"

// mechanisms are those of [Login].
var mechanisms = []string{"plain", "login", byToken}

// MarshalLogObject shows all but the password.
func (l *Login) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("mechanism", l.Mechanism)
	enc.AddString("user", l.User)
	if l.OAuth2 == nil {
		enc.AddString("password", hidden)
		return nil
	}
	enc.AddString("provider", l.OAuth2.Provider)
	enc.AddString("client", l.OAuth2.Client)
	return nil
}

// setUp prepares a login until ctx ends; l may be nil, as in all methods here.
func (l *Login) setUp(ctx context.Context) error {
	if l == nil {
		return nil
	}
	switch {
	case l.Mechanism == "" && l.OAuth2 != nil:
		l.Mechanism = byToken
	case l.Mechanism == "":
		l.Mechanism = mechanisms[0]
	}
	if l.OAuth2 == nil {
		return nil
	}
	return l.OAuth2.SetUp(ctx, credential.SMTP, l.User, time.Now)
}

// validate checks l as far as it can be known before placeholders are
// replaced.
func (l *Login) validate() error {
	switch {
	case l == nil:
		return nil
	case !slices.Contains(mechanisms, l.Mechanism):
		return fmt.Errorf("auth %q is none of %q", l.Mechanism, mechanisms)
	case l.Mechanism == byToken && l.OAuth2 == nil:
		return errors.New("auth oauth2 needs a provider: write auth oauth2 google|microsoft|URL")
	case l.Mechanism == byToken && l.Password != "":
		return errors.New("auth oauth2 takes no password")
	case l.Mechanism == byToken:
		return l.OAuth2.Validate(l.User)
	case l.OAuth2 != nil:
		return fmt.Errorf("auth %s takes no oauth2 account: write auth oauth2", l.Mechanism)
	case l.User == "" || l.Password == "":
		return errors.New("auth needs a user and a password: write auth plain USER {env.PASSWORD}")
	}
	return nil
}

// login returns the login with the placeholders of now; nil if there is none.
func (l *Login) login() (*smtprelay.Login, error) {
	if l == nil {
		return nil, nil
	}
	if l.OAuth2 != nil {
		account, err := l.OAuth2.Account()
		if err != nil {
			return nil, err
		}
		return &smtprelay.Login{User: account.User, Token: l.OAuth2.Token}, nil
	}
	user, err := resolve("user", l.User)
	if err != nil {
		return nil, err
	}
	password, err := resolve("password", string(l.Password))
	if err != nil {
		return nil, err
	}
	return &smtprelay.Login{Mechanism: strings.ToUpper(l.Mechanism), User: user, Password: password}, nil
}

// unmarshalAuth reads the arguments of auth.
func (h *NextHop) unmarshalAuth(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	login := &Login{Mechanism: d.Val()}
	switch {
	case !slices.Contains(mechanisms, login.Mechanism):
		return d.Errf("option auth: %q is none of %q", login.Mechanism, mechanisms)
	case login.Mechanism == byToken:
		login.OAuth2 = new(credential.OAuth2)
		if err := login.OAuth2.ReadBlock(d, &login.User); err != nil {
			return err
		}
	default:
		var password string
		if !d.Args(&login.User, &password) {
			return d.ArgErr()
		}
		login.Password = Secret(password)
	}
	h.Auth = login
	return nil
}
