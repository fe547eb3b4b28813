// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

// Bounds of the events that wait for their subscribers.
const (
	// eventQueue is how many events may wait: a second's worth of a busy
	// gateway. What comes on top is counted and not told, since mail must not
	// wait for a subscriber.
	eventQueue = 1024
	// eventFlush is how long an ending process waits for its subscribers.
	eventFlush = 5 * time.Second
)

// telling hands mail events to the subscribers of the running configuration.
var telling = newPump(func() { counters.eventsDropped.Inc() })

// provisionObservers sets who is told of mail events: the metrics, and the
// subscribers of Caddy's events.
//
// An event is named mail. and what happened: mail.received, mail.refused,
// mail.sent, mail.captured, mail.deferred, mail.held, mail.failed,
// mail.expired, mail.dropped; mail.server_down and mail.server_up tell of an
// outgoing server, mail.limit_near of a limit of a server or domain that is
// nearly used up. Its origin is the module mail. Its data are id (of the
// message), delivery, listener, server, domain (of limit_near), from and to (of
// the envelope, to with commas), reply, reason, size, attempts and took
// (seconds).
func (a *App) provisionObservers(ctx caddy.Context) error {
	if err := counters.register(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	events, ok := app.(*caddyevents.App)
	if !ok {
		return fmt.Errorf("the events app is a %T", app)
	}
	// Caddy starts apps in random order, and its events app takes
	// subscriptions until it is started; only then may something be emitted.
	err = events.On("started", onEvent(func() { telling.attach(ctx, emitTo(ctx, events)) }))
	if err != nil {
		return fmt.Errorf("subscribing to the start: %w", err)
	}
	a.observers = []func(engine.Event){counters.observe, telling.offer}
	return nil
}

// stopObservers waits, when the process ends, until the subscribers have been
// told what happened until now, or for eventFlush. A reload does not wait: the
// next configuration's subscribers are told.
func (a *App) stopObservers() {
	if caddy.Exiting() {
		telling.flush(eventFlush)
	}
}

// onEvent is an events handler that does not look at the event.
type onEvent func()

// Handle implements [caddyevents.Handler].
func (f onEvent) Handle(context.Context, caddy.Event) error {
	f()
	return nil
}

// emitTo returns what emits an event to the subscribers of events.
func emitTo(ctx caddy.Context, events *caddyevents.App) func(engine.Event) {
	return func(ev engine.Event) {
		if name := "mail." + string(ev.Kind); events.ShouldEmit(name) {
			events.Emit(ctx, name, eventData(ev))
		}
	}
}

// eventData returns ev as the data of a Caddy event.
func eventData(ev engine.Event) map[string]any {
	return map[string]any{
		"id":       ev.Message,
		"delivery": ev.Delivery,
		"listener": ev.Listener,
		"server":   ev.Server,
		"domain":   ev.Domain,
		"from":     ev.From,
		"to":       strings.Join(ev.Recipients, ", "),
		"reply":    ev.Reply,
		"reason":   ev.Reason,
		"size":     ev.Size,
		"attempts": ev.Attempts,
		"took":     ev.Took.Seconds(),
	}
}

// pump carries events from the engine, which must not wait, to subscribers,
// who may take their time. There is one for the process, and one goroutine, so
// that events are told in their order. Events that happen while no
// configuration is attached, as during the first start, wait.
type pump struct {
	dropped func()

	mu      sync.Mutex
	changed *sync.Cond
	queue   []engine.Event
	targets []*pumpTarget // the newest last
	running bool
	busy    bool // an event is being told
}

// pumpTarget is one configuration's subscribers.
type pumpTarget struct{ emit func(engine.Event) }

func newPump(dropped func()) *pump {
	p := &pump{dropped: dropped}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// offer queues an event, or drops it if too many wait. It never blocks.
func (p *pump) offer(ev engine.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) >= eventQueue {
		p.dropped()
		return
	}
	p.queue = append(p.queue, ev)
	p.changed.Broadcast()
}

// attach has events told to emit until ctx ends or a newer one is attached.
func (p *pump) attach(ctx context.Context, emit func(engine.Event)) {
	t := &pumpTarget{emit: emit}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = append(p.targets, t)
	if !p.running {
		p.running = true
		go p.run()
	}
	p.changed.Broadcast()
	context.AfterFunc(ctx, func() { p.detach(t) })
}

func (p *pump) detach(t *pumpTarget) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = slices.DeleteFunc(p.targets, func(o *pumpTarget) bool { return o == t })
	p.changed.Broadcast()
}

// run tells events, while there is somebody to tell.
func (p *pump) run() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.targets) > 0 {
		if len(p.queue) == 0 {
			p.changed.Wait()
			continue
		}
		ev, t := p.queue[0], p.targets[len(p.targets)-1]
		p.queue = p.queue[1:]
		p.busy = true
		p.mu.Unlock()
		t.emit(ev)
		p.mu.Lock()
		p.busy = false
		p.changed.Broadcast()
	}
	p.running = false
}

// flush waits until all events have been told, nobody is left to tell, or the
// limit is over.
func (p *pump) flush(limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	over := false
	timer := time.AfterFunc(limit, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		over = true
		p.changed.Broadcast()
	})
	defer timer.Stop()
	for (len(p.queue) > 0 || p.busy) && len(p.targets) > 0 && !over {
		p.changed.Wait()
	}
}

// Interface guards.
var (
	_ caddyevents.Handler = onEvent(nil)
)
