// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// TestRetryAndGiveUp follows a delivery that is deferred to its end.
func TestRetryAndGiveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.relay.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			if d.Envelope.From.IsNull() {
				return all(d, 250), nil
			}
			return all(d, 450), nil
		}
		began := time.Now()
		b.accept("bob@example.net")
		synctest.Wait()
		time.Sleep(90 * time.Minute)
		synctest.Wait()

		if want := []string{"sent anna@mycompany.com", "expired bob@example.net"}; !slices.Equal(b.states(), want) {
			t.Fatalf("states %q, want %q", b.states(), want)
		}
		got := b.relay.taken()
		// At once, after 1 m, then every 5 m, at last at the give-up: each up
		// to a tenth late.
		if n := len(got); n < 12 || n > 15 {
			t.Errorf("%d attempts", n)
		}
		report := got[len(got)-1]
		if report.delivery.Created.Sub(began) != time.Hour {
			t.Errorf("given up after %v, want 1h", report.delivery.Created.Sub(began))
		}
		for _, want := range []string{"multipart/report", "Final-Recipient: rfc822; bob@example.net", "Action: failed"} {
			if !strings.Contains(report.bytes, want) {
				t.Errorf("no %q in the report:\n%s", want, report.bytes)
			}
		}
		if !report.delivery.Envelope.From.IsNull() {
			t.Errorf("the report is sent from %s", report.delivery.Envelope.From)
		}
		b.close()
	})
}

// TestReports says who is told of a failure.
func TestReports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		from   string
		notify []mailflow.Notify
		result mailflow.Result
		want   int
	}{
		{name: "failure by default", from: "anna@mycompany.com", result: mailflow.Result{State: mailflow.StateFailed}, want: 1},
		{name: "null sender", from: "", result: mailflow.Result{State: mailflow.StateFailed}},
		{name: "never", from: "anna@mycompany.com", notify: []mailflow.Notify{mailflow.NotifyNever}, result: mailflow.Result{State: mailflow.StateFailed}},
		{name: "success only", from: "anna@mycompany.com", notify: []mailflow.Notify{mailflow.NotifySuccess}, result: mailflow.Result{State: mailflow.StateFailed}},
		{name: "success, relayed", from: "anna@mycompany.com", notify: []mailflow.Notify{mailflow.NotifySuccess}, result: mailflow.Result{State: mailflow.StateSent, Relayed: true}, want: 1},
		{name: "success, the next hop reports", from: "anna@mycompany.com", notify: []mailflow.Notify{mailflow.NotifySuccess}, result: mailflow.Result{State: mailflow.StateSent}},
		{name: "success, not asked for", from: "anna@mycompany.com", result: mailflow.Result{State: mailflow.StateSent, Relayed: true}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.relay.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) {
					if n > 1 {
						return all(d, 250), nil
					}
					res := tc.result
					res.Recipient = d.Envelope.Recipients[0]
					res.Reply = &mailflow.Reply{Code: 550, Text: "no"}
					return []mailflow.Result{res}, nil
				}
				env := &mailflow.Envelope{}
				if tc.from != "" {
					env.From = mailflow.MustParseAddress(tc.from)
				}
				in, err := b.gen.feeds[0].Begin(t.Context(), submitter(), env)
				if err != nil {
					t.Fatal(err)
				}
				rcpt := mailflow.Recipient{Address: mailflow.MustParseAddress("bob@example.net"), Notify: tc.notify}
				if err := in.Rcpt(t.Context(), rcpt); err != nil {
					t.Fatal(err)
				}
				if _, err := in.Commit(t.Context(), strings.NewReader(mail)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if got := len(b.relay.taken()) - 1; got != tc.want {
					t.Errorf("%d reports, want %d", got, tc.want)
				}
				b.close()
			})
		})
	}
}

// TestRecipientsPart has the far end answer each recipient differently.
func TestRecipientsPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.relay.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			if n > 1 {
				return all(d, 250), nil
			}
			var rs []mailflow.Result
			for i, code := range []int{250, 450, 550} {
				rs = append(rs, mailflow.ResultOf(d.Envelope.Recipients[i], &mailflow.Reply{Code: code}))
			}
			return rs, nil
		}
		b.accept("a@example.net", "b@example.net", "c@example.net")
		synctest.Wait()
		first := b.states()
		slices.Sort(first)
		if want := []string{"deferred b@example.net", "failed c@example.net", "sent a@example.net", "sent anna@mycompany.com"}; !slices.Equal(first, want) {
			t.Errorf("states %q, want %q", first, want)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !slices.Contains(b.states(), "sent b@example.net") {
			t.Errorf("the deferred recipient was not tried again: %q", b.states())
		}
		b.close()
	})
}

// TestDownLane has a destination be out of reach: its mail waits untouched,
// single probes are made, and all of it drains at once when it is back, here
// because an operator orders one retry.
func TestDownLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var back atomic.Bool
		b.relay.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			if !back.Load() {
				return nil, fmt.Errorf("connection refused: %w", mailflow.ErrUnreachable)
			}
			return all(d, 250), nil
		}
		const n = 200
		for i := range n {
			b.accept(fmt.Sprintf("r%d@example.net", i))
			synctest.Wait()
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		probes := len(b.relay.taken())
		if probes > 80 {
			t.Errorf("%d attempts in ten minutes on a destination that is down", probes)
		}
		if st, err := b.engine.Status(t.Context()); err != nil || len(st.Down) != 1 {
			t.Errorf("status %+v, %v", st, err)
		}
		back.Store(true)
		qs, _ := b.store.Deliveries(t.Context(), mailflow.QueueQuery{Limit: 1})
		if err := b.engine.Act(t.Context(), qs[0].ID, mailflow.QueueAct{Kind: mailflow.ActRetry}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		depth, _ := b.store.Depth(t.Context())
		if depth[mailflow.StateSent] != n {
			t.Errorf("depth %v after the destination is back, want %d sent", depth, n)
		}
		b.close()
	})
}

