// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Hold)) }

// Hold keeps deliveries until an operator releases or drops them. It lets the
// rest of the route decide first: what that wants to deliver is held, as is
// what it leaves undecided; refusals, captures and drops stay as they are.
type Hold struct {
	// Why they are held, for the operator.
	// Default: held by the route
	Reason string `json:"reason,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Hold) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.hold", New: func() caddy.Module { return new(Hold) }}
}

// Provision sets the defaults.
func (h *Hold) Provision(caddy.Context) error {
	if h.Reason == "" {
		h.Reason = "held by the route"
	}
	return expand(&h.Reason)
}

// Handle implements mailflow.Handler.
func (h *Hold) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	if err := next(ctx, tx); err != nil {
		return err
	}
	held := false
	for _, v := range tx.Verdicts() {
		if v.Reply != nil {
			continue
		}
		deliver, ok := v.Action.(mailflow.Deliver)
		if v.Action != nil && (!ok || deliver.Hold != "") {
			continue
		}
		if v.Action == nil && tx.Sending.Server != nil {
			deliver = tx.Sending.Server.Deliver(v.Recipient)
		}
		deliver.Hold = h.Reason
		if err := hold(tx, v.Recipient.Address, deliver); err != nil {
			return fmt.Errorf("holding the delivery to %s: %w", v.Recipient.Address, err)
		}
		held = true
	}
	if held {
		tx.Trace.Won("held", h.Reason)
	}
	return nil
}

// hold claims rcpt for a, in place of what it is claimed for.
func hold(tx *mailflow.Transaction, rcpt mailflow.Address, a mailflow.Deliver) error {
	_, facts, err := tx.Overturn(rcpt)
	if err != nil && !errors.Is(err, mailflow.ErrNotPending) {
		return err
	}
	return tx.Claim(rcpt, a, facts...)
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	hold [<reason...>]
func (h *Hold) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	h.Reason, err = text(d)
	return err
}

var (
	_ caddy.Provisioner     = (*Hold)(nil)
	_ mailflow.Handler      = (*Hold)(nil)
	_ caddyfile.Unmarshaler = (*Hold)(nil)
)
