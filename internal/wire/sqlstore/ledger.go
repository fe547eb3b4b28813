// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// rowBytes is about what the rows of a message take beside its body.
const rowBytes = 2 << 10

// Commit implements [mailflow.Ledger].
func (s *Store) Commit(ctx context.Context, d *mailflow.Decision) error {
	p, err := s.encode(d)
	if err != nil {
		return err
	}
	return s.write(ctx, p.bytes(), func(c *change) error { return s.commit(c, p) })
}

// CommitDecided implements [mailflow.Ledger]. If decide returns no decision
// nothing is committed. A panic in decide is returned as an error.
func (s *Store) CommitDecided(ctx context.Context, decide func(mailflow.View) (*mailflow.Decision, error)) error {
	return s.write(ctx, mailflow.MaxInlineBody, func(c *change) error {
		d, err := decided(decide, view{c.session})
		if err != nil || d == nil {
			return err
		}
		p, err := s.encode(d)
		if err != nil {
			return err
		}
		return s.commit(c, p)
	})
}

// decided calls decide, which must not take the writer down with it.
func decided(decide func(mailflow.View) (*mailflow.Decision, error), v mailflow.View) (d *mailflow.Decision, err error) {
	defer func() {
		if p := recover(); p != nil {
			d, err = nil, fmt.Errorf("deciding inside the commit panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return decide(v)
}

// encoded is a decision with its rows as they are written: what can be made
// outside the writer is made there.
type encoded struct {
	*mailflow.Decision

	spool      *spool
	message    []byte
	deliveries [][]byte
	unrouted   []byte
	postings   postings
	made       []*encoded
}

// encode checks d and makes its rows. Large bytes are synced to disk here.
func (s *Store) encode(d *mailflow.Decision) (p *encoded, err error) {
	if err := checkDecision(d); err != nil {
		return nil, err
	}
	sp, ok := d.Spool.(*spool)
	if !ok || sp.dirs != &s.dirs {
		return nil, fmt.Errorf("committing %s: %w", d.Message.ID, errSpool)
	}
	if err := sp.settle(); err != nil {
		return nil, fmt.Errorf("committing %s: %w", d.Message.ID, err)
	}
	p = &encoded{Decision: d, spool: sp}
	if p.message, err = encodeMessage(&d.Message); err != nil {
		return nil, err
	}
	for i := range d.Deliveries {
		data, err := encodeDelivery(&d.Deliveries[i])
		if err != nil {
			return nil, err
		}
		p.deliveries = append(p.deliveries, data)
	}
	if d.Unrouted != nil {
		if p.unrouted, err = encodeUnrouted(d.Unrouted); err != nil {
			return nil, err
		}
	}
	if p.postings, err = encodePostings(&d.Postings, d.Message.ID); err != nil {
		return nil, err
	}
	for i := range d.Made {
		made, err := s.encode(&d.Made[i])
		if err != nil {
			return nil, err
		}
		p.made = append(p.made, made)
	}
	return p, nil
}

// bytes is about how much is written.
func (p *encoded) bytes() int {
	n := rowBytes + len(p.message) + len(p.spool.inline()) + p.postings.bytes()
	for _, made := range p.made {
		n += made.bytes()
	}
	return n
}

// commit writes a decision and what was made because of it.
func (s *Store) commit(c *change, p *encoded) error {
	if err := p.check(c); err != nil {
		return err
	}
	return s.insert(c, p)
}

// check checks the facts of a decision and of what was made because of it.
func (p *encoded) check(c *change) error {
	if err := c.checkFacts(p.Facts); err != nil {
		return err
	}
	for _, made := range p.made {
		if err := made.check(c); err != nil {
			return err
		}
	}
	return nil
}

// insert writes a decision whose facts hold.
func (s *Store) insert(c *change, p *encoded) error {
	if err := p.spool.take(c); err != nil {
		return fmt.Errorf("committing %s: %w", p.Message.ID, err)
	}
	if err := s.insertMessage(c, p); err != nil {
		return err
	}
	for i := range p.Deliveries {
		if err := s.insertDelivery(c, &p.Deliveries[i], p.deliveries[i]); err != nil {
			return err
		}
	}
	if err := s.claimNew(c, p); err != nil {
		return err
	}
	if p.Unrouted != nil {
		u := p.Unrouted
		_, err := c.exec(`INSERT INTO unrouted (message, at, ended, data) VALUES (?, ?, ?, ?)`,
			u.Message, micros(u.At), micros(cmp.Or(u.Dropped, u.Routed)), string(p.unrouted))
		if err != nil {
			return fmt.Errorf("writing the unrouted message %s: %w", u.Message, err)
		}
	}
	if err := c.writePostings(&p.postings); err != nil {
		return err
	}
	if err := c.writeFacts(p.Facts); err != nil {
		return err
	}
	for _, made := range p.made {
		if err := s.insert(c, made); err != nil {
			return fmt.Errorf("committing what was made of %s: %w", p.Message.ID, err)
		}
	}
	return nil
}

// insertMessage writes the row and the bytes of a message.
func (s *Store) insertMessage(c *change, p *encoded) error {
	var alone, file any
	if len(p.Deliveries) == 0 && p.Unrouted == nil && !p.postings.keeps(p.Message.ID) {
		alone = micros(s.now())
	}
	if name := p.spool.name(); name != "" {
		file = name
	}
	_, err := c.exec(`INSERT INTO message (id, file, alone, data) VALUES (?, ?, ?, ?)`,
		p.Message.ID, file, alone, string(p.message))
	switch {
	case isDuplicate(err):
		return fmt.Errorf("message %s: %w", p.Message.ID, mailflow.ErrDuplicate)
	case err == nil && file == nil:
		_, err = c.exec(`INSERT INTO body (n, bytes) VALUES (last_insert_rowid(), ?)`, p.spool.inline())
	}
	if err != nil {
		return fmt.Errorf("writing message %s: %w", p.Message.ID, err)
	}
	return nil
}

// insertDelivery writes a new row of the queue.
func (s *Store) insertDelivery(c *change, d *mailflow.Delivery, data []byte) error {
	_, err := c.exec(`INSERT INTO delivery (id, message, destination, lane, server, state, due, expires, rests, data)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.ID, d.Message, d.Destination, d.Lane, d.Server, string(d.State), micros(d.Due), micros(d.Expires), s.rests(d), string(data))
	if isDuplicate(err) {
		return fmt.Errorf("delivery %s: %w", d.ID, mailflow.ErrDuplicate)
	}
	if err != nil {
		return fmt.Errorf("writing delivery %s: %w", d.ID, err)
	}
	c.move(placeOf(d), 1)
	return nil
}

// rests returns the column of the same name for a row written now.
func (s *Store) rests(d *mailflow.Delivery) any {
	if waits(d.State) {
		return nil
	}
	return micros(s.now())
}

// claimNew claims what the committer keeps for itself.
func (s *Store) claimNew(c *change, p *encoded) error {
next:
	for _, id := range p.Claimed {
		for i := range p.Deliveries {
			if d := &p.Deliveries[i]; d.ID == id && waits(d.State) {
				s.book.take(c, id, placeOf(d))
				continue next
			}
		}
		return fmt.Errorf("claimed delivery %s is none that waits", id)
	}
	return nil
}

// Message implements [mailflow.Ledger].
func (s *Store) Message(ctx context.Context, id string) (*mailflow.StoredMessage, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	var data []byte
	found, err := one(ctx, s.readers, []any{&data}, `SELECT data FROM message WHERE id = ?`, id)
	if err != nil {
		return nil, fmt.Errorf("reading message %s: %w", id, err)
	}
	if !found {
		return nil, fmt.Errorf("message %s: %w", id, mailflow.ErrNoRecord)
	}
	return decode[mailflow.StoredMessage](data)
}

// Received implements [mailflow.Ledger].
func (s *Store) Received(ctx context.Context, since time.Time, after string, n int) ([]mailflow.StoredMessage, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	// Without its end, the time as JSON has it sorts as the time does.
	from := strings.TrimSuffix(micro(since).Format(time.RFC3339Nano), "Z")
	found := []mailflow.StoredMessage{}
	err := each(ctx, s.readers, decodeTo(&found),
		`SELECT data FROM message WHERE id > ? AND rtrim(data ->> 'received', 'Z') >= ? ORDER BY id LIMIT ?`, after, from, limit(n))
	if err != nil {
		return nil, fmt.Errorf("listing messages: %w", err)
	}
	return found, nil
}

// Body implements [mailflow.Ledger].
func (s *Store) Body(ctx context.Context, id string) (mailflow.Body, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	var file *string
	var bytes []byte
	found, err := one(ctx, s.readers, []any{&file, &bytes},
		`SELECT m.file, b.bytes FROM message m LEFT JOIN body b ON b.n = m.n WHERE m.id = ?`, id)
	if err != nil {
		return nil, fmt.Errorf("reading the body of message %s: %w", id, err)
	}
	if !found {
		return nil, fmt.Errorf("message %s: %w", id, mailflow.ErrNoRecord)
	}
	if file == nil {
		return newInlineBody(bytes), nil
	}
	b, err := openBody(s.dirs.path(*file))
	if errors.Is(err, fs.ErrNotExist) {
		// Swept since the row was read, or taken away by somebody.
		return nil, fmt.Errorf("message %s: %w: %w", id, mailflow.ErrNoRecord, err)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the body of message %s: %w", id, err)
	}
	return b, nil
}
