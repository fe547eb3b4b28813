// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// RunTransportSuite holds a transport to the contract of [mailflow.Transport],
// against a next hop that takes everything, such as a [Relay]. The function
// returns such a transport, provisioned, anew at each call; what it needs is
// cleaned up with t.
//
// It checks that the transport returns one result for each recipient in their
// order, with replies that mean their states, leaves the delivery alone,
// reports nothing as sent whose content could not be read or whose attempt was
// ended, closes what it opened, and may be used by many attempts at once (run
// it with -race).
func RunTransportSuite(t *testing.T, newTransport func(t *testing.T) mailflow.Transport) {
	t.Helper()
	for name, test := range map[string]func(testing.TB, mailflow.Transport){
		"one result for each recipient":      transportAnswers,
		"leaves the delivery alone":          transportLeavesDelivery,
		"content that cannot be opened":      transportMeetsNoContent,
		"content that ends in the middle":    transportMeetsBrokenContent,
		"an attempt that is ended":           transportEnds,
		"many attempts at once":              transportRunsConcurrently,
		"the same attempt once more":         transportRepeats,
		"a report, which has no return path": transportSendsReport,
	} {
		t.Run(name, func(t *testing.T) { test(t, newTransport(t)) })
	}
}

// transportMail is a mail as transports get it.
const transportMail = "From: anna@sender.example\nTo: bob@example.org\nSubject: Hello\n\nHello Bob.\n.\nAnna\n"

// suiteAttempt returns an attempt to deliver to three recipients.
func suiteAttempt(tb testing.TB) (*mailflow.Attempt, *Content) {
	tb.Helper()
	a := NewAttempt(tb, transportMail, NewEnvelope("anna@sender.example", "bob@example.org", "carol@example.org", "dan@example.net"))
	return a, a.Content.(*Content)
}

// checkResults checks that an attempt ended as the contract says, and that a
// next hop that takes everything took it.
func checkResults(tb testing.TB, a *mailflow.Attempt, results []mailflow.Result, err error) {
	tb.Helper()
	rcpts := a.Delivery.Envelope.Recipients
	if err != nil {
		tb.Errorf("the attempt failed: %v", err)
		return
	}
	if len(results) != len(rcpts) {
		tb.Errorf("%d results for %d recipients", len(results), len(rcpts))
		return
	}
	for i, r := range results {
		switch {
		case !reflect.DeepEqual(r.Recipient, rcpts[i]):
			tb.Errorf("result %d is of %s, not of %s", i, r.Recipient.Address, rcpts[i].Address)
		case r.State != mailflow.StateSent && r.State != mailflow.StateCaptured:
			tb.Errorf("%s is %s: %v", r.Recipient.Address, r.State, r.Reply)
		case r.Reply == nil || !r.Reply.Accepted():
			tb.Errorf("%s is %s with the reply %v", r.Recipient.Address, r.State, r.Reply)
		}
	}
}

// checkNotSent checks that no recipient is reported as sent, or as failed for
// good: nothing of this is the recipient's fault.
func checkNotSent(tb testing.TB, results []mailflow.Result, err error) {
	tb.Helper()
	if r, ok := errors.AsType[*mailflow.Reply](err); ok && !r.Temporary() {
		tb.Errorf("the attempt ended with %v, which is not temporary", err)
	}
	for _, r := range results {
		if r.State == mailflow.StateSent || r.State == mailflow.StateFailed {
			tb.Errorf("%s is %s: %v", r.Recipient.Address, r.State, r.Reply)
		}
	}
}

func checkClosed(tb testing.TB, c *Content) {
	tb.Helper()
	if n := c.Unclosed(); n != 0 {
		tb.Errorf("%d readers of the content are not closed", n)
	}
}

func transportAnswers(tb testing.TB, transport mailflow.Transport) {
	tb.Helper()
	a, c := suiteAttempt(tb)
	results, err := transport.Deliver(tb.Context(), a)
	checkResults(tb, a, results, err)
	checkClosed(tb, c)
}

func transportSendsReport(tb testing.TB, transport mailflow.Transport) {
	tb.Helper()
	a, c := suiteAttempt(tb)
	a.Delivery.Envelope = *NewEnvelope("", "anna@sender.example")
	results, err := transport.Deliver(tb.Context(), a)
	checkResults(tb, a, results, err)
	checkClosed(tb, c)
}

func transportRepeats(tb testing.TB, transport mailflow.Transport) {
	tb.Helper()
	a, c := suiteAttempt(tb)
	for range 2 {
		results, err := transport.Deliver(tb.Context(), a)
		checkResults(tb, a, results, err)
	}
	checkClosed(tb, c)
}

func transportLeavesDelivery(tb testing.TB, transport mailflow.Transport) {
	tb.Helper()
	a, _ := suiteAttempt(tb)
	a.Delivery.Header = []mailflow.HeaderChange{{Op: mailflow.HeaderRemove, Name: "X-Removed"}}
	delivery, before := a.Delivery, a.Delivery.Clone()
	_, err := transport.Deliver(tb.Context(), a)
	if a.Delivery != delivery || !reflect.DeepEqual(delivery, before) {
		tb.Errorf("the delivery was changed to %+v (%v)", a.Delivery, err)
	}
}

// errContent is what the suite's contents fail with.
var errContent = errors.New("the content cannot be read")

func transportMeetsNoContent(tb testing.TB, transport mailflow.Transport) {
	tb.Helper()
	a, c := suiteAttempt(tb)
	c.FailOpen = errContent
	results, err := transport.Deliver(tb.Context(), a)
	checkNotSent(tb, results, err)
}

func transportMeetsBrokenContent(tb testing.TB, transport mailflow.Transport) {
	tb.Helper()
	a, c := suiteAttempt(tb)
	c.Fail = errContent
	results, err := transport.Deliver(tb.Context(), a)
	checkNotSent(tb, results, err)
	checkClosed(tb, c)
}

// transportEnds ends an attempt while the content is read.
func transportEnds(tb testing.TB, transport mailflow.Transport) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	defer cancel()
	a, c := suiteAttempt(tb)
	c.OnRead = func(ctx context.Context) {
		cancel()
		<-ctx.Done()
	}
	results, err := transport.Deliver(ctx, a)
	checkNotSent(tb, results, err)
	checkClosed(tb, c)
}

func transportRunsConcurrently(tb testing.TB, transport mailflow.Transport) {
	tb.Helper()
	const together = 8
	var all sync.WaitGroup
	for range together {
		a, c := suiteAttempt(tb)
		all.Go(func() {
			results, err := transport.Deliver(tb.Context(), a)
			checkResults(tb, a, results, err)
			checkClosed(tb, c)
		})
	}
	all.Wait()
}
