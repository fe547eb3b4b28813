// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// handlerMail is a mail as handlers meet it.
const handlerMail = `From: "Anna A." <anna@sender.example>
To: sales@mycompany.com, support@mycompany.com
Subject: =?utf-8?q?Caf=C3=A9?=
Message-Id: <1@sender.example>
Date: Mon, 2 Mar 2026 10:29:58 +0000

Hello.
`

// RunHandlerSuite holds a handler to the contract of [mailflow.Handler]. The
// handler is provisioned and has its services. Each of transactions makes the
// same transaction anew at each call; without any the suite uses some of its
// own, inbound and outbound.
//
// It checks that the handler is pure (the same transaction gives the same
// verdicts, trace, tags and changes), leaves the envelope, the peer and the
// message alone, decides only about recipients in its scope, calls next at
// most once and passes its error on, refuses with 4xx or 5xx on one line of
// ASCII, and may be used by many transactions at once (run it with -race).
func RunHandlerSuite(t *testing.T, h mailflow.Handler, transactions ...func(testing.TB) *mailflow.Transaction) {
	t.Helper()
	if len(transactions) == 0 {
		transactions = suiteTransactions()
	}
	for _, newTx := range transactions {
		t.Run("pure", func(t *testing.T) { handlerIsPure(t, h, newTx) })
		t.Run("leaves the mail alone", func(t *testing.T) { handlerLeavesMail(t, h, newTx) })
		t.Run("obeys its scope", func(t *testing.T) { handlerObeysScope(t, h, newTx) })
		t.Run("calls next well", func(t *testing.T) { handlerCallsNext(t, h, newTx) })
		t.Run("refuses well", func(t *testing.T) { handlerRefuses(t, h, newTx) })
		t.Run("runs concurrently", func(t *testing.T) { handlerRunsConcurrently(t, h, newTx) })
	}
}

// suiteTransactions are the transactions of the suite's own.
func suiteTransactions() []func(testing.TB) *mailflow.Transaction {
	rcpts := []string{"sales@mycompany.com", "support@mycompany.com", "other@elsewhere.example"}
	made := func(route mailflow.RouteName, raw, from string, rcpts ...string) func(testing.TB) *mailflow.Transaction {
		return func(tb testing.TB) *mailflow.Transaction {
			tb.Helper()
			tx := NewTransaction(tb, raw, NewEnvelope(from, rcpts...))
			tx.Route = route
			return tx
		}
	}
	return []func(testing.TB) *mailflow.Transaction{
		made(mailflow.Inbound, handlerMail, "anna@sender.example", rcpts...),
		made(mailflow.Outbound, handlerMail, "app@mycompany.com", rcpts...),
		made(mailflow.Inbound, "\n\n", "", rcpts[0]),
	}
}

// outcome is all that a handler can do to a transaction.
type outcome struct {
	Verdicts []mailflow.Verdict
	Header   []mailflow.HeaderChange
	Tags     map[string]string
	Notes    []mailflow.Note
	Sender   mailflow.Address
	Err      string
}

// run runs h as the only step of a route.
func run(ctx context.Context, h mailflow.Handler, tx *mailflow.Transaction) outcome {
	err := mailflow.Route{{Name: "handler", Handler: h}}.Run(ctx, tx, mailflow.Done)
	o := outcome{
		Verdicts: tx.Verdicts(), Header: tx.HeaderChanges(), Tags: tx.Tags(),
		Notes: tx.Trace.Notes(), Sender: tx.Sender(),
	}
	if err != nil {
		o.Err = err.Error()
	}
	return o
}

func handlerIsPure(tb testing.TB, h mailflow.Handler, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	first := run(tb.Context(), h, newTx(tb))
	if second := run(tb.Context(), h, newTx(tb)); !reflect.DeepEqual(first, second) {
		tb.Errorf("the same transaction gave %+v, then %+v", first, second)
	}
}

