// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/rule/auto"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchAutomatic)) }

// MatchAutomatic matches mail that a machine sent by itself (RFC 3834), by what
// its header says. It needs the content. The kinds are
//
//	replied    answers a mail without a person: a vacation notice
//	receipt    says that a mail was read, or deleted unread
//	report     says what became of a mail on its way, or complains about one
//	generated  sent by a machine, but as no answer: a bill, an alarm
//	bulk       goes to many: a newsletter, a list
//
// The JSON is a list of kinds, of which one has to hold; an empty one is any.
type MatchAutomatic struct{ list }

// automaticKinds are the kinds that can be matched.
var automaticKinds = []string{
	string(auto.Replied), string(auto.Receipt), string(auto.Report), string(auto.Generated), string(auto.Bulk),
}

// CaddyModule returns the Caddy module information.
func (*MatchAutomatic) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.automatic", New: func() caddy.Module { return new(MatchAutomatic) }}
}

// Provision replaces placeholders.
func (m *MatchAutomatic) Provision(caddy.Context) (err error) {
	m.words, err = expandAll(m.words)
	return err
}

// Validate checks the kinds.
func (m *MatchAutomatic) Validate() error {
	for _, w := range m.words {
		if err := among("kind of automatic mail", w, automaticKinds); err != nil {
			return err
		}
	}
	return nil
}

// Match implements mailflow.Matcher.
func (m *MatchAutomatic) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	if tx.Message == nil {
		return false, nil
	}
	kind, _ := auto.Of(tx.Message.Header)
	return kind.Automatic() && (len(m.words) == 0 || slices.Contains(m.words, string(kind))), nil
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	automatic [replied|receipt|report|generated|bulk...]
//
// Without a kind any automatic mail matches.
func (m *MatchAutomatic) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	m.words = []string{}
	for d.Next() { // consume directive name
		for _, kind := range d.RemainingArgs() {
			if err := among("kind of automatic mail", kind, automaticKinds); err != nil && !strings.Contains(kind, "{") {
				return d.WrapErr(err)
			}
			m.words = append(m.words, kind)
		}
		if err := noBlock(d); err != nil {
			return err
		}
	}
	return nil
}

var (
	_ caddy.Provisioner     = (*MatchAutomatic)(nil)
	_ caddy.Validator       = (*MatchAutomatic)(nil)
	_ mailflow.Matcher      = (*MatchAutomatic)(nil)
	_ caddyfile.Unmarshaler = (*MatchAutomatic)(nil)
)
