// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/wire/digest"
	"github.com/mailcaddy/mailcaddy/internal/wire/mimeread"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// digester derives from the messages of posts what people read and search. It
// works behind the commit, since nothing depends on it: what is not made when
// the process dies is made at the next start.
type digester struct {
	runner *runner
	waker  chan struct{} // holds a token while there may be work
}

const (
	// digestBatch is how many posts are looked up at a time.
	digestBatch = 32
	// digestPause is how often the digester looks by itself: it finds what
	// another process posted, and what could not be read before.
	digestPause = time.Minute
)

func newDigester(r *runner) *digester {
	return &digester{runner: r, waker: make(chan struct{}, 1)}
}

// logger returns where the newest configuration logs.
func (d *digester) logger() *zap.Logger {
	if g := d.runner.engine.newest(); g != nil {
		return g.config.Logger
	}
	return zap.NewNop()
}

// wake says that there is a new post.
func (d *digester) wake() {
	select {
	case d.waker <- struct{}{}:
	default:
	}
}

// run makes digests until ctx ends.
func (d *digester) run(ctx context.Context) {
	tick := time.NewTicker(digestPause)
	defer tick.Stop()
	for {
		if err := d.catchUp(ctx); err != nil && ctx.Err() == nil {
			d.logger().Warn("reading posts", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-d.waker:
		case <-tick.C:
		}
	}
}

// catchUp makes the digests that are missing. It ends with the first one that
// the store does not give or take.
func (d *digester) catchUp(ctx context.Context) error {
	for {
		posts, err := d.runner.store.Undigested(ctx, digestBatch)
		if err != nil {
			return err
		}
		for i := range posts {
			made, err := d.of(ctx, &posts[i])
			if err != nil {
				return fmt.Errorf("post %s: %w", posts[i].ID, err)
			}
			if err := d.runner.store.PutDigest(ctx, posts[i].ID, made); err != nil {
				return fmt.Errorf("post %s: %w", posts[i].ID, err)
			}
		}
		if len(posts) < digestBatch {
			return nil
		}
	}
}

// of makes the digest of a post. A message that is gone, or that makes the
// reader panic, gives one that says so: it would not go better again.
func (d *digester) of(ctx context.Context, p *mailflow.Post) (made *mailflow.Digest, err error) {
	defer func() {
		if v := recover(); v != nil {
			d.logger().Error("reading a message panicked", zap.String("id", p.Message), zap.Any("panic", v))
			made, err = &mailflow.Digest{Flaws: []string{"the message cannot be read; its original is kept"}}, nil
		}
	}()
	body, err := d.runner.store.Body(ctx, p.Message)
	if errors.Is(err, mailflow.ErrNoRecord) {
		return &mailflow.Digest{Flaws: []string{"the message is not in the store"}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // only read
	m, err := mimeread.Read(ctx, body)
	if err != nil {
		return nil, err
	}
	return digest.Make(m.Forms(), m.Attachments, m.Flaws), nil
}
