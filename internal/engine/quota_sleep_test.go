// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// counting is a store that counts what it is asked.
type counting struct {
	mailflow.Store

	claims, reads, writes, looks atomic.Int64
}

func (c *counting) ClaimDue(ctx context.Context, q mailflow.Claim) ([]mailflow.Delivery, error) {
	c.claims.Add(1)
	return c.Store.ClaimDue(ctx, q)
}

func (c *counting) Message(ctx context.Context, id string) (*mailflow.StoredMessage, error) {
	c.reads.Add(1)
	return c.Store.Message(ctx, id)
}

func (c *counting) Finish(ctx context.Context, o *mailflow.Outcome) error {
	c.writes.Add(1)
	return c.Store.Finish(ctx, o)
}

func (c *counting) Unclaim(ctx context.Context, ids ...string) error {
	c.writes.Add(1)
	return c.Store.Unclaim(ctx, ids...)
}

func (c *counting) Lanes(ctx context.Context) ([]mailflow.Lane, error) {
	c.looks.Add(1)
	return c.Store.Lanes(ctx)
}

// backlog commits one message with n deliveries, each of a lane of its own
// up to lanes.
func backlog(tb testing.TB, store mailflow.Store, n, lanes int) {
	tb.Helper()
	spool, err := store.Spool(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := spool.Write([]byte(mail)); err != nil {
		tb.Fatal(err)
	}
	body, err := spool.Body()
	if err != nil {
		tb.Fatal(err)
	}
	_ = body.Close()
	now := time.Now()
	d := &mailflow.Decision{Message: mailflow.StoredMessage{ID: "backlog", Received: now, From: "anna@mycompany.com"}, Spool: spool}
	for i := range n {
		lane := label{purpose: mailflow.PurposeTransactional, domain: "mycompany.com", bucket: fmt.Sprint(i % lanes), limited: true}
		d.Deliveries = append(d.Deliveries, mailflow.Delivery{
			ID: fmt.Sprintf("d%07d", i), Message: "backlog", Route: mailflow.Outbound, Server: "relay", Destination: "relay",
			Lane: lane.String(), Purpose: lane.purpose, Domain: lane.domain, Limited: true, State: mailflow.StateQueued,
			Envelope: mailflow.Envelope{Recipients: []mailflow.Recipient{{Address: mailflow.MustParseAddress(fmt.Sprintf("r%d@example.net", i))}}},
			Created:  now, Due: now, Expires: now.Add(72 * time.Hour),
		})
	}
	if err := store.Commit(tb.Context(), d); err != nil {
		tb.Fatal(err)
	}
}

// TestLimitSleeps has 30,000 deliveries in many lanes wait for a limit, and
// counts what the store is asked meanwhile.
func TestLimitSleeps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &counting{Store: memstore.Open(time.Now)}
		backlog(t, store, 30_000, 50)
		b := newBench(t, func(c *Config) {
			limits(t, "10/h")(c)
			c.Store = &opener{identity: "counting", store: store}
		})
		time.Sleep(time.Minute)
		b.wantSent("at once", 10)
		claims, reads, writes, looks := store.claims.Load(), store.reads.Load(), store.writes.Load(), store.looks.Load()
		time.Sleep(58 * time.Minute)
		synctest.Wait()
		if c, r, w := store.claims.Load()-claims, store.reads.Load()-reads, store.writes.Load()-writes; c+r+w > 0 {
			t.Errorf("while it waited: %d claims, %d reads, %d writes", c, r, w)
		}
		if n := store.looks.Load() - looks; n > 58 {
			t.Errorf("while it waited: %d looks at the lanes in 58 minutes", n)
		}
		if claims > 100 {
			t.Errorf("%d claims for 10 recipients", claims)
		}
		time.Sleep(2 * time.Minute)
		b.wantSent("when it opens", 20)
		b.close()
	})
}
