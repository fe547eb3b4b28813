// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// pair is an engine with the servers "first" and "second".
type pair struct {
	*bench

	first, second *farEnd

	mu sync.Mutex
	// decided counts the decisions about each message, by its subject.
	decided map[string]int
	// state is how the first one does: "", "unreachable" or "busy".
	state string
}

// newPair returns an engine whose route chooses the first server unless it is
// down; mail to only.example has no other.
func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{second: &farEnd{}, decided: make(map[string]int)}
	p.bench = newBench(t, func(c *Config) {
		p.first = c.Servers["relay"].Transport.(*farEnd)
		p.first.answer = p.answer
		c.Servers = map[string]*Server{
			"first":  {Server: mailflow.Server{Name: "first"}, Transport: p.first},
			"second": {Server: mailflow.Server{Name: "second"}, Transport: p.second},
		}
		c.Outbound = mailflow.Route{{Name: "choose", Handler: handle(p.choose)}}
		c.Queue.GiveUp = 24 * time.Hour
	})
	return p
}

func (p *pair) set(state string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = state
}

func (p *pair) answer(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case "unreachable":
		return nil, fmt.Errorf("dialing: %w", mailflow.ErrUnreachable)
	case "busy":
		return all(d, 451), nil
	}
	return all(d, 250), nil
}

func (p *pair) choose(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	p.mu.Lock()
	p.decided[tx.Message.Header.Get("Subject")]++
	p.mu.Unlock()
	for _, r := range tx.Pending() {
		server := "first"
		if r.Address.Domain != "only.example" && tx.Servers.Down("first") != "" {
			server = "second"
		}
		if err := tx.Claim(r.Address, mailflow.Deliver{Server: server}); err != nil {
			return err
		}
	}
	return next(ctx, tx)
}

// send hands in messages whose subjects are their numbers.
func (p *pair) send(from, n int, to string) {
	p.t.Helper()
	for i := from; i < from+n; i++ {
		content := fmt.Sprintf("From: s%d@mycompany.com\r\nSubject: %d\r\n\r\nHello\r\n", i%7, i)
		if rs, err := p.offer(anyone(), "anna@mycompany.com", content, to); err != nil || !rs[0].Accepted() {
			p.t.Fatal(rs, err)
		}
	}
}

// happened returns the events about servers, in order.
func (p *pair) happened() []string {
	p.bench.mu.Lock()
	defer p.bench.mu.Unlock()
	var es []string
	for _, e := range p.events {
		if e.Kind == EventServerDown || e.Kind == EventServerUp {
			es = append(es, string(e.Kind)+" "+e.Server)
		}
	}
	return es
}

func (p *pair) wantEvents(when string, want ...string) {
	p.t.Helper()
	synctest.Wait()
	if got := p.happened(); !slices.Equal(got, want) {
		p.t.Errorf("%s: events %q, want %q", when, got, want)
	}
}

// count counts the deliveries that a server was sent.
func (p *pair) count(server string) int {
	p.t.Helper()
	qs, err := p.store.Deliveries(p.t.Context(), mailflow.QueueQuery{Server: server, States: []mailflow.State{mailflow.StateSent}, Limit: 10_000})
	if err != nil {
		p.t.Fatal(err)
	}
	return len(qs)
}

// TestServerUnreachable has a server be out of reach: mail goes by the other
// one, and by this one again when it answers.
func TestServerUnreachable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.set("unreachable")
		p.send(0, 1, "bob@example.net")
		p.wantEvents("after the first", "server_down first")
		if n := len(p.second.taken()); n != 1 {
			t.Fatalf("%d went by the second server at once, want 1", n)
		}
		p.send(1, 20, "bob@example.net")
		synctest.Wait()
		if a, b := len(p.first.taken()), len(p.second.taken()); a != 1 || b != 21 {
			t.Errorf("%d attempts by the first, %d by the second, want 1 and 21", a, b)
		}
		if r := p.gen.store.runner.Down("first"); !strings.Contains(r, "cannot be reached since 2000-01-01T00:00:00Z: dialing") {
			t.Errorf("Down: %q", r)
		}
		// It stays down while nothing tries it, and one mail in a pause does.
		time.Sleep(time.Hour)
		p.send(100, 1, "bob@example.net")
		p.wantEvents("after an hour", "server_down first")
		if a := len(p.first.taken()); a != 2 {
			t.Errorf("%d attempts by the first, want 2", a)
		}
		p.set("")
		time.Sleep(time.Hour)
		p.send(200, 3, "bob@example.net")
		p.wantEvents("when it is back", "server_down first", "server_up first")
		p.send(300, 5, "bob@example.net")
		synctest.Wait()
		if n := p.count("first"); n < 6 {
			t.Errorf("%d were sent by the first at last, want 6 or more", n)
		}
		p.close()
	})
}

