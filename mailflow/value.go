// SPDX-License-Identifier: Apache-2.0

package mailflow

import "context"

// MaxValue bounds what one value may hold, in bytes: keys and tokens, no
// files.
const MaxValue = 64 << 10

// Values keeps small values of the gateway's own, such as the keys it signs
// tokens with and the refresh tokens of OAuth2. Several processes may share
// them: a value is changed only by who has seen its newest version.
type Values interface {
	// Value returns the value under key and its version, which is above 0.
	// Error: [ErrNoRecord].
	Value(ctx context.Context, key string) (value []byte, version int64, err error)
	// SetValue writes the value if its version is still the given one; 0 means
	// that there is none yet. Errors: [ErrStale], [ErrNoRoom].
	SetValue(ctx context.Context, key string, value []byte, version int64) error
}

// ValuesUser is a module that keeps [Values]. The app calls UseValues once,
// after Provision. The values can be used when the store is open, which is
// after the whole configuration is loaded; before, every call fails.
type ValuesUser interface {
	UseValues(v Values)
}
