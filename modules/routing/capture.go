// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Capture)) }

// Capture keeps and shows mail that is to be sent, and never sends it.
type Capture struct {
	// Why it is not sent.
	// Default: captured by the route
	Reason string `json:"reason,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Capture) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.capture", New: func() caddy.Module { return new(Capture) }}
}

// Provision sets the defaults.
func (h *Capture) Provision(caddy.Context) error {
	if h.Reason == "" {
		h.Reason = "captured by the route"
	}
	return expand(&h.Reason)
}

// OnlyIn implements mailroute.RouteBound.
func (*Capture) OnlyIn() mailflow.RouteName { return mailflow.Outbound }

// Handle implements mailflow.Handler.
func (h *Capture) Handle(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
	claimAll(tx, mailflow.Capture{Reason: h.Reason}, "captured", h.Reason)
	return nil
}

// HandleRcpt implements mailflow.RcptHandler.
func (*Capture) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return mailflow.ProspectRest, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	capture [<reason...>]
func (h *Capture) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	h.Reason, err = text(d)
	return err
}

var (
	_ caddy.Provisioner     = (*Capture)(nil)
	_ mailflow.RcptHandler  = (*Capture)(nil)
	_ mailroute.RouteBound  = (*Capture)(nil)
	_ caddyfile.Unmarshaler = (*Capture)(nil)
)
