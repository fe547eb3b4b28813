// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/xid"
	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/rule/sender"
	"github.com/mailcaddy/mailcaddy/internal/wire/refusal"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// deliberation is one message while it is decided, as often as that takes. It
// is decided with one clock, so that only the state can make a difference.
type deliberation struct {
	generation        *Generation
	peer              *mailflow.Peer
	env               *mailflow.Envelope
	msg               *mailflow.Message
	spool             mailflow.Spool
	inbound, outbound []mailflow.Recipient
	now               time.Time
	// again is set when a delivery of the message is decided about once more.
	again bool
	// replays is set when a stored message is decided about to see what would
	// become of it.
	replays bool
	// runs are the transactions of the latest decision, one for each route.
	runs []*mailflow.Transaction
}

// judgement is what the routes made of a message.
type judgement struct {
	// decision is what to commit; nil when every recipient is refused.
	decision *mailflow.Decision
	// replies are the answers, in the order of the envelope.
	replies []*mailflow.Reply
	// held says why a recipient is held; empty if none is.
	held string
	// dropped says what was dropped and why; empty if nothing was.
	dropped string
	// refusal is the mail that tells the sender of a fetched message what is
	// refused; nil if there is none.
	refusal *refusal.Refusal
	// rests is what the refusals of recipients rest on. It counts where the
	// message is kept for them.
	rests map[mailflow.Address][]mailflow.Fact
}

// errAllRefused ends a commit that has nothing to commit.
var errAllRefused = errors.New("every recipient is refused")

// commit decides and commits. A decision that is stale at its commit is made
// again; the third one is made inside the writer, where nothing can change.
func (c *deliberation) commit(ctx context.Context) (*judgement, error) {
	store := c.generation.store
	for range 2 {
		j, err := c.decideAndTell(ctx, store)
		if err != nil || j.decision == nil {
			return j, err
		}
		store.runner.reserve(j.decision)
		err = store.Commit(ctx, j.decision)
		if err == nil {
			return j, nil
		}
		store.runner.unreserve(j.decision) //nolint:contextcheck // the queue outlives the session
		j.discard()
		if !errors.Is(err, mailflow.ErrStale) {
			return nil, fmt.Errorf("committing: %w", err)
		}
	}
	var j *judgement
	err := store.CommitDecided(ctx, func(v mailflow.View) (_ *mailflow.Decision, err error) {
		if j != nil {
			j.discard()
		}
		if j, err = c.decideAndTell(ctx, v); err != nil {
			return nil, err
		}
		if j.decision == nil {
			return nil, errAllRefused
		}
		return j.decision, nil
	})
	if errors.Is(err, errAllRefused) {
		return j, nil
	}
	if err != nil {
		if j != nil {
			j.discard()
		}
		return nil, fmt.Errorf("committing: %w", err)
	}
	return j, nil
}

// decide runs the routes and gathers what they decided. It changes nothing.
func (c *deliberation) decide(ctx context.Context, view mailflow.View) (*judgement, error) {
	j := &judgement{rests: make(map[mailflow.Address][]mailflow.Fact)}
	d := &mailflow.Decision{Message: c.row(), Spool: c.spool}
	replies := make(map[mailflow.Address]*mailflow.Reply)
	var traces []string
	c.runs = nil
	for _, part := range []struct {
		route mailflow.RouteName
		rcpts []mailflow.Recipient
	}{{mailflow.Inbound, c.inbound}, {mailflow.Outbound, c.outbound}} {
		if len(part.rcpts) == 0 {
			continue
		}
		tx := c.transaction(part.route, part.rcpts, view)
		c.runs = append(c.runs, tx)
		if err := c.run(ctx, tx); err != nil {
			return nil, err
		}
		c.gather(tx, d, j, replies)
		traces = append(traces, string(part.route)+" "+tx.Trace.Summary())
	}
	d.Message.Trace = clip(strings.Join(traces, "; "), mailflow.MaxTraceBytes)
	accepted := c.peer.Fetched
	for _, r := range c.env.Recipients {
		reply := replies[r.Address]
		accepted = accepted || reply.Accepted()
		j.replies = append(j.replies, reply)
	}
	switch {
	case c.peer.Fetched:
		if err := c.tellFetched(ctx, d, j, view); err != nil {
			return nil, err
		}
		j.decision = d
	case accepted:
		c.tellRefused(d, j)
		j.decision = d
	}
	return j, nil
}

