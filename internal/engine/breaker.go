// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Pauses between probes of a destination that is down: a tenth of the time
// that it has been down, so that what waits is delayed by little more than the
// outage itself. One connection in half a minute costs nothing.
const (
	minProbePause = 500 * time.Millisecond
	maxProbePause = 30 * time.Second
	probeShare    = 10
)

// When a server that answers is down all the same: after so many temporary
// refusals of different messages in a row, over so long a time. One message
// that a server does not like, or one bad second, is not enough.
const (
	minStrikes    = 5
	minStrikeSpan = 5 * time.Second
)

// evacuateSpan is how far ahead the deliveries are due that are decided again
// when a server is down: all of them.
const evacuateSpan = 366 * 24 * time.Hour

// outage is the time in which a destination takes no mail.
type outage struct {
	since   time.Time
	why     string
	refuses bool      // it answers, and takes nothing
	probe   time.Time // when the next attempt is made
	trial   bool      // the next attempt is made at once
	probing *lane     // makes an attempt now
	passed  bool      // what waits is being decided again, or has been
}

// later plans the next probe.
func (o *outage) later(now time.Time) {
	pause := min(max(now.Sub(o.since)/probeShare, minProbePause), maxProbePause)
	o.probe = now.Add(pause + rand.N(pause/4)) //nolint:gosec // jitter needs no secrecy
}

// strikes are the temporary refusals in a row.
type strikes struct {
	count   int
	first   time.Time
	message string // the last one
}

// waiting reports whether something is known to wait for o.
func (o *outlet) waiting() bool {
	for _, c := range o.classes {
		for _, l := range c.lanes {
			if l.cold || l.claiming || l.busy > 0 || len(l.ready) > 0 {
				return true
			}
		}
	}
	return false
}

// probe has one delivery try a destination that is down, when it is time.
// Which lane it is of is left to chance, so that none can block the others.
func (r *runner) probe(g *Generation, o *outlet, now time.Time) {
	out := o.outage
	if out.probing != nil || !o.waiting() {
		return
	}
	if out.probe.After(now) && !out.trial {
		if o.alarm != nil {
			o.alarm.Stop()
		}
		o.alarm = time.AfterFunc(out.probe.Sub(now), func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if g := r.engine.newest(); g != nil && !r.paused && o.outage != nil {
				r.probe(g, o, r.engine.now())
			}
		})
		return
	}
	for _, c := range o.classes {
		for _, l := range c.lanes {
			if !l.cold || l.claiming || l.waits != nil {
				continue
			}
			grant := r.grant(l, r.ofLane(g, l), 1, now)
			if grant == nil {
				continue
			}
			grant.n = max(grant.n, 1)
			out.probing, out.trial, l.claiming = l, false, true
			chills := l.chills
			r.work.Go(func() { r.claim(l, grant, chills) })
			return
		}
	}
}

// serveProbe has a worker take on what was claimed for a probe.
func (r *runner) serveProbe(l *lane) {
	if _, it := l.next(); it != nil {
		l.workers++
		r.workers[l.purpose]++
		r.work.Go(func() { r.deliver(l, it) })
	}
}

// unprobed notes that there was nothing to probe with. A host that nothing
// waits for is forgotten; a server stays down until a decision tries it.
func (r *runner) unprobed(l *lane) {
	l.outage.probing = nil
	if !r.isServer(l.outlet) && !l.cold && !l.waiting() {
		l.outage = nil
	}
}

// probed notes that the attempt of a probe has ended without an answer about
// the destination.
func (r *runner) probed(l *lane) {
	if l.outage != nil && l.outage.probing == l {
		l.outage.probing = nil
		l.outage.later(r.engine.now())
		l.chill()
	}
}

// isServer reports whether o is an outgoing server as a whole, not a host that
// one of them found.
func (r *runner) isServer(o *outlet) bool {
	g := r.engine.newest()
	if g == nil {
		return false
	}
	s, ok := g.server(o.destination)
	return ok && !s.PerDomain
}

// judge learns from the end of an attempt how the destination does.
func (r *runner) judge(g *Generation, l *lane, it *item, results []mailflow.Result, err error) {
	switch {
	case errors.Is(err, mailflow.ErrUnreachable):
		r.fell(g, l, err.Error(), false)
	case refusesAll(results, err):
		r.struck(g, l, it, answerOf(results, err))
	default:
		r.rose(g, l)
	}
}

// refusesAll reports whether the next hop refused all recipients for now.
func refusesAll(results []mailflow.Result, err error) bool {
	if err != nil {
		return !isReply(err) || mailflow.AsReply(err).Temporary()
	}
	for _, res := range results {
		if res.State != mailflow.StateDeferred {
			return false
		}
	}
	return len(results) > 0
}

// answerOf returns what the next hop said.
func answerOf(results []mailflow.Result, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case results[0].Reply != nil:
		return results[0].Reply.String()
	}
	return ""
}

// struck notes that a server refused a message for now. A host that was found
// by domain may do that, such as by greylisting: it answers.
func (r *runner) struck(g *Generation, l *lane, it *item, why string) {
	now := r.engine.now()
	r.mu.Lock()
	server := r.isServer(l.outlet)
	again := server && l.outage != nil && l.outage.refuses
	s := &l.strikes
	if server && s.message != it.delivery.Message {
		if s.count == 0 {
			s.first = now
		}
		s.count++
		s.message = it.delivery.Message
	}
	down := again || s.count >= minStrikes && now.Sub(s.first) >= minStrikeSpan
	kept := *s
	r.mu.Unlock()
	if down {
		r.fell(g, l, why, true)
		return
	}
	r.rose(g, l)
	r.mu.Lock()
	l.strikes = kept
	r.mu.Unlock()
}

