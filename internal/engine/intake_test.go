// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// TestAcceptedIsDelivered follows one message from its acceptance to the far
// end, byte for byte but for what is added while sending.
func TestAcceptedIsDelivered(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.accept("bob@example.net", "eve@example.org")
	await(t, "the delivery", func() bool { return slices.Equal(b.states(), []string{"sent bob@example.net eve@example.org"}) })

	got := b.relay.taken()
	if len(got) != 1 {
		t.Fatalf("%d attempts", len(got))
	}
	if !strings.HasPrefix(got[0].bytes, "Message-Id: <") && !strings.HasPrefix(got[0].bytes, "Received: ") {
		t.Errorf("begins with %.60q", got[0].bytes)
	}
	if !strings.HasSuffix(got[0].bytes, mail) {
		t.Errorf("the message was changed:\n%s", got[0].bytes)
	}
	for _, field := range []string{"Received: from app", "\r\nDate: ", "Message-Id: <"} {
		if !strings.Contains(got[0].bytes, field) {
			t.Errorf("no %q in:\n%s", field, got[0].bytes)
		}
	}
	if from := got[0].delivery.Envelope.From.String(); from != "anna@mycompany.com" {
		t.Errorf("sent from %q", from)
	}
}

// TestWhoReachesWhom tries peers against addresses.
func TestWhoReachesWhom(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	tests := []struct {
		name   string
		peer   *mailflow.Peer
		rcpt   string
		reply  int
		states []string
	}{
		{"a stranger writes to us", stranger(), "info@mycompany.com", 250, nil},
		{"a stranger writes to the world", stranger(), "bob@example.net", 550, nil},
		{"a stranger writes to a domain below ours", stranger(), "a@sub.mycompany.com", 550, nil},
		{"a stranger writes to the postmaster", stranger(), "Postmaster", 250, nil},
		{"a submitter writes to our catchall", submitter(), "CatchAll@mycompany.com", 250, nil},
		{"a submitter writes to a colleague", submitter(), "info@mycompany.com", 250, []string{"sent info@mycompany.com"}},
	}
	for _, tc := range tests {
		rs, err := b.offer(tc.peer, "x@example.com", mail, tc.rcpt)
		code := mailflow.AsReply(err)
		if err == nil {
			code = rs[0]
		}
		if code.Code != tc.reply {
			t.Errorf("%s: %v, want %d", tc.name, code, tc.reply)
		}
		if tc.states != nil {
			await(t, tc.name, func() bool { return slices.Equal(b.states(), tc.states) })
		}
	}
	box, err := b.store.Unrouted(t.Context(), "", 10)
	if err != nil || len(box) != 3 {
		t.Errorf("%d entries in the unrouted box, %v; want 3", len(box), err)
	}
}

// TestNothingIsAcknowledgedBeforeItsCommit has the store fail.
func TestNothingIsAcknowledgedBeforeItsCommit(t *testing.T) {
	t.Parallel()
	for err, code := range map[error]int{mailflow.ErrNoRoom: 451, errBroken: 451} {
		b := newBench(t, func(c *Config) {
			o := c.Store.(*opener)
			o.store = &failing{Store: o.store, commit: err}
		})
		_, got := b.offer(submitter(), "anna@mycompany.com", mail, "bob@example.net")
		if r := mailflow.AsReply(got); got == nil || r.Code != code || strings.Contains(r.String(), "broken") {
			t.Errorf("reply %v to a commit that fails with %v", got, err)
		}
		if b.relay.taken() != nil {
			t.Error("it was sent all the same")
		}
	}
}

// failing is a store whose commits fail.
type failing struct {
	mailflow.Store

	commit  error
	stale   int // how many commits are stale before one is tried
	decided int // how often CommitDecided was called
}

func (f *failing) Commit(ctx context.Context, d *mailflow.Decision) error {
	if f.commit != nil {
		return f.commit
	}
	if f.stale > 0 {
		f.stale--
		return &mailflow.StaleError{}
	}
	return f.Store.Commit(ctx, d)
}

func (f *failing) CommitDecided(ctx context.Context, decide func(mailflow.View) (*mailflow.Decision, error)) error {
	f.decided++
	return f.Store.CommitDecided(ctx, decide)
}

// TestStaleDecisionIsMadeAgain counts how often a message is decided.
func TestStaleDecisionIsMadeAgain(t *testing.T) {
	t.Parallel()
	for stale, want := range map[int]struct{ runs, inside int }{0: {1, 0}, 1: {2, 0}, 2: {3, 1}} {
		runs, clocks := 0, map[time.Time]bool{}
		f := &failing{stale: stale}
		b := newBench(t, func(c *Config) {
			o := c.Store.(*opener)
			f.Store, o.store = o.store, f
			c.Outbound = slices.Insert(c.Outbound, 0, mailflow.Step{
				Name: "count", Handler: handle(func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
					runs++
					clocks[tx.Now] = true
					return next(ctx, tx)
				}),
			})
		})
		b.accept("bob@example.net")
		if runs != want.runs || f.decided != want.inside || len(clocks) != 1 {
			t.Errorf("%d stale commits: decided %d times, %d inside, with %d clocks; want %+v and one clock",
				stale, runs, f.decided, len(clocks), want)
		}
		await(t, "the delivery", func() bool { return slices.Equal(b.states(), []string{"sent bob@example.net"}) })
	}
}

