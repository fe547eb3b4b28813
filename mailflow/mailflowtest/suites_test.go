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

// watcher keeps that a check failed, for tests of checks that run at once.
type watcher struct {
	testing.TB
	failed atomic.Bool
}

func (w *watcher) Errorf(string, ...any) { w.failed.Store(true) }

// matcherFunc is a matcher of a function.
type matcherFunc func(tx *mailflow.Transaction, rcpt mailflow.Recipient) (bool, error)

func (f matcherFunc) Match(_ context.Context, tx *mailflow.Transaction, rcpt mailflow.Recipient) (bool, error) {
	return f(tx, rcpt)
}

// TestMatcherSuiteFinds hands the suite matchers that break the contract.
func TestMatcherSuiteFinds(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	newTx := suiteTransactions()[2] // one recipient
	for name, c := range map[string]struct {
		check func(testing.TB, mailflow.Matcher, func(testing.TB) *mailflow.Transaction)
		m     matcherFunc
	}{
		"remembers": {matcherIsPure, func(*mailflow.Transaction, mailflow.Recipient) (bool, error) {
			return calls.Add(1)%2 == 0, nil
		}},
		"decides": {matcherDecidesNothing, func(tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
			tx.ClaimAll(mailflow.Drop{})
			return true, nil
		}},
		"tags": {matcherDecidesNothing, func(tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
			tx.Tag("a", "b")
			return true, nil
		}},
		"counts": {matcherRunsConcurrently, func(*mailflow.Transaction, mailflow.Recipient) (bool, error) {
			return calls.Add(1)%2 == 0, nil
		}},
	} {
		w := &watcher{TB: t}
		c.check(w, c.m, newTx)
		if !w.failed.Load() {
			t.Errorf("a matcher that %s passes", name)
		}
	}
}

// TestMatcherSuitePasses hands the suite a matcher that keeps the contract.
func TestMatcherSuitePasses(t *testing.T) { //nolint:tparallel // the suite runs its subtests in order
	t.Parallel()
	RunMatcherSuite(t, oneRecipient(mailflow.MustParseAddress("sales@mycompany.com")))
}

// transportFunc is a transport of a function.
type transportFunc func(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error)

func (f transportFunc) Deliver(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	return f(ctx, a)
}

// accept reports every recipient as sent.
func accept(a *mailflow.Attempt) []mailflow.Result {
	var results []mailflow.Result
	for _, r := range a.Delivery.Envelope.Recipients {
		results = append(results, mailflow.ResultOf(r, &mailflow.Reply{Code: 250}))
	}
	return results
}

// TestTransportSuiteFinds hands the suite transports that break the contract.
func TestTransportSuiteFinds(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	careless := func(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
		if content, err := a.Content.Open(ctx, mailflow.EncodingAsIs); err == nil {
			_, _ = io.Copy(io.Discard, content)
		}
		return accept(a), nil
	}
	for name, c := range map[string]struct {
		check     func(testing.TB, mailflow.Transport)
		transport transportFunc
	}{
		"forgets a recipient": {transportAnswers, func(_ context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
			return accept(a)[1:], nil
		}},
		"mixes recipients": {transportAnswers, func(_ context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
			results := accept(a)
			slices.Reverse(results)
			return results, nil
		}},
		"says sent without an answer": {transportAnswers, func(_ context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
			results := accept(a)
			results[0].Reply = nil
			return results, nil
		}},
		"closes nothing":            {transportAnswers, careless},
		"refuses reports":           {transportSendsReport, refusing(func(a *mailflow.Attempt) bool { return a.Delivery.Envelope.From.IsNull() })},
		"refuses the second time":   {transportRepeats, refusing(func(*mailflow.Attempt) bool { return calls.Add(1) > 1 })},
		"sends without content":     {transportMeetsNoContent, careless},
		"sends half a content":      {transportMeetsBrokenContent, careless},
		"goes on after its context": {transportEnds, careless},
		"fails for a local error": {transportMeetsBrokenContent, func(context.Context, *mailflow.Attempt) ([]mailflow.Result, error) {
			return nil, &mailflow.Reply{Code: 550}
		}},
		"changes the delivery": {transportLeavesDelivery, func(_ context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
			a.Delivery.Attempts++
			return accept(a), nil
		}},
		"takes one at a time": {transportRunsConcurrently, refusing(func(*mailflow.Attempt) bool { return calls.Add(1)%2 == 0 })},
	} {
		w := &watcher{TB: t}
		c.check(w, c.transport)
		if !w.failed.Load() {
			t.Errorf("a transport that %s passes", name)
		}
	}
}

// refusing returns a transport that fails the attempts that bad says yes to.
func refusing(bad func(*mailflow.Attempt) bool) transportFunc {
	return func(_ context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
		if bad(a) {
			return nil, errors.New("not this one")
		}
		return accept(a), nil
	}
}

// TestTransportSuitePasses hands the suite a transport that keeps the
// contract.
func TestTransportSuitePasses(t *testing.T) { //nolint:tparallel // the suite runs its subtests in order
	t.Parallel()
	RunTransportSuite(t, func(*testing.T) mailflow.Transport { return new(Transport) })
}
