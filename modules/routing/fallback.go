// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Fallback)) }

// Fallback opens a thread for mail that nothing else claims, of the model that
// the `fallback` option of its mailbox names. Mail of other mailboxes goes on.
type Fallback struct{ receiver }

// CaddyModule returns the Caddy module information.
func (*Fallback) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.fallback", New: func() caddy.Module { return new(Fallback) }}
}

// codeFallback is the code of the trace.
const codeFallback = "fallback"

// Handle implements mailflow.Handler.
func (h *Fallback) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	model := tx.Peer.Fallback
	if model == "" || tx.Message == nil || len(tx.Pending()) == 0 {
		return next(ctx, tx)
	}
	for _, r := range tx.Pending() {
		if _, err := h.setAside(tx, r.Address); err != nil {
			return err
		}
	}
	if len(tx.Pending()) == 0 {
		return nil
	}
	w, err := h.writer(ctx, tx)
	if err != nil {
		return err
	}
	author := by(&w, nil)
	tx.Trace.Won(codeFallback, "the mailbox opens threads of "+model)
	tx.ClaimAll(mailflow.PostTo{
		Open: alias.OpenModel(model, tx.Message.Header), Author: author, Follow: author, Kind: mailflow.PostComment,
	})
	return nil
}

// HandleRcpt implements mailflow.RcptHandler.
func (*Fallback) HandleRcpt(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (mailflow.Prospect, error) {
	if tx.Peer.Fallback == "" {
		return mailflow.ProspectNone, nil
	}
	return mailflow.ProspectMaybe, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	fallback
func (*Fallback) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.RcptHandler  = (*Fallback)(nil)
	_ mailflow.ServicesUser = (*Fallback)(nil)
	_ mailroute.RouteBound  = (*Fallback)(nil)
	_ caddyfile.Unmarshaler = (*Fallback)(nil)
)
