// SPDX-License-Identifier: Apache-2.0

package mailmodules

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// newTicket reads a handler as the app does.
func newTicket(text string) (*Ticket, error) {
	h := new(Ticket)
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil {
		return nil, err
	}
	if err := h.Provision(caddy.Context{}); err != nil {
		return nil, err
	}
	return h, h.Validate()
}

func TestTicketKeepsTheContract(t *testing.T) {
	h, err := newTicket("ticket")
	if err != nil {
		t.Fatal(err)
	}
	mailflowtest.RunHandlerSuite(t, h)
	mailflowtest.RunHandlerSuite(t, h, func(tb testing.TB) *mailflow.Transaction {
		return mailflowtest.NewTransaction(tb, "Subject: Re: [#4711] Printer\n\nIt burns.\n",
			mailflowtest.NewEnvelope("anna@example.com", "help@acme.example"))
	})
}
