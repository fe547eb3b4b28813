// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"context"
	"fmt"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Value implements mailflow.Values.
func (s *store) Value(ctx context.Context, key string) ([]byte, int64, error) {
	if err := s.begin(ctx); err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	v, ok := s.values[key]
	if !ok {
		return nil, 0, fmt.Errorf("value %q: %w", key, mailflow.ErrNoRecord)
	}
	return bytes.Clone(v.Bytes), v.Version, nil
}

// SetValue implements mailflow.Values.
func (s *store) SetValue(ctx context.Context, key string, b []byte, version int64) error {
	if len(b) > mailflow.MaxValue {
		return fmt.Errorf("value %q has %d bytes, and the most is %d", key, len(b), mailflow.MaxValue)
	}
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if s.values[key].Version != version {
		return fmt.Errorf("value %q: %w", key, mailflow.ErrStale)
	}
	return s.write([]change{{Value: &value{Key: []byte(key), Version: version + 1, Bytes: bytes.Clone(b)}}})
}
