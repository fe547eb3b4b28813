// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// handlerFunc is a handler of a function.
type handlerFunc func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error

func (f handlerFunc) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	return f(ctx, tx, next)
}

// recorder keeps that a check failed, for tests of the checks.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Errorf(string, ...any) { r.failed = true }
func (r *recorder) Error(...any)          { r.failed = true }

// TestHandlerSuiteFinds hands the suite handlers that break the contract.
func TestHandlerSuiteFinds(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	newTx := suiteTransactions()[0]
	for name, c := range map[string]struct {
		check func(testing.TB, mailflow.Handler, func(testing.TB) *mailflow.Transaction)
		h     handlerFunc
	}{
		"remembers": {handlerIsPure, func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
			if calls.Add(1)%2 == 0 {
				tx.Tag("k", "v")
			}
			return nil
		}},
		"changes the envelope": {handlerLeavesMail, func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
			tx.Envelope.Recipients[0].Original = "x"
			return nil
		}},
		"replaces the message": {handlerLeavesMail, func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
			tx.Message = &mailflow.Message{}
			return nil
		}},
		"changes the peer": {handlerLeavesMail, func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
			tx.Peer.User = "x"
			return nil
		}},
		"calls next twice": {handlerCallsNext, func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
			return errors.Join(next(ctx, tx), next(ctx, tx))
		}},
		"swallows errors": {handlerCallsNext, func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
			_ = next(ctx, tx)
			return nil
		}},
		"refuses with 250": {handlerRefuses, func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
			tx.RefuseAll(&mailflow.Reply{Code: 250})
			return nil
		}},
		"refuses in two lines": {handlerRefuses, func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
			tx.RefuseAll(&mailflow.Reply{Code: 550, Text: "a\r\nb"})
			return nil
		}},
	} {
		r := &recorder{TB: t}
		c.check(r, c.h, newTx)
		if !r.failed {
			t.Errorf("a handler that %s passes", name)
		}
	}
}

// TestHandlerSuitePasses hands the suite a handler that keeps the contract.
func TestHandlerSuitePasses(t *testing.T) { //nolint:tparallel // the suite runs its subtests in order
	t.Parallel()
	RunHandlerSuite(t, handlerFunc(func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
		if err := next(ctx, tx); err != nil {
			return err
		}
		tx.ClaimAll(mailflow.Drop{Reason: "test"})
		return nil
	}))
}

func TestTransportFails(t *testing.T) {
	t.Parallel()
	refused := &mailflow.Reply{Code: 550}
	content := &memoryContent{}
	attempt := func() *mailflow.Attempt {
		return &mailflow.Attempt{Delivery: &mailflow.Delivery{Envelope: *NewEnvelope("", "a@x.example", "b@x.example")}, Content: content}
	}
	for name, c := range map[string]struct {
		transport *Transport
		states    []mailflow.State
		err       error
		sent      int
	}{
		"nothing": {&Transport{}, []mailflow.State{mailflow.StateSent, mailflow.StateSent}, nil, 1},
		"connect": {&Transport{Connect: mailflow.ErrUnreachable}, nil, mailflow.ErrUnreachable, 0},
		"mail":    {&Transport{Mail: refused}, nil, refused, 0},
		"rcpt":    {&Transport{Rcpt: map[string]*mailflow.Reply{"a@x.example": refused}}, []mailflow.State{mailflow.StateFailed, mailflow.StateSent}, nil, 1},
		"content": {&Transport{Content: io.ErrUnexpectedEOF}, nil, io.ErrUnexpectedEOF, 0},
		"final":   {&Transport{Final: &mailflow.Reply{Code: 451}}, []mailflow.State{mailflow.StateDeferred, mailflow.StateDeferred}, nil, 0},
	} {
		results, err := c.transport.Deliver(t.Context(), attempt())
		if !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var states []mailflow.State
		for _, r := range results {
			states = append(states, r.State)
		}
		if !slices.Equal(states, c.states) || len(c.transport.Sent()) != c.sent {
			t.Errorf("%s: %v, sent %d", name, states, len(c.transport.Sent()))
		}
	}
}

// memoryContent is a content of nothing.
type memoryContent struct{ mailflow.Content }

func (*memoryContent) Open(context.Context, mailflow.Encoding) (io.ReadCloser, error) {
	return NewBody(nil).reader(), nil
}

// reader returns the whole body as a stream.
func (b *Body) reader() io.ReadCloser { return io.NopCloser(io.NewSectionReader(b, 0, b.Size())) }
