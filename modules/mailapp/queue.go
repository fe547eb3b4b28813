// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Queue says when deliveries are tried.
type Queue struct {
	// The pauses after the first, second, … failed attempt; the last one
	// repeats. Default: 1m 5m 30m 2h 6h.
	Retry []caddy.Duration `json:"retry,omitempty"`

	// How long after its acceptance a message is given up and reported to its
	// sender. Default: 3d.
	GiveUp caddy.Duration `json:"give_up,omitempty"`

	// The most attempts at once for one destination. Default: 20.
	Concurrency int `json:"concurrency,omitempty"`
}

// maxConcurrency bounds the connections to one destination: more than any
// relay takes from one client, and far below what a process may open.
const maxConcurrency = 1000

// policy returns q with its defaults.
func (q Queue) policy() engine.QueuePolicy {
	p := engine.QueuePolicy{
		Retry:       slices.Clone(engine.DefaultRetry),
		GiveUp:      orDefault(q.GiveUp, engine.DefaultGiveUp),
		Concurrency: engine.DefaultConcurrency,
	}
	if len(q.Retry) > 0 {
		p.Retry = make([]time.Duration, len(q.Retry))
		for i, d := range q.Retry {
			p.Retry[i] = time.Duration(d)
		}
	}
	if q.Concurrency != 0 {
		p.Concurrency = q.Concurrency
	}
	return p
}

func (q Queue) validate() error {
	switch {
	case slices.ContainsFunc(q.Retry, func(d caddy.Duration) bool { return d <= 0 }):
		return errors.New("queue: a retry pause is not positive")
	case q.GiveUp < 0:
		return errors.New("queue: give_up is negative")
	case q.Concurrency < 0 || q.Concurrency > maxConcurrency:
		return fmt.Errorf("queue: concurrency %d is not between 1 and %d", q.Concurrency, maxConcurrency)
	}
	return nil
}

// block returns the reader of the queue block. Syntax:
//
//	queue {
//		retry       <pauses...>
//		give_up     <duration>
//		concurrency <count>
//	}
func (q *Queue) block(seen caddyblock.Seen) caddyblock.Block {
	return caddyblock.Block{Kind: "queue", Seen: seen, Options: caddyblock.Options{
		"retry":       caddyblock.Durations(&q.Retry),
		"give_up":     caddyblock.Duration(&q.GiveUp),
		"concurrency": caddyblock.Int(&q.Concurrency, 1, maxConcurrency),
	}}
}

// Retention says how long what is over is kept. Then its rows are swept, and
// a message with the last row that needs it.
type Retention struct {
	// Deliveries that were sent. Default: 7d.
	Sent caddy.Duration `json:"sent,omitempty"`

	// Deliveries that failed, expired or were dropped. Default: 30d.
	Failed caddy.Duration `json:"failed,omitempty"`

	// Deliveries that were captured. Default: 7d.
	Captured caddy.Duration `json:"captured,omitempty"`

	// What waits in the unrouted box. Default: 90d.
	Unrouted caddy.Duration `json:"unrouted,omitempty"`

	// What was seen, to know a duplicate or a report about it. It must be kept
	// seven days longer than the queue gives up. Default: 30d.
	Seen caddy.Duration `json:"seen,omitempty"`
}

// lateReport is how long after the queue has given a message up a report about
// one of its deliveries may still come from a server that queued it.
const lateReport = 7 * 24 * time.Hour

// periods returns r with its defaults.
func (r Retention) periods() mailflow.Retention {
	def := engine.DefaultRetention
	return mailflow.Retention{
		Sent:     orDefault(r.Sent, def.Sent),
		Failed:   orDefault(r.Failed, def.Failed),
		Captured: orDefault(r.Captured, def.Captured),
		Unrouted: orDefault(r.Unrouted, def.Unrouted),
		Seen:     orDefault(r.Seen, def.Seen),
	}
}

func (r Retention) validate(giveUp time.Duration) error {
	for _, d := range []caddy.Duration{r.Sent, r.Failed, r.Captured, r.Unrouted, r.Seen} {
		if d < 0 {
			return errors.New("retention: a period is negative")
		}
	}
	if seen := r.periods().Seen; seen < giveUp+lateReport {
		return fmt.Errorf("retention: seen is %v and must be at least %v, seven days more than the queue's give_up; "+
			"raise seen or lower give_up", seen, giveUp+lateReport)
	}
	return nil
}

// block returns the reader of the retention block. Syntax:
//
//	retention {
//		sent     <duration>
//		failed   <duration>
//		captured <duration>
//		unrouted <duration>
//		seen     <duration>
//	}
func (r *Retention) block(seen caddyblock.Seen) caddyblock.Block {
	return caddyblock.Block{Kind: "retention", Seen: seen, Options: caddyblock.Options{
		"sent":     caddyblock.Duration(&r.Sent),
		"failed":   caddyblock.Duration(&r.Failed),
		"captured": caddyblock.Duration(&r.Captured),
		"unrouted": caddyblock.Duration(&r.Unrouted),
		"seen":     caddyblock.Duration(&r.Seen),
	}}
}
