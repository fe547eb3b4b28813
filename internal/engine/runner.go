// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"slices"
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
	// maxWorkers bounds the attempts at once to all destinations together: each
	// may hold a connection, and a process has some thousand descriptors.
	maxWorkers = 500
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
	engine *Engine
	store  *openStore
	finish *finisher
	ctx    context.Context
	cancel context.CancelFunc
	loops  sync.WaitGroup // keep
	work   sync.WaitGroup // workers and claims

	mu      sync.Mutex
	lanes   map[string]*lane
	workers int // of all lanes
	hot     heat
	started bool
	paused  bool
	soon    bool // resync is under way or about to be
}

func newRunner(e *Engine, s *openStore) *runner {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runner{engine: e, store: s, ctx: ctx, cancel: cancel, lanes: make(map[string]*lane)}
	r.finish = newFinisher(r)
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
	for _, l := range r.lanes {
		l.disarm()
	}
	r.mu.Unlock()
	if started {
		r.finish.stop()
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

// sweep deletes what retention no longer keeps.
func (r *runner) sweep() {
	g := r.engine.newest()
	if g == nil {
		return
	}
	n, err := r.store.Sweep(r.ctx, g.config.Retention, r.engine.now())
	switch {
	case err != nil && r.ctx.Err() == nil:
		g.config.Logger.Warn("sweeping the store", zap.Error(err))
	case n > 0:
		g.config.Logger.Debug("swept the store", zap.Int("rows", n))
	}
}

// wakeAll looks at the store for work, in the background.
func (r *runner) wakeAll() {
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

// resync learns from the store which lanes have work, and when.
func (r *runner) resync() {
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
		l := r.lane(s.Destination)
		l.expiry = s.NextExpiry
		if s.NextDue.After(now) {
			l.expect(s.NextDue)
		} else {
			l.chill()
		}
	}
	for _, l := range r.lanes {
		r.pump(l)
	}
}

// nudge has every lane tried at once, also those that are down: an operator
// who orders a retry does not want to wait for a probe.
func (r *runner) nudge() {
	now := r.engine.now()
	r.mu.Lock()
	for _, l := range r.lanes {
		if l.outage != nil {
			l.outage.probe = now
		}
	}
	r.mu.Unlock()
	r.wakeAll()
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
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range d.Deliveries {
		del := &d.Deliveries[i]
		if del.State != mailflow.StateQueued || del.Server == "" || r.paused || !r.hot.room(d.Message.Size) {
			continue
		}
		if l := r.lane(del.Destination); l.outage != nil || l.cold {
			continue // older ones wait in the store
		}
		d.Claimed = append(d.Claimed, del.ID)
		r.hot.add(1, d.Message.Size)
	}
}

// unreserve takes back what reserve did for a decision that is not committed.
func (r *runner) unreserve(d *mailflow.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hot.add(-len(d.Claimed), d.Message.Size)
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
		l := r.lane(del.Destination)
		if slices.Contains(d.Claimed, del.ID) {
			body.hold()
			l.ready = append(l.ready, &item{delivery: del, row: &d.Message, msg: &hot, hot: true})
		} else {
			l.chill()
		}
		r.pump(l)
	}
}

// cool forgets that an item was delivered from memory. r.mu is held.
func (r *runner) cool(it *item) {
	if it.hot {
		it.hot = false
		r.hot.add(-1, it.row.Size)
	}
	it.close()
}

// lane returns the lane of that destination. r.mu is held.
func (r *runner) lane(destination string) *lane {
	l, ok := r.lanes[destination]
	if !ok {
		l = &lane{destination: destination, runner: r}
		r.lanes[destination] = l
	}
	return l
}

// Down implements [mailflow.ServerView].
func (r *runner) Down(server string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lanes[server]
	if l == nil || l.outage == nil {
		return ""
	}
	return "it cannot be reached since " + l.outage.since.UTC().Format(time.RFC3339)
}

// down lists the destinations that cannot be reached.
func (r *runner) down() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ds []string
	for _, l := range r.lanes {
		if l.outage != nil {
			ds = append(ds, l.destination)
		}
	}
	slices.Sort(ds)
	return ds
}
