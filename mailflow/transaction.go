// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNotPending is returned for a recipient that the handler may not decide
// about: it is decided already, out of scope, or not in the envelope.
var ErrNotPending = errors.New("recipient is not pending")

// Transaction is one message while it is decided: who sent it, its envelope
// and content, and for each recipient one state: pending, claimed or refused.
//
// The engine makes it and runs a route over it; handlers see it one after the
// other. It is not safe for concurrent use, and a handler must not keep it.
type Transaction struct {
	// Route is the route that runs.
	Route RouteName
	// Peer is who sent the message.
	Peer *Peer
	// Envelope is the envelope as it came, with all recipients: evidence.
	// What a handler decides about is [Transaction.Pending].
	Envelope *Envelope
	// Message is the content; nil at RCPT.
	Message *Message
	// Domain is our domain that the message belongs to; empty if none.
	Domain string
	// Purpose is the kind of mail; "transactional" unless said otherwise.
	Purpose string
	// Now is the time of the decision. Handlers read no other clock.
	Now time.Time
	// View reads the state.
	View View
	// Servers tells how the outgoing servers do; nil if nothing is known.
	Servers ServerView
	// Tokens reads and makes signed tokens; nil where there are no keys.
	Tokens Tokens
	// Auth is what is proven about the sender's domains, by our own checks or
	// by those whom [Peer.TrustAuth] names.
	Auth []AuthResult
	// Again is set when a delivery is decided about once more: what the first
	// decision added to the message is there already.
	Again bool
	// Sending is how the message leaves.
	Sending Sending
	// Trace takes the reasons.
	Trace Trace

	recipients []decided
	scope      []int // nil = all
	tags       map[string]string
	header     []HeaderChange
	sender     *Address
}

// AuthResult is one verdict about who sent a message (RFC 8601).
type AuthResult struct {
	// Method is spf, dkim, dmarc, arc or auth.
	Method string `json:"method"`
	// Result is pass, fail, softfail, neutral, none, temperror or permerror.
	Result string `json:"result"`
	// Domain is the domain that the verdict is about, normalised.
	Domain string `json:"domain,omitempty"`
	// By is the authserv-id of who says so.
	By string `json:"by"`
}

// decided is a recipient and what became of it.
type decided struct {
	Recipient
	action Action
	reply  *Reply
	facts  []Fact
	by     string
}

func (d *decided) pending() bool { return d.action == nil && d.reply == nil }

// NewTransaction returns a transaction about the given recipients of env, all
// pending.
func NewTransaction(route RouteName, peer *Peer, env *Envelope, rcpts []Recipient) *Transaction {
	tx := &Transaction{Route: route, Peer: peer, Envelope: env, Now: peer.At}
	for _, r := range rcpts {
		tx.recipients = append(tx.recipients, decided{Recipient: r})
	}
	return tx
}

// Pending returns the recipients that the handler may decide about, in the
// order of the envelope.
func (tx *Transaction) Pending() []Recipient {
	var rs []Recipient
	for _, i := range tx.pending() {
		rs = append(rs, tx.recipients[i].Recipient)
	}
	return rs
}

// pending returns the indexes of the pending recipients in scope.
func (tx *Transaction) pending() []int {
	var is []int
	for i := range tx.recipients {
		if tx.recipients[i].pending() && tx.inScope(i) {
			is = append(is, i)
		}
	}
	return is
}

func (tx *Transaction) inScope(i int) bool {
	return tx.scope == nil || slices.Contains(tx.scope, i)
}

// Claim decides that a is done for the pending recipient rcpt. The facts are
// what the claim rests on; they are dropped with it if it is overturned.
// Errors wrap [ErrNotPending].
func (tx *Transaction) Claim(rcpt Address, a Action, facts ...Fact) error {
	d, err := tx.open(rcpt)
	if err != nil {
		return err
	}
	d.action, d.facts, d.by = a, facts, tx.Trace.at
	return nil
}

// AddFacts adds to what the decision about rcpt rests on, for a handler that
// wraps the chain. Those of a refused recipient count where the message is kept
// for it all the same. Errors wrap [ErrNotPending]: nothing is decided about
// rcpt.
func (tx *Transaction) AddFacts(rcpt Address, facts ...Fact) error {
	for i := range tx.recipients {
		d := &tx.recipients[i]
		if d.Address.Is(rcpt) && !d.pending() && tx.inScope(i) {
			d.facts = append(slices.Clone(d.facts), facts...)
			return nil
		}
	}
	return fmt.Errorf("adding to the claim on %s: %w", rcpt, ErrNotPending)
}

// ClaimAll claims every pending recipient in scope for a.
func (tx *Transaction) ClaimAll(a Action, facts ...Fact) {
	for _, i := range tx.pending() {
		d := &tx.recipients[i]
		d.action, d.facts, d.by = a, facts, tx.Trace.at
	}
}

// Refuse decides that the pending recipient rcpt is answered with r, a 4xx or
// 5xx. Errors wrap [ErrNotPending].
func (tx *Transaction) Refuse(rcpt Address, r *Reply) error {
	d, err := tx.open(rcpt)
	if err != nil {
		return err
	}
	d.reply, d.by = r, tx.Trace.at
	return nil
}

