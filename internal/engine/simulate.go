// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/xid"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Difference is a recipient of a stored message that two configurations decide
// differently about.
type Difference struct {
	Message   string    `json:"message"`
	Received  time.Time `json:"received"`
	From      string    `json:"from,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Recipient string    `json:"recipient"`
	// Before is what the active configuration decides today, After what the
	// other one does.
	Before string `json:"before"`
	After  string `json:"after"`
}

// simulatePage is how many rows are read at a time.
const simulatePage = 200

// Simulate decides once more about what was received since then, by the active
// configuration and by cfg, both against the state of today, and tells each
// the differences, oldest message first. It changes nothing; cfg is not
// prepared. It returns how many messages it has looked at. An error of each
// ends it.
func (e *Engine) Simulate(ctx context.Context, cfg *Config, since time.Time, each func(Difference) error) (int, error) {
	active := e.pin()
	if active == nil {
		return 0, ErrNotRunning
	}
	defer e.unpin(active)
	other, err := newGeneration(e, cfg, active.store)
	if err != nil {
		return 0, err
	}
	defer other.cancel()
	checked, after := 0, beginning(since)
	for {
		rows, err := active.store.Received(ctx, since, after, simulatePage)
		if err != nil {
			return checked, fmt.Errorf("reading the ledger: %w", err)
		}
		for i := range rows {
			row := &rows[i]
			after = row.ID
			ok, err := compare(ctx, active, other, row, each)
			if err != nil {
				return checked, fmt.Errorf("message %s: %w", row.ID, err)
			}
			if ok {
				checked++
			}
		}
		if len(rows) < simulatePage {
			return checked, nil
		}
	}
}

// beginning returns an ID that sorts before those of all messages received
// since then, so that older ones need not be looked at.
func beginning(since time.Time) string {
	if since.Unix() <= 0 {
		return ""
	}
	return xid.NewWithTime(since.Add(-time.Second)).String()
}

// compare tells how two configurations differ about the message of row. It
// reports whether the message is still there to be decided about.
func compare(ctx context.Context, active, other *Generation, row *mailflow.StoredMessage, each func(Difference) error) (bool, error) {
	if row.Peer.Protocol == protocolLocal {
		return false, nil // made here, because of others
	}
	it := &item{delivery: &mailflow.Delivery{Message: row.ID}, row: row}
	err := it.load(ctx, active.store)
	defer it.close()
	if errors.Is(err, mailflow.ErrNoRecord) {
		return false, nil // retention was quicker
	}
	if err != nil {
		return false, err
	}
	before, err := active.replay(ctx, it)
	if err != nil {
		return false, err
	}
	after, err := other.replay(ctx, it)
	if err != nil {
		return false, err
	}
	for _, r := range row.Envelope.Recipients {
		a := r.Address
		if before[a] == after[a] {
			continue
		}
		err := each(Difference{
			Message: row.ID, Received: row.Received, From: row.From, Subject: row.Subject,
			Recipient: a.String(), Before: before[a], After: after[a],
		})
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// replay decides about a stored message as if it came now, and returns in words
// what becomes of each recipient.
func (g *Generation) replay(ctx context.Context, it *item) (map[mailflow.Address]string, error) {
	env := it.row.Envelope
	c := &deliberation{generation: g, peer: &it.row.Peer, env: &env, msg: it.msg, now: g.engine.now(), replays: true}
	outcomes := make(map[mailflow.Address]string)
	for _, r := range env.Recipients {
		route, err := g.routeOf(ctx, g.store, c.peer, r.Address)
		switch {
		case c.peer.Fetched:
			route = mailflow.Inbound
		case err != nil:
			outcomes[r.Address] = "refused: " + mailflow.AsReply(err).String()
			continue
		}
		if route == mailflow.Inbound {
			c.inbound = append(c.inbound, r)
		} else {
			c.outbound = append(c.outbound, r)
		}
	}
	for route, rcpts := range map[mailflow.RouteName][]mailflow.Recipient{mailflow.Inbound: c.inbound, mailflow.Outbound: c.outbound} {
		if len(rcpts) == 0 {
			continue
		}
		tx := c.transaction(route, rcpts, g.store)
		if err := c.run(ctx, tx); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			tx.RefuseAll(mailflow.AsReply(err))
		}
		for _, v := range tx.Verdicts() {
			outcomes[v.Recipient.Address] = c.inWords(tx, v)
		}
	}
	return outcomes, nil
}

// inWords says what became of a recipient, in so many words that two outcomes
// are equal if their words are.
func (c *deliberation) inWords(tx *mailflow.Transaction, v mailflow.Verdict) string {
	if v.Reply != nil {
		return "refused: " + v.Reply.String()
	}
	a, ok := v.Action.(mailflow.Deliver)
	if !ok {
		return v.Action.String()
	}
	d := c.delivery(tx, a)
	words := fmt.Sprintf("%s, From %s, MAIL FROM %s", a, asSent(c.msg.Header, &d).Get("From"), tx.Sender().Path())
	if d.Purpose != mailflow.PurposeTransactional {
		words += ", " + d.Purpose + " mail"
	}
	if d.SignAs != "" {
		words += ", signed for " + d.SignAs
	}
	return words
}
