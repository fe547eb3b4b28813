// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"unicode"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// maxSearchWords bounds the words of one search: each is looked up.
	maxSearchWords = 32
	// maxSearchedText is how much of a post's text is searched, in bytes. The
	// writer splits it into words while mail waits: this much takes some
	// milliseconds.
	maxSearchedText = 64 << 10
)

// Threads implements [mailflow.Conversations]. Threads that were updated at
// one time are listed by ID, the last first.
func (s *Store) Threads(ctx context.Context, q mailflow.ThreadQuery) ([]mailflow.Thread, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	where, args := []string{"true"}, []any(nil)
	add := func(condition string, arg any) {
		where, args = append(where, condition), append(args, arg)
	}
	if q.Model != "" {
		add("model = ?", q.Model)
	}
	if q.State != "" {
		add("state = ?", q.State)
	}
	if q.Before != "" {
		add("(updated, id) < (SELECT updated, id FROM thread WHERE id = ?)", q.Before)
	}
	found := []mailflow.Thread{}
	if q.Text != "" {
		match := matchWords(q.Text)
		if match == "" {
			return found, nil // nothing that could be a word
		}
		add("id IN (SELECT thread FROM document WHERE n IN (SELECT rowid FROM words WHERE words MATCH ?))", match)
	}
	err := each(ctx, s.readers, func(rows *sql.Rows) error {
		var updated int64
		var data sql.RawBytes
		if err := rows.Scan(&updated, &data); err != nil {
			return err
		}
		t, err := decodeThread(updated, data)
		if err == nil {
			found = append(found, *t)
		}
		return err
	}, `SELECT updated, data FROM thread WHERE `+strings.Join(where, " AND ")+` ORDER BY updated DESC, id DESC LIMIT ?`,
		append(args, limit(q.Limit))...)
	if err != nil {
		return nil, fmt.Errorf("listing threads: %w", err)
	}
	return found, nil
}

// matchWords returns the FTS5 query for all words of a text, "" if it has none.
// A word is quoted, and has no quotes: nothing of it is taken for syntax.
func matchWords(text string) string {
	words := strings.FieldsFunc(strings.ToValidUTF8(text, " "), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
	})
	if len(words) == 0 {
		return ""
	}
	return `"` + strings.Join(words[:min(len(words), maxSearchWords)], `" AND "`) + `"`
}

// PostsOf implements [mailflow.Conversations].
func (s *Store) PostsOf(ctx context.Context, thread string) ([]mailflow.DigestedPost, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	found := []mailflow.DigestedPost{}
	err := each(ctx, s.readers, func(rows *sql.Rows) error {
		var post, digest sql.RawBytes
		if err := rows.Scan(&post, &digest); err != nil {
			return err
		}
		p, err := decode[mailflow.Post](post)
		if err != nil {
			return err
		}
		d := mailflow.DigestedPost{Post: *p}
		if digest != nil {
			if d.Digest, err = decode[mailflow.Digest](digest); err != nil {
				return err
			}
		}
		found = append(found, d)
		return nil
	}, `SELECT p.data, g.data FROM post p LEFT JOIN document d ON d.thread = p.thread AND d.post = p.id LEFT JOIN digest g ON g.n = d.n
		WHERE p.thread = ? ORDER BY p.id`, thread)
	if err != nil {
		return nil, fmt.Errorf("listing the posts of thread %s: %w", thread, err)
	}
	return found, nil
}

// Undigested implements [mailflow.Conversations].
func (s *Store) Undigested(ctx context.Context, n int) ([]mailflow.Post, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	found := []mailflow.Post{}
	err := each(ctx, s.readers, decodeTo(&found),
		`SELECT data FROM post INDEXED BY post_fresh WHERE fresh IS NOT NULL ORDER BY id LIMIT ?`, limit(n))
	if err != nil {
		return nil, fmt.Errorf("listing posts without digest: %w", err)
	}
	return found, nil
}

// PutDigest implements [mailflow.Conversations]. It lets the name of the
// post's thread be searched, too: the commit that opened it left that to do.
func (s *Store) PutDigest(ctx context.Context, post string, d *mailflow.Digest) error {
	data, err := encodeRow("digest", post, d)
	if err != nil {
		return err
	}
	return s.write(ctx, rowBytes+len(data)+len(d.Text), func(c *change) error {
		v := view{c.session}
		p, err := v.post(c.ctx, post)
		if err != nil {
			return err
		}
		t, err := v.Thread(c.ctx, p.Thread)
		if err != nil {
			return err
		}
		if err := c.indexOnce(t); err != nil {
			return err
		}
		if err := c.index(t.ID, p.ID, p.Subject, d.Text); err != nil {
			return err
		}
		_, err = c.exec(`INSERT OR REPLACE INTO digest (n, data) SELECT n, ? FROM document WHERE thread = ? AND post = ?`,
			string(data), t.ID, p.ID)
		if err == nil {
			_, err = c.exec(`UPDATE post SET fresh = NULL WHERE id = ? AND fresh IS NOT NULL`, p.ID)
		}
		if err != nil {
			return fmt.Errorf("writing the digest of post %s: %w", p.ID, err)
		}
		return nil
	})
}

// indexOnce lets the name of a thread be searched if it cannot be yet.
func (c *change) indexOnce(t *mailflow.Thread) error {
	var n int64
	found, err := one(c.ctx, c, []any{&n}, `SELECT n FROM document WHERE thread = ? AND post = ''`, t.ID)
	if found || err != nil {
		return err
	}
	return c.index(t.ID, "", t.Name, "")
}

// index lets a post, or with none the name of its thread, be searched by a
// title and a text, in place of what it was searched by before.
func (c *change) index(thread, post, title, text string) error {
	_, err := c.exec(`INSERT INTO document (thread, post) VALUES (?, ?) ON CONFLICT DO NOTHING`, thread, post)
	if err == nil {
		if len(text) > maxSearchedText {
			text = text[:maxSearchedText]
		}
		_, err = c.exec(`INSERT OR REPLACE INTO words (rowid, title, text) SELECT n, ?, ? FROM document WHERE thread = ? AND post = ?`,
			strings.ToValidUTF8(title, " "), strings.ToValidUTF8(text, " "), thread, post)
	}
	if err != nil {
		return fmt.Errorf("letting thread %s be searched: %w", thread, err)
	}
	return nil
}
