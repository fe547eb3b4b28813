// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Forward)) }

// Forward sends a mail that came in out again: to another address, by the
// outgoing server that fits, or by an outgoing server to the recipients that
// it has. The sender in the envelope is the domain's bounce address, so that
// the next server's checks hold and failures come back here; reports keep the
// null one.
//
// A mail that was forwarded for the same recipient before, or that has come
// through too many servers, is refused: it goes round in a loop.
type Forward struct {
	// An address, or the name of an outgoing server.
	To string `json:"to"`

	domains mailflow.Domains
	address mailflow.Address
	server  *mailflow.Server
	inner   mailflow.Route
}

// CaddyModule returns the Caddy module information.
func (*Forward) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.forward", New: func() caddy.Module { return new(Forward) }}
}

// The signs of a loop.
const (
	// maxReceived is how many servers a mail may have come through; RFC 5321
	// section 6.3 asks for no less than 100, but no real way has more than 20,
	// and a loop costs each of its servers.
	maxReceived = 50
	// loopField names whom a mail was forwarded for.
	loopField = "X-Loop"
)

// The codes of the trace.
const (
	codeForwarded = "forwarded"
	codeLoop      = "loop"
)

// errLoop refuses a mail that goes round (RFC 3463: X.4.6).
var errLoop = &mailflow.Reply{Code: 554, Enhanced: mailflow.EnhancedCode{5, 4, 6}, Text: "Routing loop detected"}

// Provision reads the address, if it is one.
func (h *Forward) Provision(caddy.Context) (err error) {
	if err := expand(&h.To); err != nil {
		return err
	}
	if !strings.Contains(h.To, "@") {
		return nil
	}
	if h.address, err = mailflow.ParseAddress(h.To); err != nil {
		return fmt.Errorf("forward: %w", err)
	}
	return nil
}

// Validate checks that there is a destination.
func (h *Forward) Validate() error {
	if h.To == "" {
		return errors.New("forward needs an address or an outgoing server")
	}
	return nil
}

// OnlyIn implements mailroute.RouteBound.
func (*Forward) OnlyIn() mailflow.RouteName { return mailflow.Inbound }

// UseServices implements mailflow.ServicesUser.
func (h *Forward) UseServices(s *mailflow.Services) error {
	h.domains = s.Domains
	if h.address.IsNull() {
		for i := range s.Servers {
			if s.Servers[i].Name == h.To {
				h.server = &s.Servers[i]
				return nil
			}
		}
		return fmt.Errorf("forward: no outgoing server is named %q; write its name or an address", h.To)
	}
	if s.Domains.Ours(h.address) {
		return fmt.Errorf("forward: %s is an address of ours; mail for it would come back", h.address)
	}
	for _, way := range []struct {
		name    string
		handler mailflow.Handler
	}{{"choose_server", new(ChooseServer)}, {"rewrite_from", new(RewriteFrom)}, {"limit", new(Limit)}, {"sign", new(Sign)}} {
		step, err := s.Step(way.name, nil, way.handler)
		if err != nil {
			return err
		}
		step.Match = []mailflow.Matcher{isRecipient(h.address)}
		h.inner = append(h.inner, step)
	}
	return nil
}

// isRecipient matches one recipient.
type isRecipient mailflow.Address

// Match implements mailflow.Matcher.
func (m isRecipient) Match(_ context.Context, _ *mailflow.Transaction, rcpt mailflow.Recipient) (bool, error) {
	return rcpt.Address.Is(mailflow.Address(m)), nil
}

// Handle implements mailflow.Handler.
func (h *Forward) Handle(ctx context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
	for _, r := range tx.Pending() {
		if why := loops(tx, r.Address); why != "" {
			tx.Trace.Won(codeLoop, why)
			if err := tx.Refuse(r.Address, errLoop); err != nil {
				return err
			}
		}
	}
	pending := tx.Pending()
	if len(pending) == 0 {
		return nil
	}
	for _, r := range pending {
		tx.ChangeHeader(mailflow.HeaderChange{Op: mailflow.HeaderAdd, Name: loopField, Value: r.Address.String()})
	}
	tx.Trace.Won(codeForwarded, h.To)
	if h.server != nil {
		h.newSender(tx)
		for _, r := range pending {
			if err := tx.Claim(r.Address, h.server.Deliver(r)); err != nil {
				return err
			}
		}
		return nil
	}
	return h.redirect(ctx, tx, pending)
}

// redirect sends the mail to the address in place of the recipients.
func (h *Forward) redirect(ctx context.Context, tx *mailflow.Transaction, pending []mailflow.Recipient) error {
	added := tx.AddRecipient(mailflow.Recipient{Address: h.address, Notify: []mailflow.Notify{mailflow.NotifyNever}})
	for _, r := range pending {
		if r.Address.Is(h.address) {
			continue // the delivery that was made is decided once more
		}
		var a mailflow.Action = mailflow.Drop{Reason: "forwarded to " + h.address.String()}
		if !added && tx.Again {
			a = mailflow.Unroute{Reason: "it was not forwarded to " + h.address.String() + " when it came"}
		}
		if err := tx.Claim(r.Address, a); err != nil {
			return err
		}
	}
	return h.inner.Run(ctx, tx, mailflow.Done)
}

// newSender makes the domain's bounce address the sender in the envelope.
func (h *Forward) newSender(tx *mailflow.Transaction) {
	d := h.domains.Find(tx.Domain)
	if d == nil || len(d.Bounce) == 0 || tx.Envelope.From.IsNull() {
		return
	}
	tx.SetSender(d.Bounce[0])
	tx.Sending.PerRecipient = d.Subaddress
}

// loops says why a mail for rcpt goes round in a loop; "" if it does not.
func loops(tx *mailflow.Transaction, rcpt mailflow.Address) string {
	if tx.Message == nil || tx.Again {
		return ""
	}
	hops := 0
	for _, f := range tx.Message.Header.Fields() {
		if strings.EqualFold(f.Name, "Received") {
			hops++
		}
	}
	if hops > maxReceived {
		return fmt.Sprintf("it came through %d servers", hops)
	}
	for _, v := range tx.Message.Header.Values(loopField) {
		if a, err := mailflow.ParseAddress(v); err == nil && a.Is(rcpt) {
			return "it was forwarded for " + rcpt.String() + " before"
		}
	}
	return ""
}

// HandleRcpt implements mailflow.RcptHandler.
func (*Forward) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return mailflow.ProspectMaybe, nil
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	forward <address>|<server>
func (h *Forward) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if !d.AllArgs(&h.To) {
		return d.ArgErr()
	}
	return noBlock(d)
}

var (
	_ caddy.Provisioner     = (*Forward)(nil)
	_ caddy.Validator       = (*Forward)(nil)
	_ mailflow.RcptHandler  = (*Forward)(nil)
	_ mailflow.ServicesUser = (*Forward)(nil)
	_ mailroute.RouteBound  = (*Forward)(nil)
	_ caddyfile.Unmarshaler = (*Forward)(nil)
)
