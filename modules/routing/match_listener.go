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

func init() { caddy.RegisterModule(new(MatchListener)) }

// MatchListener matches the listener or fetcher by which a message came. It
// needs no content.
//
// The JSON is a list of names, of which one has to hold.
type MatchListener struct{ list }

// CaddyModule returns the Caddy module information.
func (*MatchListener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.listener", New: func() caddy.Module { return new(MatchListener) }}
}

// Validate checks the names.
func (m *MatchListener) Validate() error {
	if len(m.words) == 0 || slices.Contains(m.words, "") {
		return errors.New("the name of a listener is missing")
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchListener) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	return slices.Contains(m.words, tx.Peer.Listener), nil
}

// EnvelopeOnly implements mailflow.EnvelopeMatcher.
func (*MatchListener) EnvelopeOnly() bool { return true }

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	listener <name>...
func (m *MatchListener) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	m.words, err = words(d)
	return err
}

var (
	_ caddy.Validator          = (*MatchListener)(nil)
	_ mailflow.EnvelopeMatcher = (*MatchListener)(nil)
	_ caddyfile.Unmarshaler    = (*MatchListener)(nil)
)
