// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/miekg/dns"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/resolver"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(System)) }

// System asks the name servers of the operating system. It reads
// /etc/resolv.conf when it is asked, and again when that has changed. Where
// there is none, or nothing of use in it, it asks by the system's own means.
//
// A name without a dot, and one that the DNS does not have, may be one of
// /etc/hosts. Only what a name server on this machine has proven is proven: a
// validating one at 127.0.0.1 makes DANE work.
type System struct {
	system *net.Resolver // nil = the system's; tests set it
	config string        // empty = resolvConf
	port   uint16        // 0 = dnsPort

	mu      sync.Mutex
	checked time.Time          // when config was looked at last
	read    os.FileInfo        // what was read then; nil if it was not
	dns     *resolver.Resolver // nil where it names nobody
}

const (
	// resolvConf is where the system keeps the name servers' addresses.
	resolvConf = "/etc/resolv.conf"
	// checkEvery is how often it is looked at, as Go's own resolver does.
	checkEvery = 5 * time.Second
	// maxServers is the most of its servers that are asked (resolv.conf(5)).
	maxServers = 3
)

// CaddyModule returns the Caddy module information.
func (*System) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.resolvers.system", New: func() caddy.Module { return new(System) }}
}

// IPs implements [mailflow.Resolver].
func (r *System) IPs(ctx context.Context, host string) (mailflow.Answer[netip.Addr], error) {
	if servers := r.servers(); servers != nil && strings.Contains(host, ".") {
		if a, err := servers.IPs(ctx, host); !errors.Is(err, mailflow.ErrNotFound) {
			return a, err
		}
	}
	addrs, err := r.system.LookupNetIP(ctx, "ip", absolute(host))
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	return answer("addresses of "+host, addrs, err)
}

// MX implements [mailflow.Resolver].
func (r *System) MX(ctx context.Context, domain string) (mailflow.Answer[mailflow.MX], error) {
	if servers := r.servers(); servers != nil {
		return servers.MX(ctx, domain)
	}
	found, err := r.system.LookupMX(ctx, absolute(domain))
	records := make([]mailflow.MX, len(found))
	for i, mx := range found {
		records[i] = mailflow.MX{Preference: mx.Pref, Host: relative(mx.Host)}
	}
	return answer("MX of "+domain, records, err)
}

// TXT implements [mailflow.Resolver].
func (r *System) TXT(ctx context.Context, name string) (mailflow.Answer[string], error) {
	if servers := r.servers(); servers != nil {
		return servers.TXT(ctx, name)
	}
	texts, err := r.system.LookupTXT(ctx, absolute(name))
	return answer("TXT of "+name, texts, err)
}

// TLSA implements [mailflow.Resolver]. By the system's own means it finds
// none: they do not know the type.
func (r *System) TLSA(ctx context.Context, name string) (mailflow.Answer[mailflow.TLSA], error) {
	if servers := r.servers(); servers != nil {
		return servers.TLSA(ctx, name)
	}
	return answer[mailflow.TLSA]("TLSA of "+name, nil, nil)
}

// Names implements [mailflow.Resolver].
func (r *System) Names(ctx context.Context, ip netip.Addr) (mailflow.Answer[string], error) {
	if servers := r.servers(); servers != nil {
		return servers.Names(ctx, ip)
	}
	names, err := r.system.LookupAddr(ctx, ip.Unmap().String())
	for i, name := range names {
		names[i] = relative(name)
	}
	return answer("names of "+ip.String(), names, err)
}

// servers returns the resolver that asks the name servers of the system; nil
// if they are not known.
func (r *System) servers() *resolver.Resolver {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.checked.IsZero() && now.Sub(r.checked) < checkEvery {
		return r.dns
	}
	r.checked = now
	path := cmp.Or(r.config, resolvConf)
	info, err := os.Stat(path)
	if err != nil {
		r.read, r.dns = nil, nil
		return nil
	}
	if r.read == nil || !info.ModTime().Equal(r.read.ModTime()) || info.Size() != r.read.Size() {
		r.read, r.dns = info, readServers(path, cmp.Or(r.port, dnsPort))
	}
	return r.dns
}

// readServers returns a resolver for the servers that the file names; nil if
// there is none.
func readServers(path string, port uint16) *resolver.Resolver {
	config, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil
	}
	var servers []resolver.Server
	for _, text := range config.Servers[:min(len(config.Servers), maxServers)] {
		if addr, err := netip.ParseAddr(text); err == nil {
			servers = append(servers, resolver.Server{Address: netip.AddrPortFrom(addr, port), Trusted: trusted(addr)})
		}
	}
	if len(servers) == 0 {
		return nil
	}
	return resolver.New(resolver.Config{Servers: servers, Now: time.Now})
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
