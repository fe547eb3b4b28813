// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"net/netip"
	"sync"
	"time"
)

// Guesses remembers how many logins have failed lately, by the peer's address,
// across connections. It is bounded: each of its two tables holds [maxGuessers]
// peers; when the young one is full or [GuessWindow] old it becomes the old
// one, and what the old one held is forgotten. It is safe for concurrent use,
// and made by [NewGuesses].
type Guesses struct {
	mu         sync.Mutex
	young, old map[netip.Prefix]guess
	born       time.Time // of the young table
}

// guess is what a peer has guessed.
type guess struct {
	failures int
	last     time.Time
}

// NewGuesses returns Guesses that remember nothing.
func NewGuesses() *Guesses {
	return &Guesses{young: make(map[netip.Prefix]guess)}
}

// failed counts a login that failed.
func (g *Guesses) failed(ip netip.Addr, now time.Time) {
	if !ip.IsValid() {
		return
	}
	from := neighbourhood(ip)
	g.mu.Lock()
	defer g.mu.Unlock()
	failures := g.recent(from, now) + 1
	if len(g.young) >= maxGuessers || now.Sub(g.born) > GuessWindow {
		g.old, g.young, g.born = g.young, make(map[netip.Prefix]guess), now
	}
	g.young[from] = guess{failures: failures, last: now}
}

// count returns how many logins from there have failed, none of them more than
// a [GuessWindow] after the one before, and the last one within it.
func (g *Guesses) count(ip netip.Addr, now time.Time) int {
	if !ip.IsValid() {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.recent(neighbourhood(ip), now)
}

// recent is count. g.mu is held.
func (g *Guesses) recent(from netip.Prefix, now time.Time) int {
	seen, ok := g.young[from]
	if !ok {
		seen = g.old[from]
	}
	if now.Sub(seen.last) > GuessWindow {
		return 0
	}
	return seen.failures
}
