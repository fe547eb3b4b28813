// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Handle)) }

// Handle runs a route inside the route, for the recipients that reach it. What
// the inner route leaves undecided goes on behind the block; a handler in it
// that wraps the chain wraps that too.
type Handle struct {
	// The steps of the inner route.
	Steps []mailroute.Step `json:"steps,omitempty"`

	defs   *mailroute.Definitions
	loaded []mailroute.Loaded
	route  mailflow.Route
}

// CaddyModule returns the Caddy module information.
func (*Handle) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.handle", New: func() caddy.Module { return new(Handle) }}
}

// Provision loads the handlers of the inner route.
func (h *Handle) Provision(ctx caddy.Context) (err error) {
	h.loaded, err = mailroute.LoadSteps(ctx, h.Steps)
	return err
}

// UseServices implements mailflow.ServicesUser.
func (h *Handle) UseServices(s *mailflow.Services) (err error) {
	h.route, err = mailroute.Compile(s, "", h.loaded)
	return err
}

// OnlyIn implements mailroute.RouteBound: the block belongs where its handlers
// do.
func (h *Handle) OnlyIn() mailflow.RouteName {
	for _, l := range h.loaded {
		if b, ok := l.Handler.(mailroute.RouteBound); ok && b.OnlyIn() != "" {
			return b.OnlyIn()
		}
	}
	return ""
}

// Handle implements mailflow.Handler.
func (h *Handle) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	return tx.Nest(func() error { return h.route.Run(ctx, tx, next) })
}

// HandleRcpt implements mailflow.RcptHandler.
func (h *Handle) HandleRcpt(ctx context.Context, tx *mailflow.Transaction, rcpt mailflow.Recipient) (mailflow.Prospect, error) {
	return h.route.Prospect(ctx, tx, rcpt)
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	handle {
//		@<name> <matcher> <args...>
//		<handler> [@<name>...] <args...>
//	}
func (h *Handle) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	h.defs = new(mailroute.Definitions)
	h.Steps, err = mailroute.ParseSteps(d, h.defs)
	if err == nil && len(h.Steps) == 0 {
		return d.Errf("handle needs a block with at least one handler")
	}
	return err
}

// Definitions implements mailroute.Definer.
func (h *Handle) Definitions() *mailroute.Definitions { return h.defs }

var (
	_ caddy.Provisioner     = (*Handle)(nil)
	_ mailflow.RcptHandler  = (*Handle)(nil)
	_ mailflow.ServicesUser = (*Handle)(nil)
	_ mailroute.Definer     = (*Handle)(nil)
	_ mailroute.RouteBound  = (*Handle)(nil)
	_ caddyfile.Unmarshaler = (*Handle)(nil)
)
