// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"fmt"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Value implements [mailflow.Values].
func (s *Store) Value(ctx context.Context, key string) (value []byte, version int64, err error) {
	if err := s.open(ctx); err != nil {
		return nil, 0, err
	}
	found, err := one(ctx, s.readers, []any{&value, &version}, `SELECT data, version FROM value WHERE key = ?`, []byte(key))
	if err == nil && !found {
		err = mailflow.ErrNoRecord
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading the value %q: %w", key, err)
	}
	return value, version, nil
}

// SetValue implements [mailflow.Values].
func (s *Store) SetValue(ctx context.Context, key string, value []byte, version int64) error {
	if len(value) > mailflow.MaxValue {
		return fmt.Errorf("value %q has %d bytes, and the most is %d", key, len(value), mailflow.MaxValue)
	}
	if value == nil {
		value = []byte{} // nil would be NULL
	}
	return s.write(ctx, rowBytes+len(value), func(c *change) error {
		var n int64
		var err error
		if version == 0 {
			n, err = c.exec(`INSERT INTO value (key, version, data) VALUES (?, 1, ?) ON CONFLICT DO NOTHING`, []byte(key), value)
		} else {
			n, err = c.exec(`UPDATE value SET version = version + 1, data = ? WHERE key = ? AND version = ?`, value, []byte(key), version)
		}
		if err == nil && n == 0 {
			err = mailflow.ErrStale
		}
		if err != nil {
			return fmt.Errorf("writing the value %q: %w", key, err)
		}
		return nil
	})
}
