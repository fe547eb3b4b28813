// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"errors"
)

// ErrNoWatch is returned by a [Fetcher] that has no push.
var ErrNoWatch = errors.New("mailbox cannot be watched")

// Fetcher collects mail from a mailbox. It must not have methods Start() error
// and Stop() error, or Caddy takes it for an app.
type Fetcher interface {
	// Fetch makes one round: it hands every new message to gate and marks it
	// in the mailbox only after Commit has returned. A message that fails is
	// left as it is and does not keep the others back. The round ends when ctx
	// does.
	Fetch(ctx context.Context, gate Gate) error

	// Watch blocks until the mailbox says that there is new mail, or ctx ends.
	// A fetcher that cannot be told returns [ErrNoWatch] at once.
	Watch(ctx context.Context) error
}
