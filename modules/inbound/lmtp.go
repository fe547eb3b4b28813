// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(LMTP))
}

// smtpPort is where LMTP must not be spoken.
const smtpPort = 25

// LMTP is a door that takes mail by LMTP (RFC 2033), which another mail server
// of this site speaks with those that deliver: it gets a reply for each
// recipient. It has all options of an SMTP door.
//
// It receives. It submits only if that is written, also on a unix socket.
type LMTP struct {
	SMTP
}

// CaddyModule returns the Caddy module information.
func (*LMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.listeners.lmtp", New: func() caddy.Module { return new(LMTP) }}
}

// Provision does as [SMTP.Provision].
func (l *LMTP) Provision(ctx caddy.Context) error {
	l.lmtp = true
	return l.SMTP.Provision(ctx)
}

// Validate refuses what [SMTP.Validate] does, and the port of SMTP.
func (l *LMTP) Validate() error {
	if listensOn(l.Listen, smtpPort) {
		return errors.New("LMTP must not be spoken on port 25 (RFC 2033 section 3): use another port, such as 24, or a unix socket")
	}
	return l.SMTP.Validate()
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LMTP)(nil)
	_ caddy.Validator       = (*LMTP)(nil)
	_ caddyfile.Unmarshaler = (*LMTP)(nil)
	_ mailflow.Listener     = (*LMTP)(nil)
	_ mailflow.ServicesUser = (*LMTP)(nil)
	_ mailflow.Named        = (*LMTP)(nil)
)
