// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchNot)) }

// MatchNot matches what none of its sets matches. A set matches when all of
// its matchers do. Where one of them needs the content, so does this.
//
// The JSON is a list of sets, each a map of matchers by name.
type MatchNot struct {
	sets   []caddy.ModuleMap
	loaded []mailflow.Matcher
	blind  bool // needs the content
}

// CaddyModule returns the Caddy module information.
func (*MatchNot) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.not", New: func() caddy.Module { return new(MatchNot) }}
}

// MarshalJSON implements json.Marshaler.
func (m MatchNot) MarshalJSON() ([]byte, error) { return json.Marshal(m.sets) }

// UnmarshalJSON implements json.Unmarshaler.
func (m *MatchNot) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &m.sets) }

// Provision loads the matchers.
func (m *MatchNot) Provision(ctx caddy.Context) error {
	if len(m.sets) == 0 {
		return errors.New("there is nothing to negate")
	}
	for _, raw := range m.sets {
		set, err := mailroute.LoadMatcherSet(ctx, raw)
		if err != nil {
			return err
		}
		for _, member := range set {
			m.blind = m.blind || !mailflow.EnvelopeOnly(member)
		}
		m.loaded = append(m.loaded, set)
	}
	return nil
}

// UseServices implements mailflow.ServicesUser.
func (m *MatchNot) UseServices(s *mailflow.Services) error {
	return mailroute.UseServices(s, m.loaded...)
}

// Match implements mailflow.Matcher.
func (m *MatchNot) Match(ctx context.Context, tx *mailflow.Transaction, rcpt mailflow.Recipient) (bool, error) {
	if m.blind && tx.Message == nil {
		return false, nil
	}
	for _, set := range m.loaded {
		if ok, err := set.Match(ctx, tx, rcpt); ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// EnvelopeOnly implements mailflow.EnvelopeMatcher.
func (m *MatchNot) EnvelopeOnly() bool { return !m.blind }

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	not <matcher> <args...>
//
// or, for several that must not all hold at once:
//
//	not {
//		<matcher> <args...>
//	}
//
// Several "not" must hold each.
func (m *MatchNot) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() { // consume directive name
		set, err := mailroute.ParseMatcherSet(d)
		if err != nil {
			return err
		}
		m.sets = append(m.sets, set)
	}
	return nil
}

var (
	_ caddy.Provisioner        = (*MatchNot)(nil)
	_ mailflow.EnvelopeMatcher = (*MatchNot)(nil)
	_ mailflow.ServicesUser    = (*MatchNot)(nil)
	_ caddyfile.Unmarshaler    = (*MatchNot)(nil)
)
