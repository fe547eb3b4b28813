// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchPurpose)) }

// MatchPurpose matches what the mail is for, as classify finds it; before that
// every mail is transactional.
//
// The JSON is a list of purposes, "transactional" or "mass", of which one has
// to hold.
type MatchPurpose struct{ list }

// CaddyModule returns the Caddy module information.
func (*MatchPurpose) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.purpose", New: func() caddy.Module { return new(MatchPurpose) }}
}

// Provision replaces placeholders.
func (m *MatchPurpose) Provision(caddy.Context) (err error) {
	m.words, err = expandAll(m.words)
	return err
}

// Validate checks the purposes.
func (m *MatchPurpose) Validate() error {
	if len(m.words) == 0 {
		return errors.New("a purpose is missing: transactional or mass")
	}
	for _, w := range m.words {
		if !isPurpose(w) {
			return fmt.Errorf("%q is no purpose; write transactional or mass", w)
		}
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchPurpose) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	return tx.Message != nil && slices.Contains(m.words, tx.Purpose), nil
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	purpose transactional|mass...
func (m *MatchPurpose) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	m.words, err = words(d)
	return err
}

var (
	_ caddy.Provisioner     = (*MatchPurpose)(nil)
	_ caddy.Validator       = (*MatchPurpose)(nil)
	_ mailflow.Matcher      = (*MatchPurpose)(nil)
	_ caddyfile.Unmarshaler = (*MatchPurpose)(nil)
)
