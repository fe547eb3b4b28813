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

func init() { caddy.RegisterModule(new(MatchRcpt)) }

// MatchRcpt matches recipients, each on its own: a handler with this matcher
// acts on just those that match. It needs no content.
//
// The JSON is a list of patterns, of which one has to match: an address
// ("anna@example.com"), a domain ("example.com" or "*@example.com"), or the
// sub-domains of one ("*.example.com"). Upper and lower case, unicode and
// punycode make no difference.
type MatchRcpt struct {
	list
	filter relay.Filter
}

// CaddyModule returns the Caddy module information.
func (*MatchRcpt) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.rcpt", New: func() caddy.Module { return new(MatchRcpt) }}
}

// Provision reads the patterns.
func (m *MatchRcpt) Provision(caddy.Context) (err error) {
	if m.filter, err = addressFilter(m.words); err != nil {
		return fmt.Errorf("reading patterns: %w", err)
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchRcpt) Match(_ context.Context, _ *mailflow.Transaction, rcpt mailflow.Recipient) (bool, error) {
	return m.filter.Match(rcpt.Address), nil
}

// EnvelopeOnly implements mailflow.EnvelopeMatcher.
func (*MatchRcpt) EnvelopeOnly() bool { return true }

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	rcpt <address|domain|*@domain|*.domain>...
func (m *MatchRcpt) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	m.words, err = words(d)
	return err
}

var (
	_ caddy.Provisioner        = (*MatchRcpt)(nil)
	_ mailflow.EnvelopeMatcher = (*MatchRcpt)(nil)
	_ caddyfile.Unmarshaler    = (*MatchRcpt)(nil)
)
