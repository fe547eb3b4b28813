// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/internal/rule/sender"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(ChooseServer)) }

// ChooseServer queues mail for the outgoing server that fits its author: the
// first address in the From field, or the reverse-path where there is none.
// The order is: the address stands in the server's from_filter; the domain
// does; the server has no from_filter; the address of default_from stands
// there; its domain does; the first by priority. Servers that are dedicated to
// the purpose of the mail come before all others, and a server that is down
// gives way to the next one that may carry the mail. Without any server the
// mail is captured.
//
// The handlers behind it in the route say how the mail leaves by that server;
// what they leave pending is queued when they are done.
type ChooseServer struct {
	behavior mailflow.Behavior
	policies policies
	servers  map[string]*mailflow.Server
	order    []relay.Candidate
}

// CaddyModule returns the Caddy module information.
func (*ChooseServer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.choose_server", New: func() caddy.Module { return new(ChooseServer) }}
}

// UseServices implements mailflow.ServicesUser.
func (h *ChooseServer) UseServices(s *mailflow.Services) (err error) {
	h.behavior = s.Behavior
	if h.policies, err = newPolicies(s); err != nil {
		return err
	}
	h.servers = make(map[string]*mailflow.Server, len(s.Servers))
	h.order = make([]relay.Candidate, 0, len(s.Servers))
	for i := range s.Servers {
		server := &s.Servers[i]
		filter, err := serverFilter(server)
		if err != nil {
			return err
		}
		h.servers[server.Name] = server
		h.order = append(h.order, relay.Candidate{
			Name: server.Name, Priority: server.Priority, Filter: filter, Default: server.Default, Purpose: server.Purpose,
		})
	}
	return nil
}

// serverFilter reads the filter of a server.
func serverFilter(s *mailflow.Server) (relay.Filter, error) {
	f, err := relay.ParseFilter(s.FromFilter)
	if err != nil {
		return f, fmt.Errorf("outgoing server %s: from_filter: %w", s.Name, err)
	}
	return f, nil
}

// OnlyIn implements mailroute.RouteBound.
func (*ChooseServer) OnlyIn() mailflow.RouteName { return mailflow.Outbound }

// The codes of the trace; the steps and reasons of package relay are others.
const (
	codeChosen = "server_chosen"
	codeWaits  = "server_waits"
)

// Handle implements mailflow.Handler.
func (h *ChooseServer) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	if len(tx.Pending()) == 0 {
		return nil
	}
	author, policy := authorOf(tx, h.behavior).Address, h.policies.of(tx)
	mail := relay.Mail{
		Behavior: h.behavior, Purpose: tx.Purpose,
		Author: author, DefaultFrom: policy.DefaultFrom, Keeps: policy.Keeps(author),
	}
	if tx.Servers != nil {
		mail.Down = tx.Servers.Down
	}
	choice := relay.Choose(h.order, mail)
	h.explain(tx, mail, &choice)
	if choice.Step == relay.StepNone {
		tx.ClaimAll(mailflow.Capture{Reason: choice.Step.String()})
		return nil
	}
	server := h.servers[choice.Server]
	tx.Sending.Server, tx.Sending.Step = server, string(choice.Step)
	if err := next(ctx, tx); err != nil {
		return err
	}
	for _, r := range tx.Pending() {
		if err := tx.Claim(r.Address, server.Deliver(r)); err != nil {
			return err
		}
	}
	return nil
}

// explain writes the choice into the trace.
func (h *ChooseServer) explain(tx *mailflow.Transaction, mail relay.Mail, choice *relay.Choice) {
	for _, l := range choice.Losers {
		text := l.Server + ": " + l.Reason.String()
		if l.Down != "" {
			text += ": " + l.Down
		}
		tx.Trace.Note(string(l.Reason), text)
	}
	if choice.Step == relay.StepNone {
		tx.Trace.Won(string(choice.Step), choice.Step.String())
		return
	}
	tx.Trace.Note(string(choice.Step), choice.Server+": "+choice.Step.String())
	tx.Trace.Won(codeChosen, choice.Server)
	if choice.Waits != "" {
		tx.Trace.Note(codeWaits, choice.Server+" is down and no other server may carry the mail: "+choice.Waits)
	}
	if h.behavior != mailflow.BehaviorOdoo {
		return
	}
	for i := range h.order {
		if f := &h.order[i].Filter; f.MatchBelow(mail.Author) || f.MatchBelow(mail.DefaultFrom) {
			tx.Trace.Note(sender.FixFilterSyntax, h.order[i].Name+": *. in its from_filter means sub-domains")
		}
	}
}

// HandleRcpt implements mailflow.RcptHandler.
func (*ChooseServer) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return mailflow.ProspectRest, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	choose_server
func (*ChooseServer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

var (
	_ mailflow.RcptHandler  = (*ChooseServer)(nil)
	_ mailflow.ServicesUser = (*ChooseServer)(nil)
	_ mailroute.RouteBound  = (*ChooseServer)(nil)
	_ caddyfile.Unmarshaler = (*ChooseServer)(nil)
)
