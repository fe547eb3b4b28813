// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Deliveries implements [mailflow.Queue]. Newest first is the order of the
// IDs, from the last to the first.
func (s *Store) Deliveries(ctx context.Context, q mailflow.QueueQuery) ([]mailflow.Queued, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	where, args := conditions(q)
	found := []mailflow.Queued{}
	err := each(ctx, s.readers, func(rows *sql.Rows) error {
		var delivery, message sql.RawBytes
		if err := rows.Scan(&delivery, &message); err != nil {
			return err
		}
		queued, err := s.queued(delivery, message)
		if err != nil {
			return err
		}
		found = append(found, *queued)
		return nil
	}, `SELECT d.data, m.data FROM delivery d JOIN message m ON m.id = d.message
		WHERE `+where+` ORDER BY d.id DESC LIMIT ?`, append(args, limit(q.Limit))...)
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	return found, nil
}

// conditions returns the WHERE clause for q and its arguments. Its text takes
// few forms, since it is prepared.
func conditions(q mailflow.QueueQuery) (string, []any) {
	where, args := []string{"true"}, []any(nil)
	add := func(condition string, arg any) {
		where, args = append(where, condition), append(args, arg)
	}
	if q.ID != "" {
		add("d.id = ?", q.ID)
	}
	if q.Message != "" {
		add("d.message = ?", q.Message)
	}
	if q.Server != "" {
		add("d.server = ?", q.Server)
	}
	if q.Before != "" {
		add("d.id < ?", q.Before)
	}
	if len(q.States) > 0 {
		where = append(where, "d.id IN ("+inStates(q.States)+")")
	}
	return strings.Join(where, " AND "), args
}

// inStates returns the query for the IDs of deliveries in those states. Its
// indexes are small where it matters: what is asked for by state is seldom the
// mass of sent mail.
func inStates(asked []mailflow.State) string {
	var waiting, resting []string
	for _, st := range mailflow.States {
		switch {
		case !slices.Contains(asked, st):
		case waits(st):
			waiting = append(waiting, "'"+string(st)+"'")
		default:
			resting = append(resting, "'"+string(st)+"'")
		}
	}
	parts := []string{"SELECT id FROM delivery WHERE false"}
	if len(waiting) > 0 {
		parts = append(parts, `SELECT id FROM delivery INDEXED BY delivery_expires
			WHERE rests IS NULL AND state IN (`+strings.Join(waiting, ",")+`)`)
	}
	if len(resting) > 0 {
		parts = append(parts, `SELECT id FROM delivery INDEXED BY delivery_rests
			WHERE rests IS NOT NULL AND state IN (`+strings.Join(resting, ",")+`)`)
	}
	return strings.Join(parts, " UNION ALL ")
}

// queued joins a row of the queue with one of the ledger.
func (s *Store) queued(delivery, message []byte) (*mailflow.Queued, error) {
	d, err := decode[mailflow.Delivery](delivery)
	if err != nil {
		return nil, err
	}
	m, err := decode[mailflow.StoredMessage](message)
	if err != nil {
		return nil, err
	}
	return &mailflow.Queued{
		Delivery: *d,
		From:     m.From, Subject: m.Subject, Bytes: m.Size,
		Claimed: s.book.claimed(d.ID),
	}, nil
}

// limit returns how many rows a list has when n are asked for.
func limit(n int) int {
	if n <= 0 {
		return mailflow.DefaultListLimit
	}
	return n
}