// RefuseAll refuses every pending recipient in scope with r.
func (tx *Transaction) RefuseAll(r *Reply) {
	for _, i := range tx.pending() {
		tx.recipients[i].reply, tx.recipients[i].by = r, tx.Trace.at
	}
}

// Overturn takes the claim on rcpt back and makes the recipient pending again,
// for a handler that wraps the chain and judges what the others claimed. It
// returns the action and facts that were claimed.
func (tx *Transaction) Overturn(rcpt Address) (Action, []Fact, error) {
	for i := range tx.recipients {
		d := &tx.recipients[i]
		if d.Address.Is(rcpt) && d.action != nil && tx.inScope(i) {
			a, facts := d.action, d.facts
			d.action, d.facts, d.by = nil, nil, ""
			return a, facts, nil
		}
	}
	return nil, nil, fmt.Errorf("overturning the claim on %s: %w", rcpt, ErrNotPending)
}

// open returns the pending recipient in scope.
func (tx *Transaction) open(rcpt Address) (*decided, error) {
	for _, i := range tx.pending() {
		if tx.recipients[i].Address.Is(rcpt) {
			return &tx.recipients[i], nil
		}
	}
	return nil, fmt.Errorf("%s: %w", rcpt, ErrNotPending)
}

// AddRecipient adds a pending recipient that the envelope does not have, for a
// copy, within the scope of the handler. It does nothing for an address that
// the transaction has already, nor when a delivery is decided about once more,
// and reports whether it was added.
func (tx *Transaction) AddRecipient(r Recipient) bool {
	has := func(d decided) bool { return d.Address.Is(r.Address) }
	if tx.Again || slices.ContainsFunc(tx.recipients, has) {
		return false
	}
	tx.recipients = append(tx.recipients, decided{Recipient: r})
	if tx.scope != nil {
		tx.scope = append(slices.Clone(tx.scope), len(tx.recipients)-1)
	}
	return true
}

// Verdict is what became of one recipient.
type Verdict struct {
	Recipient Recipient
	// Action is what it is claimed for; nil if refused or pending.
	Action Action
	// Reply is what it is refused with; nil otherwise.
	Reply *Reply
	// Facts is what the claim rests on.
	Facts []Fact
	// By is the handler that decided; empty if none did.
	By string
}

// Verdicts returns the state of all recipients in scope, in the order of the
// envelope.
func (tx *Transaction) Verdicts() []Verdict {
	vs := make([]Verdict, 0, len(tx.recipients))
	for i, d := range tx.recipients {
		if tx.inScope(i) {
			vs = append(vs, Verdict{Recipient: d.Recipient, Action: d.action, Reply: d.reply, Facts: d.facts, By: d.by})
		}
	}
	return vs
}

// Tag puts a mark on the message that later handlers, logs and events see.
func (tx *Transaction) Tag(key, value string) {
	if tx.tags == nil {
		tx.tags = make(map[string]string)
	}
	tx.tags[key] = value
}

// Tags returns the marks on the message. The caller must not change them.
func (tx *Transaction) Tags() map[string]string { return tx.tags }

// ChangeHeader adds a change that is made to the header while sending.
func (tx *Transaction) ChangeHeader(c HeaderChange) { tx.header = append(tx.header, c) }

// HeaderChanges returns the changes so far, in order.
func (tx *Transaction) HeaderChanges() []HeaderChange { return tx.header }

// SetSender makes a the reverse-path that deliveries are sent with. The
// envelope keeps the original one.
func (tx *Transaction) SetSender(a Address) { tx.sender = &a }

// Sender returns the reverse-path that deliveries are sent with.
func (tx *Transaction) Sender() Address {
	if tx.sender != nil {
		return *tx.sender
	}
	return tx.Envelope.From
}

// within runs a step: work sees only the recipients in scope, and the next it
// is given sees again what is visible now.
func (tx *Transaction) within(name string, scope []int, next Next, work func(Next) error) error {
	outerScope, outerName, outerDepth := tx.scope, tx.Trace.at, tx.Trace.depth
	enter := func(scope []int, name string, depth int) {
		tx.scope, tx.Trace.at, tx.Trace.depth = scope, name, depth
	}
	defer enter(outerScope, outerName, outerDepth)
	enter(scope, name, outerDepth)
	return work(func(ctx context.Context, tx *Transaction) error {
		defer enter(scope, name, tx.Trace.depth)
		enter(outerScope, outerName, outerDepth)
		return next(ctx, tx)
	})
}

// without runs work with the recipients in scope out of sight.
func (tx *Transaction) without(scope []int, work func() error) error {
	outer := tx.scope
	defer func() { tx.scope = outer }()
	visible := make([]int, 0, len(tx.recipients))
	for i := range tx.recipients {
		if tx.inScope(i) && !slices.Contains(scope, i) {
			visible = append(visible, i)
		}
	}
	tx.scope = visible
	return work()
}

// Nest runs work with the trace one level deeper, for handlers that have a
// route inside.
func (tx *Transaction) Nest(work func() error) error {
	tx.Trace.depth++
	defer func() { tx.Trace.depth-- }()
	return work()
}
