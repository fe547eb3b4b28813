// SPDX-License-Identifier: Apache-2.0

package dnscheck

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/wire/resolver"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// The ports of name servers (RFC 1035 section 4.2, RFC 7858 section 3.1).
const (
	dnsPort = 53
	dotPort = 853
)

// errServer says how a name server is written.
var errServer = errors.New("write an IP address, with a port where it is another than the usual one: 9.9.9.9, 127.0.0.1:5353 or [2620:fe::fe]:53")

// forwarder is the name server that Docker gives to containers. It only hands
// on what others say, over any way, and so proves nothing.
var forwarder = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// trusted reports whether a name server at addr is on this machine, so that
// what it has proven is proven.
func trusted(addr netip.Addr) bool { return addr.Unmap().IsLoopback() && addr != forwarder }

// parseServers reads the servers of a module, by read, with their placeholders
// replaced.
func parseServers(texts []string, read func(text string) (resolver.Server, error)) ([]resolver.Server, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("no name server: %w", errServer)
	}
	var servers []resolver.Server
	for _, text := range texts {
		value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
		if err != nil {
			return nil, fmt.Errorf("name server %s: %w: set the variable that it names", text, err)
		}
		s, err := read(value)
		if err != nil {
			return nil, fmt.Errorf("name server %q: %w", value, err)
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// parsePlain reads ADDRESS or ADDRESS:PORT.
func parsePlain(text string) (resolver.Server, error) {
	addr, err := parseAddress(text, dnsPort)
	return resolver.Server{Address: addr, Trusted: trusted(addr.Addr())}, err
}

// parseTLS reads ADDRESS or ADDRESS:PORT, and #NAME behind it.
func parseTLS(text string) (resolver.Server, error) {
	text, name, named := strings.Cut(text, "#")
	addr, err := parseAddress(text, dotPort)
	if err != nil {
		return resolver.Server{}, err
	}
	if named {
		if name, err = mailflow.NormalizeDomain(name); err != nil {
			return resolver.Server{}, fmt.Errorf("%w: write the name of its certificate behind the #: 9.9.9.9#dns.quad9.net", err)
		}
	}
	return resolver.Server{Address: addr, TLS: true, Name: name, Trusted: trusted(addr.Addr())}, nil
}

// parseAddress reads an address with or without a port.
func parseAddress(text string, port uint16) (netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		return netip.AddrPortFrom(addr, port), nil
	}
	addr, err := netip.ParseAddrPort(text)
	if err != nil || addr.Port() == 0 {
		return netip.AddrPort{}, errServer
	}
	return addr, nil
}
