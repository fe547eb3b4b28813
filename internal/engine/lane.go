// SPDX-License-Identifier: Apache-2.0

package engine

import (
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

// lane is one destination: what is to be sent there and who sends it. All of
// it is guarded by runner.mu.
type lane struct {
	destination string
	runner      *runner

	ready    []*item // claimed, oldest first
	workers  int
	cold     bool // the store may have due deliveries
	chills   int  // counts how often cold was set
	claiming bool
	due      time.Time // when the store's next known one is due; zero = none
	expiry   time.Time // when the store's first is given up; zero = unknown
	outage   *outage   // nil while the destination answers
	timer    *time.Timer
}

// outage is the time in which a destination cannot be reached.
type outage struct {
	since time.Time
	probe time.Time // when the next attempt is made
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

// pump starts what l can do now, and sees that it is pumped when it can do
// more. r.mu is held.
func (r *runner) pump(l *lane) {
	g := r.engine.newest()
	if r.paused || g == nil {
		return
	}
	now := r.engine.now()
	limit := g.config.Queue.Concurrency
	if !l.due.IsZero() && !l.due.After(now) {
		l.due = time.Time{}
		l.chill()
	}
	if l.outage != nil {
		limit = 1
		if l.outage.probe.After(now) {
			l.arm(l.outage.probe, now)
			return
		}
	}
	for len(l.ready) > 0 && l.workers < limit && r.workers < maxWorkers {
		l.workers++
		r.workers++
		it := l.pop()
		r.work.Go(func() { r.deliver(l, it) })
	}
	n := claimBatch
	if l.outage != nil {
		n = limit - l.workers
	}
	if l.cold && !l.claiming && len(l.ready) < limit && n > 0 {
		l.claiming = true
		chills := l.chills
		r.work.Go(func() { r.claim(l, n, chills) })
	}
	switch {
	case !l.due.IsZero():
		l.arm(l.due, now)
	case l.workers == 0 && len(l.ready) == 0 && !l.cold && !l.claiming && l.outage == nil:
		l.disarm()
		delete(r.lanes, l.destination)
	}
}

// rest ends one worker of l. Where workers had run out, other lanes get it.
func (r *runner) rest(l *lane) {
	l.workers--
	r.workers--
	if r.workers == maxWorkers-1 {
		for _, other := range r.lanes {
			r.pump(other)
		}
	}
	r.pump(l)
}

// pop takes the next item. l.ready must not be empty.
func (l *lane) pop() *item {
	it := l.ready[0]
	l.ready[0] = nil
	l.ready = l.ready[1:]
	return it
}

// claim takes up to n due deliveries from the store. chills is what the lane's
// counter was, so that a delivery that is committed meanwhile is not missed.
func (r *runner) claim(l *lane, n, chills int) {
	now := r.engine.now()
	r.expire(l, now)
	claimed, err := r.store.ClaimDue(r.ctx, mailflow.Claim{Destination: l.destination, DueBy: now, Limit: n})
	if err != nil && r.ctx.Err() == nil {
		if g := r.engine.newest(); g != nil {
			g.config.Logger.Warn("claiming deliveries", zap.Error(err))
		}
	}
	r.mu.Lock()
	l.claiming = false
	for i := range claimed {
		l.ready = append(l.ready, &item{delivery: &claimed[i]})
	}
	drained := len(claimed) < n && chills == l.chills
	if drained {
		l.cold = false
		if len(claimed) == 0 && len(l.ready) == 0 && l.workers == 0 {
			l.outage = nil // nothing waits for it any more
		}
	}
	if err != nil {
		l.expect(now.Add(minProbePause))
	}
	r.pump(l)
	r.mu.Unlock()
	if drained {
		r.resyncSoon() // to learn when the next one is due
	}
}

// deliver works on it, and then on what else is ready, until nothing is or the
// lane is down.
func (r *runner) deliver(l *lane, it *item) {
	for it != nil {
		r.attempt(l, it)
		r.mu.Lock()
		r.cool(it)
		it = nil
		switch {
		case r.paused, l.outage != nil, len(l.ready) == 0:
			r.rest(l)
		default:
			it = l.pop()
			if l.cold && len(l.ready) < claimBatch/2 {
				r.pump(l)
			}
		}
		r.mu.Unlock()
	}
}

// fell notes that the destination could not be reached. What was claimed goes
// back to the store, and one delivery after the other probes it.
func (r *runner) fell(l *lane, why error) {
	now := r.engine.now()
	r.mu.Lock()
	first := l.outage == nil
	if first {
		l.outage = &outage{since: now}
	}
	o := l.outage
	if first || !o.probe.After(now) {
		pause := min(max(now.Sub(o.since)/probeShare, minProbePause), maxProbePause)
		o.probe = now.Add(pause + rand.N(pause/4)) //nolint:gosec // jitter needs no secrecy
	}
	l.chill()
	var ids []string
	for _, it := range l.ready {
		ids = append(ids, it.delivery.ID)
		r.cool(it)
	}
	l.ready = nil
	r.mu.Unlock()
	if len(ids) > 0 {
		_ = r.store.Unclaim(r.ctx, ids...) // fails only with the store itself
	}
	if g := r.engine.newest(); first && g != nil {
		g.config.Logger.Warn("destination is down, its mail waits", zap.String("destination", l.destination), zap.Error(why))
	}
}

// rose notes that the destination answered.
func (r *runner) rose(l *lane) {
	r.mu.Lock()
	o := l.outage
	l.outage = nil
	if o != nil {
		l.chill()
		r.pump(l)
	}
	r.mu.Unlock()
	if g := r.engine.newest(); o != nil && g != nil {
		g.config.Logger.Info("destination is back", zap.String("destination", l.destination),
			zap.Duration("after", r.engine.now().Sub(o.since)))
	}
}
