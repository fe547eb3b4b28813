// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// record is what is kept of an account.
type record struct {
	Refresh  string    `json:"refresh_token"`
	Obtained time.Time `json:"obtained"`
}

// errUnreadable says that a value is none of ours.
var errUnreadable = errors.New("the kept login cannot be read")

// read returns what is kept under key, and its version. Error: [ErrConsent] if
// nothing is.
func read(ctx context.Context, values mailflow.Values, key string) (record, int64, error) {
	text, version, err := values.Value(ctx, key)
	switch {
	case errors.Is(err, mailflow.ErrNoRecord):
		return record{}, 0, fmt.Errorf("nobody has logged in yet: %w", ErrConsent)
	case err != nil:
		return record{}, 0, fmt.Errorf("reading the kept login: %w", err)
	}
	var r record
	if json.Unmarshal(text, &r) != nil || r.Refresh == "" {
		return record{}, version, fmt.Errorf("%w: %w", errUnreadable, ErrConsent)
	}
	return r, version, nil
}

// write keeps r under key if the version there is still the given one.
func write(ctx context.Context, values mailflow.Values, key string, r record, version int64) error {
	text, err := json.Marshal(r) //nolint:gosec // G117: it is what is kept, see the package comment
	if err != nil {
		return fmt.Errorf("encoding the login: %w", err)
	}
	if err := values.SetValue(ctx, key, text, version); err != nil {
		return fmt.Errorf("keeping the login: %w", err)
	}
	return nil
}

// maxRaces is how often a login is kept anew because another process was
// faster. Each round somebody else has succeeded.
const maxRaces = 5

// overwrite keeps r under key, whatever is there: a new consent.
func overwrite(ctx context.Context, values mailflow.Values, key string, r record) error {
	var err error
	for range maxRaces {
		var version int64
		if _, version, err = read(ctx, values, key); err != nil && !errors.Is(err, ErrConsent) {
			return err
		}
		if err = write(ctx, values, key, r, version); !errors.Is(err, mailflow.ErrStale) {
			return err
		}
	}
	return err
}
