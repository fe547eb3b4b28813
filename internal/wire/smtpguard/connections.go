// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"net/netip"
	"sync"
)

// Connections counts the open connections of the servers that share it, so that
// those which began under an earlier configuration go on counting. It is safe
// for concurrent use, and made by [NewConnections].
type Connections struct {
	mu    sync.Mutex
	open  int
	perIP map[netip.Prefix]int
}

// NewConnections returns Connections of which none is open.
func NewConnections() *Connections {
	return &Connections{perIP: make(map[netip.Prefix]int)}
}

// Open returns how many connections are open.
func (n *Connections) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open
}

// enter counts a connection, unless limit are open; 0 is no limit.
func (n *Connections) enter(limit int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if limit > 0 && n.open >= limit {
		return false
	}
	n.open++
	return true
}

// identify counts a connection that has entered for its neighbourhood, unless
// limit are open from there; 0 is no limit.
func (n *Connections) identify(ip netip.Addr, limit int) bool {
	if !ip.IsValid() {
		return true
	}
	from := neighbourhood(ip)
	n.mu.Lock()
	defer n.mu.Unlock()
	if limit > 0 && n.perIP[from] >= limit {
		return false
	}
	n.perIP[from]++
	return true
}

// forget takes a connection from its neighbourhood's count.
func (n *Connections) forget(ip netip.Addr) {
	if !ip.IsValid() {
		return
	}
	from := neighbourhood(ip)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.perIP[from]--; n.perIP[from] <= 0 {
		delete(n.perIP, from)
	}
}

// leave counts a connection no longer.
func (n *Connections) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open--
}

// neighbourhoodBits is the part of an IPv6 address that a peer cannot choose:
// each customer has a /64 at least (RFC 6177), and all of its addresses.
const neighbourhoodBits = 64

// neighbourhood returns what counts as one peer: an IPv4 address, or the /64 of
// an IPv6 one.
func neighbourhood(ip netip.Addr) netip.Prefix {
	bits := ip.BitLen()
	if ip.Is6() {
		bits = neighbourhoodBits
	}
	return netip.PrefixFrom(ip.WithZone(""), bits).Masked()
}
