// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"sync"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// book is what the process remembers of the queue: the claims, and how many
// rows of each kind there are. It changes after a commit, never before, save
// that a claim is marked before the row it is on can be seen.
type book struct {
	mu      sync.Mutex
	claims  map[string]*claim
	waiting map[lane]int // rows that wait
	depth   map[mailflow.State]int
}

// claim is a delivery that somebody has.
type claim struct {
	place

	// ending is set while what became of it is being committed, fresh while
	// the row itself is, so that it is not counted yet.
	ending, fresh bool
}

// place is where a delivery stands in the counts.
type place struct {
	lane

	state mailflow.State
}

// lane is one queue of a destination.
type lane struct{ destination, name string }

// compare orders lanes by destination, then name.
func (l lane) compare(o lane) int {
	return cmp.Or(cmp.Compare(l.destination, o.destination), cmp.Compare(l.name, o.name))
}

func placeOf(d *mailflow.Delivery) place { return place{lane{d.Destination, d.Lane}, d.State} }

// waits reports whether a delivery in state st waits for an attempt.
func waits(st mailflow.State) bool {
	return st == mailflow.StateQueued || st == mailflow.StateDeferred
}

// readBook counts the rows of the queue.
func readBook(ctx context.Context, q querier) (*book, error) {
	b := &book{
		claims:  make(map[string]*claim),
		waiting: make(map[lane]int),
		depth:   make(map[mailflow.State]int),
	}
	count := func(rows *sql.Rows) error {
		var state mailflow.State
		var n int
		err := rows.Scan(&state, &n)
		b.depth[state] += n
		return err
	}
	for _, query := range []string{
		`SELECT state, count(*) FROM delivery INDEXED BY delivery_expires WHERE rests IS NULL GROUP BY state`,
		`SELECT state, count(*) FROM delivery INDEXED BY delivery_rests WHERE rests IS NOT NULL GROUP BY state`,
	} {
		if err := each(ctx, q, count, query); err != nil {
			return nil, err
		}
	}
	return b, each(ctx, q, func(rows *sql.Rows) error {
		var l lane
		var n int
		err := rows.Scan(&l.destination, &l.name, &n)
		b.waiting[l] = n
		return err
	}, `SELECT destination, lane, count(*) FROM delivery INDEXED BY delivery_due
		WHERE rests IS NULL GROUP BY destination, lane`)
}

// add counts n rows more at p.
func (b *book) add(p place, n int) {
	if b.depth[p.state] += n; b.depth[p.state] == 0 {
		delete(b.depth, p.state)
	}
	if !waits(p.state) {
		return
	}
	if b.waiting[p.lane] += n; b.waiting[p.lane] == 0 {
		delete(b.waiting, p.lane)
	}
}

// take marks the delivery as claimed for as long as c is not committed, and
// from then on if it is.
func (b *book) take(c *change, id string, p place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.claims[id] = &claim{place: p, fresh: true}
	c.taken = append(c.taken, id)
}

// reserve marks an unclaimed delivery for the time of c alone. It returns
// false if somebody has it.
func (b *book) reserve(c *change, id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.claims[id] != nil {
		return false
	}
	b.claims[id] = &claim{ending: true, fresh: true}
	c.taken = append(c.taken, id)
	c.ended = append(c.ended, id)
	return true
}

// end marks that the claim ends with the commit of c, and returns where the
// delivery stands. It returns false if it is not claimed.
func (b *book) end(c *change, id string) (place, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.claims[id]
	if held == nil || held.ending {
		return place{}, false
	}
	held.ending = true
	c.ended = append(c.ended, id)
	return held.place, true
}

// committed counts what c changed and ends its claims.
func (b *book) committed(c *change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p, n := range c.moved {
		b.add(p, n)
	}
	for _, id := range c.taken {
		b.claims[id].fresh = false
	}
	for _, id := range c.ended {
		delete(b.claims, id)
	}
}

// undone takes back what c marked.
func (b *book) undone(c *change) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range c.ended {
		if held := b.claims[id]; held != nil {
			held.ending = false
		}
	}
	for _, id := range c.taken {
		delete(b.claims, id)
	}
}

// unclaim gives claims back.
func (b *book) unclaim(ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if held := b.claims[id]; held != nil && !held.ending {
			delete(b.claims, id)
		}
	}
}

// claimed reports whether somebody has the delivery.
func (b *book) claimed(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.claims[id] != nil
}

// unclaimed returns how many rows wait in each lane that nobody has.
func (b *book) unclaimed() map[lane]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	waiting := maps.Clone(b.waiting)
	for _, c := range b.claims {
		if c.fresh || !waits(c.state) {
			continue
		}
		if waiting[c.lane]--; waiting[c.lane] <= 0 {
			delete(waiting, c.lane)
		}
	}
	return waiting
}

// Depth implements [mailflow.Queue].
func (s *Store) Depth(ctx context.Context) (map[mailflow.State]int, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	return maps.Clone(s.book.depth), nil
}

// Unclaim implements [mailflow.Queue].
func (s *Store) Unclaim(ctx context.Context, ids ...string) error {
	if err := s.open(ctx); err != nil {
		return fmt.Errorf("giving claims back: %w", err)
	}
	s.book.unclaim(ids)
	return nil
}
