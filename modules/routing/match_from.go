// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchFrom)) }

// MatchFrom matches the author of a message: the first address in the From
// field, or the reverse-path where there is none. It needs the content.
//
// The JSON is a list of patterns, of which one has to match: an address
// ("anna@example.com"), a domain ("example.com" or "*@example.com"), or the
// sub-domains of one ("*.example.com"). Upper and lower case, unicode and
// punycode make no difference. A domain is not written "@example.com", since
// that is the name of a matcher.
type MatchFrom struct {
	list
	filter relay.Filter
}

// CaddyModule returns the Caddy module information.
func (*MatchFrom) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.from", New: func() caddy.Module { return new(MatchFrom) }}
}

// Provision reads the patterns.
func (m *MatchFrom) Provision(caddy.Context) (err error) {
	if m.filter, err = addressFilter(m.words); err != nil {
		return fmt.Errorf("reading patterns: %w", err)
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchFrom) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	return tx.Message != nil && m.filter.Match(authorOf(tx, mailflow.BehaviorDocumented).Address), nil
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	from <address|domain|*@domain|*.domain>...
func (m *MatchFrom) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	m.words, err = words(d)
	return err
}

var (
	_ caddy.Provisioner     = (*MatchFrom)(nil)
	_ mailflow.Matcher      = (*MatchFrom)(nil)
	_ caddyfile.Unmarshaler = (*MatchFrom)(nil)
)
