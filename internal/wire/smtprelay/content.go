// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// blockSize is the memory that content streams through, twice: once as read
// and once as it is sent. A common mail with its final dot fits into one block
// and leaves in one write.
const blockSize = 32 << 10

// earlyReply bounds the wait for what a server said before it stopped reading.
const earlyReply = 5 * time.Second

// A block is the memory of one transfer. Idle connections hold none.
type block struct {
	in  []byte
	out *bufio.Writer
}

var blocks = sync.Pool{New: func() any {
	return &block{in: make([]byte, blockSize), out: bufio.NewWriterSize(nil, blockSize)}
}}

// content sends the content and settles the accepted recipients by the replies
// to it.
func (t *transaction) content(ctx context.Context) error {
	c := t.c
	err := t.send(ctx)
	if err == nil {
		return t.final()
	}
	c.dead = true
	var reading *contentError
	switch {
	case errors.Is(err, errLineEnd):
		return errLineEndReply.Because(err)
	case errors.As(err, &reading):
		return fmt.Errorf("reading the content: %w", reading.err)
	}
	// A server that has seen enough answers and stops reading.
	if rep, readErr := c.read(min(earlyReply, c.cfg.Timeouts.Final)); readErr == nil && rep.code >= 400 {
		for _, i := range t.open {
			t.settle(i, rep.public())
		}
		return nil
	}
	return t.lost("sending the content", err)
}

// errLineEndReply answers content that cannot be sent safely.
var errLineEndReply = &mailflow.Reply{
	Code: 554, Enhanced: mailflow.EnhancedCode{5, 6, 0}, Text: "Message has a bare CR or LF",
}

// A contentError is an error of the content, not of the connection.
type contentError struct{ err error }

func (e *contentError) Error() string { return e.err.Error() }
func (e *contentError) Unwrap() error { return e.err }

// send streams the content and the final dot.
func (t *transaction) send(ctx context.Context) error {
	enc := mailflow.EncodingAsIs
	if t.a.Content.EightBit() && !t.c.ext.EightBitMIME {
		enc = mailflow.Encoding7Bit
	}
	body, err := t.a.Content.Open(ctx, enc)
	if err != nil {
		return &contentError{err}
	}
	defer body.Close() //nolint:errcheck // it was only read
	b := blocks.Get().(*block)
	b.out.Reset(t.c)
	defer func() {
		b.out.Reset(nil)
		blocks.Put(b)
	}()
	dots := newDotWriter(b.out)
	for {
		n, err := body.Read(b.in)
		if _, err := dots.Write(b.in[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF):
			if err := dots.Close(); err != nil {
				return err
			}
			return b.out.Flush()
		case err != nil:
			return &contentError{err}
		}
	}
}

// final reads the reply to the content, in LMTP one for each accepted
// recipient in their order (RFC 2033 section 4.2).
func (t *transaction) final() error {
	if t.c.cfg.Protocol == LMTP {
		for _, i := range t.open {
			r, err := t.outcome()
			if err != nil {
				return err
			}
			t.settle(i, r)
		}
		return nil
	}
	r, err := t.outcome()
	if err != nil {
		return err
	}
	for _, i := range t.open {
		t.settle(i, r)
	}
	return nil
}

// outcome reads one reply to the content.
func (t *transaction) outcome() (*mailflow.Reply, error) {
	rep, err := t.c.read(t.c.cfg.Timeouts.Final)
	if err == nil && rep.code/100 == 3 {
		err = fmt.Errorf("%w: %s", errGarbage, rep.public().String())
	}
	if err != nil {
		return nil, t.lost("waiting for the reply to the content", fmt.Errorf("%w: %w", ErrOutcomeUnknown, err))
	}
	return rep.public(), nil
}
