// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Sign)) }

// Sign has a mail signed (DKIM) with the keys of the domain of its final From.
// A domain of ours without a key, or one that is not ours, leaves it unsigned.
//
// It stands behind rewrite_from; before that the From is the author's.
type Sign struct {
	domains  mailflow.Domains
	behavior mailflow.Behavior
}

// CaddyModule returns the Caddy module information.
func (*Sign) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.sign", New: func() caddy.Module { return new(Sign) }}
}

// UseServices implements mailflow.ServicesUser.
func (h *Sign) UseServices(s *mailflow.Services) error {
	h.domains, h.behavior = s.Domains, s.Behavior
	return nil
}

// OnlyIn implements mailroute.RouteBound.
func (*Sign) OnlyIn() mailflow.RouteName { return mailflow.Outbound }

// The codes of the trace.
const (
	codeSigned   = "signed"
	codeUnsigned = "unsigned"
)

// Handle implements mailflow.Handler.
func (h *Sign) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	author := tx.Sending.Author
	if author.IsNull() {
		author = authorOf(tx, h.behavior).Address
	}
	switch d := h.domains.Find(author.Domain); {
	case d == nil:
		tx.Trace.Won(codeUnsigned, "the domain of From is none of ours")
	case !d.Signs:
		tx.Trace.Won(codeUnsigned, d.Name+" has no key")
	default:
		tx.Sending.SignAs = d.Name
		tx.Trace.Won(codeSigned, "with the keys of "+d.Name)
	}
	return next(ctx, tx)
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	sign
func (*Sign) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.Handler      = (*Sign)(nil)
	_ mailflow.ServicesUser = (*Sign)(nil)
	_ mailroute.RouteBound  = (*Sign)(nil)
	_ caddyfile.Unmarshaler = (*Sign)(nil)
)
