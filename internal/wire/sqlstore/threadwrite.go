// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// maxPostRefs bounds the names that relays give one post: each is a row, and
// all are written with the post again. A mail to more followers than this
// through a relay that renames is found by its own Message-Id.
const maxPostRefs = 256

// postings are what is written about threads, as rows.
type postings struct {
	*mailflow.Postings

	threads, posts [][]byte
	// own is the message that is committed with them; empty if none is.
	own string
}

// encodePostings checks p and makes its rows.
func encodePostings(p *mailflow.Postings, own string) (rows postings, err error) {
	rows = postings{Postings: p, own: own}
	for i := range p.Threads {
		data, err := encodeThread(&p.Threads[i])
		if err != nil {
			return rows, err
		}
		rows.threads = append(rows.threads, data)
	}
	for i := range p.Posts {
		data, err := encodePost(&p.Posts[i])
		if err != nil {
			return rows, err
		}
		rows.posts = append(rows.posts, data)
	}
	return rows, nil
}

// bytes is about how much is written.
func (p *postings) bytes() int {
	return rowBytes * (len(p.threads) + len(p.posts))
}

// keeps reports whether one of the posts is of that message.
func (p *postings) keeps(message string) bool {
	return slices.ContainsFunc(p.Posts, func(post mailflow.Post) bool { return post.Message == message })
}

// writePostings writes what is committed about threads.
func (c *change) writePostings(p *postings) error {
	for i := range p.Threads {
		if err := c.insertThread(&p.Threads[i], p.threads[i]); err != nil {
			return err
		}
	}
	for i := range p.Posts {
		if err := c.insertPost(&p.Posts[i], p.posts[i], p.own); err != nil {
			return err
		}
	}
	for _, f := range p.Follows {
		if err := c.mustHaveThread(f.Thread); err != nil {
			return err
		}
		_, err := c.exec(`INSERT INTO follower (thread, contact, notes) SELECT ?1, ?2, ?3
			WHERE EXISTS (SELECT 1 FROM contact WHERE id = ?2) ON CONFLICT DO NOTHING`, f.Thread, f.Contact, f.Notes)
		if err != nil {
			return fmt.Errorf("writing a follower of thread %s: %w", f.Thread, err)
		}
	}
	return nil
}

// insertThread writes a new thread and its record.
func (c *change) insertThread(t *mailflow.Thread, data []byte) error {
	_, err := c.exec(`INSERT INTO thread (id, model, foreign_id, state, updated, data) VALUES (?, ?, ?, ?, ?, ?)`,
		t.ID, t.Model, t.Foreign, t.State, micros(t.Updated), string(data))
	if isDuplicate(err) {
		return fmt.Errorf("thread %s: %w", t.ID, mailflow.ErrDuplicate)
	}
	if err == nil {
		err = c.putRecord(mailflow.ThreadKey(t.ID), 1)
	}
	if err != nil {
		return fmt.Errorf("writing thread %s: %w", t.ID, err)
	}
	return nil
}

// putRecord writes a record that stays.
func (c *change) putRecord(key string, version int64) error {
	_, err := c.exec(`INSERT OR REPLACE INTO record (key, version, expires) VALUES (?, ?, 0)`, []byte(key), version)
	return err
}

// insertPost writes a new post and updates its thread. A message that became
// nothing so far is needed from now on, unless it is own, whose row is new.
func (c *change) insertPost(p *mailflow.Post, data []byte, own string) error {
	n, err := c.exec(`UPDATE thread SET updated = max(updated, ?) WHERE id = ?`, micros(p.At), p.Thread)
	if err == nil && n == 0 {
		return fmt.Errorf("thread %s of post %s: %w", p.Thread, p.ID, mailflow.ErrNoRecord)
	}
	if err != nil {
		return fmt.Errorf("updating thread %s: %w", p.Thread, err)
	}
	var fresh any
	if p.Message != "" {
		fresh = 1
	}
	_, err = c.exec(`INSERT INTO post (id, thread, message, fresh, data) VALUES (?, ?, ?, ?, ?)`,
		p.ID, p.Thread, p.Message, fresh, string(data))
	if isDuplicate(err) {
		return fmt.Errorf("post %s: %w", p.ID, mailflow.ErrDuplicate)
	}
	for _, ref := range refsOf(p) {
		if err == nil {
			err = c.putRef(ref, p.ID)
		}
	}
	if err == nil && p.Message != "" && p.Message != own {
		_, err = c.exec(`UPDATE message SET alone = NULL WHERE id = ? AND alone IS NOT NULL`, p.Message)
	}
	if err != nil {
		return fmt.Errorf("writing post %s: %w", p.ID, err)
	}
	return nil
}

