// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Unrouted)) }

// unroutedReason is what the unrouted box shows.
const unroutedReason = "nothing in the route claimed it"

// Unrouted puts what no handler claimed into the unrouted box, where an
// operator decides.
type Unrouted struct{}

// CaddyModule returns the Caddy module information.
func (*Unrouted) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.unrouted", New: func() caddy.Module { return new(Unrouted) }}
}

// Handle implements mailflow.Handler.
func (*Unrouted) Handle(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
	claimAll(tx, mailflow.Unroute{Reason: unroutedReason}, "unrouted", unroutedReason)
	return nil
}

// HandleRcpt implements mailflow.RcptHandler.
func (*Unrouted) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return mailflow.ProspectRest, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	unrouted
func (*Unrouted) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	return noBlock(d)
}

var (
	_ mailflow.RcptHandler  = (*Unrouted)(nil)
	_ caddyfile.Unmarshaler = (*Unrouted)(nil)
)
