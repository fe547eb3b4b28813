// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"fmt"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// giveValues hands the store's values to a guest that keeps some.
func giveValues(guest any) {
	if user, ok := guest.(mailflow.ValuesUser); ok {
		user.UseValues(lateValues{open: openValues})
	}
}

// lateValues are the values of the store that is open when they are used: a
// guest is made before that, and stays when a reload opens another.
type lateValues struct {
	open func() (mailflow.Values, error)
}

// Value implements [mailflow.Values].
func (v lateValues) Value(ctx context.Context, key string) ([]byte, int64, error) {
	values, err := v.open()
	if err != nil {
		return nil, 0, err
	}
	return values.Value(ctx, key)
}

// SetValue implements [mailflow.Values].
func (v lateValues) SetValue(ctx context.Context, key string, value []byte, version int64) error {
	values, err := v.open()
	if err != nil {
		return err
	}
	return values.SetValue(ctx, key, value, version)
}

// errNoValues says that values are used too early.
var errNoValues = errors.New("the store is not open yet: values can be used when the mail app has started")

// openValues returns the values of the store that the engine uses. The engine
// is asked itself, since its first generation serves before Caddy calls its
// configuration the active one.
func openValues() (mailflow.Values, error) {
	var eng *engine.Engine
	engines.Range(func(_, value any) bool {
		pooled, ok := value.(pooledEngine)
		if ok {
			eng = pooled.Engine
		}
		return !ok
	})
	if eng == nil {
		return nil, errNoValues
	}
	store, err := eng.Store()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoValues, err)
	}
	return store, nil
}
