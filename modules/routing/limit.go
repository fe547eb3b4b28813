// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Limit)) }

// Limit makes the limits of the chosen server and of the message's domain hold
// for a mail. What exceeds them waits in the queue until the period is over.
type Limit struct{}

// CaddyModule returns the Caddy module information.
func (*Limit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.limit", New: func() caddy.Module { return new(Limit) }}
}

// OnlyIn implements mailroute.RouteBound.
func (*Limit) OnlyIn() mailflow.RouteName { return mailflow.Outbound }

// codeLimited says that limits hold for the mail.
const codeLimited = "limited"

// Handle implements mailflow.Handler.
func (*Limit) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	tx.Sending.Limited = true
	tx.Trace.Won(codeLimited, "the limits of the server and the domain hold")
	return next(ctx, tx)
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	limit
func (*Limit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.Handler      = (*Limit)(nil)
	_ mailroute.RouteBound  = (*Limit)(nil)
	_ caddyfile.Unmarshaler = (*Limit)(nil)
)
