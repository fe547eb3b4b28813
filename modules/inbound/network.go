// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"fmt"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
)

// Shortest prefixes of a trusted network. A shorter one is no network that
// anybody owns (the largest allocations are /8 and /16), but a way to write
// "everybody" in pieces.
const (
	minTrustedBits4 = 8
	minTrustedBits6 = 16
)

// readNetwork reads a CIDR or a single address, with placeholders.
func readNetwork(raw string) (netip.Prefix, error) {
	text, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("reading %q: %w", raw, err)
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return netip.PrefixFrom(p.Addr(), p.Bits()).Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no network such as 10.1.0.0/16", text)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// checkTrusted refuses a network that is no network but the world.
func checkTrusted(p netip.Prefix) error {
	least := minTrustedBits6
	bits := p.Bits()
	switch {
	case p.Addr().Is4():
		least = minTrustedBits4
	case p.Addr().Is4In6():
		// ::ffff:0:0/96 is all of IPv4.
		least = 96 + minTrustedBits4
	}
	if bits < least {
		return fmt.Errorf("submit %s would make an open relay: name the networks of your own machines, or have users log in", p)
	}
	return nil
}

// contains reports whether one of networks has ip.
func contains(networks []netip.Prefix, ip netip.Addr) bool {
	for _, p := range networks {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// onlyLocal reports whether all addresses are loopback or unix sockets, so that
// only this machine reaches them.
func onlyLocal(addresses []string) (bool, error) {
	for _, raw := range addresses {
		text, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
		if err != nil {
			return false, fmt.Errorf("reading address %q: %w", raw, err)
		}
		a, err := caddy.ParseNetworkAddress(text)
		if err != nil {
			return false, fmt.Errorf("reading address %q: %w", text, err)
		}
		if a.IsUnixNetwork() {
			continue
		}
		if ip, err := netip.ParseAddr(a.Host); err == nil && ip.Unmap().IsLoopback() || a.Host == "localhost" {
			continue
		}
		return false, nil
	}
	return len(addresses) > 0, nil
}
