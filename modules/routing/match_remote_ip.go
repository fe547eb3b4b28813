// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(MatchRemoteIP)) }

// MatchRemoteIP matches the address of the peer, behind PROXY protocol. A peer
// on a unix socket has none and does not match. It needs no content.
//
// The JSON is a list of addresses and networks ("10.1.0.0/16"), of which one
// has to hold; "private_ranges" stands for the private and loopback ones.
type MatchRemoteIP struct {
	list
	networks []netip.Prefix
}

// CaddyModule returns the Caddy module information.
func (*MatchRemoteIP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.matchers.remote_ip", New: func() caddy.Module { return new(MatchRemoteIP) }}
}

// privateRanges are the networks of RFC 1918, RFC 4193 and loopback, as
// Caddy's private_ranges has them.
var privateRanges = []string{
	"192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.1/8", "fd00::/8", "::1",
}

// Provision reads the networks.
func (m *MatchRemoteIP) Provision(caddy.Context) error {
	texts, err := expandAll(m.words)
	if err != nil {
		return err
	}
	m.networks = nil
	for _, text := range texts {
		some := []string{text}
		if text == "private_ranges" {
			some = privateRanges
		}
		for _, s := range some {
			network, err := parseNetwork(s)
			if err != nil {
				return err
			}
			m.networks = append(m.networks, network)
		}
	}
	if len(m.networks) == 0 {
		return errors.New("there is no network")
	}
	return nil
}

// parseNetwork reads an address or a network.
func parseNetwork(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		ip, err := netip.ParseAddr(s)
		if err != nil || ip.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no address or network", s)
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	network, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no network such as 10.0.0.0/8", s)
	}
	return network.Masked(), nil
}

// Match implements mailflow.Matcher.
func (m *MatchRemoteIP) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	ip := tx.Peer.IP.Unmap().WithZone("")
	for _, network := range m.networks {
		if network.Contains(ip) {
			return true, nil
		}
	}
	return false, nil
}

// EnvelopeOnly implements mailflow.EnvelopeMatcher.
func (*MatchRemoteIP) EnvelopeOnly() bool { return true }

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	remote_ip <address|network|private_ranges>...
func (m *MatchRemoteIP) UnmarshalCaddyfile(d *caddyfile.Dispenser) (err error) {
	m.words, err = words(d)
	return err
}

var (
	_ caddy.Provisioner        = (*MatchRemoteIP)(nil)
	_ mailflow.EnvelopeMatcher = (*MatchRemoteIP)(nil)
	_ caddyfile.Unmarshaler    = (*MatchRemoteIP)(nil)
)
