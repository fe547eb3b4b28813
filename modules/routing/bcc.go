// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/mailroute"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Bcc)) }

// Bcc sends a copy to one more address: once, whatever else the route does,
// and none if the message goes there already. Nobody else sees the address: it
// stands in no field, and its failures are not reported to the sender.
//
// The copy leaves by the server that is chosen for the message.
type Bcc struct {
	// Where the copy goes.
	Address string `json:"address"`

	address mailflow.Address
}

// CaddyModule returns the Caddy module information.
func (*Bcc) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.bcc", New: func() caddy.Module { return new(Bcc) }}
}

// Provision reads the address.
func (h *Bcc) Provision(caddy.Context) (err error) {
	if err := expand(&h.Address); err != nil {
		return err
	}
	if h.address, err = mailflow.ParseAddress(h.Address); err != nil {
		return fmt.Errorf("bcc: %w", err)
	}
	return nil
}

// Validate checks that there is an address.
func (h *Bcc) Validate() error {
	if h.address.Domain == "" {
		return errors.New("bcc needs an address such as archive@example.com")
	}
	return nil
}

// OnlyIn implements mailroute.RouteBound.
func (*Bcc) OnlyIn() mailflow.RouteName { return mailflow.Outbound }

// The codes of the trace.
const (
	codeCopied   = "copied"
	codeNoCopies = "copied_already"
)

// Handle implements mailflow.Handler.
func (h *Bcc) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	rcpt := mailflow.Recipient{Address: h.address, Notify: []mailflow.Notify{mailflow.NotifyNever}}
	if !tx.AddRecipient(rcpt) {
		tx.Trace.Note(codeNoCopies, h.address.String()+" gets the message already")
		return next(ctx, tx)
	}
	tx.Trace.Won(codeCopied, h.address.String())
	if server := tx.Sending.Server; server != nil {
		// The choice is made, and who made it does not see the copy.
		if err := tx.Claim(rcpt.Address, server.Deliver(rcpt)); err != nil {
			return fmt.Errorf("copying: %w", err)
		}
	}
	return next(ctx, tx)
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	bcc <address>
func (h *Bcc) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if !d.AllArgs(&h.Address) {
		return d.ArgErr()
	}
	return noBlock(d)
}

var (
	_ caddy.Provisioner     = (*Bcc)(nil)
	_ caddy.Validator       = (*Bcc)(nil)
	_ mailflow.Handler      = (*Bcc)(nil)
	_ mailroute.RouteBound  = (*Bcc)(nil)
	_ caddyfile.Unmarshaler = (*Bcc)(nil)
)
