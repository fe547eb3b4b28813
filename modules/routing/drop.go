// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Drop)) }

// Drop accepts a message and throws it away. The ledger keeps that it was
// dropped and why.
type Drop struct {
	// Why it is dropped, for the ledger.
	// Default: dropped by the route
	Reason string `json:"reason,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Drop) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.drop", New: func() caddy.Module { return new(Drop) }}
}

// Provision sets the defaults.
func (h *Drop) Provision(caddy.Context) error {
	if h.Reason == "" {
		h.Reason = "dropped by the route"
	}
	return expand(&h.Reason)
}

// Handle implements mailflow.Handler.
func (h *Drop) Handle(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
	claimAll(tx, mailflow.Drop{Reason: h.Reason}, "dropped", h.Reason)
	return nil
}

// HandleRcpt implements mailflow.RcptHandler.
func (*Drop) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return mailflow.ProspectMaybe, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	drop [<reason...>]
func (h *Drop) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	h.Reason, err = text(d)
	return err
}

// claimAll claims what is pending, if anything is, and notes why.
func claimAll(tx *mailflow.Transaction, a mailflow.Action, code, why string) {
	if len(tx.Pending()) == 0 {
		return
	}
	tx.Trace.Won(code, why)
	tx.ClaimAll(a)
}

var (
	_ caddy.Provisioner     = (*Drop)(nil)
	_ mailflow.RcptHandler  = (*Drop)(nil)
	_ caddyfile.Unmarshaler = (*Drop)(nil)
)