// TestServerDownWaiting has a backlog wait for a server that goes down: what
// may take another one does, what may not is decided once and waits.
func TestServerDownWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.gen.store.runner.pause()
		p.send(0, 200, "bob@only.example")
		p.send(1000, 200, "bob@example.net")
		p.set("unreachable")
		p.gen.store.runner.start()
		p.gen.store.runner.wakeAll()
		time.Sleep(time.Hour)
		p.wantEvents("while it is down", "server_down first")
		if n := p.count("second"); n != 200 {
			t.Errorf("%d took the other way, want 200", n)
		}
		p.mu.Lock()
		again := 0
		for subject, n := range p.decided {
			again += n - 1
			if n > 25 {
				t.Errorf("message %s was decided %d times", subject, n)
			}
		}
		p.mu.Unlock()
		// Each once, and each delivery that probed once more.
		if attempts := len(p.first.taken()); again > 400+attempts {
			t.Errorf("%d decisions again, and %d attempts", again, attempts)
		}
		qs, err := p.store.Deliveries(t.Context(), mailflow.QueueQuery{Server: "first", Limit: 1000})
		if err != nil || len(qs) != 200 {
			t.Fatal(len(qs), err)
		}
		for i := range qs {
			reason, until := p.engine.Waiting(&qs[i].Delivery)
			if qs[i].Claimed || !strings.HasPrefix(reason, "first cannot be reached since") || until.Before(time.Now()) {
				t.Fatalf("claimed %v, waits for %q until %v", qs[i].Claimed, reason, until)
			}
		}
		p.set("")
		time.Sleep(time.Minute)
		p.wantEvents("when it is back", "server_down first", "server_up first")
		if n := p.count("first"); n != 200 {
			t.Errorf("%d were sent by the first, want 200", n)
		}
		p.close()
	})
}

// TestServerRefuses has a server that answers take nothing.
func TestServerRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.set("busy")
		for i := range 4 {
			p.send(i, 1, "bob@example.net")
			time.Sleep(3 * time.Second)
		}
		p.wantEvents("after four")
		p.send(4, 1, "bob@example.net")
		p.wantEvents("after five", "server_down first")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := p.count("second"); n != 5 {
			t.Errorf("%d took the other way, want 5", n)
		}
		if r := p.gen.store.runner.Down("first"); r != "" && !strings.Contains(r, "refuses everything") {
			t.Errorf("Down: %q", r)
		}
		p.send(10, 1, "bob@only.example")
		time.Sleep(20 * time.Minute)
		p.wantEvents("while it refuses", "server_down first")
		p.set("")
		time.Sleep(10 * time.Minute)
		p.wantEvents("when it takes mail", "server_down first", "server_up first")
		if n := p.count("first"); n != 1 {
			t.Errorf("%d were sent by the first, want 1", n)
		}
		p.close()
	})
}

// TestServerNotDown has a server refuse some mail and take other: it is up.
func TestServerNotDown(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(n int) int{
		"every other": func(n int) int { return []int{451, 250}[n%2] },
		"for good":    func(n int) int { return []int{451, 451, 451, 451, 550}[n%5] },
		"four only":   func(n int) int { return map[bool]int{true: 451, false: 250}[n < 5] },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				p.first.answer = func(n int, d *mailflow.Delivery) ([]mailflow.Result, error) { return all(d, answer(n)), nil }
				for i := range 20 {
					p.send(i, 1, "bob@example.net")
					time.Sleep(2 * time.Second)
				}
				p.wantEvents("at last")
				p.close()
			})
		})
	}
}

// TestOneMessageRefused has one message be refused again and again: that is
// its own trouble.
func TestOneMessageRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.set("busy")
		p.send(0, 1, "bob@example.net")
		time.Sleep(3 * time.Hour)
		p.wantEvents("after hours")
		if n := len(p.first.taken()); n < 10 {
			t.Errorf("%d attempts", n)
		}
		p.close()
	})
}

// TestHostRefuses has a host that a server found by domain greylist: that is no
// outage, and no event.
func TestHostRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.first.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) { return all(d, 451), nil }
		cfg := p.config()
		cfg.Servers = map[string]*Server{
			"first":  {Server: mailflow.Server{Name: "first", PerDomain: true}, Transport: p.first},
			"second": {Server: mailflow.Server{Name: "second"}, Transport: p.second},
		}
		cfg.Outbound = mailflow.Route{{Name: "choose", Handler: handle(func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
			for _, r := range tx.Pending() {
				if err := tx.Claim(r.Address, cfg.Servers["first"].Deliver(r)); err != nil {
					return err
				}
			}
			return next(ctx, tx)
		})}}
		old := p.gen
		p.load(cfg)
		old.Retire()
		for i := range 20 {
			p.send(i, 1, "bob@example.net")
			time.Sleep(time.Second)
		}
		p.wantEvents("at last")
		if n := len(p.first.taken()); n < 20 {
			t.Errorf("%d attempts, want 20", n)
		}
		p.close()
	})
}
