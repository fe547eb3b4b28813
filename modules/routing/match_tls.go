// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchTLS)) }

// MatchTLS matches mail that came over TLS to this gateway; what it came over
// before is not known. It needs no content.
type MatchTLS struct {
	// The lowest version that matches: "1.0", "1.1", "1.2" or "1.3".
	// Default: any
	Min string `json:"min,omitempty"`
}

// tlsVersions are the versions of TLS, the lowest first.
var tlsVersions = []string{"1.0", "1.1", "1.2", "1.3"}

// CaddyModule returns the Caddy module information.
func (*MatchTLS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.tls", New: func() caddy.Module { return new(MatchTLS) }}
}

// Provision replaces placeholders.
func (m *MatchTLS) Provision(caddy.Context) error { return expand(&m.Min) }

// Validate checks the version.
func (m *MatchTLS) Validate() error {
	if m.Min == "" {
		return nil
	}
	return among("version of TLS", m.Min, tlsVersions)
}

// Match implements mailflow.Matcher.
func (m *MatchTLS) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	used := tx.Peer.TLS
	if m.Min == "" {
		return used != "", nil
	}
	version := slices.Index(tlsVersions, strings.TrimPrefix(used, "TLS "))
	return version >= 0 && version >= slices.Index(tlsVersions, m.Min), nil
}

// EnvelopeOnly implements mailflow.EnvelopeMatcher.
func (*MatchTLS) EnvelopeOnly() bool { return true }

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	tls [<lowest version>]
//
// as in "tls 1.3".
func (m *MatchTLS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		m.Min = d.Val()
		if err := among("version of TLS", m.Min, tlsVersions); err != nil && !strings.Contains(m.Min, "{") {
			return d.WrapErr(err)
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := noBlock(d); err != nil {
		return err
	}
	if d.Next() {
		return d.Errf("tls stands twice in one matcher")
	}
	return nil
}

var (
	_ caddy.Provisioner        = (*MatchTLS)(nil)
	_ caddy.Validator          = (*MatchTLS)(nil)
	_ mailflow.EnvelopeMatcher = (*MatchTLS)(nil)
	_ caddyfile.Unmarshaler    = (*MatchTLS)(nil)
)