// TestPoison has a handler panic on one message: it is held, the rest goes on.
func TestPoison(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) {
		panics := mailflow.Step{Name: "fragile", Handler: handle(func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
			if tx.Message.Header.Get("Subject") == "poison" {
				panic("cannot read this")
			}
			return next(ctx, tx)
		})}
		c.Outbound = slices.Insert(c.Outbound, 0, panics)
		c.Inbound = mailflow.Route{panics}
	})
	poison := "Subject: poison\r\n\r\n"
	for _, to := range []string{"bob@example.net", "catchall@mycompany.com"} {
		rs, err := b.offer(submitter(), "anna@mycompany.com", poison, to)
		if err != nil || !rs[0].Accepted() {
			t.Fatalf("poison is answered %v, %v; it must be taken and held", rs, err)
		}
	}
	b.accept("bob@example.net")
	want := []string{"sent bob@example.net", "held catchall@mycompany.com", "held bob@example.net"}
	await(t, "the good one to be sent", func() bool { return slices.Equal(b.states(), want) })
	qs, _ := b.store.Deliveries(t.Context(), mailflow.QueueQuery{States: []mailflow.State{mailflow.StateHeld}})
	if want := "handler fragile panicked: cannot read this"; qs[0].Reason != want {
		t.Errorf("held because of %q, want %q", qs[0].Reason, want)
	}

	// When the handler is mended, release decides again.
	fixed := b.config()
	fixed.Store = &opener{identity: "memory", store: b.store}
	b.load(fixed)
	for _, q := range qs {
		if err := b.engine.Act(t.Context(), q.ID, mailflow.QueueAct{Kind: mailflow.ActRelease}); err != nil {
			t.Fatal(err)
		}
	}
	want = []string{"sent bob@example.net", "dropped catchall@mycompany.com", "sent bob@example.net"}
	await(t, "the released ones", func() bool { return slices.Equal(b.states(), want) })
	if box, _ := b.store.Unrouted(t.Context(), "", 10); len(box) != 1 {
		t.Errorf("%d entries in the unrouted box, want the released inbound one", len(box))
	}
}

// TestSomeAreRefused offers a message of which one recipient is refused at the
// end of DATA.
func TestSomeAreRefused(t *testing.T) {
	t.Parallel()
	refuse := func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
		for _, r := range tx.Pending() {
			if strings.HasPrefix(r.Address.Local, "no") {
				if err := tx.Refuse(r.Address, &mailflow.Reply{Code: 554, Text: "not this one"}); err != nil {
					return err
				}
			}
		}
		return next(ctx, tx)
	}
	edit := func(c *Config) {
		step := mailflow.Step{Name: "some", Handler: handle(refuse)}
		c.Outbound = slices.Insert(c.Outbound, 0, step)
		c.Inbound = mailflow.Route{step}
	}
	t.Run("submitted", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, edit)
		rs, err := b.offer(submitter(), "anna@mycompany.com", mail, "no@example.net", "yes@example.net")
		if err != nil || rs[0].Code != 554 || rs[1].Code != 250 || mailflow.OneReply(rs).Code != 250 {
			t.Fatalf("replies %v, %v", rs, err)
		}
		want := []string{"failed no@example.net", "sent anna@mycompany.com", "sent yes@example.net"}
		await(t, "the report", func() bool {
			got := b.states()
			slices.Sort(got)
			return slices.Equal(got, want)
		})
	})
	t.Run("received", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, edit)
		rs, err := b.offer(stranger(), "x@example.com", mail, "no@mycompany.com", "yes@mycompany.com")
		if err != nil || mailflow.OneReply(rs).Code != 250 {
			t.Fatalf("replies %v, %v", rs, err)
		}
		box, _ := b.store.Unrouted(t.Context(), "", 10)
		if len(box) != 1 || len(box[0].Recipients) != 2 || len(b.states()) != 0 {
			t.Errorf("box %+v, deliveries %v; a stranger gets no report", box, b.states())
		}
	})
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, edit)
		rs, err := b.offer(submitter(), "anna@mycompany.com", mail, "no1@example.net", "no2@example.net")
		if err != nil || mailflow.OneReply(rs).Code != 554 || len(b.states()) != 0 {
			t.Errorf("replies %v, %v, deliveries %v", rs, err, b.states())
		}
	})
}

// TestHandlerError defers a transaction whose handler fails.
func TestHandlerError(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) {
		c.Outbound = mailflow.Route{{Name: "broken", Handler: handle(func(context.Context, *mailflow.Transaction, mailflow.Next) error {
			return errBroken
		})}}
	})
	_, err := b.offer(submitter(), "anna@mycompany.com", mail, "bob@example.net")
	if r := mailflow.AsReply(err); err == nil || r.Code != 451 || !errors.Is(r, errBroken) {
		t.Errorf("reply %v", err)
	}
	if len(b.states()) != 0 {
		t.Error("something was kept")
	}
}

var _ mailflow.Store = (*memstore.Store)(nil)
