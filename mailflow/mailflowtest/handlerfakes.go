// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// At is the time at which the transactions of [NewTransaction] begin.
var At = time.Date(2026, time.March, 2, 10, 30, 0, 0, time.UTC)

// NewEnvelope returns an envelope with that reverse-path ("" for the null one)
// and recipients. It panics on an address that is none.
func NewEnvelope(from string, rcpts ...string) *mailflow.Envelope {
	env := &mailflow.Envelope{From: mailflow.MustParseAddress(from)}
	for _, r := range rcpts {
		env.Recipients = append(env.Recipients, mailflow.Recipient{Address: mailflow.MustParseAddress(r)})
	}
	return env
}

// NewMessage returns a message of raw, whose line ends may be LF. Its body
// stays open until the test ends.
func NewMessage(tb testing.TB, raw string) *mailflow.Message {
	tb.Helper()
	b := []byte(strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\n", "\r\n"))
	h := mailflow.ParseHeader(b)
	eight := func(b []byte) bool { return bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x80 }) }
	body := NewBody(b)
	tb.Cleanup(func() { _ = body.Close() })
	return &mailflow.Message{
		ID: "01TEST", Header: h, Body: body,
		EightBit: eight(b[h.Size():]), UTF8Header: eight(b[:h.Size()]),
	}
}

// NewTransaction returns an inbound transaction about all recipients of env,
// with raw as its content (none at RCPT: ""), from a peer that is no one in
// particular. The test changes what it needs to be different.
func NewTransaction(tb testing.TB, raw string, env *mailflow.Envelope) *mailflow.Transaction {
	tb.Helper()
	peer := &mailflow.Peer{
		Listener: "test", Protocol: "ESMTP", IP: netip.MustParseAddr("192.0.2.1"), Hello: "client.example", At: At,
	}
	tx := mailflow.NewTransaction(mailflow.Inbound, peer, env, env.Recipients)
	tx.Purpose = "transactional"
	tx.View = &View{}
	if raw != "" {
		tx.Message = NewMessage(tb, raw)
	}
	return tx
}

// Body is a [mailflow.Body] in memory.
type Body struct {
	r      *bytes.Reader
	closed atomic.Bool
	// Fail is returned by every read, if set before the first.
	Fail error
}

// NewBody returns a body of b, which must not change any more.
func NewBody(b []byte) *Body { return &Body{r: bytes.NewReader(b)} }

// ReadAt implements io.ReaderAt.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	switch {
	case b.closed.Load():
		return 0, errors.New("body is closed")
	case b.Fail != nil:
		return 0, b.Fail
	}
	return b.r.ReadAt(p, off)
}

// Size implements mailflow.Body.
func (b *Body) Size() int64 { return b.r.Size() }

// Close implements io.Closer.
func (b *Body) Close() error {
	b.closed.Store(true)
	return nil
}

// View is a [mailflow.View] with a fixed content.
type View struct {
	// Versions are the versions of the records by key.
	Versions map[string]int64
	// Hits are the hits of the windows by key.
	Hits map[string][]time.Time
	// Held is what is known of threads and people.
	Held Holdings
	// Fail is returned by every call, if set.
	Fail error
}

// Version implements mailflow.View.
func (v *View) Version(_ context.Context, key string) (int64, error) { return v.Versions[key], v.Fail }

// Count implements mailflow.View.
func (v *View) Count(_ context.Context, key string, since time.Time, limit int) (int, error) {
	n := 0
	for _, at := range v.Hits[key] {
		if !at.Before(since) && n < limit {
			n++
		}
	}
	return n, v.Fail
}

// Transport is a [mailflow.Transport] that keeps what it is given. It fails at
// the first stage whose field is set; the fields are set before its first use.
type Transport struct {
	// Connect fails the attempt before anything is said; it wraps
	// [mailflow.ErrUnreachable] where the test is about that.
	Connect error
	// Mail refuses the sender.
	Mail *mailflow.Reply
	// Rcpt refuses recipients, by their [mailflow.Address.Key].
	Rcpt map[string]*mailflow.Reply
	// Content fails while the content is sent.
	Content error
	// Final is the answer to the content; nil accepts it.
	Final *mailflow.Reply
	// Before is called first with each attempt, for tests that wait or panic.
	Before func(ctx context.Context, a *mailflow.Attempt)

	mu   sync.Mutex
	sent []Sent
}

// Sent is what a [Transport] delivered.
type Sent struct {
	// Delivery is a copy of the delivery.
	Delivery mailflow.Delivery
	// Recipients are those that were accepted.
	Recipients []mailflow.Recipient
	// Content is the content as it is.
	Content []byte
}

// Sent returns what was delivered so far.
func (t *Transport) Sent() []Sent {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.sent)
}

// Deliver implements mailflow.Transport.
func (t *Transport) Deliver(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	if t.Before != nil {
		t.Before(ctx, a)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case t.Connect != nil:
		return nil, t.Connect
	case t.Mail != nil:
		return nil, t.Mail
	}
	final := t.Final
	if final == nil {
		final = &mailflow.Reply{Code: 250, Enhanced: mailflow.EnhancedCode{2, 0, 0}, Text: "OK"}
	}
	var results []mailflow.Result
	var accepted []mailflow.Recipient
	for _, r := range a.Delivery.Envelope.Recipients {
		if reply := t.Rcpt[r.Address.Key()]; reply != nil {
			results = append(results, mailflow.ResultOf(r, reply))
			continue
		}
		results = append(results, mailflow.ResultOf(r, final))
		accepted = append(accepted, r)
	}
	if len(accepted) == 0 {
		return results, nil
	}
	content, err := readContent(ctx, a.Content)
	if err = errors.Join(t.Content, err); err != nil {
		return nil, err
	}
	if final.Accepted() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.sent = append(t.sent, Sent{Delivery: *a.Delivery.Clone(), Recipients: accepted, Content: content})
	}
	return results, nil
}

func readContent(ctx context.Context, c mailflow.Content) ([]byte, error) {
	if c == nil {
		return nil, nil
	}
	r, err := c.Open(ctx, mailflow.EncodingAsIs)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

var (
	_ mailflow.Body      = (*Body)(nil)
	_ mailflow.View      = (*View)(nil)
	_ mailflow.Transport = (*Transport)(nil)
)
