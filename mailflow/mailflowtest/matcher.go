// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// RunMatcherSuite holds a matcher to the contract of [mailflow.Matcher]. The
// matcher is provisioned and has its services. Each of transactions makes the
// same transaction anew at each call; without any the suite uses those of
// [RunHandlerSuite].
//
// It checks that the matcher is pure (the same recipient gives the same
// answer), decides nothing and leaves the mail alone, takes a transaction
// without message as there is one at RCPT, and may be asked by many
// transactions at once (run it with -race).
func RunMatcherSuite(t *testing.T, m mailflow.Matcher, transactions ...func(testing.TB) *mailflow.Transaction) {
	t.Helper()
	if len(transactions) == 0 {
		transactions = suiteTransactions()
	}
	for _, newTx := range transactions {
		t.Run("pure", func(t *testing.T) { matcherIsPure(t, m, newTx) })
		t.Run("decides nothing", func(t *testing.T) { matcherDecidesNothing(t, m, newTx) })
		t.Run("leaves the mail alone", func(t *testing.T) {
			handlerLeavesMail(t, matching{m}, newTx)
		})
		t.Run("needs no message", func(t *testing.T) {
			matcherIsPure(t, m, func(tb testing.TB) *mailflow.Transaction {
				tb.Helper()
				tx := newTx(tb)
				tx.Message = nil
				return tx
			})
		})
		t.Run("runs concurrently", func(t *testing.T) { matcherRunsConcurrently(t, m, newTx) })
	}
}

// answers asks m about every recipient of tx.
func answers(tb testing.TB, m mailflow.Matcher, tx *mailflow.Transaction) []string {
	tb.Helper()
	var all []string
	for _, rcpt := range tx.Pending() {
		ok, err := m.Match(tb.Context(), tx, rcpt)
		all = append(all, fmt.Sprintf("%s %v %v", rcpt.Address, ok, err))
	}
	return all
}

func matcherIsPure(tb testing.TB, m mailflow.Matcher, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	first := answers(tb, m, newTx(tb))
	if second := answers(tb, m, newTx(tb)); !slices.Equal(first, second) {
		tb.Errorf("the same transaction gave %q, then %q", first, second)
	}
}

func matcherDecidesNothing(tb testing.TB, m mailflow.Matcher, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	tx := newTx(tb)
	before := len(tx.Pending())
	answers(tb, m, tx)
	if len(tx.Pending()) != before || len(tx.HeaderChanges()) > 0 || len(tx.Tags()) > 0 || tx.Sender() != tx.Envelope.From {
		tb.Errorf("it decided: %+v, header %+v, tags %v", tx.Verdicts(), tx.HeaderChanges(), tx.Tags())
	}
}

func matcherRunsConcurrently(tb testing.TB, m mailflow.Matcher, newTx func(testing.TB) *mailflow.Transaction) {
	tb.Helper()
	const together = 8
	want := answers(tb, m, newTx(tb))
	var all sync.WaitGroup
	for range together {
		tx := newTx(tb)
		all.Go(func() {
			if got := answers(tb, m, tx); !slices.Equal(got, want) {
				tb.Errorf("beside others it gave %q, alone %q", got, want)
			}
		})
	}
	all.Wait()
}

// matching is a handler that asks a matcher and does nothing else.
type matching struct{ m mailflow.Matcher }

// Handle implements mailflow.Handler.
func (h matching) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	for _, rcpt := range tx.Pending() {
		if _, err := h.m.Match(ctx, tx, rcpt); err != nil {
			return err
		}
	}
	return next(ctx, tx)
}