// TestExpiryWhileDown gives up mail for a destination that never comes back.
func TestExpiryWhileDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.relay.answer = func(int, *mailflow.Delivery) ([]mailflow.Result, error) {
			return nil, mailflow.ErrUnreachable
		}
		for i := range 5 {
			b.accept(fmt.Sprintf("r%d@example.net", i))
		}
		time.Sleep(2*time.Hour + 5*time.Minute)
		synctest.Wait()
		depth, _ := b.store.Depth(t.Context())
		if depth[mailflow.StateExpired] != 5+5 || depth[mailflow.StateQueued]+depth[mailflow.StateDeferred] != 0 {
			t.Errorf("depth %v, want 5 mails and their 5 reports expired", depth)
		}
		b.close()
	})
}

// TestTransportPanic holds the delivery whose transport panics.
func TestTransportPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.relay.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			if n == 1 {
				panic("oops")
			}
			return all(d, 250), nil
		}
		b.accept("a@example.net")
		synctest.Wait()
		b.accept("b@example.net")
		synctest.Wait()
		if want := []string{"sent b@example.net", "held a@example.net"}; !slices.Equal(b.states(), want) {
			t.Errorf("states %q, want %q", b.states(), want)
		}
		b.close()
	})
}

// TestServerIsGone reloads while a delivery waits for a server that the new
// configuration does not have.
func TestServerIsGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.relay.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) {
			if n == 1 {
				return all(d, 450), nil
			}
			return all(d, 250), nil
		}
		b.accept("bob@example.net")
		synctest.Wait()

		// The server is renamed: the route chooses again.
		cfg := b.config()
		cfg.Servers = map[string]*Server{"other": {Server: mailflow.Server{Name: "other"}, Transport: b.relay}}
		cfg.Outbound = mailflow.Route{{Name: "choose_server", Handler: choose{"other"}}}
		b.load(cfg)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		qs, _ := b.store.Deliveries(t.Context(), mailflow.QueueQuery{})
		if len(qs) != 1 || qs[0].State != mailflow.StateSent || qs[0].Server != "other" {
			t.Errorf("deliveries %+v", qs)
		}

		// No server is left: what comes is held, and released later.
		cfg = b.config()
		cfg.Servers = nil
		cfg.Outbound = nil
		b.load(cfg)
		b.accept("eve@example.net")
		synctest.Wait()
		if got := b.states()[0]; got != "held eve@example.net" {
			t.Errorf("state %q, want it held", got)
		}
		b.close()
	})
}

// capture claims everything for capturing.
func capture(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	tx.ClaimAll(mailflow.Capture{Reason: "no outgoing server is configured"})
	return next(ctx, tx)
}

// TestWaitingMailAfterAReload reloads while a delivery waits for a server that
// refused it for now.
func TestWaitingMailAfterAReload(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		edit func(c *Config)
		want string // state and server in the end
	}{
		{"nothing but capturing is left", func(c *Config) {
			c.Servers = nil
			c.Outbound = mailflow.Route{{Name: "capture", Handler: handle(capture)}}
		}, "held relay"},
		{"its filter refuses the author, another fits", func(c *Config) {
			c.Servers["other"] = &Server{Server: mailflow.Server{Name: "other"}, Transport: c.Servers["relay"].Transport}
			c.Servers["relay"].FromFilter = []string{"other.example"}
			c.Outbound = mailflow.Route{{Name: "choose_server", Handler: choose{"other"}}}
		}, "sent other"},
		{"its filter refuses the author, and it is chosen all the same", func(c *Config) {
			c.Servers["relay"].FromFilter = []string{"other.example"}
		}, "sent relay"},
		{"its filter has the author", func(c *Config) {
			c.Servers["relay"].FromFilter = []string{"mycompany.com"}
			c.Outbound = mailflow.Route{{Name: "choose_server", Handler: choose{"nobody asks"}}}
		}, "sent relay"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				b.relay.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) {
					if n == 1 {
						return all(d, 450), nil
					}
					return all(d, 250), nil
				}
				b.accept("bob@example.net")
				synctest.Wait()
				cfg := b.config()
				tc.edit(cfg)
				b.load(cfg)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				qs, _ := b.store.Deliveries(t.Context(), mailflow.QueueQuery{})
				if got := string(qs[0].State) + " " + qs[0].Server; len(qs) != 1 || got != tc.want {
					t.Errorf("%d deliveries, %q; want %q", len(qs), got, tc.want)
				}
				b.close()
			})
		})
	}
}

// TestOrdersAreEvents holds and drops a delivery by an operator's order.
func TestOrdersAreEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.relay.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) { return all(d, 450), nil }
		b.accept("bob@example.net")
		synctest.Wait()
		qs, _ := b.store.Deliveries(t.Context(), mailflow.QueueQuery{})
		for _, kind := range []mailflow.ActKind{mailflow.ActHold, mailflow.ActDrop} {
			if err := b.engine.Act(t.Context(), qs[0].ID, mailflow.QueueAct{Kind: kind, Reason: "because"}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		b.mu.Lock()
		for _, e := range b.events {
			got = append(got, string(e.Kind)+" "+e.Reason)
		}
		b.mu.Unlock()
		want := []string{"received outbound 1 choose_server:server_chosen", "deferred ", "held because", "dropped because"}
		if !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
		b.close()
	})
}
