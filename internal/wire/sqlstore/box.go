// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Unrouted implements [mailflow.Box].
func (s *Store) Unrouted(ctx context.Context, id string, n int) ([]mailflow.Unrouted, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	query, args := `SELECT data FROM unrouted WHERE ended = 0 ORDER BY at DESC, message DESC LIMIT ?`, []any{limit(n)}
	if id != "" {
		query, args = `SELECT data FROM unrouted WHERE message = ?`, []any{id}
	}
	found := []mailflow.Unrouted{}
	err := each(ctx, s.readers, func(rows *sql.Rows) error {
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return err
		}
		u, err := decode[mailflow.Unrouted](data)
		if err != nil {
			return err
		}
		found = append(found, *u)
		return nil
	}, query, args...)
	if err != nil {
		return nil, fmt.Errorf("listing unrouted messages: %w", err)
	}
	return found, nil
}

// readUnrouted reads an entry inside a change; nil if there is none.
func readUnrouted(c *change, message string) (*mailflow.Unrouted, error) {
	var data []byte
	found, err := one(c.ctx, c, []any{&data}, `SELECT data FROM unrouted WHERE message = ?`, message)
	if err != nil {
		return nil, fmt.Errorf("reading the unrouted message %s: %w", message, err)
	}
	if !found {
		return nil, nil //nolint:nilnil // no entry is no error
	}
	return decode[mailflow.Unrouted](data)
}

// writeUnrouted writes an entry, over the one that is there.
func writeUnrouted(c *change, u *mailflow.Unrouted) error {
	data, err := encodeUnrouted(u)
	if err != nil {
		return err
	}
	_, err = c.exec(`INSERT OR REPLACE INTO unrouted (message, at, ended, data) VALUES (?, ?, ?, ?)`,
		u.Message, micros(u.At), micros(cmp.Or(u.Dropped, u.Routed)), string(data))
	if err != nil {
		return fmt.Errorf("writing the unrouted message %s: %w", u.Message, err)
	}
	return nil
}

// addUnrouted puts u into the box. An entry that is there gets the recipients
// it does not have; if it was dropped or routed it waits again, for what is new in
// it.
func addUnrouted(c *change, u *mailflow.Unrouted) error {
	entry, err := readUnrouted(c, u.Message)
	if err != nil {
		return err
	}
	if entry == nil {
		return writeUnrouted(c, u)
	}
	for _, r := range u.Recipients {
		if !slices.ContainsFunc(entry.Recipients, func(e mailflow.Recipient) bool { return e.Address.Is(r.Address) }) {
			entry.Recipients = append(entry.Recipients, r)
		}
	}
	if !entry.Dropped.IsZero() || !entry.Routed.IsZero() {
		entry.Reason, entry.At, entry.Dropped, entry.Routed = u.Reason, u.At, time.Time{}, time.Time{}
	}
	return writeUnrouted(c, entry)
}

// DropUnrouted implements [mailflow.Box].
func (s *Store) DropUnrouted(ctx context.Context, id string, at time.Time) error {
	return s.write(ctx, rowBytes, func(c *change) error {
		u, err := waitingUnrouted(c, id)
		if err != nil {
			return err
		}
		u.Dropped = at
		return writeUnrouted(c, u)
	})
}

// waitingUnrouted reads an entry that waits for an operator.
func waitingUnrouted(c *change, id string) (*mailflow.Unrouted, error) {
	u, err := readUnrouted(c, id)
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return nil, fmt.Errorf("unrouted message %s: %w", id, mailflow.ErrNoRecord)
	case !u.Dropped.IsZero():
		return nil, fmt.Errorf("unrouted message %s is dropped already: %w", id, mailflow.ErrState)
	case !u.Routed.IsZero():
		return nil, fmt.Errorf("unrouted message %s is routed already: %w", id, mailflow.ErrState)
	}
	return u, nil
}
