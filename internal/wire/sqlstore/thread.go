// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Thread implements [mailflow.ThreadView].
func (v view) Thread(ctx context.Context, id string) (*mailflow.Thread, error) {
	return v.thread(ctx, id, `SELECT updated, data FROM thread WHERE id = ?`, id)
}

// ThreadOf implements [mailflow.ThreadView].
func (v view) ThreadOf(ctx context.Context, model, foreign string) (*mailflow.Thread, error) {
	return v.thread(ctx, model+" "+foreign,
		`SELECT updated, data FROM thread WHERE model = ? AND foreign_id = ? AND foreign_id <> ''`, model, foreign)
}

// thread reads the thread of a query.
func (v view) thread(ctx context.Context, name, query string, args ...any) (*mailflow.Thread, error) {
	var updated int64
	var data []byte
	found, err := one(ctx, v.q, []any{&updated, &data}, query, args...)
	if err == nil && !found {
		err = mailflow.ErrNoRecord
	}
	if err != nil {
		return nil, fmt.Errorf("thread %s: %w", name, err)
	}
	return decodeThread(updated, data)
}

// Posts implements [mailflow.ThreadView]. It looks at limit rows for each of
// refs at most, from the newest on: thousands of mails may quote one name.
func (v view) Posts(ctx context.Context, refs []string, limit int) ([]mailflow.Post, error) {
	var ids []string
	for _, ref := range refs {
		if ref == "" || limit <= 0 {
			continue
		}
		err := each(ctx, v.q, scanTo(&ids), `SELECT post FROM ref WHERE hash = ? ORDER BY post DESC LIMIT ?`, refHash(ref), limit)
		if err != nil {
			return nil, fmt.Errorf("looking for posts by reference: %w", err)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	found := []mailflow.Post{}
	for _, id := range slices.Backward(ids) {
		if len(found) == limit {
			break
		}
		p, err := v.post(ctx, id)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(refsOf(p), func(ref string) bool { return slices.Contains(refs, ref) }) {
			found = append(found, *p)
		}
	}
	return found, nil
}

// post reads a post. Error: [mailflow.ErrNoRecord].
func (v view) post(ctx context.Context, id string) (*mailflow.Post, error) {
	var data []byte
	found, err := one(ctx, v.q, []any{&data}, `SELECT data FROM post WHERE id = ?`, id)
	if err == nil && !found {
		err = mailflow.ErrNoRecord
	}
	if err != nil {
		return nil, fmt.Errorf("post %s: %w", id, err)
	}
	return decode[mailflow.Post](data)
}

// Thread implements [mailflow.ThreadView].
func (s *Store) Thread(ctx context.Context, id string) (*mailflow.Thread, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.view().Thread(ctx, id)
}

// ThreadOf implements [mailflow.ThreadView].
func (s *Store) ThreadOf(ctx context.Context, model, foreign string) (*mailflow.Thread, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.view().ThreadOf(ctx, model, foreign)
}

// Posts implements [mailflow.ThreadView].
func (s *Store) Posts(ctx context.Context, refs []string, limit int) ([]mailflow.Post, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s.view().Posts(ctx, refs, limit)
}

// refsOf returns what an answer may quote to mean p.
func refsOf(p *mailflow.Post) []string {
	refs := make([]string, 0, 1+len(p.Refs))
	for _, ref := range append([]string{p.MessageID}, p.Refs...) {
		if ref != "" && !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// refHash returns the number that a reference is found by. It is one that
// nobody can make many references for.
func refHash(ref string) int64 {
	sum := sha256.Sum256([]byte(ref))
	return int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // any 64 bits do
}

// encodeThread returns the JSON of a thread, without the time in its column.
func encodeThread(t *mailflow.Thread) ([]byte, error) {
	kept := *t
	kept.Created, kept.Updated = micro(t.Created), timeOf(0)
	return encodeRow("thread", t.ID, &kept)
}

// decodeThread reads a row of a thread.
func decodeThread(updated int64, data []byte) (*mailflow.Thread, error) {
	t, err := decode[mailflow.Thread](data)
	if err != nil {
		return nil, err
	}
	t.Updated = timeOf(updated)
	return t, nil
}

// encodePost returns the JSON of a post.
func encodePost(p *mailflow.Post) ([]byte, error) {
	kept := *p
	kept.At = micro(p.At)
	return encodeRow("post", p.ID, &kept)
}

// encodeRow returns the JSON of a row.
func encodeRow(kind, id string, row any) ([]byte, error) {
	if id == "" {
		return nil, fmt.Errorf("%s without ID", kind)
	}
	data, err := json.Marshal(row)
	if err != nil {
		return nil, fmt.Errorf("encoding %s %s: %w", kind, id, err)
	}
	return data, nil
}

// decodeTo collects the rows of a query with one column of JSON.
func decodeTo[T any](list *[]T) func(*sql.Rows) error {
	return func(rows *sql.Rows) error {
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return err
		}
		row, err := decode[T](data)
		if err == nil {
			*list = append(*list, *row)
		}
		return err
	}
}
