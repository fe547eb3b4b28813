// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Bounds of what the runner keeps in memory.
const (
	// maxHotBytes bounds the bodies of messages that are delivered from memory.
	// What comes on top is read back from the store.
	maxHotBytes = 64 << 20
	// maxHotItems bounds their number, since each costs a few KiB besides.
	maxHotItems = 10_000
	// maxHotFiles bounds those whose bodies are files, since each holds one
	// open.
	maxHotFiles = 256
	// maxWorkers bounds the attempts at once of one purpose to all destinations
	// together: each may hold a connection, and a process has some thousand
	// descriptors.
	maxWorkers = 400
	// claimBatch is how many deliveries a lane takes from the store at a time:
	// enough to keep its workers busy while the next ones are read.
	claimBatch = 64
)

// Pauses of the runner.
const (
	// sweepPause is how often final rows are swept.
	sweepPause = 10 * time.Minute
	// resyncPause is how often the runner compares its lanes with the store.
	// It learns of every change by itself; this finds what another process or
	// a bug hid from it.
	resyncPause = time.Minute
	// resyncDelay collects the lanes that ran dry, so that one look at the
	// store serves them all.
	resyncDelay = time.Second
)

// runner delivers what is in one store. It lives as long as the store is open;
// there is one for each store.
type runner struct {
	engine  *Engine
	store   *openStore
	finish  *finisher
	digests *digester
	ctx     context.Context
	cancel  context.CancelFunc
	loops   sync.WaitGroup // keep, digests
	work    sync.WaitGroup // workers and claims

	mu      sync.Mutex
	outlets map[string]*outlet
	gauges  map[[2]string]*gauge
	workers map[string]int // of all destinations, by purpose
	hot     heat
	// reserved is the leave for deliveries that are being committed, by ID.
	reserved map[string]*grant
	unsigned map[string]bool // domains that were found unsigned
	started  bool
	paused   bool
	soon     bool // resync is under way or about to be
}

func newRunner(e *Engine, s *openStore) *runner {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runner{
		engine: e, store: s, ctx: ctx, cancel: cancel, outlets: make(map[string]*outlet),
		gauges: make(map[[2]string]*gauge), workers: make(map[string]int),
		reserved: make(map[string]*grant), unsigned: make(map[string]bool),
	}
	r.finish, r.digests = newFinisher(r), newDigester(r)
	return r
}

// start begins to deliver, or goes on after a pause.
func (r *runner) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = false
	if r.started {
		return
	}
	r.started = true
	r.loops.Go(r.keep)
	r.loops.Go(func() { r.digests.run(r.ctx) })
	go r.finish.run()
}

// pause lets the attempts under way end and begins no more.
func (r *runner) pause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paused = true
}

// cut ends the attempts under way.
func (r *runner) cut() { r.cancel() }

// stop ends the runner. What is not finished is in the store as it was.
func (r *runner) stop() {
	r.pause()
	r.cancel()
	r.loops.Wait()
	r.work.Wait()
	r.mu.Lock()
	started := r.started
	r.disarm()
	r.mu.Unlock()
	if started {
		r.finish.stop()
	}
}

// disarm stops all timers.
func (r *runner) disarm() {
	for _, o := range r.outlets {
		if o.alarm != nil {
			o.alarm.Stop()
		}
		for _, c := range o.classes {
			for _, l := range c.lanes {
				l.disarm()
			}
		}
	}
	for _, q := range r.gauges {
		if q.timer != nil {
			q.timer.Stop()
		}
	}
}

// keep looks after the store until the runner stops.
func (r *runner) keep() {
	resync, sweep := time.NewTicker(resyncPause), time.NewTicker(sweepPause)
	defer resync.Stop()
	defer sweep.Stop()
	r.sweep()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-resync.C:
			r.resync()
		case <-sweep.C:
			r.sweep()
		}
	}
}

// sweep deletes what retention no longer keeps, and sees to the keys.
func (r *runner) sweep() {
	g := r.engine.newest()
	if g == nil {
		return
	}
	if err := r.store.refreshKeys(r.ctx, r.engine.now()); err != nil && r.ctx.Err() == nil {
		g.config.Logger.Warn("refreshing the keys of tokens", zap.Error(err))
	}
	n, err := r.store.Sweep(r.ctx, g.config.Retention, r.engine.now())
	switch {
	case err != nil && r.ctx.Err() == nil:
		g.config.Logger.Warn("sweeping the store", zap.Error(err))
	case n > 0:
		g.config.Logger.Debug("swept the store", zap.Int("rows", n))
	}
}

// wakeAll looks at the store for work, in the background. What is down is tried
// at once: it may be configured anew, and an operator who orders a retry does
// not want to wait for a probe.
func (r *runner) wakeAll() {
	r.tryAll()
	r.work.Go(r.resync)
}

// resyncSoon has the lanes resynced before long.
func (r *runner) resyncSoon() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.soon || r.paused {
		return
	}
	r.soon = true
	r.work.Go(func() {
		select {
		case <-r.ctx.Done():
			return
		case <-time.NewTimer(resyncDelay).C:
		}
		r.mu.Lock()
		r.soon = false
		r.mu.Unlock()
		r.resync()
	})
}