// fell notes that the destination takes no mail. What was claimed goes back to
// the store, and one delivery after the other probes it. What waits for a
// server is decided again, once: at its second failure in a row, since the
// first may be a restart.
func (r *runner) fell(g *Generation, l *lane, why string, refuses bool) {
	now := r.engine.now()
	r.mu.Lock()
	first := l.outage == nil
	if first {
		l.outage = &outage{since: now, refuses: refuses}
	}
	o := l.outage
	o.why = clip(why, mailflow.MaxStoredText)
	second := o.probing == l || refuses
	if o.probing == l {
		o.probing = nil
	}
	if first || !o.probe.After(now) {
		o.later(now)
	}
	l.chill()
	ids := r.withdraw(l.outlet)
	server := r.isServer(l.outlet)
	if second && server && !o.passed && len(g.config.Servers) > 1 {
		o.passed = true
		r.work.Go(func() { r.evacuate(l.outlet, o) })
	}
	r.mu.Unlock()
	if len(ids) > 0 {
		_ = r.store.Unclaim(r.ctx, ids...) // fails only with the store itself
	}
	switch {
	case first && server:
		g.report(Event{Kind: EventServerDown, Server: l.destination, Reason: o.why})
	case first:
		g.config.Logger.Warn("destination is down, its mail waits",
			zap.String("destination", l.destination), zap.String("reason", why))
	}
}

// withdraw takes what is claimed and not begun out of memory, and returns the
// IDs. r.mu is held.
func (r *runner) withdraw(o *outlet) []string {
	var ids []string
	for _, c := range o.classes {
		for _, l := range c.lanes {
			ready := l.ready
			l.ready = nil
			for _, it := range ready {
				ids = append(ids, it.delivery.ID)
				l.chill()
				r.cool(it)
			}
		}
	}
	return ids
}

// rose notes that the destination takes mail.
func (r *runner) rose(g *Generation, l *lane) {
	r.mu.Lock()
	o := l.outage
	l.outage, l.strikes = nil, strikes{}
	server := r.isServer(l.outlet)
	if o != nil {
		l.chill()
		r.pumpOutlet(l.outlet)
	}
	r.mu.Unlock()
	if o == nil {
		return
	}
	after := r.engine.now().Sub(o.since)
	if server {
		g.report(Event{Kind: EventServerUp, Server: l.destination, Took: after})
		return
	}
	g.config.Logger.Info("destination is back", zap.String("destination", l.destination), zap.Duration("after", after))
}

// pumpOutlet pumps all lanes of o.
func (r *runner) pumpOutlet(o *outlet) {
	for _, c := range o.classes {
		for _, l := range c.lanes {
			r.pump(l)
		}
	}
}

// Down implements [mailflow.ServerView]. When nothing waits for a server that
// is down, one decision in each pause between probes finds it up, since
// nothing else would try it.
func (r *runner) Down(server string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.outlets[server]
	if o == nil || o.outage == nil {
		return ""
	}
	out, now := o.outage, r.engine.now()
	if !o.waiting() && out.probing == nil && !out.probe.After(now) {
		out.later(now)
		out.trial = true
		return ""
	}
	return out.String()
}

// String says in words what the outage is.
func (o *outage) String() string {
	text := "cannot be reached since "
	if o.refuses {
		text = "refuses everything since "
	}
	return text + o.since.UTC().Format(time.RFC3339) + ": " + o.why
}

// tryAll has the next mail for each destination try it, also those that are
// down.
func (r *runner) tryAll() {
	now := r.engine.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.outlets {
		if o.outage != nil {
			o.outage.probe, o.outage.trial = now, true
		}
	}
}

// evacuate decides again about what waits for a server that is down. What gets
// another one moves; the rest stays claimed until all of it is decided, so
// that nothing is decided twice, and is then given back.
func (r *runner) evacuate(o *outlet, out *outage) {
	lanes, err := r.store.Lanes(r.ctx)
	var kept []string
	for _, waiting := range lanes {
		for waiting.Destination == o.destination && r.still(o, out) && err == nil {
			var claimed []mailflow.Delivery
			claimed, err = r.store.ClaimDue(r.ctx, mailflow.Claim{
				Destination: o.destination, Lane: waiting.Name, DueBy: r.engine.now().Add(evacuateSpan), Limit: claimBatch,
			})
			for i := range claimed {
				if r.decideAgain(&claimed[i]) {
					kept = append(kept, claimed[i].ID)
				}
			}
			if len(claimed) == 0 {
				break
			}
		}
	}
	if g := r.engine.newest(); err != nil && g != nil && r.ctx.Err() == nil {
		g.config.Logger.Warn("deciding again about the mail of a server that is down", zap.String("server", o.destination), zap.Error(err))
	}
	if len(kept) > 0 {
		_ = r.store.Unclaim(context.WithoutCancel(r.ctx), kept...) // claims end with the process
	}
	r.resync()
}

// still reports whether o is down by that outage.
func (r *runner) still(o *outlet, out *outage) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return o.outage == out && !r.paused && r.ctx.Err() == nil
}

// decideAgain decides again about a claimed delivery, and reports whether it
// stays as it is, and claimed.
func (r *runner) decideAgain(d *mailflow.Delivery) (stays bool) {
	g := r.engine.pin()
	if g == nil {
		return true
	}
	defer r.engine.unpin(g)
	it := &item{delivery: d}
	defer it.close()
	if err := it.load(r.ctx, r.store); err != nil {
		return true // the attempt meets the same error, and says so
	}
	return r.rechoose(g, it)
}