// putRef lets a post be found by a name.
func (c *change) putRef(ref, post string) error {
	_, err := c.exec(`INSERT INTO ref (hash, post) VALUES (?, ?) ON CONFLICT DO NOTHING`, refHash(ref), post)
	return err
}

// mustHaveThread returns [mailflow.ErrNoRecord] if there is no such thread.
func (c *change) mustHaveThread(id string) error {
	var n int
	found, err := one(c.ctx, c, []any{&n}, `SELECT 1 FROM thread WHERE id = ?`, id)
	if err == nil && !found {
		err = mailflow.ErrNoRecord
	}
	if err != nil {
		return fmt.Errorf("thread %s: %w", id, err)
	}
	return nil
}

// renamed lets the posts of messages be found by the Message-Ids that relays
// gave these.
func (c *change) renamed(ds []mailflow.Delivery) error {
	for i := range ds {
		if d := &ds[i]; d.RelayedID != "" {
			if err := c.addRef(d.Message, d.RelayedID); err != nil {
				return fmt.Errorf("writing the id that delivery %s got: %w", d.ID, err)
			}
		}
	}
	return nil
}

// addRef adds a reference to the posts of a message.
func (c *change) addRef(message, ref string) error {
	var posts []mailflow.Post
	err := each(c.ctx, c, decodeTo(&posts), `SELECT data FROM post WHERE message = ? AND message <> ''`, message)
	if err != nil {
		return err
	}
	for i := range posts {
		p := &posts[i]
		if slices.Contains(refsOf(p), ref) || len(p.Refs) >= maxPostRefs {
			continue
		}
		p.Refs = append(p.Refs, ref)
		data, err := encodePost(p)
		if err != nil {
			return err
		}
		if _, err := c.exec(`UPDATE post SET data = ? WHERE id = ?`, string(data), p.ID); err != nil {
			return err
		}
		if err := c.putRef(ref, p.ID); err != nil {
			return err
		}
	}
	return nil
}

// PutPost implements [mailflow.Conversations].
func (s *Store) PutPost(ctx context.Context, p *mailflow.Post) error {
	rows, err := encodePostings(&mailflow.Postings{Posts: []mailflow.Post{*p}}, "")
	if err != nil {
		return err
	}
	return s.write(ctx, rows.bytes(), func(c *change) error {
		if err := c.writePostings(&rows); err != nil {
			return err
		}
		if p.Message != "" {
			return nil // with its digest
		}
		return c.index(p.Thread, p.ID, p.Subject, "")
	})
}

// PutThread implements [mailflow.Conversations].
func (s *Store) PutThread(ctx context.Context, t *mailflow.Thread) error {
	data, err := encodeThread(t)
	if err != nil {
		return err
	}
	return s.write(ctx, rowBytes, func(c *change) error {
		n, err := c.exec(`UPDATE thread SET model = ?, foreign_id = ?, state = ?, updated = ?, data = ? WHERE id = ?`,
			t.Model, t.Foreign, t.State, micros(t.Updated), string(data), t.ID)
		switch {
		case isDuplicate(err):
			return fmt.Errorf("thread of %s %s: %w", t.Model, t.Foreign, mailflow.ErrDuplicate)
		case err != nil:
			return fmt.Errorf("writing thread %s: %w", t.ID, err)
		case n == 0:
			if err := c.insertThread(t, data); err != nil {
				return err
			}
		}
		return c.index(t.ID, "", t.Name, "")
	})
}

// RouteUnrouted implements [mailflow.Conversations].
func (s *Store) RouteUnrouted(ctx context.Context, id string, at time.Time, p mailflow.Postings) error {
	rows, err := encodePostings(&p, "")
	if err != nil {
		return err
	}
	return s.write(ctx, rowBytes+rows.bytes(), func(c *change) error {
		u, err := waitingUnrouted(c, id)
		if err != nil {
			return err
		}
		u.Routed = at
		if err := writeUnrouted(c, u); err != nil {
			return err
		}
		return c.writePostings(&rows)
	})
}
