// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(System)) }

// System asks the resolver of the operating system, as it is configured for
// every program. What it caches is the system's business. It proves nothing:
// no answer is secure, and TLSA records, which are worthless unless they are,
// are not looked up.
type System struct {
	resolver *net.Resolver // nil = the system's; tests set it
}

// CaddyModule returns the Caddy module information.
func (*System) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.resolvers.system", New: func() caddy.Module { return new(System) }}
}

// IPs implements [mailflow.Resolver].
func (r *System) IPs(ctx context.Context, host string) (mailflow.Answer[netip.Addr], error) {
	addrs, err := r.resolver.LookupNetIP(ctx, "ip", absolute(host))
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return answer("addresses of "+host, addrs, err)
}

// MX implements [mailflow.Resolver].
func (r *System) MX(ctx context.Context, domain string) (mailflow.Answer[mailflow.MX], error) {
	found, err := r.resolver.LookupMX(ctx, absolute(domain))
	records := make([]mailflow.MX, len(found))
	for i, mx := range found {
		records[i] = mailflow.MX{Preference: mx.Pref, Host: relative(mx.Host)}
	}
	return answer("MX of "+domain, records, err)
}

// TXT implements [mailflow.Resolver].
func (r *System) TXT(ctx context.Context, name string) (mailflow.Answer[string], error) {
	texts, err := r.resolver.LookupTXT(ctx, absolute(name))
	return answer("TXT of "+name, texts, err)
}

// TLSA implements [mailflow.Resolver]. It finds none.
func (*System) TLSA(_ context.Context, name string) (mailflow.Answer[mailflow.TLSA], error) {
	return answer[mailflow.TLSA]("TLSA of "+name, nil, nil)
}

// Names implements [mailflow.Resolver].
func (r *System) Names(ctx context.Context, ip netip.Addr) (mailflow.Answer[string], error) {
	names, err := r.resolver.LookupAddr(ctx, ip.Unmap().String())
	for i, name := range names {
		names[i] = relative(name)
	}
	return answer("names of "+ip.String(), names, err)
}

// answer returns what a look-up found. Records that came with an error are
// those that are well-formed, and count.
func answer[T any](what string, records []T, err error) (mailflow.Answer[T], error) {
	var dns *net.DNSError
	switch {
	case len(records) > 0:
		return mailflow.Answer[T]{Records: records}, nil
	case err == nil, errors.As(err, &dns) && dns.IsNotFound:
		return mailflow.Answer[T]{}, fmt.Errorf("%s: %w", what, mailflow.ErrNotFound)
	}
	return mailflow.Answer[T]{}, fmt.Errorf("looking up %s: %w", what, err)
}

// absolute keeps the system from trying name within its search domains. A name
// without a dot may be one of /etc/hosts.
func absolute(name string) string {
	if !strings.Contains(name, ".") || strings.HasSuffix(name, ".") {
		return name
	}
	return name + "."
}

// relative returns a name as the contracts have it.
func relative(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// UnmarshalCaddyfile sets up r from Caddyfile tokens. Syntax:
//
//	system
func (r *System) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Read(d, caddyblock.Options{})
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*System)(nil)
	_ mailflow.Resolver     = (*System)(nil)
)
