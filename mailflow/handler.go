// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// Handler is one step of a route. It decides about the recipients that are
// pending and in its scope ([Transaction.Pending]): it claims them for an
// [Action] or refuses them, and calls next for what it leaves to the others.
// A handler that wants to see what the rest decided calls next first.
//
// Handle is a pure step: message, read-only state and clock in, claims and
// trace out. It does not write, dial or sleep; DNS look-ups through the
// injected [Resolver] are the exception and obey ctx. It may run more than
// once for one message, also when nothing is committed afterwards.
//
// Handle is called by many transactions at once. An error that is or wraps a
// [Reply] refuses all recipients that are pending in its scope with that
// reply; any other error defers the whole transaction. A handler that panics
// has the message held, with the panic as the reason.
type Handler interface {
	Handle(ctx context.Context, tx *Transaction, next Next) error
}

// Next is the rest of the route. It returns the error of the handlers that
// come after; a handler passes it on.
type Next func(ctx context.Context, tx *Transaction) error

// RcptHandler is a [Handler] that can tell at RCPT, before there is content,
// whether it may claim an address. A route that has such handlers refuses an
// address that none of them may claim with 550 5.1.1.
type RcptHandler interface {
	Handler

	// HandleRcpt says what the handler would do with rcpt. tx has no message.
	// An error that is a [Reply] refuses the recipient, any other defers it.
	HandleRcpt(ctx context.Context, tx *Transaction, rcpt Recipient) (Prospect, error)
}

// Prospect is what an [RcptHandler] expects of a recipient.
type Prospect int

// The prospects.
const (
	// ProspectNone: this handler will not claim the recipient.
	ProspectNone Prospect = iota
	// ProspectMaybe: it may claim it, depending on the content.
	ProspectMaybe
	// ProspectSilent: it has nothing to say about recipients, as if it were
	// no [RcptHandler].
	ProspectSilent
)

// Matcher is a condition on a recipient of a transaction; conditions on the
// message look at the transaction alone. It is asked once for each pending
// recipient, so that a handler acts on just those that match.
//
// Match obeys the rules of [Handler.Handle] and is called by many transactions
// at once. At RCPT it is asked with no message: it then answers false if it
// needs one. An error defers the transaction.
type Matcher interface {
	Match(ctx context.Context, tx *Transaction, rcpt Recipient) (bool, error)
}

// MatcherSet is a matcher that holds when all of its members hold.
type MatcherSet []Matcher

// Match implements [Matcher].
func (s MatcherSet) Match(ctx context.Context, tx *Transaction, rcpt Recipient) (bool, error) {
	for _, m := range s {
		if ok, err := m.Match(ctx, tx, rcpt); !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// Step is one handler of a route with its condition.
type Step struct {
	// Name is the handler's name, as traces and logs show it.
	Name string
	// Match lists the conditions of which one must hold; empty = always.
	Match []Matcher
	// Handler does the work.
	Handler Handler
}

// Route is a list of steps that run in the written order.
type Route []Step

// Run runs the route over tx, then next. It stops where nothing is pending:
// a handler is called only for pending recipients that match its condition,
// and sees only those.
func (r Route) Run(ctx context.Context, tx *Transaction, next Next) error {
	if len(r) == 0 {
		return next(ctx, tx)
	}
	if len(tx.Pending()) == 0 {
		return nil
	}
	rest := func(ctx context.Context, tx *Transaction) error { return r[1:].Run(ctx, tx, next) }
	step := r[0]
	scope, err := step.scope(ctx, tx)
	switch {
	case err != nil:
		return fmt.Errorf("matching for %s: %w", step.Name, err)
	case len(scope) == 0:
		return rest(ctx, tx)
	}
	called := false
	err = tx.within(step.Name, scope, rest, func(next Next) error {
		err := step.handle(ctx, tx, func(ctx context.Context, tx *Transaction) error {
			called = true
			return next(ctx, tx)
		})
		if reply, ok := errors.AsType[*Reply](err); ok {
			tx.RefuseAll(reply)
			return nil
		}
		return err
	})
	if err != nil || called {
		return err
	}
	// The handler kept its recipients to itself; the others go on.
	return tx.without(scope, func() error { return rest(ctx, tx) })
}

// PanicError is returned for a handler or matcher that panicked. The message
// is then held.
type PanicError struct {
	// Handler is the step's name.
	Handler string
	// Value is what it panicked with, Stack where.
	Value any
	Stack []byte
}

// Error implements error.
func (e *PanicError) Error() string {
	return fmt.Sprintf("handler %s panicked: %v", e.Handler, e.Value)
}

// handle calls the handler and catches its panic.
func (s *Step) handle(ctx context.Context, tx *Transaction, next Next) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Handler: s.Name, Value: v, Stack: debug.Stack()}
		}
	}()
	return s.Handler.Handle(ctx, tx, next)
}

// Done is the end of a route: the [Next] of its last step.
func Done(context.Context, *Transaction) error { return nil }

// scope returns the pending recipients of tx that step takes.
func (s *Step) scope(ctx context.Context, tx *Transaction) ([]int, error) {
	var scope []int
	for _, i := range tx.pending() {
		ok, err := s.matches(ctx, tx, tx.recipients[i].Recipient)
		if err != nil {
			return nil, err
		}
		if ok {
			scope = append(scope, i)
		}
	}
	return scope, nil
}

func (s *Step) matches(ctx context.Context, tx *Transaction, rcpt Recipient) (ok bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Handler: s.Name, Value: v, Stack: debug.Stack()}
		}
	}()
	for _, m := range s.Match {
		if ok, err := m.Match(ctx, tx, rcpt); ok || err != nil {
			return ok, err
		}
	}
	return len(s.Match) == 0, nil
}

// Rcpt asks the route's [RcptHandler]s about rcpt. It returns
// [ReplyUnknownRecipient] if there are some and none may claim it.
func (r Route) Rcpt(ctx context.Context, tx *Transaction, rcpt Recipient) error {
	p, err := r.Prospect(ctx, tx, rcpt)
	if err == nil && p == ProspectNone {
		return ReplyUnknownRecipient
	}
	return err
}

// Prospect asks the route's [RcptHandler]s about rcpt, in order, until one may
// claim or refuses it. It returns [ProspectSilent] if none has anything to
// say. Handlers with a route inside answer with it.
func (r Route) Prospect(ctx context.Context, tx *Transaction, rcpt Recipient) (Prospect, error) {
	prospect := ProspectSilent
	for i := range r {
		h, ok := r[i].Handler.(RcptHandler)
		if !ok {
			continue
		}
		if ok, err := r[i].matches(ctx, tx, rcpt); err != nil {
			return ProspectNone, fmt.Errorf("matching for %s: %w", r[i].Name, err)
		} else if !ok {
			continue
		}
		p, err := h.HandleRcpt(ctx, tx, rcpt)
		if err != nil || p == ProspectMaybe {
			return p, err
		}
		prospect = min(prospect, p)
	}
	return prospect, nil
}
