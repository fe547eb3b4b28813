// SPDX-License-Identifier: Apache-2.0

package mx

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Bounds of one attempt.
const (
	// MaxHosts is the most hosts that are tried. The largest providers name
	// five.
	MaxHosts = 5
	// MaxAddresses is the most addresses of a host that are tried.
	MaxAddresses = 4
)

// What the order comes to when there is nobody to ask.
var (
	// ErrNullMX refuses mail for a domain that takes none (RFC 7505 section
	// 4.2).
	ErrNullMX = &mailflow.Reply{Code: 556, Enhanced: mailflow.EnhancedCode{5, 1, 10}, Text: "Domain does not accept mail"}
	// ErrNoDomain refuses mail for a domain without MX and address records.
	ErrNoDomain = &mailflow.Reply{Code: 550, Enhanced: mailflow.EnhancedCode{5, 1, 2}, Text: "Domain not found"}
	// ErrNoHost refuses mail for a domain whose hosts have no address.
	ErrNoHost = &mailflow.Reply{Code: 550, Enhanced: mailflow.EnhancedCode{5, 4, 4}, Text: "No mail host of the domain exists"}
	// ErrLoop refuses mail that would come back.
	ErrLoop = &mailflow.Reply{Code: 554, Enhanced: mailflow.EnhancedCode{5, 4, 6}, Text: "Mail for the domain would loop back to this server"}
	// ErrNeedsTLS refuses mail that nobody takes as REQUIRETLS demands (RFC
	// 8689 section 4.2.1).
	ErrNeedsTLS = &mailflow.Reply{Code: 550, Enhanced: mailflow.EnhancedCode{5, 7, 30}, Text: "REQUIRETLS support required"}
)

// Host is a mail host of a domain.
type Host struct {
	Name       string
	Preference uint16
}

// Order returns the hosts that records name, in the order in which they are
// tried, without hostname, which is this gateway's own name, and those behind
// it. It draws among equals by random, which returns a number from 0 to n-1.
// Where nobody is to be asked it returns no host and the reply that says why.
func Order(records []mailflow.MX, hostname string, random func(n int) int) ([]Host, *mailflow.Reply) {
	var hosts []Host
	for _, r := range records {
		name := strings.ToLower(strings.TrimSuffix(r.Host, "."))
		if name != "" {
			hosts = append(hosts, Host{name, r.Preference})
		}
	}
	if len(hosts) == 0 {
		return nil, ErrNullMX
	}
	shuffle(hosts, random)
	slices.SortStableFunc(hosts, func(a, b Host) int { return cmp.Compare(a.Preference, b.Preference) })
	kept := hosts[:0]
	for _, h := range hosts {
		if !slices.ContainsFunc(kept, func(k Host) bool { return k.Name == h.Name }) {
			kept = append(kept, h)
		}
	}
	if own := slices.IndexFunc(kept, func(h Host) bool { return IsSelf(h.Name, hostname) }); own >= 0 {
		limit := kept[own].Preference
		kept = slices.DeleteFunc(kept, func(h Host) bool { return h.Preference >= limit })
		if len(kept) == 0 {
			return nil, ErrLoop
		}
	}
	return kept[:min(len(kept), MaxHosts)], nil
}

// IsSelf reports whether name is this gateway's hostname. A name without a dot
// names nobody in particular.
func IsSelf(name, hostname string) bool {
	return strings.Contains(hostname, ".") && strings.EqualFold(strings.TrimSuffix(name, "."), strings.TrimSuffix(hostname, "."))
}

// Addresses returns those of addrs that are tried, in their order: at random,
// and IPv6 and IPv4 by turns, so that a machine on which one of them is broken
// loses one try. Addresses that lead to no single host are left out.
func Addresses(addrs []netip.Addr, random func(n int) int) []netip.Addr {
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() || a.IsMulticast() })
	shuffle(addrs, random)
	var families [2][]netip.Addr // IPv6, IPv4
	for _, a := range addrs {
		a = a.Unmap()
		if a.Is4() {
			families[1] = append(families[1], a)
		} else {
			families[0] = append(families[0], a)
		}
	}
	ordered := addrs[:0]
	for i := range addrs {
		for _, family := range families {
			if i < len(family) {
				ordered = append(ordered, family[i])
			}
		}
	}
	return ordered[:min(len(ordered), MaxAddresses)]
}

// Literal returns the address that a domain in brackets is (RFC 5321 section
// 4.1.3).
func Literal(domain string) (netip.Addr, bool) {
	text, ok := strings.CutPrefix(domain, "[")
	if !ok {
		return netip.Addr{}, false
	}
	text = strings.TrimSuffix(text, "]")
	if len(text) > 5 && strings.EqualFold(text[:5], "IPv6:") {
		text = text[5:]
	}
	addr, err := netip.ParseAddr(text)
	return addr, err == nil
}

// shuffle puts list in random order.
func shuffle[T any](list []T, random func(n int) int) {
	for i := len(list) - 1; i > 0; i-- {
		j := random(i + 1)
		list[i], list[j] = list[j], list[i]
	}
}
