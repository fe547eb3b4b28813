// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Content is a [mailflow.Content] in memory. It is not re-encoded: both
// encodings give the bytes as they are.
type Content struct {
	// Fail is returned by a read in the middle, if it is set before the first;
	// FailOpen by Open.
	Fail, FailOpen error
	// OnRead is called before each read that gives bytes or Fail, with the
	// context of Open, such as to wait.
	OnRead func(ctx context.Context)

	message *mailflow.Message
	open    atomic.Int32
}

// NewContent returns a content of raw, whose line ends may be LF.
func NewContent(tb testing.TB, raw string) *Content {
	tb.Helper()
	return &Content{message: NewMessage(tb, raw)}
}

// Size implements [mailflow.Content].
func (c *Content) Size() int64 { return c.message.Size() }

// EightBit implements [mailflow.Content].
func (c *Content) EightBit() bool { return c.message.EightBit }

// UTF8Header implements [mailflow.Content].
func (c *Content) UTF8Header() bool { return c.message.UTF8Header }

// Open implements [mailflow.Content].
func (c *Content) Open(ctx context.Context, _ mailflow.Encoding) (io.ReadCloser, error) {
	if c.FailOpen != nil {
		return nil, c.FailOpen
	}
	size := c.Size()
	if c.Fail != nil {
		size /= 2
	}
	c.open.Add(1)
	return &contentReader{ctx: ctx, content: c, rest: io.NewSectionReader(c.message.Body, 0, size)}, nil
}

// Unclosed returns how many readers of Open are not closed.
func (c *Content) Unclosed() int { return int(c.open.Load()) }

// contentReader reads a [Content] once.
type contentReader struct {
	ctx     context.Context
	content *Content
	rest    io.Reader
	closed  atomic.Bool
}

// Read implements io.Reader.
func (r *contentReader) Read(p []byte) (int, error) {
	if r.closed.Load() {
		return 0, fs.ErrClosed
	}
	if r.content.OnRead != nil {
		r.content.OnRead(r.ctx)
	}
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.rest.Read(p)
	if errors.Is(err, io.EOF) && r.content.Fail != nil {
		err = r.content.Fail
	}
	return n, err
}

// Close implements io.Closer.
func (r *contentReader) Close() error {
	if r.closed.Swap(true) {
		return fs.ErrClosed
	}
	r.content.open.Add(-1)
	return nil
}

// attempts counts those of [NewAttempt].
var attempts atomic.Int64

// NewAttempt returns the first attempt to deliver raw, whose line ends may be
// LF, to all recipients of env. Its Content is a *[Content]. No two attempts
// of a process have the same delivery.
func NewAttempt(tb testing.TB, raw string, env *mailflow.Envelope) *mailflow.Attempt {
	tb.Helper()
	return &mailflow.Attempt{
		Delivery: &mailflow.Delivery{
			ID: fmt.Sprintf("01TEST%06d", attempts.Add(1)), Message: "01TEST", Route: mailflow.Outbound,
			Server: "server", Destination: "server", Purpose: "transactional", Envelope: *env,
			State: mailflow.StateSending, Created: At, Due: At, Expires: At.Add(72 * time.Hour),
		},
		Content: NewContent(tb, raw),
	}
}

// Interface guards
var _ mailflow.Content = (*Content)(nil)
