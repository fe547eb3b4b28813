// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap/zapcore"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
)

// Login is a user and the way to prove it.
type Login struct {
	// The SASL mechanism: `plain` or `login`.
	// Default: `plain`.
	Mechanism string `json:"mechanism,omitempty"`

	// The user's name.
	User string `json:"user"`

	// The password; better a placeholder than the word itself.
	Password Secret `json:"password,omitempty"`
}

// mechanisms are those of [Login].
var mechanisms = []string{"plain", "login"}

// MarshalLogObject shows all but the password.
func (l *Login) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("mechanism", l.Mechanism)
	enc.AddString("user", l.User)
	enc.AddString("password", hidden)
	return nil
}

// setUp sets the default of a login; l may be nil, as in all methods here.
func (l *Login) setUp() {
	if l != nil && l.Mechanism == "" {
		l.Mechanism = mechanisms[0]
	}
}

// validate checks l as far as it can be known before placeholders are
// replaced.
func (l *Login) validate() error {
	switch {
	case l == nil:
		return nil
	case !slices.Contains(mechanisms, l.Mechanism):
		return fmt.Errorf("auth %q is none of %q", l.Mechanism, mechanisms)
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
	var mechanism, user, password string
	if !d.Args(&mechanism, &user, &password) {
		return d.ArgErr()
	}
	if !slices.Contains(mechanisms, mechanism) {
		return d.Errf("option auth: %q is none of %q", mechanism, mechanisms)
	}
	h.Auth = &Login{Mechanism: mechanism, User: user, Password: Secret(password)}
	return nil
}
