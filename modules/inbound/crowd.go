// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"context"
	"net/netip"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtpguard"
)

// counts holds what doors count, as long as a configuration uses it: a reload
// neither forgets who has guessed passwords, nor doubles a limit.
var counts = caddy.NewUsagePool()

// count is a value of the pool.
type count[T any] struct{ value *T }

// Destruct implements [caddy.Destructor].
func (count[T]) Destruct() error { return nil }

// shared returns the pool's value of that key, until ctx ends.
func shared[T any](ctx context.Context, key string, fresh func() *T) *T {
	v, _, err := counts.LoadOrNew(key, func() (caddy.Destructor, error) { return count[T]{fresh()}, nil })
	kept, ok := v.(count[T])
	if err != nil || !ok {
		return fresh()
	}
	context.AfterFunc(ctx, func() {
		_, _ = counts.Delete(key) // there is nothing to destruct
	})
	return kept.value
}

// connectionsOf returns the connections of the listener of that name.
func connectionsOf(ctx context.Context, listener string) *smtpguard.Connections {
	return shared(ctx, "connections of "+listener, smtpguard.NewConnections)
}

// guessesOf returns the failed logins at all doors.
func guessesOf(ctx context.Context) *smtpguard.Guesses {
	return shared(ctx, "guesses", smtpguard.NewGuesses)
}

// exempt reports whether the limits for one address do not hold for ip: this
// machine and trusted networks speak for many.
func (s *SMTP) exempt(ip netip.Addr) bool {
	return !ip.IsValid() || ip.IsLoopback() || contains(s.networks, ip)
}
