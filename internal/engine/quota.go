// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/rule/quota"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// gauge watches the limits of one server or one of our domains. It lives as
// long as the runner, so that a new configuration finds what was sent; when
// the store opens it learns that from the store. It is guarded by runner.mu.
type gauge struct {
	kind, name string // gaugeServer or gaugeDomain, and its name
	limits     []mailflow.Limit
	usage      quota.Usage
	primed     bool // usage has what the store knows
	early      int  // sent before that
	flying     int  // recipients that are claimed or being sent
	waiting    []*lane
	timer      *time.Timer
}

// The kinds of gauges.
const (
	gaugeServer = "server"
	gaugeDomain = "domain"
)

// key names the window of hits that the store keeps for it.
func (q *gauge) key() string { return mailflow.FactKey("sent", q.kind, q.name) }

// hitLife is how long the store keeps a hit: longer than the longest day.
const hitLife = 26 * time.Hour

// hit is n recipients that were handed over at now. Those of one second are
// one row.
func (q *gauge) hit(now time.Time, n int) mailflow.Hit {
	at := now.Truncate(time.Second)
	return mailflow.Hit{Key: q.key(), At: at, Count: n, Expires: at.Add(hitLife)}
}

// room returns how many recipients may go now.
func (q *gauge) room(now time.Time) quota.Room {
	if !q.primed && len(q.limits) > 0 {
		return quota.Room{}
	}
	return q.usage.Room(q.limits, now, q.flying)
}

// grant is leave for n recipients under the limits of gauges. It is returned,
// or turns into usage.
type grant struct {
	gauges []*gauge
	n      int
}

// split takes leave for up to want recipients out of g, at least one, so that
// others that come have one, too.
func (g *grant) split(others, want int) *grant {
	n := max(min(want, g.n-others), min(1, g.n))
	g.n -= n
	return &grant{gauges: g.gauges, n: n}
}

// ofLane returns the gauges whose limits hold for the mail of l.
func (r *runner) ofLane(g *Generation, l *lane) []*gauge {
	if !l.label.limited {
		return nil
	}
	return r.gaugesOf(g, l.server, l.label.domain)
}

// ofDelivery returns the gauges whose limits hold for d.
func (r *runner) ofDelivery(g *Generation, d *mailflow.Delivery) []*gauge {
	if !d.Limited {
		return nil
	}
	return r.gaugesOf(g, d.Server, d.Domain)
}

// gaugesOf returns the gauges of what has limits by today's configuration: that
// server and that domain.
func (r *runner) gaugesOf(g *Generation, server, domain string) []*gauge {
	var qs []*gauge
	if s, ok := g.server(server); ok && len(s.Limits) > 0 {
		qs = append(qs, r.gauge(gaugeServer, server, s.Limits))
	}
	if d := g.config.Domains.Find(domain); d != nil && len(d.Limits) > 0 {
		qs = append(qs, r.gauge(gaugeDomain, domain, d.Limits))
	}
	return qs
}

// gauge returns the gauge of that name, made if it is not there, with these
// limits.
func (r *runner) gauge(kind, name string, limits []mailflow.Limit) *gauge {
	key := [2]string{kind, name}
	q := r.gauges[key]
	if q == nil {
		q = &gauge{kind: kind, name: name}
		r.gauges[key] = q
	}
	q.limits = limits
	return q
}

// roomOf returns how many recipients may go now under all gauges, and if none
// may, the gauge that is used up longest.
func roomOf(qs []*gauge, now time.Time) (int, *gauge) {
	count := quota.Unlimited
	var shut *gauge
	var opens time.Time
	for _, q := range qs {
		room := q.room(now)
		if count = min(count, room.Count); room.Count > 0 {
			continue
		}
		if shut == nil || room.Opens.IsZero() || !opens.IsZero() && room.Opens.After(opens) {
			shut, opens = q, room.Opens
		}
	}
	return count, shut
}

// grant returns leave for up to n recipients; nil if there is none, and then l
// waits until there is. Where others wait, too, each gets a share.
func (r *runner) grant(l *lane, qs []*gauge, n int, now time.Time) *grant {
	count, shut := roomOf(qs, now)
	if shut != nil {
		r.wait(l, shut, now)
		return nil
	}
	for _, q := range qs {
		count = min(count, max(1, count/(1+len(q.waiting))))
	}
	return r.allow(qs, min(n, count))
}

// allow makes a grant. There must be room.
func (r *runner) allow(qs []*gauge, n int) *grant {
	for _, q := range qs {
		q.flying += n
	}
	return &grant{gauges: qs, n: n}
}

// wait has l wait for q.
func (r *runner) wait(l *lane, q *gauge, now time.Time) {
	if l.waits != nil {
		return
	}
	l.waits = q
	q.waiting = append(q.waiting, l)
	if len(q.waiting) == 1 {
		r.set(q, now)
	}
}

// set arms the one timer of q, if anything waits: a gauge that is full of what
// is under way opens with that.
func (r *runner) set(q *gauge, now time.Time) {
	if q.timer != nil {
		q.timer.Stop()
	}
	room := q.room(now)
	if len(q.waiting) == 0 || room.Count == 0 && room.Opens.IsZero() {
		return
	}
	q.timer = time.AfterFunc(max(room.Opens.Sub(now), 0), func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.open(q)
	})
}

// open has the lanes that wait for q go on, in turn, as far as there is room.
func (r *runner) open(q *gauge) {
	for n := len(q.waiting); n > 0 && len(q.waiting) > 0; n-- {
		if q.room(r.engine.now()).Count == 0 {
			break
		}
		l := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		l.waits = nil
		r.pump(l)
	}
	r.set(q, r.engine.now())
}

