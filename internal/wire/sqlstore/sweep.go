// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// sweepRows is how many rows one transaction of a sweep deletes: commits that
// wait for it wait for some milliseconds.
const sweepRows = 500

// maxVacuumPages bounds how many free pages one transaction of a sweep gives
// back to the file system.
const maxVacuumPages = 2000

// sweepStep deletes up to sweepRows rows that its kind of retention no longer
// keeps, and returns how many went.
type sweepStep func(c *change) (int, error)

// Sweep implements [mailflow.Keeper]. A kind whose retention is not positive
// is kept for good.
func (s *Store) Sweep(ctx context.Context, r mailflow.Retention, now time.Time) (int, error) {
	steps := []sweepStep{
		expired(`DELETE FROM record WHERE key IN (SELECT key FROM record WHERE expires > 0 AND expires <= ? LIMIT ?)`, now),
		expired(`DELETE FROM hit WHERE (key, at) IN (SELECT key, at FROM hit WHERE expires > 0 AND expires <= ? LIMIT ?)`, now),
	}
	for _, st := range mailflow.States {
		if keep := r.Of(st); keep > 0 {
			steps = append(steps, sweepDeliveries(st, now.Add(-keep)))
		}
	}
	if r.Unrouted > 0 {
		steps = append(steps, sweepUnrouted(now.Add(-r.Unrouted)))
	}
	if r.Seen > 0 {
		steps = append(steps, sweepAlone(now.Add(-r.Seen)))
	}
	total := 0
	for _, step := range steps {
		n, err := s.sweep(ctx, step)
		total += n
		if err != nil {
			return total, fmt.Errorf("sweeping: %w", err)
		}
	}
	return total, s.vacuum(ctx)
}

// sweep repeats a step, each time in a transaction of its own, until it finds
// nothing more.
func (s *Store) sweep(ctx context.Context, step sweepStep) (int, error) {
	for total := 0; ; {
		n := 0
		err := s.write(ctx, rowBytes*sweepRows, func(c *change) (err error) {
			n, err = step(c)
			return err
		})
		if err != nil {
			return total, err
		}
		if n == 0 {
			return total, nil
		}
		total += n
	}
}

// expired is the step of what carries its own end.
func expired(query string, now time.Time) sweepStep {
	return func(c *change) (int, error) {
		n, err := c.exec(query, micros(now), sweepRows)
		return int(n), err
	}
}

// sweepDeliveries is the step of deliveries that came to rest in state st by
// that time.
func sweepDeliveries(st mailflow.State, by time.Time) sweepStep {
	return func(c *change) (int, error) {
		return sweepMessages(c, func(n int) { c.move(place{state: st}, -n) },
			`DELETE FROM delivery WHERE id IN (
				SELECT id FROM delivery INDEXED BY delivery_rests WHERE state = ? AND rests <= ? LIMIT ?) RETURNING message`,
			string(st), micros(by), sweepRows)
	}
}

// sweepUnrouted is the step of entries of the unrouted box that are as old.
func sweepUnrouted(by time.Time) sweepStep {
	return func(c *change) (int, error) {
		return sweepMessages(c, func(int) {},
			`DELETE FROM unrouted WHERE message IN (
				SELECT message FROM unrouted WHERE at <= ? AND ended <= ? LIMIT ?) RETURNING message`,
			micros(by), micros(by), sweepRows)
	}
}

// sweepAlone is the step of messages that became nothing.
func sweepAlone(by time.Time) sweepStep {
	return func(c *change) (int, error) {
		var ids []string
		err := each(c.ctx, c, scanTo(&ids),
			`SELECT id FROM message WHERE alone <= ? LIMIT ?`, micros(by), sweepRows)
		if err != nil {
			return 0, err
		}
		return c.forget(ids)
	}
}

// sweepMessages runs a query that deletes rows and returns their messages,
// then deletes the messages that nothing needs any more.
func sweepMessages(c *change, deleted func(n int), query string, args ...any) (int, error) {
	var messages []string
	if err := each(c.ctx, c, scanTo(&messages), query, args...); err != nil {
		return 0, err
	}
	deleted(len(messages))
	n, err := c.forget(messages)
	return len(messages) + n, err
}

// scanTo collects the one column of a query.
func scanTo(list *[]string) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		*list = append(*list, text)
		return err
	}
}

// forget deletes those messages that no row needs any more, with their bytes.
func (c *change) forget(ids []string) (int, error) {
	gone := 0
	for _, id := range ids {
		var n int64
		var file *string
		found, err := one(c.ctx, c, []any{&n, &file}, `SELECT n, file FROM message WHERE id = ?1
			AND NOT EXISTS (SELECT 1 FROM delivery WHERE message = ?1)
			AND NOT EXISTS (SELECT 1 FROM unrouted WHERE message = ?1)
			AND NOT EXISTS (SELECT 1 FROM post WHERE message = ?1 AND message <> '')`, id)
		if err != nil {
			return gone, err
		}
		if !found {
			continue
		}
		if _, err := c.exec(`DELETE FROM message WHERE n = ?`, n); err != nil {
			return gone, err
		}
		if _, err := c.exec(`DELETE FROM body WHERE n = ?`, n); err != nil {
			return gone, err
		}
		if file != nil {
			c.removed = append(c.removed, *file)
		}
		gone++
	}
	return gone, nil
}

// vacuum gives free pages back when they are more than half of the database,
// as after a burst; fewer are soon in use again.
func (s *Store) vacuum(ctx context.Context) error {
	for before := int64(-1); ; {
		var free int64
		err := s.write(ctx, rowBytes*sweepRows, func(c *change) (err error) {
			free, err = vacuumSome(c)
			return err
		})
		if err != nil || free == 0 || free == before {
			return err
		}
		before = free
	}
}

// vacuumSome gives back some pages if many are free, and returns how many are
// still; 0 if that is no matter.
func vacuumSome(c *change) (int64, error) {
	var pages, free int64
	if _, err := one(c.ctx, c, []any{&pages}, `PRAGMA page_count`); err != nil {
		return 0, err
	}
	if _, err := one(c.ctx, c, []any{&free}, `PRAGMA freelist_count`); err != nil {
		return 0, err
	}
	if free < maxVacuumPages || free < pages/2 {
		return 0, nil
	}
	_, err := c.exec(`PRAGMA incremental_vacuum(` + strconv.Itoa(maxVacuumPages) + `)`)
	return free, err
}
