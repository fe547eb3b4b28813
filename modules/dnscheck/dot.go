// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"crypto/tls"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/resolver"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(DoT)) }

// DoT asks name servers by TLS (RFC 7858), so that nobody on the way can read
// or change what they say.
type DoT struct {
	// The addresses of the name servers, the preferred one first, each with a
	// port where it is not 853, and with # and the name that its certificate
	// is for: 9.9.9.9#dns.quad9.net. Without a name the certificate must be
	// for the address. They have to be recursive ones.
	Servers []string `json:"servers"`

	// Takes the servers' word for what DNSSEC proves. It makes DANE work, and
	// puts trust into whoever runs them.
	// Default: only that of servers on this machine.
	TrustAD bool `json:"trust_ad,omitempty"`

	*resolver.Resolver `json:"-"`

	tls *tls.Config // nil = the authorities of the system; tests set it
}

// CaddyModule returns the Caddy module information.
func (*DoT) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.resolvers.dot", New: func() caddy.Module { return new(DoT) }}
}

// Provision sets up r.
func (r *DoT) Provision(caddy.Context) error {
	servers, err := parseServers(r.Servers, parseTLS)
	if err != nil {
		return err
	}
	for i := range servers {
		servers[i].Trusted = servers[i].Trusted || r.TrustAD
		servers[i].TLSConfig = r.tls
	}
	r.Resolver = resolver.New(resolver.Config{Servers: servers, Now: time.Now})
	return nil
}

// Cleanup closes the idle connections.
func (r *DoT) Cleanup() error {
	if r.Resolver == nil {
		return nil
	}
	return r.Close()
}

// UnmarshalCaddyfile sets up r from Caddyfile tokens. Syntax:
//
//	dot <address[#name]...> {
//	    trust_ad
//	}
func (r *DoT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Block{
		Args:    caddyblock.Strings(&r.Servers),
		Options: caddyblock.Options{"trust_ad": caddyblock.Flag(&r.TrustAD)},
	}.Read(d)
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*DoT)(nil)
	_ caddy.CleanerUpper    = (*DoT)(nil)
	_ caddyfile.Unmarshaler = (*DoT)(nil)
	_ mailflow.Resolver     = (*DoT)(nil)
)
