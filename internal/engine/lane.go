// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// outlet is one destination: the classes of mail that are to be sent there,
// and whether it takes any. All of it is guarded by runner.mu, as is what it
// consists of.
type outlet struct {
	destination string
	runner      *runner
	server      string // of its mail
	classes     map[string]*class
	expiry      time.Time // when the store's first is given up; zero = unknown
	outage      *outage   // nil while the destination takes mail
	strikes     strikes
	alarm       *time.Timer // for the next probe
}

// class is the mail of one purpose for one destination. It has workers of its
// own, which its lanes get in turn.
type class struct {
	*outlet

	purpose string
	lanes   map[string]*lane
	turn    []*lane // those with something ready, the one served last at the end
	picks   int     // counts what was taken of them
	workers int
}

// lane is the mail of some senders of one domain.
type lane struct {
	*class

	name     string
	label    label
	ready    []*item // claimed, oldest first
	inTurn   bool
	busy     int  // workers that have an item of it
	cold     bool // the store may have due deliveries
	chills   int  // counts how often cold was set
	claiming bool
	due      time.Time // when the store's next known one is due; zero = none
	timer    *time.Timer
	waits    *gauge // the limit that it waits for; nil if none
}

// chill notes that the store has due deliveries.
func (l *lane) chill() {
	l.cold = true
	l.chills++
}

// expect notes that the store has a delivery that is due then.
func (l *lane) expect(due time.Time) {
	if l.due.IsZero() || due.Before(l.due) {
		l.due = due
	}
}

// disarm stops the timer.
func (l *lane) disarm() {
	if l.timer != nil {
		l.timer.Stop()
	}
}

// arm has the lane pumped at that time.
func (l *lane) arm(at, now time.Time) {
	l.disarm()
	l.timer = time.AfterFunc(max(at.Sub(now), 0), func() {
		l.runner.mu.Lock()
		defer l.runner.mu.Unlock()
		l.runner.pump(l)
	})
}

// idle reports whether nothing is known to be in the lane.
func (l *lane) idle() bool {
	return l.busy == 0 && len(l.ready) == 0 && !l.cold && !l.claiming && l.due.IsZero() && l.waits == nil
}

// add takes a claimed item on.
func (l *lane) add(it *item) {
	l.ready = append(l.ready, it)
	if !l.inTurn {
		l.inTurn = true
		l.turn = append(l.turn, l)
	}
}

// next takes an item; nil if nothing is ready. It is the oldest one, since what
// is old lies together in the store, but each fourth is of the lane that was
// not served longest: a sender with much to send has the more of them, and
// cannot keep the others waiting.
func (c *class) next() (*lane, *item) {
	c.turn = slices.DeleteFunc(c.turn, func(l *lane) bool {
		l.inTurn = len(l.ready) > 0
		return !l.inTurn // given back meanwhile
	})
	if len(c.turn) == 0 {
		return nil, nil
	}
	at := 0
	if c.picks++; c.picks%fairPick != 0 {
		for i, l := range c.turn {
			if l.ready[0].delivery.Due.Before(c.turn[at].ready[0].delivery.Due) {
				at = i
			}
		}
	}
	l := c.turn[at]
	c.turn = slices.Delete(c.turn, at, at+1)
	it := l.ready[0]
	l.ready[0] = nil
	l.ready = l.ready[1:]
	if l.inTurn = len(l.ready) > 0; l.inTurn {
		c.turn = append(c.turn, l)
	}
	l.busy++
	return l, it
}

// portion is how many deliveries a lane of c claims at a time: fewer where
// there are many lanes, so that they do not fill the memory.
func (c *class) portion() int {
	return min(claimBatch, max(minPortion, manyLanes*claimBatch/max(len(c.lanes), 1)))
}

// pump starts what l can do now, and sees that it is pumped when it can do
// more. r.mu is held.
func (r *runner) pump(l *lane) {
	g := r.engine.newest()
	if r.paused || g == nil {
		return
	}
	now := r.engine.now()
	if !l.due.IsZero() && !l.due.After(now) {
		l.due = time.Time{}
		l.chill()
	}
	if l.outage != nil {
		r.probe(g, l.outlet, now)
	} else {
		r.fetch(g, l, now)
		r.serve(g, l.class)
	}
	switch {
	case !l.due.IsZero():
		l.arm(l.due, now)
	case l.idle():
		r.forget(l)
	}
}