// release returns a grant. What waits for the room gets it.
func (r *runner) release(g *grant) {
	if g == nil || g.n == 0 {
		return
	}
	n := g.n
	g.n = 0
	for _, q := range g.gauges {
		q.flying -= n
	}
	for _, q := range g.gauges {
		if len(q.waiting) > 0 {
			r.open(q)
		}
	}
}

// leave sees that it has leave for its recipients by today's limits, and
// returns for how many it has: at least one, or none if its lane has to wait.
func (r *runner) leave(g *Generation, l *lane, it *item) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := it.delivery
	qs := r.ofDelivery(g, d)
	want := len(d.Envelope.Recipients)
	if len(qs) == 0 {
		return want
	}
	if it.grant == nil || !slices.Equal(it.grant.gauges, qs) {
		r.release(it.grant)
		it.grant = &grant{gauges: qs}
	}
	now := r.engine.now()
	if more := want - it.grant.n; more > 0 {
		room, shut := roomOf(qs, now)
		if shut != nil && it.grant.n == 0 {
			l.chill()
			r.wait(l, shut, now)
			return 0
		}
		it.grant.n += r.allow(qs, min(more, room)).n
	}
	return min(want, it.grant.n)
}

// spend counts n recipients of d as handed over, and returns what the store is
// to keep of that. It counts also what limits do not hold for: the next hop
// does.
func (r *runner) spend(g *Generation, it *item, n int) []mailflow.Hit {
	r.mu.Lock()
	var hits []mailflow.Hit
	var near []Event
	now := r.engine.now()
	if n > 0 {
		for _, q := range r.gaugesOf(g, it.delivery.Server, it.delivery.Domain) {
			hits = append(hits, q.hit(now, n))
			if !q.primed {
				q.early += n
				continue
			}
			q.usage.Add(now, n)
			for _, l := range q.usage.Near(q.limits, now) {
				near = append(near, q.near(l, now))
			}
		}
	}
	r.release(it.grant)
	it.grant = nil
	r.mu.Unlock()
	for _, e := range near {
		g.report(e)
	}
	return hits
}

// near is the event that tells of a limit that is nearly used up.
func (q *gauge) near(l mailflow.Limit, now time.Time) Event {
	e := Event{Kind: EventLimitNear, Reason: fmt.Sprintf("%d of %s are used up", q.usage.Used(l, now), l)}
	if q.kind == gaugeServer {
		e.Server = q.name
	} else {
		e.Domain = q.name
	}
	return e
}

// waiting says why d waits, and until when.
func (r *runner) waiting(g *Generation, d *mailflow.Delivery) (string, time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.outlets[d.Destination]; o != nil && o.outage != nil {
		return d.Destination + " " + o.outage.String(), o.outage.probe
	}
	now := r.engine.now()
	_, shut := roomOf(r.ofDelivery(g, d), now)
	if shut == nil {
		return "", time.Time{}
	}
	room := shut.room(now)
	if room.Limit.Count == 0 {
		return "", time.Time{} // what was sent is being read
	}
	return fmt.Sprintf("limit %s of %s %s is used up", room.Limit, shut.kind, shut.name), room.Opens
}

// mergeHits adds up hits of one window at one time.
func mergeHits(hits []mailflow.Hit) []mailflow.Hit {
	var merged []mailflow.Hit
	slices.SortFunc(hits, func(a, b mailflow.Hit) int { return cmp.Or(cmp.Compare(a.Key, b.Key), a.At.Compare(b.At)) })
	for _, h := range hits {
		if last := len(merged) - 1; last >= 0 && merged[last].Key == h.Key && merged[last].At.Equal(h.At) {
			merged[last].Count += h.Count
		} else {
			merged = append(merged, h)
		}
	}
	return merged
}

// primeGauges takes today's limits and reads from the store what was sent
// under them. Mail waits for that.
func (r *runner) primeGauges() {
	g := r.engine.newest()
	if g == nil {
		return
	}
	r.mu.Lock()
	for _, q := range r.gauges {
		q.limits = nil // unless it is found again
	}
	for name := range g.config.Servers {
		r.gaugesOf(g, name, "")
	}
	for i := range g.config.Domains {
		r.gaugesOf(g, "", g.config.Domains[i].Name)
	}
	all := make([]*gauge, 0, len(r.gauges))
	for _, q := range r.gauges {
		all = append(all, q)
	}
	r.mu.Unlock()
	var errs []error
	for _, q := range all {
		errs = append(errs, r.prime(q))
	}
	if err := errors.Join(errs...); err != nil && r.ctx.Err() == nil {
		g.config.Logger.Warn("reading what was sent under limits, the mail waits", zap.Error(err))
		r.resyncSoon()
	}
}

// prime reads what was sent under q, once, and lets what waits for it go on.
func (r *runner) prime(q *gauge) error {
	now := r.engine.now()
	r.mu.Lock()
	primed := q.primed
	r.mu.Unlock()
	var hits []mailflow.Hit
	var err error
	if !primed {
		if hits, err = r.store.Hits(r.ctx, q.key(), quota.Since(now)); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !q.primed {
		for _, h := range hits {
			// Anywhere in its second, so at its end.
			q.usage.Add(h.At.In(now.Location()).Add(time.Second-1), h.Count)
		}
		q.usage.Add(now, q.early)
		q.usage.Near(q.limits, now) // told before
		q.primed = true
	}
	r.open(q)
	return nil
}