// resync learns from the store which lanes have work, and when, and what was
// sent under limits.
func (r *runner) resync() {
	r.primeGauges()
	lanes, err := r.store.Lanes(r.ctx)
	if err != nil {
		if g := r.engine.newest(); g != nil && r.ctx.Err() == nil {
			g.config.Logger.Warn("looking for queued deliveries", zap.Error(err))
		}
		return
	}
	now := r.engine.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range lanes {
		l := r.lane(s.Destination, s.Name)
		l.expiry = s.NextExpiry
		if s.NextDue.After(now) {
			l.expect(s.NextDue)
		} else {
			l.chill()
		}
	}
	for _, o := range r.outlets {
		if len(o.classes) == 0 && !r.isServer(o) {
			delete(r.outlets, o.destination) // of a configuration that is gone
		}
		r.pumpOutlet(o)
	}
}

// heat is what is kept of messages between their commit and their delivery.
type heat struct {
	items, files int
	bytes        int64
}

// add counts n more deliveries of a message of that size, or fewer.
func (h *heat) add(n int, size int64) {
	h.items += n
	if size > mailflow.MaxInlineBody {
		h.files += n
	} else {
		h.bytes += int64(n) * size
	}
}

// room reports whether one more delivery of a message of that size fits.
func (h *heat) room(size int64) bool {
	if size > mailflow.MaxInlineBody {
		return h.items < maxHotItems && h.files < maxHotFiles
	}
	return h.items < maxHotItems && h.bytes+size <= maxHotBytes
}

// reserve claims for the runner those deliveries of d that it can make without
// reading them back.
func (r *runner) reserve(d *mailflow.Decision) {
	assign(d)
	g := r.engine.newest()
	now := r.engine.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range d.Deliveries {
		del := &d.Deliveries[i]
		if g == nil || del.State != mailflow.StateQueued || del.Server == "" || r.paused || !r.hot.room(d.Message.Size) {
			continue
		}
		l := r.laneOf(del)
		if l.outage != nil || l.cold || l.waits != nil {
			continue // older ones wait in the store
		}
		qs := r.ofDelivery(g, del)
		room, shut := roomOf(qs, now)
		if shut != nil {
			continue
		}
		r.reserved[del.ID] = r.allow(qs, min(room, len(del.Envelope.Recipients)))
		d.Claimed = append(d.Claimed, del.ID)
		r.hot.add(1, d.Message.Size)
	}
}

// unreserve takes back what reserve did for a decision that is not committed.
func (r *runner) unreserve(d *mailflow.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hot.add(-len(d.Claimed), d.Message.Size)
	for _, id := range d.Claimed {
		r.release(r.reserved[id])
		delete(r.reserved, id)
	}
	d.Claimed = nil
}

// take takes on the deliveries of a committed decision, and msg with its body.
func (r *runner) take(d *mailflow.Decision, msg *mailflow.Message) {
	body := share(msg.Body)
	defer body.release()
	hot := *msg
	hot.Body = body
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range d.Deliveries {
		del := &d.Deliveries[i]
		if del.State != mailflow.StateQueued {
			continue
		}
		l := r.laneOf(del)
		l.server = del.Server
		if slices.Contains(d.Claimed, del.ID) {
			body.hold()
			l.add(&item{delivery: del, row: &d.Message, msg: &hot, hot: true, grant: r.reserved[del.ID]})
			delete(r.reserved, del.ID)
		} else {
			l.chill()
		}
		r.pump(l)
	}
}

// expect notes that the store has these deliveries.
func (r *runner) expect(ds []mailflow.Delivery) {
	now := r.engine.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range ds {
		if s := ds[i].State; s != mailflow.StateQueued && s != mailflow.StateDeferred {
			continue
		}
		l := r.laneOf(&ds[i])
		if ds[i].Due.After(now) {
			l.expect(ds[i].Due)
		} else {
			l.chill()
		}
		r.pump(l)
	}
}

// cool forgets that an item was delivered from memory, and its leave. r.mu is
// held.
func (r *runner) cool(it *item) {
	r.release(it.grant)
	it.grant = nil
	if it.hot {
		it.hot = false
		r.hot.add(-1, it.row.Size)
	}
	it.close()
}

// laneOf returns the lane of a delivery. r.mu is held.
func (r *runner) laneOf(d *mailflow.Delivery) *lane { return r.lane(d.Destination, d.Lane) }

// lane returns the lane of that name of a destination. r.mu is held.
func (r *runner) lane(destination, name string) *lane {
	o, ok := r.outlets[destination]
	if !ok {
		server, _, _ := strings.Cut(destination, "/") // until its mail says
		o = &outlet{destination: destination, runner: r, server: server, classes: make(map[string]*class)}
		r.outlets[destination] = o
	}
	purpose := purposeIn(name)
	c, ok := o.classes[purpose]
	if !ok {
		c = &class{outlet: o, purpose: purpose, lanes: make(map[string]*lane)}
		o.classes[purpose] = c
	}
	l, ok := c.lanes[name]
	if !ok {
		l = &lane{class: c, name: name, label: readLabel(name)}
		c.lanes[name] = l
	}
	return l
}

// down lists the destinations that take no mail.
func (r *runner) down() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ds []string
	for _, o := range r.outlets {
		if o.outage != nil {
			ds = append(ds, o.destination)
		}
	}
	slices.Sort(ds)
	return ds
}
