// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
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
	// ProspectRest: it takes whatever reaches it, which says nothing about
	// whether the address exists; those behind it are not asked.
	ProspectRest
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

// EnvelopeMatcher is a [Matcher] that can say that it never needs the content:
// what it answers at RCPT stands. Any other matcher's "false" at RCPT may
// become "true" when the content is there.
type EnvelopeMatcher interface {
	Matcher

	// EnvelopeOnly reports whether Match looks at no content.
	EnvelopeOnly() bool
}

// EnvelopeOnly reports whether m is an [EnvelopeMatcher] that needs no content.
func EnvelopeOnly(m Matcher) bool {
	e, ok := m.(EnvelopeMatcher)
	return ok && e.EnvelopeOnly()
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

// EnvelopeOnly implements [EnvelopeMatcher].
func (s MatcherSet) EnvelopeOnly() bool {
	return !slices.ContainsFunc(s, func(m Matcher) bool { return !EnvelopeOnly(m) })
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
	defer s.catch(&err)
	return s.Handler.Handle(ctx, tx, next)
}

// handleRcpt asks the handler and catches its panic.
func (s *Step) handleRcpt(ctx context.Context, tx *Transaction, rcpt Recipient) (p Prospect, err error) {
	h, ok := s.Handler.(RcptHandler)
	if !ok {
		return ProspectSilent, nil
	}
	defer s.catch(&err)
	return h.HandleRcpt(ctx, tx, rcpt)
}

// catch is deferred: it makes an error of a panic.
func (s *Step) catch(err *error) {
	if v := recover(); v != nil {
		*err = &PanicError{Handler: s.Name, Value: v, Stack: debug.Stack()}
	}
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
	defer s.catch(&err)
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
// claim it, refuses it or takes the rest. It returns [ProspectSilent] if none
// has anything to say. A handler whose condition needs the content cannot
// refuse here, but it keeps rcpt from being refused if it may claim it.
// Handlers with a route inside answer with Prospect.
func (r Route) Prospect(ctx context.Context, tx *Transaction, rcpt Recipient) (Prospect, error) {
	prospect := ProspectSilent
	for i := range r {
		if _, ok := r[i].Handler.(RcptHandler); !ok {
			continue
		}
		matches, err := r[i].matches(ctx, tx, rcpt)
		could := matches
		if err == nil && !matches {
			could, err = r[i].couldMatch(ctx, tx, rcpt)
		}
		switch {
		case err != nil:
			return ProspectNone, fmt.Errorf("matching for %s: %w", r[i].Name, err)
		case !could:
			continue
		}
		p, err := r[i].handleRcpt(ctx, tx, rcpt)
		switch {
		case !matches && (err != nil || p == ProspectNone || p == ProspectSilent):
		case !matches:
			return ProspectMaybe, nil
		case err != nil || p == ProspectMaybe:
			return p, err
		case p == ProspectRest && prospect == ProspectNone:
			return ProspectNone, ReplyUnknownRecipient
		case p == ProspectRest:
			return p, nil
		default:
			prospect = min(prospect, p)
		}
	}
	return prospect, nil
}

// couldMatch reports whether a condition of s may hold once there is content.
func (s *Step) couldMatch(ctx context.Context, tx *Transaction, rcpt Recipient) (could bool, err error) {
	defer s.catch(&err)
	for _, m := range s.Match {
		set, ok := m.(MatcherSet)
		if !ok {
			set = MatcherSet{m}
		}
		could = true
		for _, member := range set {
			if !EnvelopeOnly(member) {
				continue
			}
			holds, err := member.Match(ctx, tx, rcpt)
			if err != nil {
				return false, err
			}
			could = could && holds
		}
		if could {
			return true, nil
		}
	}
	return false, nil
}
