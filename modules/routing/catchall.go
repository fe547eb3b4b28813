// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/internal/rule/reply"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Catchall)) }

// Catchall ends what came to a catchall address and answers nothing: such an
// address collects answers and has no other use. The mail is refused with that
// explanation. Former names of the address count too. An answer to a message
// of ours that belongs to no thread is left to the handlers behind.
//
// It stands behind replies and aliases.
type Catchall struct{ receiver }

// CaddyModule returns the Caddy module information.
func (*Catchall) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.catchall", New: func() caddy.Module { return new(Catchall) }}
}

// The codes of the trace, beside those of package alias.
const (
	codeCatchallUnroutable = "catchall_and_unroutable"
	codeAnswersMessage     = "answers_message"
)

// Handle implements mailflow.Handler.
func (h *Catchall) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	if tx.Message == nil {
		return next(ctx, tx)
	}
	if h.odoo() {
		h.handleOdoo(tx)
		return next(ctx, tx)
	}
	for _, r := range tx.Pending() {
		d, is := h.isCatchall(r.Address)
		if !is {
			continue
		}
		if err := h.end(tx, r.Address, d); err != nil {
			return err
		}
	}
	return next(ctx, tx)
}

// end decides about the catchall address rcpt of d.
func (h *Catchall) end(tx *mailflow.Transaction, rcpt mailflow.Address, d *mailflow.Domain) error {
	if aside, err := h.setAside(tx, rcpt); aside {
		return err
	}
	for _, n := range reply.Quotes(tx.Message.Header, h.behavior).Names(tx.Tokens, h.behavior) {
		if n.Message != "" {
			tx.Trace.Note(codeAnswersMessage, "it answers the message "+n.Message+", which is in no thread")
			return nil
		}
	}
	return refuse(tx, rcpt, alias.CodeCatchall, alias.Reply(alias.CodeCatchall, rcpt, "", d))
}

// handleOdoo refuses what is written to catchall addresses alone, and what is
// written to one and can go nowhere else.
func (h *Catchall) handleOdoo(tx *mailflow.Transaction) {
	if len(tx.Pending()) == 0 {
		return
	}
	all, some := h.onlyCatchall(tx)
	code := alias.CodeCatchall
	switch {
	case all:
	case some && tx.Peer.Fallback == "":
		code = codeCatchallUnroutable
	default:
		return
	}
	for _, a := range direct(tx) {
		if d, is := h.isCatchall(a); is {
			refusal := alias.Reply(alias.CodeCatchall, a, "", d)
			tx.Trace.Won(code, a.String()+": "+refusal.Text)
			tx.RefuseAll(refusal)
			return
		}
	}
}

// HandleRcpt implements mailflow.RcptHandler.
func (h *Catchall) HandleRcpt(_ context.Context, _ *mailflow.Transaction, rcpt mailflow.Recipient) (mailflow.Prospect, error) {
	if _, is := h.isCatchall(rcpt.Address); is {
		return mailflow.ProspectMaybe, nil
	}
	return mailflow.ProspectNone, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	catchall
func (*Catchall) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.RcptHandler  = (*Catchall)(nil)
	_ mailflow.ServicesUser = (*Catchall)(nil)
	_ mailroute.RouteBound  = (*Catchall)(nil)
	_ caddyfile.Unmarshaler = (*Catchall)(nil)
)
