// SPDX-License-Identifier: Apache-2.0

package memstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// value is a value of the gateway's own.
type value struct {
	bytes   []byte
	version int64
}

// Value implements [mailflow.Values].
func (s *Store) Value(ctx context.Context, key string) ([]byte, int64, error) {
	if err := s.lock(ctx); err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	v, ok := s.values[key]
	if !ok {
		return nil, 0, fmt.Errorf("value %q: %w", key, mailflow.ErrNoRecord)
	}
	return bytes.Clone(v.bytes), v.version, nil
}

// SetValue implements [mailflow.Values].
func (s *Store) SetValue(ctx context.Context, key string, b []byte, version int64) error {
	if len(b) > mailflow.MaxValue {
		return fmt.Errorf("value %q has %d bytes, and the most is %d", key, len(b), mailflow.MaxValue)
	}
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.values[key].version != version {
		return fmt.Errorf("value %q: %w", key, mailflow.ErrStale)
	}
	s.values[key] = value{bytes: append([]byte{}, b...), version: version + 1}
	return nil
}
