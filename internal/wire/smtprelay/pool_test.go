// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// clock is a clock that tests set.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// pooled starts relay and returns a function that delivers to it by p.
func pooled(tb testing.TB, p *Pool, relay *mailflowtest.Relay) func(from string) string {
	tb.Helper()
	cfg := config(tb, relay.Start(tb))
	cfg.Now, cfg.Timeouts = p.Now, patient
	tb.Cleanup(func() { _ = p.Close() })
	return func(from string) string {
		a := attempt("b@b.example")
		a.Delivery.Envelope.From = mailflow.MustParseAddress(from)
		results, err := p.Deliver(context.WithoutCancel(tb.Context()), "relay", func(ctx context.Context) (*Conn, error) { return Dial(ctx, cfg) }, a)
		return outcomeOf(results, err)
	}
}

// TestReuse sends three messages and counts connections, after something has
// happened before each.
func TestReuse(t *testing.T) {
	t.Parallel()
	closes := func(act mailflowtest.RelayAct, stage mailflowtest.RelayStage) func(mailflowtest.RelayEvent) mailflowtest.RelayAct {
		return func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
			if e.Stage == stage && e.Message > 0 {
				return act
			}
			return nil
		}
	}
	tests := []struct {
		name   string
		relay  *mailflowtest.Relay
		before func(*Pool, *mailflowtest.Relay, *clock)
		conns  int
		want   string // of the second and third message
	}{
		{"kept", &mailflowtest.Relay{}, nil, 1, "sent"},
		{"kept without pipelining", &mailflowtest.Relay{Offers: []string{}}, nil, 1, "sent"},
		{"closed while idle", &mailflowtest.Relay{}, func(_ *Pool, r *mailflowtest.Relay, _ *clock) { r.CloseConnections() }, 3, "sent"},
		{"closed at MAIL", &mailflowtest.Relay{Script: closes(mailflowtest.RelayClose(), mailflowtest.RelayMail)}, nil, 3, "sent"},
		{"reset at MAIL", &mailflowtest.Relay{Script: closes(mailflowtest.RelayCut(), mailflowtest.RelayMail)}, nil, 3, "sent"},
		{"closed at MAIL without pipelining", &mailflowtest.Relay{Offers: []string{}, Script: closes(mailflowtest.RelayClose(), mailflowtest.RelayMail)}, nil, 3, "sent"},
		{"421 at MAIL", &mailflowtest.Relay{Script: closes(mailflowtest.RelaySayClose("421 4.7.0 enough"), mailflowtest.RelayMail)}, nil, 3, "sent"},
		{"421 and left open", &mailflowtest.Relay{Script: closes(mailflowtest.RelaySay("421 4.7.0 enough"), mailflowtest.RelayMail)}, nil, 3, "sent"},
		{"refused at MAIL", &mailflowtest.Relay{Script: closes(mailflowtest.RelaySay("450 4.7.0 enough"), mailflowtest.RelayMail)}, nil, 1, "all deferred"},
		{"garbage at MAIL", &mailflowtest.Relay{Script: closes(mailflowtest.RelaySay("what"), mailflowtest.RelayMail)}, nil, 2, ""},
		{"closed at RCPT", &mailflowtest.Relay{Offers: []string{}, Script: closes(mailflowtest.RelayClose(), mailflowtest.RelayRcpt)}, nil, 2, ""},
		{"MAILMAX", &mailflowtest.Relay{Offers: []string{"LIMITS MAILMAX=2"}}, nil, 2, "sent"},
		{"old", &mailflowtest.Relay{}, func(_ *Pool, _ *mailflowtest.Relay, c *clock) { c.advance(maxAge) }, 3, "sent"},
		{"idle for too long", &mailflowtest.Relay{}, func(p *Pool, _ *mailflowtest.Relay, c *clock) {
			c.advance(maxIdle)
			p.expire()
		}, 3, "sent"},
		{"idle for a while", &mailflowtest.Relay{}, func(p *Pool, _ *mailflowtest.Relay, c *clock) {
			c.advance(maxIdle - time.Second)
			p.expire()
		}, 1, "sent"},
		{"pool closed", &mailflowtest.Relay{}, func(p *Pool, _ *mailflowtest.Relay, _ *clock) { _ = p.Close() }, 3, "sent"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := new(clock)
			p := &Pool{Now: c.now}
			send := pooled(t, p, tt.relay)
			for n := range 3 {
				if n > 0 && tt.before != nil {
					tt.before(p, tt.relay, c)
				}
				got := send("a@a.example")
				switch {
				case n == 0 && got != "sent":
					t.Fatalf("the first message is %s", got)
				case n > 0 && tt.want != "" && got != tt.want:
					t.Errorf("message %d is %s, want %s", n, got, tt.want)
				}
			}
			if got := tt.relay.Connections(); got != tt.conns {
				t.Errorf("%d connections, want %d", got, tt.conns)
			}
		})
	}
}

// TestPoolQuits says good-bye on what it does not use any more.
func TestPoolQuits(t *testing.T) {
	t.Parallel()
	relay := new(mailflowtest.Relay)
	p := &Pool{Now: time.Now}
	send := pooled(t, p, relay)
	if got := send("a@a.example"); got != "sent" {
		t.Fatal(got)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	commands := relay.Commands()
	if last := commands[len(commands)-1]; last != "QUIT" {
		t.Errorf("the last command is %q", last)
	}
}

// TestParallel delivers from many goroutines while connections break.
func TestParallel(t *testing.T) {
	t.Parallel()
	const senders, each = 50, 20
	relay := new(mailflowtest.Relay)
	p := &Pool{Now: time.Now}
	send := pooled(t, p, relay)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for n := range each {
				if got := send(fmt.Sprintf("s%d.%d@a.example", s, n)); got != "sent" {
					t.Errorf("message %d of %d is %s", n, s, got)
				}
			}
		})
	}
	wg.Wait()
	seen := make(map[string]int)
	for _, m := range relay.Messages() {
		seen[m.Mail]++
	}
	if len(seen) != senders*each {
		t.Errorf("%d messages arrived, want %d", len(seen), senders*each)
	}
	for mail, n := range seen {
		if n != 1 {
			t.Errorf("%s arrived %d times", mail, n)
		}
	}
	if got := relay.Connections(); got > senders {
		t.Errorf("%d connections for %d senders", got, senders)
	}
}

// BenchmarkDeliver sends mails over one connection.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			sink := newSink(b)
			cfg := config(b, sink)
			c, err := Dial(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Quit()
			a := attempt("b@b.example")
			a.Content = &content{text: lines(size)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Deliver(b.Context(), a); err != nil {
					b.Fatal(err)
				}
				a.Content.(*content).opened = nil
			}
		})
	}
}
