// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/proxyprotocol"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
)

// provisionWrappers loads the listener wrappers.
func (s *SMTP) provisionWrappers(ctx caddy.Context) error {
	if len(s.ListenerWrappersRaw) == 0 {
		return nil
	}
	guests, err := ctx.LoadModule(s, "ListenerWrappersRaw")
	if err != nil {
		return fmt.Errorf("loading listener wrappers: %w", err)
	}
	for _, guest := range guests.([]any) {
		w, ok := guest.(caddy.ListenerWrapper)
		if !ok {
			return fmt.Errorf("%T is not a listener wrapper", guest)
		}
		if p, ok := w.(*proxyprotocol.ListenerWrapper); ok && p.FallbackPolicy == proxyprotocol.PolicyIGNORE {
			// To ignore a header is to wait for it first. Here the server
			// speaks first, so all peers that send none would wait in vain
			// until the timeout.
			p.FallbackPolicy = proxyprotocol.PolicySKIP
		}
		s.wrappers = append(s.wrappers, w)
	}
	return nil
}

// checkWrappers refuses a PROXY protocol by which anybody can be a peer that
// may submit without logging in.
func (s *SMTP) checkWrappers() error {
	if len(s.networks) == 0 || s.local {
		return nil
	}
	for _, w := range s.wrappers {
		p, ok := w.(*proxyprotocol.ListenerWrapper)
		if !ok {
			continue
		}
		if p.FallbackPolicy == proxyprotocol.PolicyUSE || p.FallbackPolicy == proxyprotocol.PolicyREQUIRE {
			return errors.New("proxy_protocol lets any peer claim any address, which makes an open relay: " +
				"name the proxies with allow, and no fallback_policy")
		}
		for _, cidr := range p.Allow {
			network, err := netip.ParsePrefix(cidr)
			if err != nil {
				return fmt.Errorf("reading allow of proxy_protocol: %w", err)
			}
			if err := checkTrusted(network); err != nil {
				return fmt.Errorf("proxy_protocol: allow %s lets any peer claim any address, which makes an open relay: "+
					"name your proxies only", cidr)
			}
		}
	}
	return nil
}

// readWrappers reads `listener_wrappers`. Syntax:
//
//	listener_wrappers {
//		WRAPPER {
//			...
//		}
//	}
//
// Every module caddy.listeners.* can stand there.
func (s *SMTP) readWrappers(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		raw, err := caddyblock.Module(d, "caddy.listeners", "wrapper", "listener wrapper")
		if err != nil {
			return err
		}
		s.ListenerWrappersRaw = append(s.ListenerWrappersRaw, raw)
	}
	if len(s.ListenerWrappersRaw) == 0 {
		return d.Err("listener_wrappers: name one in its block, such as proxy_protocol")
	}
	return nil
}
