// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"io"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/credential"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(LMTP)) }

// LMTP hands mail to a local delivery agent by LMTP (RFC 2033), which answers
// for each recipient: Dovecot, Cyrus, or another mail store.
type LMTP struct {
	NextHop
}

// CaddyModule returns the Caddy module information.
func (*LMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.transports.lmtp", New: func() caddy.Module { return new(LMTP) }}
}

// Provision sets up t.
func (t *LMTP) Provision(ctx caddy.Context) error {
	return t.setUp(ctx, smtprelay.LMTP)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LMTP)(nil)
	_ caddy.Validator       = (*LMTP)(nil)
	_ caddyfile.Unmarshaler = (*LMTP)(nil)
	_ mailflow.Tester       = (*LMTP)(nil)
	_ credential.OAuth2User = (*LMTP)(nil)
	_ mailflow.ServicesUser = (*LMTP)(nil)
	_ mailflow.ValuesUser   = (*LMTP)(nil)
	_ io.Closer             = (*LMTP)(nil)
)