// forget removes what is idle.
func (r *runner) forget(l *lane) {
	l.disarm()
	delete(l.lanes, l.name)
	if len(l.lanes) > 0 || l.workers > 0 {
		return
	}
	delete(l.classes, l.purpose)
	if len(l.classes) == 0 && l.outage == nil && l.strikes.count == 0 {
		delete(r.outlets, l.destination)
	}
}

// fetch has l claim what is due, if it is short of it and its limits allow.
func (r *runner) fetch(g *Generation, l *lane, now time.Time) {
	n := l.portion()
	if !l.cold || l.claiming || l.waits != nil || len(l.ready) > n/2 {
		return
	}
	grant := r.grant(l, r.ofLane(g, l), n, now)
	if grant == nil {
		return // it waits
	}
	l.claiming = true
	chills := l.chills
	r.work.Go(func() { r.claim(l, grant, chills) })
}

// serve has workers take on what is ready.
func (r *runner) serve(g *Generation, c *class) {
	limit := g.config.Queue.Concurrency
	for c.workers < limit && r.workers[c.purpose] < maxWorkers {
		l, it := c.next()
		if it == nil {
			return
		}
		c.workers++
		r.workers[c.purpose]++
		r.work.Go(func() { r.deliver(l, it) })
	}
}

// rest ends one worker of the class of l. Where workers had run out, other
// destinations get it.
func (r *runner) rest(l *lane) {
	l.workers--
	r.workers[l.purpose]--
	if r.workers[l.purpose] == maxWorkers-1 {
		g := r.engine.newest()
		for _, o := range r.outlets {
			if c := o.classes[l.purpose]; c != nil && g != nil && !r.paused {
				r.serve(g, c)
			}
		}
	}
	r.pump(l)
}

// claim takes due deliveries from the store, as many as are granted. chills is
// what the lane's counter was, so that a delivery that is committed meanwhile
// is not missed.
func (r *runner) claim(l *lane, grant *grant, chills int) {
	now := r.engine.now()
	r.expire(l, now)
	n := grant.n
	claimed, err := r.store.ClaimDue(r.ctx, mailflow.Claim{Destination: l.destination, Lane: l.name, DueBy: now, Limit: n})
	if err != nil && r.ctx.Err() == nil {
		if g := r.engine.newest(); g != nil {
			g.config.Logger.Warn("claiming deliveries", zap.Error(err))
		}
	}
	r.mu.Lock()
	l.claiming = false
	probing := l.outage != nil && l.outage.probing == l
	var surplus []string
	for i := range claimed {
		d := &claimed[i]
		l.server = d.Server
		if l.outage != nil && !probing {
			surplus = append(surplus, d.ID) // it went down meanwhile
			continue
		}
		l.add(&item{delivery: d, grant: grant.split(len(claimed)-1-i, len(d.Envelope.Recipients))})
	}
	r.release(grant)
	drained := len(claimed) < n && chills == l.chills && len(surplus) == 0
	if drained {
		l.cold = false
	}
	if err != nil {
		l.expect(now.Add(minProbePause))
	}
	if probing && len(claimed) == 0 {
		r.unprobed(l)
	}
	if probing {
		r.serveProbe(l)
	}
	r.pump(l)
	r.mu.Unlock()
	if len(surplus) > 0 {
		_ = r.store.Unclaim(r.ctx, surplus...) // fails only with the store itself
	}
	if drained {
		r.resyncSoon() // to learn when the next one is due
	}
}

// deliver works on it, and then on what else is ready in its class, until
// nothing is or the destination is down.
func (r *runner) deliver(l *lane, it *item) {
	for it != nil {
		r.attempt(l, it)
		r.mu.Lock()
		r.cool(it)
		r.probed(l)
		l.busy--
		var next *lane
		next, it = nil, nil
		if !r.paused && l.outage == nil {
			next, it = l.next()
		}
		if it == nil {
			r.rest(l)
		} else if g := r.engine.newest(); g != nil {
			now := r.engine.now()
			r.fetch(g, next, now)
			if l != next && l.idle() {
				r.forget(l)
			} else if l != next {
				r.fetch(g, l, now)
			}
		}
		l = next
		r.mu.Unlock()
	}
}
