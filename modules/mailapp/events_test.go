// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

// subscriber writes down the messages that it was told of.
type subscriber struct {
	mu   sync.Mutex
	told []string
}

func (s *subscriber) emit(ev engine.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, ev.Message)
}

func (s *subscriber) check(t *testing.T, want ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if diff := cmp.Diff(want, s.told); diff != "" {
		t.Error(diff)
	}
}

func event(id string) engine.Event { return engine.Event{Kind: engine.EventSent, Message: id} }

// TestPumpTargets: events go to the newest configuration, wait for the first
// one, and fall back to the one below when a load came to nothing.
func TestPumpTargets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPump(func() { t.Error("dropped an event") })
		var first, second subscriber
		ctx, cancel := context.WithCancel(t.Context())
		ctx2, cancel2 := context.WithCancel(t.Context())
		p.offer(event("1"))
		p.attach(ctx, first.emit)
		p.offer(event("2"))
		synctest.Wait()
		p.attach(ctx2, second.emit)
		p.offer(event("3"))
		synctest.Wait()
		cancel2()
		synctest.Wait()
		p.offer(event("4"))
		synctest.Wait()
		cancel()
		synctest.Wait() // the worker has ended, or synctest would fail
		p.offer(event("5"))
		ctx3, cancel3 := context.WithCancel(t.Context())
		p.attach(ctx3, second.emit)
		synctest.Wait()
		cancel3()
		synctest.Wait()
		first.check(t, "1", "2", "4")
		second.check(t, "3", "5")
	})
}

// TestPumpNeverBlocks: a subscriber that takes for ever costs events, not
// mail.
func TestPumpNeverBlocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dropped atomic.Int64
		p := newPump(func() { dropped.Add(1) })
		block := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		var s subscriber
		p.attach(ctx, func(ev engine.Event) { <-block; s.emit(ev) })
		p.offer(event("first"))
		synctest.Wait()
		for i := range eventQueue + 3 {
			p.offer(event(fmt.Sprint(i)))
		}
		if n := dropped.Load(); n != 3 {
			t.Errorf("dropped %d, want 3", n)
		}
		close(block)
		synctest.Wait()
		if len(s.told) != eventQueue+1 || s.told[eventQueue] != fmt.Sprint(eventQueue-1) {
			t.Errorf("told %d events, the last is %s", len(s.told), s.told[len(s.told)-1])
		}
		cancel()
		synctest.Wait()
	})
}

// TestPumpFlush waits for subscribers as long as it may.
func TestPumpFlush(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPump(func() { t.Error("dropped an event") })
		p.offer(event("0"))
		began := time.Now()
		p.flush(time.Hour)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("waited %v with nobody to tell", waited)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var s subscriber
		p.attach(ctx, func(ev engine.Event) { time.Sleep(time.Second); s.emit(ev) })
		p.offer(event("1"))
		p.flush(time.Minute)
		s.check(t, "0", "1")
		if waited := time.Since(began); waited != 2*time.Second {
			t.Errorf("waited %v for two seconds of work", waited)
		}
		began = time.Now()
		for range 10 {
			p.offer(event("x"))
		}
		p.flush(3 * time.Second)
		if waited := time.Since(began); waited != 3*time.Second {
			t.Errorf("waited %v, and was to wait 3s", waited)
		}
		cancel()
		time.Sleep(time.Minute)
	})
}

func TestEventData(t *testing.T) {
	t.Parallel()
	got := eventData(engine.Event{
		Kind: engine.EventDeferred, Message: "m", Delivery: "d", Server: "relay", Listener: "in",
		Recipients: []string{"a@b.example", "c@d.example"}, From: "e@f.example",
		Reply: "450 later", Reason: "busy", Size: 9, Attempts: 2, Took: 1500 * time.Millisecond,
	})
	want := map[string]any{
		"id": "m", "delivery": "d", "server": "relay", "domain": "", "listener": "in",
		"to": "a@b.example, c@d.example", "from": "e@f.example",
		"reply": "450 later", "reason": "busy", "size": int64(9), "attempts": 2, "took": 1.5,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