// transaction returns a transaction about rcpts.
func (c *deliberation) transaction(route mailflow.RouteName, rcpts []mailflow.Recipient, view mailflow.View) *mailflow.Transaction {
	tx := mailflow.NewTransaction(route, c.peer, c.env, rcpts)
	tx.Message, tx.View, tx.Now = c.msg, view, c.now
	tx.Domain = c.generation.config.Domains.Of(rcpts, c.msg.Header.From(), c.peer)
	tx.Purpose = mailflow.PurposeTransactional
	tx.Again = c.again || c.replays
	if s := c.generation.store; s != nil {
		tx.Tokens, tx.Servers = s.tokenKeys(), s.runner
	}
	return tx
}

// run runs the route. What it leaves pending is kept where an operator sees
// it, and so is a message whose handler panicked.
func (c *deliberation) run(ctx context.Context, tx *mailflow.Transaction) error {
	g := c.generation
	if !c.again {
		// Whatever the routes are: nobody sends in another's name.
		if reply := sender.May(sender.Authors(c.msg.Header), c.peer, g.config.Domains); reply != nil {
			tx.Trace.Won("sender_refused", "the address in From is of another of our domains than the submitter's")
			tx.RefuseAll(reply)
			return nil
		}
	}
	err := g.route(tx.Route).Run(ctx, tx, mailflow.Done)
	var p *mailflow.PanicError
	switch {
	case errors.As(err, &p):
		g.config.Logger.Error("handler panicked, holding the message", zap.String("id", c.msg.ID),
			zap.String("handler", p.Handler), zap.Any("panic", p.Value), zap.ByteString("stack", p.Stack))
		tx.ClaimAll(mailflow.Deliver{Hold: p.Error()})
	case err != nil:
		return err
	case tx.Route == mailflow.Inbound:
		tx.ClaimAll(mailflow.Unroute{Reason: "no handler claimed it"})
	default:
		tx.ClaimAll(mailflow.Deliver{Hold: "no handler chose a server"})
	}
	return nil
}

// gather adds what tx decided to d.
func (c *deliberation) gather(tx *mailflow.Transaction, d *mailflow.Decision, j *judgement, replies map[mailflow.Address]*mailflow.Reply) {
	deliveries, posted := make(map[string]int), make(map[string]bool)
	for _, v := range tx.Verdicts() {
		if v.Reply != nil {
			replies[v.Recipient.Address] = v.Reply
			j.rests[v.Recipient.Address] = v.Facts
			continue
		}
		replies[v.Recipient.Address] = acceptedAs(c.msg.ID)
		d.Facts = append(d.Facts, v.Facts...)
		switch a := v.Action.(type) {
		case mailflow.Unroute:
			d.Unrouted = unroute(d.Unrouted, c.msg.ID, v.Recipient, a.Reason, c.now)
		case mailflow.PostTo:
			if !posted[a.Key()] {
				posted[a.Key()] = true
				c.post(&d.Postings, tx, a)
			}
		case mailflow.Drop:
			j.dropped = v.By + ": " + a.Reason
			d.Message.Dropped = j.dropped
		case mailflow.Deliver, mailflow.Capture:
			key := a.Key()
			if tx.Sending.PerRecipient {
				key += "\x00" + v.Recipient.Address.Key()
			}
			i, ok := deliveries[key]
			if !ok {
				i = len(d.Deliveries)
				deliveries[key] = i
				d.Deliveries = append(d.Deliveries, c.delivery(tx, a))
			}
			e := &d.Deliveries[i].Envelope
			e.Recipients = append(e.Recipients, v.Recipient)
			if d.Deliveries[i].State == mailflow.StateHeld {
				j.held = d.Deliveries[i].Reason
			}
		}
	}
	for k, v := range tx.Tags() {
		if d.Message.Tags == nil {
			d.Message.Tags = make(map[string]string)
		}
		d.Message.Tags[k] = v
	}
}

// acceptedAs returns the acknowledgement of a message.
func acceptedAs(id string) *mailflow.Reply {
	r := *mailflow.ReplyAccepted
	r.Text += " as " + id
	return &r
}

// delivery returns the delivery, without recipients, that a asks for.
func (c *deliberation) delivery(tx *mailflow.Transaction, a mailflow.Action) mailflow.Delivery {
	d := mailflow.Delivery{
		ID: xid.NewWithTime(c.now).String(), Message: c.msg.ID, Route: tx.Route, Envelope: *c.env,
		State: mailflow.StateQueued, Created: c.now, Due: c.now,
		Expires: c.now.Add(c.generation.config.Queue.GiveUp),
	}
	d.Envelope.Recipients = nil
	c.equip(&d, tx)
	d.Envelope.From = c.reversePath(tx, d.ID)
	apply(&d, a)
	return d
}

