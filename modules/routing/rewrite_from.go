// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/internal/rule/sender"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(RewriteFrom)) }

// RewriteFrom makes the sender one that the chosen server may send for: an
// author that it may not send for is put into the domain's default_from, with
// the name kept, and the reverse-path becomes the domain's bounce address, or
// what the server insists on. A mail that nobody sends, without From and with
// nobody to take the author's place, is refused.
//
// It stands behind choose_server; before that it has nothing to do.
type RewriteFrom struct {
	behavior mailflow.Behavior
	policies policies
	filters  map[string]relay.Filter
}

// CaddyModule returns the Caddy module information.
func (*RewriteFrom) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.rewrite_from", New: func() caddy.Module { return new(RewriteFrom) }}
}

// UseServices implements mailflow.ServicesUser.
func (h *RewriteFrom) UseServices(s *mailflow.Services) (err error) {
	h.behavior = s.Behavior
	if h.policies, err = newPolicies(s); err != nil {
		return err
	}
	h.filters = make(map[string]relay.Filter, len(s.Servers))
	for i := range s.Servers {
		if h.filters[s.Servers[i].Name], err = serverFilter(&s.Servers[i]); err != nil {
			return err
		}
	}
	return nil
}

// OnlyIn implements mailroute.RouteBound.
func (*RewriteFrom) OnlyIn() mailflow.RouteName { return mailflow.Outbound }

// The codes of the trace, beside those of package sender.
const (
	// codeNoServer says that there is nothing to do, since no server is chosen
	// yet.
	codeNoServer = "no_server_yet"
	codeNoFrom   = "no_from"
)

// Handle implements mailflow.Handler.
func (h *RewriteFrom) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	server := tx.Sending.Server
	if server == nil || tx.Message == nil {
		tx.Trace.Note(codeNoServer, "no server is chosen yet, so that From stays")
		return next(ctx, tx)
	}
	mail := sender.ReadMail(tx.Message.Header, tx.Envelope.From, h.behavior)
	sent, err := sender.Decide(mail, h.policies.of(tx), sender.Hop{
		Step: relay.Step(tx.Sending.Step), Filter: h.filters[server.Name],
		Envelope: server.Envelope, Login: server.Login, NoNullSender: server.NoNullSender,
	})
	for _, n := range sent.Notes {
		switch n.Code {
		case sender.CodeEncapsulated, sender.CodeMissing, sender.CodeReduced, sender.CodeRepaired,
			sender.CodeReplyTo, sender.CodeSender, sender.CodeEnvelope:
			tx.Trace.Won(n.Code, n.Text)
		default: // From stays, or the answer is not Odoo's
			tx.Trace.Note(n.Code, n.Text)
		}
	}
	if err != nil {
		tx.Trace.Won(codeNoFrom, "nobody sends it: there is no address in From, and no default_from")
		return err
	}
	for _, c := range sent.Header {
		tx.ChangeHeader(c)
	}
	tx.SetSender(sent.ReversePath)
	tx.Sending.Author, tx.Sending.PerRecipient = sent.From, sent.PerRecipient
	return next(ctx, tx)
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	rewrite_from
func (*RewriteFrom) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.Handler      = (*RewriteFrom)(nil)
	_ mailflow.ServicesUser = (*RewriteFrom)(nil)
	_ mailroute.RouteBound  = (*RewriteFrom)(nil)
	_ caddyfile.Unmarshaler = (*RewriteFrom)(nil)
)
