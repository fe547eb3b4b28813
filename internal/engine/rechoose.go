// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// refuses reports whether the server's filter no longer allows the author of
// it. A server was chosen by another configuration, perhaps.
func (g *Generation) refuses(s *Server, it *item) bool {
	filter := g.filters[s.Name]
	if filter.IsEmpty() {
		return false
	}
	author := sentAs(it.msg.Header, it.delivery)
	if author.IsNull() {
		author = it.delivery.Envelope.From
	}
	return !filter.Match(author)
}

// sentAs returns the address in the From field of d as it leaves.
func sentAs(h mailflow.Header, d *mailflow.Delivery) mailflow.Address {
	return asSent(h, d).From()
}

// asSent returns the header of a message as far as the author stands in it,
// with the changes of d made.
func asSent(h mailflow.Header, d *mailflow.Delivery) mailflow.Header {
	for _, c := range slices.Backward(d.Header) {
		if c.Op == mailflow.HeaderSet && strings.EqualFold(c.Name, "From") {
			return mailflow.ParseHeader([]byte("From: " + c.Value + "\r\n\r\n"))
		}
	}
	return h
}

// rechoose decides once more about a delivery that has no server, or whose
// server the configuration no longer has or that now refuses it: the route
// that decided it runs again on the stored inputs. What fits nowhere is held.
// It reports whether the same server is chosen again, so that the attempt may
// go on.
func (r *runner) rechoose(g *Generation, it *item) (again bool) {
	d, now := it.delivery, r.engine.now()
	env := it.row.Envelope
	c := &deliberation{generation: g, peer: &it.row.Peer, env: &env, msg: it.msg, now: now, again: true}
	tx := c.transaction(d.Route, d.Envelope.Recipients, r.store)
	if err := c.run(r.ctx, tx); err != nil {
		if r.ctx.Err() != nil {
			r.giveBack(it)
		} else {
			r.finish.add(g, g.conclude(it, nil, err, now), r.engine.now().Sub(now))
		}
		return false
	}
	if d.Server != "" && unchanged(tx, d) {
		return true
	}
	r.finish.add(g, c.rechosen(tx, it), r.engine.now().Sub(now))
	return false
}

// unchanged reports whether tx decided about d what was decided before.
func unchanged(tx *mailflow.Transaction, d *mailflow.Delivery) bool {
	for _, v := range tx.Verdicts() {
		a, ok := v.Action.(mailflow.Deliver)
		if !ok || a.Server != d.Server || a.Hold != "" {
			return false
		}
	}
	return true
}

// rechosen makes an outcome of the verdicts of tx.
func (c *deliberation) rechosen(tx *mailflow.Transaction, it *item) *mailflow.Outcome {
	o := &mailflow.Outcome{}
	index := make(map[string]int)
	var parts []*mailflow.Delivery
	var refused []mailflow.Result
	var moved *mailflow.Unrouted
	posted := make(map[string]bool)
	for _, v := range tx.Verdicts() {
		if u, ok := v.Action.(mailflow.Unroute); ok {
			moved = unroute(moved, it.row.ID, v.Recipient, u.Reason, c.now)
		}
		if a, ok := v.Action.(mailflow.PostTo); ok && !posted[a.Key()] {
			posted[a.Key()] = true
			c.post(&o.Postings, tx, a)
		}
		key, part := c.rechosenPart(tx, it.delivery, v)
		if part.State == mailflow.StateFailed || part.State == mailflow.StateExpired {
			refused = append(refused, mailflow.Result{Recipient: v.Recipient, State: part.State, Reply: v.Reply})
		}
		if tx.Sending.PerRecipient {
			key += "\x00" + v.Recipient.Address.Key()
		}
		i, ok := index[key]
		if !ok {
			i = len(parts)
			index[key] = i
			parts = append(parts, part)
		}
		parts[i].Envelope.Recipients = append(parts[i].Envelope.Recipients, v.Recipient)
	}
	adopt(o, parts, it.delivery.ID, c.now)
	for _, part := range [...][]mailflow.Delivery{o.Deliveries, o.Parted} {
		for i := range part {
			part[i].Envelope.From = c.reversePath(tx, part[i].ID)
		}
	}
	if moved != nil {
		o.Unrouted = append(o.Unrouted, *moved)
	}
	c.generation.addReports(o, it, refused, c.now)
	return o
}