// equip sets what tx decided about how the delivery d leaves, but for its
// reverse-path.
func (c *deliberation) equip(d *mailflow.Delivery, tx *mailflow.Transaction) {
	d.Purpose, d.Domain = tx.Purpose, tx.Domain
	d.Header = append(c.missing(tx), tx.HeaderChanges()...)
	d.Limited, d.SignAs = tx.Sending.Limited, tx.Sending.SignAs
}

// reversePath returns the reverse-path of the delivery of that ID.
func (c *deliberation) reversePath(tx *mailflow.Transaction, delivery string) mailflow.Address {
	a := tx.Sender()
	if tx.Sending.PerRecipient && !a.IsNull() {
		a.Local += "+" + c.generation.sign(mailflow.TokenDelivery, delivery)
	}
	return a
}

// apply sets what the action a says of the delivery d.
func apply(d *mailflow.Delivery, a mailflow.Action) {
	switch a := a.(type) {
	case mailflow.Capture:
		d.State, d.Reason = mailflow.StateCaptured, a.Reason
	case mailflow.Deliver:
		d.State, d.Reason = mailflow.StateQueued, ""
		d.Server, d.Destination = a.Server, a.Destination
		if d.Destination == "" {
			d.Destination = a.Server
		}
		if a.Hold != "" {
			d.State, d.Reason = mailflow.StateHeld, a.Hold
		}
	}
}

// missing returns the changes that complete the header of a submitted message
// (RFC 6409 section 8).
func (c *deliberation) missing(tx *mailflow.Transaction) []mailflow.HeaderChange {
	if tx.Route != mailflow.Outbound || !c.peer.Submits {
		return nil
	}
	var hs []mailflow.HeaderChange
	if !c.msg.Header.Has("Date") {
		hs = append(hs, mailflow.HeaderChange{Op: mailflow.HeaderEnsure, Name: "Date", Value: c.now.Format(time.RFC1123Z)})
	}
	if !c.msg.Header.Has("Message-Id") {
		hs = append(hs, mailflow.HeaderChange{Op: mailflow.HeaderEnsure, Name: "Message-Id", Value: c.generation.mintID(c.msg.ID)})
	}
	return hs
}

// mintID returns the Message-Id of a message that has none. It is signed, so
// that an answer to it is known when its row is gone.
func (g *Generation) mintID(id string) string {
	return "<" + g.sign(mailflow.TokenMessage, id) + "@" + g.config.Hostname + ">"
}

// tellRefused sees to the recipients that are refused while others are
// accepted, where the protocol has one reply for all. A submitter gets a
// report: the refused part goes to the queue undecided, is refused there
// again, and fails. A stranger's part goes to the unrouted box, since a report
// to an unproven sender is backscatter.
func (c *deliberation) tellRefused(d *mailflow.Decision, j *judgement) {
	if strings.HasPrefix(c.peer.Protocol, "LMTP") {
		return
	}
	for i, r := range c.env.Recipients {
		reply := j.replies[i]
		if reply.Accepted() {
			continue
		}
		d.Facts = append(d.Facts, j.rests[r.Address]...)
		why := "refused: " + reply.String()
		if !c.peer.Submits || c.env.From.IsNull() {
			d.Unrouted = unroute(d.Unrouted, c.msg.ID, r, why, c.now)
			continue
		}
		route := c.routed(r)
		tx := c.transaction(route, []mailflow.Recipient{r}, nil)
		part := c.delivery(tx, mailflow.Deliver{})
		part.Reason, part.Envelope.Recipients = why, []mailflow.Recipient{r}
		d.Deliveries = append(d.Deliveries, part)
	}
}

// unroute adds a recipient to the message's entry in the unrouted box.
func unroute(u *mailflow.Unrouted, id string, r mailflow.Recipient, why string, now time.Time) *mailflow.Unrouted {
	if u == nil {
		u = &mailflow.Unrouted{Message: id, Reason: why, At: now}
	}
	u.Recipients = append(u.Recipients, r)
	return u
}

// row returns the message's row in the ledger.
func (c *deliberation) row() mailflow.StoredMessage {
	h := c.msg.Header
	id := h.Get("Message-Id")
	if id == "" && len(c.outbound) > 0 && c.peer.Submits {
		id = c.generation.mintID(c.msg.ID)
	}
	return mailflow.StoredMessage{
		ID: c.msg.ID, Received: c.now, Peer: *c.peer, Envelope: *c.env, Size: c.msg.Size(),
		From:      clip(h.Get("From"), mailflow.MaxStoredText),
		Subject:   clip(h.Get("Subject"), mailflow.MaxStoredText),
		MessageID: clip(id, mailflow.MaxStoredText),
		EightBit:  c.msg.EightBit, UTF8Header: c.msg.UTF8Header,
	}
}

// clip cuts s to n bytes at a character, and makes it valid UTF-8.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
