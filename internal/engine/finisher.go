// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// finisher commits what became of attempts, several in one transaction, so
// that a worker begins the next attempt while the last one is written. What it
// has not committed when the process dies is attempted again: delivery is at
// least once.
type finisher struct {
	runner *runner
	in     chan finished
	done   chan struct{}
}

// finished is the outcome of one attempt.
type finished struct {
	generation *Generation
	outcome    *mailflow.Outcome
	took       time.Duration
}

const (
	// maxUnfinished is how many outcomes wait for their commit before workers
	// do: it bounds how much is sent twice after a crash.
	maxUnfinished = 64
	// finishBatch is how many are committed at once.
	finishBatch = 64
	// finishPause is how long a commit that failed waits to be tried again, at
	// first and at most.
	minFinishPause = 100 * time.Millisecond
	maxFinishPause = 5 * time.Second
)

func newFinisher(r *runner) *finisher {
	return &finisher{runner: r, in: make(chan finished, maxUnfinished), done: make(chan struct{})}
}

// add hands over an outcome, and waits while too many do.
func (f *finisher) add(g *Generation, o *mailflow.Outcome, took time.Duration) {
	assignAll(o)
	f.in <- finished{generation: g, outcome: o, took: took}
}

// stop commits what is handed over and ends. Nothing may be added any more.
func (f *finisher) stop() {
	close(f.in)
	<-f.done
}

// run commits outcomes until stop.
func (f *finisher) run() {
	defer close(f.done)
	for first := range f.in {
		batch := []finished{first}
	more:
		for len(batch) < finishBatch {
			select {
			case next, ok := <-f.in:
				if !ok {
					break more
				}
				batch = append(batch, next)
			default:
				break more
			}
		}
		f.commit(batch)
	}
}

// commit commits a batch, for as long as the runner lives; then once more.
func (f *finisher) commit(batch []finished) {
	all := &mailflow.Outcome{}
	for _, b := range batch {
		all.Deliveries = append(all.Deliveries, b.outcome.Deliveries...)
		all.Parted = append(all.Parted, b.outcome.Parted...)
		all.Unrouted = append(all.Unrouted, b.outcome.Unrouted...)
		all.Threads = append(all.Threads, b.outcome.Threads...)
		all.Posts = append(all.Posts, b.outcome.Posts...)
		all.Follows = append(all.Follows, b.outcome.Follows...)
		all.Reports = append(all.Reports, b.outcome.Reports...)
		all.Hits = append(all.Hits, b.outcome.Hits...)
	}
	all.Hits = mergeHits(all.Hits)
	pause := minFinishPause
	for {
		last := f.runner.ctx.Err() != nil
		err := f.runner.store.Finish(context.WithoutCancel(f.runner.ctx), all)
		if err == nil {
			break
		}
		f.complain(batch, err)
		if !temporary(err) && len(batch) > 1 {
			f.apart(batch)
			return
		}
		if last || !temporary(err) {
			f.discard(batch)
			return
		}
		select {
		case <-f.runner.ctx.Done():
		case <-time.NewTimer(pause).C:
		}
		pause = min(2*pause, maxFinishPause)
	}
	for _, b := range batch {
		f.committed(b)
	}
}

// apart commits each outcome of a batch for itself, so that one that the store
// refuses does not spoil the others.
func (f *finisher) apart(batch []finished) {
	for _, b := range batch {
		f.commit([]finished{b})
	}
}

// temporary reports whether the same commit may succeed later.
func temporary(err error) bool {
	return !errors.Is(err, mailflow.ErrNoRecord) && !errors.Is(err, mailflow.ErrState) && !errors.Is(err, mailflow.ErrDuplicate)
}

func (f *finisher) complain(batch []finished, err error) {
	batch[0].generation.config.Logger.Error("committing the outcome of attempts",
		zap.Int("outcomes", len(batch)), zap.Error(err))
}

// discard frees what a batch that is not committed holds.
func (f *finisher) discard(batch []finished) {
	for _, b := range batch {
		for i := range b.outcome.Reports {
			b.outcome.Reports[i].Spool.Discard()
		}
		for i := range b.outcome.Deliveries {
			_ = f.runner.store.Unclaim(context.WithoutCancel(f.runner.ctx), b.outcome.Deliveries[i].ID) // the store is failing
		}
	}
}

// committed tells the world, and the lanes what is due when.
func (f *finisher) committed(b finished) {
	r := f.runner
	for i := range b.outcome.Reports {
		b.outcome.Reports[i].Spool.Discard()
	}
	open := append(append([]mailflow.Delivery(nil), b.outcome.Deliveries...), b.outcome.Parted...)
	for i := range open {
		b.generation.reportDelivery(&open[i], b.took)
	}
	b.generation.posted(&b.outcome.Postings)
	for i := range b.outcome.Reports {
		b.generation.reportMade(&b.outcome.Reports[i])
		open = append(open, b.outcome.Reports[i].Deliveries...)
	}
	r.expect(open)
}
