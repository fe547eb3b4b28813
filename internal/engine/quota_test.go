// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// limit parses limits.
func limit(tb testing.TB, texts ...string) []mailflow.Limit {
	tb.Helper()
	var ls []mailflow.Limit
	for _, text := range texts {
		l, err := mailflow.ParseLimit(text)
		if err != nil {
			tb.Fatal(err)
		}
		ls = append(ls, l)
	}
	return ls
}

// limited chooses "relay" for mail that limits hold for, but for what says
// that it is free. Mail whose subject is a purpose has it.
func limited(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	tx.Sending.Limited = tx.Message.Header.Get("Free") == ""
	if p := tx.Message.Header.Get("Subject"); p == mailflow.PurposeMass {
		tx.Purpose = p
	}
	tx.ClaimAll(mailflow.Deliver{Server: "relay"})
	return next(ctx, tx)
}

// limits edits a configuration to have limits for the server.
func limits(tb testing.TB, texts ...string) func(*Config) {
	tb.Helper()
	return func(c *Config) {
		c.Servers["relay"].Limits = limit(tb, texts...)
		c.Outbound = mailflow.Route{{Name: "limited", Handler: handle(limited)}}
	}
}

// kinds returns the events of a kind.
func (b *bench) kinds(k EventKind) []Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	var es []Event
	for _, e := range b.events {
		if e.Kind == k {
			es = append(es, e)
		}
	}
	return es
}

// sentBy returns how many recipients the far end was given by now.
func (b *bench) sentBy() int {
	n := 0
	for _, s := range b.relay.taken() {
		n += len(s.delivery.Envelope.Recipients)
	}
	return n
}

// wantSent checks how many recipients the far end was given.
func (b *bench) wantSent(when string, want int) {
	b.t.Helper()
	synctest.Wait()
	if got := b.sentBy(); got != want {
		b.t.Errorf("%s: %d recipients were sent, want %d", when, got, want)
	}
}

// TestLimitWaits has mail wait for a limit of a day, also beyond its give-up.
func TestLimitWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, limits(t, "3/day"))
		time.Sleep(10 * time.Hour)
		for i := range 8 {
			b.accept(fmt.Sprintf("r%d@example.net", i))
		}
		b.wantSent("at once", 3)
		q, err := b.store.Deliveries(t.Context(), mailflow.QueueQuery{States: []mailflow.State{mailflow.StateQueued}})
		if err != nil || len(q) != 5 {
			t.Fatalf("%d wait: %v", len(q), err)
		}
		for i := range q {
			reason, until := b.engine.Waiting(&q[i].Delivery)
			if reason != "limit 3/day of server relay is used up" || !until.Equal(time.Date(2000, 1, 2, 0, 0, 0, 0, time.Local)) || q[i].Claimed {
				t.Errorf("waits for %q until %v, claimed %v", reason, until, q[i].Claimed)
			}
		}
		time.Sleep(14*time.Hour - time.Minute)
		b.wantSent("before midnight", 3)
		time.Sleep(2 * time.Minute)
		b.wantSent("after midnight", 6)
		time.Sleep(24 * time.Hour)
		b.wantSent("a day later", 8)
		if n := len(b.kinds(EventExpired)) + len(b.kinds(EventDeferred)) + len(b.kinds(EventFailed)); n > 0 {
			t.Errorf("%d deliveries failed", n)
		}
		near := b.kinds(EventLimitNear)
		if len(near) != 2 || near[0].Server != "relay" || near[0].Reason != "3 of 3/day are used up" {
			t.Errorf("events of the limit: %+v", near)
		}
		for _, s := range b.states() {
			if !strings.HasPrefix(s, "sent ") {
				t.Errorf("at last: %s", s)
			}
		}
		b.close()
	})
}

// TestLimitFree has mail that no limit holds for go its way, and count.
func TestLimitFree(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, limits(t, "2/h"))
		b.accept("a@example.net", "b@example.net", "c@example.net")
		b.wantSent("limited", 2)
		free := "Free: yes\r\n" + mail
		for range 3 {
			if _, err := b.offer(submitter(), "anna@mycompany.com", free, "free@example.net"); err != nil {
				t.Fatal(err)
			}
		}
		b.wantSent("free", 5)
		time.Sleep(59 * time.Minute)
		b.wantSent("within the hour", 5)
		time.Sleep(2 * time.Minute)
		b.wantSent("after the hour", 6)
		b.close()
	})
}

// anyone is a submitter who may send as whom it likes.
func anyone() *mailflow.Peer {
	p := submitter()
	p.FromFilter = []string{"*"}
	return p
}