// rechosenPart returns what v makes of d, without recipients, and what tells
// it from the other parts.
func (c *deliberation) rechosenPart(tx *mailflow.Transaction, d *mailflow.Delivery, v mailflow.Verdict) (string, *mailflow.Delivery) {
	if v.Reply != nil && (d.Server == "" || v.Reply.Temporary()) {
		res := mailflow.ResultOf(v.Recipient, v.Reply)
		return v.Reply.String(), c.generation.part(d, res, nil, c.now)
	}
	p := d.Clone()
	p.Envelope.Recipients = nil
	if v.Reply != nil {
		// It was to be sent: a change of the routes holds it, and fails nothing.
		p.State, p.Reason = mailflow.StateHeld, "the routes refuse it now: "+v.Reply.String()
		return p.Reason, p
	}
	c.equip(p, tx)
	p.Due, p.Reply = c.now, nil
	switch a := v.Action.(type) {
	case mailflow.Unroute:
		p.State, p.Reason = mailflow.StateDropped, "moved to the unrouted box"
	case mailflow.PostTo:
		p.State, p.Reason = mailflow.StateDropped, "moved: "+a.String()
	case mailflow.Drop:
		p.State, p.Reason = mailflow.StateDropped, v.By+": "+a.Reason
	case mailflow.Capture:
		apply(p, a)
		if d.Server != "" {
			// It was to be sent, and capturing is final: an operator decides.
			p.State = mailflow.StateHeld
		}
	default:
		apply(p, a)
		if _, known := c.generation.server(p.Server); !known && p.State == mailflow.StateQueued {
			p.State, p.Reason = mailflow.StateHeld, "no outgoing server is named "+p.Server
		}
	}
	return v.Action.Key(), p
}

// expire gives up what expired while the lane is down: no attempt tells.
func (r *runner) expire(l *lane, now time.Time) {
	r.mu.Lock()
	due := l.outage != nil && !l.expiry.IsZero() && !l.expiry.After(now)
	if due {
		l.expiry = time.Time{}
	}
	r.mu.Unlock()
	if !due {
		return
	}
	claimed, err := r.store.ClaimDue(r.ctx, mailflow.Claim{
		Destination: l.destination, DueBy: now, ExpiredOnly: true, Limit: claimBatch,
	})
	if err != nil {
		return // the claim that follows meets the same error, and says so
	}
	for i := range claimed {
		it := &item{delivery: &claimed[i]}
		r.giveUp(l, it)
	}
	r.resyncSoon()
}

// giveUp ends a delivery that has expired.
func (r *runner) giveUp(l *lane, it *item) {
	g := r.engine.pin()
	if g == nil {
		r.giveBack(it)
		return
	}
	defer r.engine.unpin(g)
	defer it.close()
	if err := it.load(r.ctx, r.store); err != nil {
		r.unreadable(g, l, it, err)
		return
	}
	why := it.delivery.Reply
	if why == nil {
		why = &mailflow.Reply{Code: 451, Enhanced: mailflow.EnhancedCode{4, 4, 1}, Text: "The destination cannot be reached"}
	}
	results := make([]mailflow.Result, len(it.delivery.Envelope.Recipients))
	for i, rcpt := range it.delivery.Envelope.Recipients {
		results[i] = mailflow.Result{Recipient: rcpt, State: mailflow.StateDeferred, Reply: why}
	}
	r.finish.add(g, g.conclude(it, results, nil, r.engine.now()), 0)
}
