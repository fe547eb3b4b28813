// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// phrases are the log messages of events.
var phrases = map[EventKind]string{
	EventReceived: "message received",
	EventRefused:  "message refused",
	EventSent:     "delivery sent",
	EventCaptured: "delivery captured",
	EventDeferred: "delivery deferred",
	EventHeld:     "delivery held",
	EventFailed:   "delivery failed",
	EventExpired:  "delivery expired",
	EventDropped:  "delivery dropped",

	EventServerDown: "server is down, its mail waits or takes another way",
	EventServerUp:   "server is back",
	EventLimitNear:  "limit is nearly used up",
}

// report logs an event in one line and tells it to the observer.
func (g *Generation) report(e Event) {
	level := zapcore.InfoLevel
	if e.Kind == EventHeld || e.Kind == EventServerDown || e.Kind == EventLimitNear {
		level = zapcore.WarnLevel // for a human
	}
	if entry := g.config.Logger.Check(level, phrases[e.Kind]); entry != nil {
		entry.Write(e.fields()...)
	}
	if g.config.Observe != nil {
		g.config.Observe(e)
	}
}

// fields returns e for the log, without what is empty.
func (e *Event) fields() []zap.Field {
	fs := make([]zap.Field, 0, 12)
	text := func(key, value string) {
		if value != "" {
			fs = append(fs, zap.String(key, value))
		}
	}
	text("id", e.Message)
	text("delivery", e.Delivery)
	text("listener", e.Listener)
	text("server", e.Server)
	text("domain", e.Domain)
	if e.Message != "" || len(e.Recipients) > 0 {
		fs = append(fs, zap.String("from", e.From), zap.Strings("to", e.Recipients))
	}
	text("reply", e.Reply)
	text("reason", e.Reason)
	if e.Size > 0 {
		fs = append(fs, zap.Int64("size", e.Size))
	}
	if e.Attempts > 0 {
		fs = append(fs, zap.Int("attempts", e.Attempts))
	}
	if e.Kind == EventServerDown || e.Kind == EventLimitNear {
		return fs
	}
	return append(fs, zap.Duration("took", e.Took))
}

// reportReceived tells what became of a transaction.
func (g *Generation) reportReceived(c *deliberation, j *judgement, took time.Duration) {
	e := Event{
		Kind: EventReceived, Message: c.msg.ID, Listener: c.peer.Listener,
		From: c.env.From.String(), Recipients: addresses(c.env.Recipients),
		Reply: mailflow.OneReply(j.replies).String(), Size: c.msg.Size(), Took: took,
	}
	if j.decision == nil {
		e.Kind = EventRefused
		g.report(e)
		return
	}
	e.Reason = j.decision.Message.Trace
	g.report(e)
	if j.dropped != "" {
		g.report(Event{
			Kind: EventDropped, Message: c.msg.ID, Listener: c.peer.Listener,
			From: e.From, Recipients: e.Recipients, Reason: j.dropped,
		})
	}
	g.reportSettled(j.decision)
}

// reportSettled tells of deliveries that were held or captured as they were
// decided.
func (g *Generation) reportSettled(d *mailflow.Decision) {
	for i := range d.Deliveries {
		if s := d.Deliveries[i].State; s == mailflow.StateHeld || s == mailflow.StateCaptured {
			g.reportDelivery(&d.Deliveries[i], 0)
		}
	}
}

// reportMade tells of a message that the gateway made itself.
func (g *Generation) reportMade(d *mailflow.Decision) {
	g.report(Event{
		Kind: EventReceived, Message: d.Message.ID, Listener: d.Message.Peer.Listener,
		From: d.Message.Envelope.From.String(), Recipients: addresses(d.Message.Envelope.Recipients),
		Reason: d.Message.Trace, Size: d.Message.Size,
	})
	g.reportSettled(d)
}

// reportDelivery tells of a delivery in its new state.
func (g *Generation) reportDelivery(d *mailflow.Delivery, took time.Duration) {
	kind := EventKind(d.State)
	if _, ok := phrases[kind]; !ok {
		return // queued again: nothing happened yet
	}
	e := Event{
		Kind: kind, Message: d.Message, Delivery: d.ID, Server: d.Server,
		From: d.Envelope.From.String(), Recipients: addresses(d.Envelope.Recipients),
		Reason: d.Reason, Attempts: d.Attempts, Took: took,
	}
	if d.Reply != nil {
		e.Reply = d.Reply.String()
	}
	g.report(e)
}
