// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/wire/oauth"
)

// keepers holds the process's keeper of tokens while a configuration uses it:
// a reload neither asks for new tokens nor ends a login that waits, and two
// servers of one account share what they have.
var keepers = caddy.NewUsagePool()

// keeperKey is the keeper's key in the pool: there is one for the process.
const keeperKey = "oauth2"

// pooledKeeper is the keeper as the pool keeps it.
type pooledKeeper struct{ *oauth.Keeper }

// Destruct implements [caddy.Destructor].
func (k pooledKeeper) Destruct() error {
	k.Close()
	return nil
}

// keeperOf returns the process's keeper, until ctx ends; now is the clock of a
// new one.
func keeperOf(ctx context.Context, now func() time.Time) (*oauth.Keeper, error) {
	v, _, err := keepers.LoadOrNew(keeperKey, func() (caddy.Destructor, error) {
		return pooledKeeper{&oauth.Keeper{Now: now}}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("making the keeper of tokens: %w", err)
	}
	context.AfterFunc(ctx, func() {
		_, _ = keepers.Delete(keeperKey) // its end has no error
	})
	return v.(pooledKeeper).Keeper, nil
}
