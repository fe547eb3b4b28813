// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Capture)) }

// Capture keeps mail and shows it, and never sends it: for tests, and for
// databases that are copies of a live one.
type Capture struct{}

// CaddyModule returns the Caddy module information.
func (*Capture) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.transports.capture", New: func() caddy.Module { return new(Capture) }}
}

// Deliver implements [mailflow.Transport].
func (*Capture) Deliver(_ context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	reply := &mailflow.Reply{Code: 250, Enhanced: mailflow.EnhancedCode{2, 0, 0}, Text: "captured, not sent"}
	results := make([]mailflow.Result, 0, len(a.Delivery.Envelope.Recipients))
	for _, r := range a.Delivery.Envelope.Recipients {
		results = append(results, mailflow.Result{Recipient: r, State: mailflow.StateCaptured, Reply: reply})
	}
	return results, nil
}

// Captures says that nothing leaves by this transport.
func (*Capture) Captures() bool { return true }

// Test implements [mailflow.Tester]. There is nothing to reach.
func (*Capture) Test(context.Context, mailflow.Address, mailflow.Address) mailflow.TestReport {
	return mailflow.TestReport{
		Steps:    []mailflow.TestStep{{Name: "capture", Detail: "mail is kept and shown, never sent"}},
		OK:       true,
		Unproven: []string{"No server was tried, since this one captures. To send, give it `via smtp`."},
	}
}

// UnmarshalCaddyfile sets up t from Caddyfile tokens. Syntax:
//
//	via capture
func (*Capture) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Read(d, caddyblock.Options{})
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Capture)(nil)
	_ mailflow.Capturer     = (*Capture)(nil)
	_ mailflow.Tester       = (*Capture)(nil)
)