func handlerLeavesMail(tb testing.TB, h mailflow.Handler, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	got, want := newTx(tb), newTx(tb)
	envelope, peer, message := got.Envelope, got.Peer, got.Message
	run(tb.Context(), h, got)
	switch {
	case got.Envelope != envelope || !reflect.DeepEqual(envelope, want.Envelope):
		tb.Errorf("the envelope was changed to %+v", got.Envelope)
	case got.Peer != peer || !reflect.DeepEqual(peer, want.Peer):
		tb.Errorf("the peer was changed to %+v", got.Peer)
	case got.Message != message:
		tb.Error("the message was replaced")
	case got.Route != want.Route || got.Now != want.Now:
		tb.Error("the route's name or the time was changed")
	}
	if message == nil {
		return
	}
	if !reflect.DeepEqual(message.Header, want.Message.Header) || message.ID != want.Message.ID {
		tb.Error("the message was changed")
	}
	if got, want := content(tb, message), content(tb, want.Message); got != want {
		tb.Errorf("the bytes were changed to %q", got)
	}
}

// content reads the whole message, which also finds a body that was closed.
func content(tb testing.TB, m *mailflow.Message) string {
	tb.Helper()
	b, err := io.ReadAll(io.NewSectionReader(m.Body, 0, m.Size()))
	if err != nil {
		tb.Fatalf("reading the body after the handler: %v", err)
	}
	return string(b)
}

// oneRecipient matches one recipient.
type oneRecipient mailflow.Address

// Match implements mailflow.Matcher.
func (m oneRecipient) Match(_ context.Context, _ *mailflow.Transaction, rcpt mailflow.Recipient) (bool, error) {
	return rcpt.Address.Is(mailflow.Address(m)), nil
}

func handlerObeysScope(tb testing.TB, h mailflow.Handler, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	tx := newTx(tb)
	only := tx.Envelope.Recipients[0].Address
	route := mailflow.Route{{Name: "handler", Match: []mailflow.Matcher{oneRecipient(only)}, Handler: h}}
	if err := route.Run(tb.Context(), tx, mailflow.Done); err != nil {
		return // the whole transaction is deferred
	}
	for _, v := range tx.Verdicts() {
		if !v.Recipient.Address.Is(only) && (v.Action != nil || v.Reply != nil) {
			tb.Errorf("it decided about %s, which is out of its scope", v.Recipient.Address)
		}
	}
}

// errSuite is what the suite's next returns.
var errSuite = errors.New("the rest of the route failed")

func handlerCallsNext(tb testing.TB, h mailflow.Handler, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	calls := 0
	err := mailflow.Route{{Name: "handler", Handler: h}}.Run(tb.Context(), newTx(tb),
		func(context.Context, *mailflow.Transaction) error { calls++; return errSuite })
	if calls > 1 {
		tb.Errorf("it called next %d times", calls)
	}
	if calls > 0 && !errors.Is(err, errSuite) {
		tb.Errorf("the error of next became %v", err)
	}
}

func handlerRefuses(tb testing.TB, h mailflow.Handler, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	tx := newTx(tb)
	run(tb.Context(), h, tx)
	for _, v := range tx.Verdicts() {
		r := v.Reply
		if r == nil {
			continue
		}
		if !r.Temporary() && !r.Permanent() {
			tb.Errorf("%s is refused with %s", v.Recipient.Address, r)
		}
		if strings.ContainsFunc(r.Text, func(c rune) bool { return c < ' ' || c >= 0x7f }) {
			tb.Errorf("the text of %q is not ASCII on one line", r)
		}
	}
}

func handlerRunsConcurrently(tb testing.TB, h mailflow.Handler, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	const together = 8
	want := run(tb.Context(), h, newTx(tb))
	var all sync.WaitGroup
	for range together {
		tx := newTx(tb)
		all.Go(func() {
			if got := run(tb.Context(), h, tx); !reflect.DeepEqual(got, want) {
				tb.Errorf("beside others it gave %+v, alone %+v", got, want)
			}
		})
	}
	all.Wait()
}
