// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/resolver"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(UDP)) }

// UDP asks name servers by plain DNS: by UDP, and by TCP where an answer is
// too long for it. Only what a server on this machine has proven is proven,
// since anybody on the way can change an answer.
type UDP struct {
	// The addresses of the name servers, the preferred one first, each with a
	// port where it is not 53. They have to be recursive ones.
	Servers []string `json:"servers"`

	*resolver.Resolver `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (*UDP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.resolvers.udp", New: func() caddy.Module { return new(UDP) }}
}

// Provision sets up r.
func (r *UDP) Provision(caddy.Context) error {
	servers, err := parseServers(r.Servers, parsePlain)
	if err != nil {
		return err
	}
	r.Resolver = resolver.New(resolver.Config{Servers: servers, Now: time.Now})
	return nil
}

// UnmarshalCaddyfile sets up r from Caddyfile tokens. Syntax:
//
//	udp <address...>
func (r *UDP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Block{Args: caddyblock.Strings(&r.Servers)}.Read(d)
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*UDP)(nil)
	_ caddyfile.Unmarshaler = (*UDP)(nil)
	_ mailflow.Resolver     = (*UDP)(nil)
)
