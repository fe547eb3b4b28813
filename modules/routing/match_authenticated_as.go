// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchAuthenticatedAs)) }

// MatchAuthenticatedAs matches the user who logged in. It needs no content.
//
// The JSON is a list of user names, of which one has to hold; "*" is any user.
// A peer that did not log in does not match.
type MatchAuthenticatedAs struct{ list }

// CaddyModule returns the Caddy module information.
func (*MatchAuthenticatedAs) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.authenticated_as", New: func() caddy.Module { return new(MatchAuthenticatedAs) }}
}

// Provision replaces placeholders.
func (m *MatchAuthenticatedAs) Provision(caddy.Context) (err error) {
	m.words, err = expandAll(m.words)
	return err
}

// Validate checks the names.
func (m *MatchAuthenticatedAs) Validate() error {
	if len(m.words) == 0 || slices.Contains(m.words, "") {
		return errors.New("a user name is missing")
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchAuthenticatedAs) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	user := tx.Peer.User
	return user != "" && (slices.Contains(m.words, user) || slices.Contains(m.words, "*")), nil
}

// EnvelopeOnly implements mailflow.EnvelopeMatcher.
func (*MatchAuthenticatedAs) EnvelopeOnly() bool { return true }

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	authenticated_as <user|*>...
func (m *MatchAuthenticatedAs) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	m.words, err = words(d)
	return err
}

var (
	_ caddy.Provisioner        = (*MatchAuthenticatedAs)(nil)
	_ caddy.Validator          = (*MatchAuthenticatedAs)(nil)
	_ mailflow.EnvelopeMatcher = (*MatchAuthenticatedAs)(nil)
	_ caddyfile.Unmarshaler    = (*MatchAuthenticatedAs)(nil)
)