// TestLimitOfDomain has the limit of one domain leave the others alone.
func TestLimitOfDomain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) {
			limits(t, "1000/day")(c)
			c.Domains[0].Limits = limit(t, "2/h")
			c.Domains = append(c.Domains, mailflow.Domain{Name: "other.example"})
		})
		send := func(from string, n int) {
			for range n {
				rs, err := b.offer(anyone(), from, strings.ReplaceAll(mail, "anna@mycompany.com", from), "bob@example.net")
				if err != nil || !rs[0].Accepted() {
					t.Fatal(rs, err)
				}
			}
		}
		for _, n := range []string{"a", "b", "c", "d", "e"} {
			send(n+"@mycompany.com", 2)
		}
		b.wantSent("of the domain with a limit", 2)
		send("x@other.example", 30)
		b.wantSent("of the other", 32)
		q, err := b.store.Deliveries(t.Context(), mailflow.QueueQuery{States: []mailflow.State{mailflow.StateQueued}, Limit: 1})
		if err != nil || len(q) != 1 {
			t.Fatal(err)
		}
		if reason, _ := b.engine.Waiting(&q[0].Delivery); reason != "limit 2/h of domain mycompany.com is used up" {
			t.Errorf("waits for %q", reason)
		}
		if near := b.kinds(EventLimitNear); len(near) != 1 || near[0].Domain != "mycompany.com" {
			t.Errorf("events: %+v", near)
		}
		time.Sleep(5 * time.Hour)
		b.wantSent("at last", 40)
		b.close()
	})
}

// TestLimitParts has a message with more recipients than a limit allows leave
// in parts.
func TestLimitParts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, limits(t, "4/h"))
		var to []string
		for i := range 10 {
			to = append(to, fmt.Sprintf("r%d@example.net", i))
		}
		b.accept(to...)
		b.wantSent("at once", 4)
		time.Sleep(61 * time.Minute)
		b.wantSent("after an hour", 8)
		time.Sleep(61 * time.Minute)
		b.wantSent("after two", 10)
		var got []string
		for _, s := range b.relay.taken() {
			got = append(got, addresses(s.delivery.Envelope.Recipients)...)
		}
		slices.Sort(got)
		if !slices.Equal(got, to) {
			t.Errorf("sent to %q", got)
		}
		b.close()
	})
}

// TestLimitNotHandedOver has attempts that reach nobody not count.
func TestLimitNotHandedOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, limits(t, "3/day"))
		down := true
		b.relay.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			if down {
				return nil, mailflow.ErrUnreachable
			}
			return all(d, 250), nil
		}
		b.accept("a@example.net", "b@example.net")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		b.relay.mu.Lock()
		down, b.relay.got = false, nil
		b.relay.mu.Unlock()
		time.Sleep(time.Minute)
		b.wantSent("when it is back", 2)
		b.accept("c@example.net")
		b.accept("d@example.net")
		b.wantSent("the rest of the limit", 3)
		b.close()
	})
}

// unclosed is a store that outlives engines.
type unclosed struct{ mailflow.Store }

func (unclosed) Close() error { return nil }

// TestLimitSurvives has a restart and reloads not open a limit, and a new
// limit hold at once.
func TestLimitSurvives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.close()
		store := unclosed{memstore.Open(time.Now)}
		load := func(texts ...string) {
			cfg := b.config()
			cfg.Store = &opener{identity: "kept", store: store}
			limits(t, texts...)(cfg)
			old := b.engine.newest()
			b.load(cfg)
			if old != nil {
				old.Retire()
			}
			synctest.Wait()
		}
		load("3/h")
		for i := range 9 {
			b.accept(fmt.Sprintf("r%d@example.net", i))
		}
		b.wantSent("at once", 3)
		for range 3 {
			b.close()
			b.engine = New(Options{Now: time.Now})
			load("3/h")
			time.Sleep(5 * time.Minute)
			b.wantSent("after a restart", 3)
		}
		load("3/h")
		b.wantSent("after a reload", 3)
		load("5/h")
		b.wantSent("after raising it", 5)
		load("4/h")
		time.Sleep(46 * time.Minute)
		b.wantSent("after lowering it and an hour", 7)
		load()
		b.wantSent("without limit", 9)
		b.close()
	})
}

// TestLimitNever sends much under short limits and counts what any window has.
func TestLimitNever(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, limits(t, "7/s", "100/min"))
		var at []time.Time
		b.relay.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			time.Sleep(time.Duration(n%13) * time.Millisecond)
			b.relay.mu.Lock()
			for range d.Envelope.Recipients {
				at = append(at, time.Now())
			}
			b.relay.mu.Unlock()
			return all(d, 250), nil
		}
		for i := range 300 {
			from := fmt.Sprintf("s%d@mycompany.com", i%9)
			to := []string{"a@example.net", "b@example.net", "c@example.net"}[:1+i%3]
			if _, err := b.offer(submitter(), from, strings.ReplaceAll(mail, "anna@mycompany.com", from), to...); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(7 * time.Minute)
		b.wantSent("at last", 600)
		for i := range at {
			for per, most := range map[time.Duration]int{time.Second: 7, time.Minute: 100} {
				n := 0
				for _, o := range at[i:] {
					if o.Sub(at[i]) < per {
						n++
					}
				}
				if n > most {
					t.Fatalf("%d within %v", n, per)
				}
			}
		}
		b.close()
	})
}
