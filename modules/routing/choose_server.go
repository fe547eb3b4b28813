// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(ChooseServer)) }

// ChooseServer queues mail for the outgoing server that fits its author: the
// first address in the From field, or the reverse-path where there is none.
// The order is: the address stands in the server's from_filter; the domain
// does; the server has no from_filter; the first by priority. Without any
// server the mail is captured.
type ChooseServer struct {
	servers map[string]*mailflow.Server
	order   []relay.Candidate
}

// CaddyModule returns the Caddy module information.
func (*ChooseServer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.choose_server", New: func() caddy.Module { return new(ChooseServer) }}
}

// UseServices implements mailflow.ServicesUser.
func (h *ChooseServer) UseServices(s *mailflow.Services) error {
	h.servers = make(map[string]*mailflow.Server, len(s.Servers))
	h.order = make([]relay.Candidate, 0, len(s.Servers))
	for i := range s.Servers {
		server := &s.Servers[i]
		filter, err := relay.ParseFilter(server.FromFilter)
		if err != nil {
			return fmt.Errorf("outgoing server %s: from_filter: %w", server.Name, err)
		}
		h.servers[server.Name] = server
		h.order = append(h.order, relay.Candidate{
			Name: server.Name, Priority: server.Priority, Filter: filter, Default: server.Default, Purpose: server.Purpose,
		})
	}
	return nil
}

// OnlyIn implements mailroute.RouteBound.
func (*ChooseServer) OnlyIn() mailflow.RouteName { return mailflow.Outbound }

// Handle implements mailflow.Handler.
func (h *ChooseServer) Handle(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
	pending := tx.Pending()
	if len(pending) == 0 {
		return nil
	}
	choice := relay.Choose(h.order, relay.Mail{Author: authorOf(tx), Purpose: tx.Purpose})
	for _, l := range choice.Losers {
		tx.Trace.Note(string(l.Reason), l.Server+": "+l.Reason.String())
	}
	if choice.Step == relay.StepNone {
		tx.Trace.Won(string(choice.Step), choice.Step.String())
		tx.ClaimAll(mailflow.Capture{Reason: choice.Step.String()})
		return nil
	}
	tx.Trace.Note(string(choice.Step), choice.Server+": "+choice.Step.String())
	tx.Trace.Won("server_chosen", choice.Server)
	server := h.servers[choice.Server]
	for _, r := range pending {
		if err := tx.Claim(r.Address, server.Deliver(r)); err != nil {
			return err
		}
	}
	return nil
}

// authorOf returns the address that sending is judged by.
func authorOf(tx *mailflow.Transaction) mailflow.Address {
	if tx.Message != nil {
		if a := tx.Message.Header.From(); !a.IsNull() {
			return a
		}
	}
	return tx.Sender()
}

// HandleRcpt implements mailflow.RcptHandler.
func (*ChooseServer) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return mailflow.ProspectRest, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	choose_server
func (*ChooseServer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	return noBlock(d)
}

var (
	_ mailflow.RcptHandler  = (*ChooseServer)(nil)
	_ mailflow.ServicesUser = (*ChooseServer)(nil)
	_ mailroute.RouteBound  = (*ChooseServer)(nil)
	_ caddyfile.Unmarshaler = (*ChooseServer)(nil)
)
