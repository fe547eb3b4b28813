// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"io"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(SMTP)) }

// SMTP hands mail to a relay by SMTP (RFC 5321): a provider's submission
// server, a smart host or the mail server of the house.
type SMTP struct {
	NextHop
}

// CaddyModule returns the Caddy module information.
func (*SMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.transports.smtp", New: func() caddy.Module { return new(SMTP) }}
}

// Provision sets up t.
func (t *SMTP) Provision(caddy.Context) error {
	t.setUp(smtprelay.SMTP)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SMTP)(nil)
	_ caddy.Validator       = (*SMTP)(nil)
	_ caddyfile.Unmarshaler = (*SMTP)(nil)
	_ mailflow.Tester       = (*SMTP)(nil)
	_ mailflow.ServicesUser = (*SMTP)(nil)
	_ io.Closer             = (*SMTP)(nil)
)
