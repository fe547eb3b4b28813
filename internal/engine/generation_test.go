// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// greeter is a mailflow.Listener that says its name and then echoes lines,
// until the peer or the context ends the session.
type greeter struct{ name string }

func (g *greeter) Serve(ctx context.Context, ln net.Listener, _ mailflow.Gate) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return nil //nolint:nilerr // the contract: Serve ends without error
		}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		go func() {
			defer stop()
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, g.name+"\n")
			_, _ = io.Copy(c, c)
		}()
	}
}

// loopback is a real socket that counts how often it is bound.
func loopback(binds *atomic.Int32) Socket {
	return Socket{Key: "loopback", Listen: func(ctx context.Context) (net.Listener, error) {
		binds.Add(1)
		return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	}}
}

// session is a connection to a greeter.
type session struct {
	net.Conn

	t *testing.T
	r *bufio.Reader
}

func (b *bench) dial() *session {
	b.t.Helper()
	addr := b.engine.newest().feeds[0].Addr()
	c, err := new(net.Dialer).DialContext(b.t.Context(), addr.Network(), addr.String())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &session{Conn: c, t: b.t, r: bufio.NewReader(c)}
}

// greeting returns who greets a new connection, and closes it.
func (b *bench) greeting() string {
	b.t.Helper()
	s := b.dial()
	defer func() { _ = s.Close() }()
	return s.line()
}

func (s *session) line() string {
	s.t.Helper()
	l, err := s.r.ReadString('\n')
	if err != nil {
		s.t.Fatalf("reading: %v", err)
	}
	return strings.TrimSpace(l)
}

func (s *session) echo(text string) string {
	s.t.Helper()
	if _, err := io.WriteString(s, text+"\n"); err != nil {
		s.t.Fatal(err)
	}
	return s.line()
}

func greeting(cfg *Config, name string, binds *atomic.Int32) {
	cfg.Doors = []Door{{Name: "door", Listener: &greeter{name}, Sockets: []Socket{loopback(binds)}}}
}

// TestGenerations loads, fails and retires configurations under open sessions.
func TestGenerations(t *testing.T) {
	t.Parallel()
	var binds atomic.Int32
	b := newBench(t, func(c *Config) { greeting(c, "first", &binds) })
	first := b.gen
	old := b.dial()
	if got := old.line(); got != "first" {
		t.Fatalf("greeted by %q", got)
	}

	cfg := b.config()
	greeting(cfg, "second", &binds)
	second := b.load(cfg)
	if got := b.greeting(); got != "second" {
		t.Errorf("a new connection is greeted by %q, want the newest", got)
	}

	// Another app of the same load fails: ours is stopped, the first goes on.
	second.Retire()
	if got := b.greeting(); got != "first" {
		t.Errorf("after the newest is gone: greeted by %q", got)
	}

	cfg = b.config()
	greeting(cfg, "third", &binds)
	b.load(cfg)
	first.Retire()
	if got := b.greeting(); got != "third" {
		t.Errorf("greeted by %q", got)
	}
	if got := old.echo("still here"); got != "still here" {
		t.Errorf("the session of a retired generation answers %q", got)
	}
	if n := binds.Load(); n != 1 {
		t.Errorf("the socket was bound %d times", n)
	}
	_ = old.Close()
	await(t, "the first generation to finish", func() bool { return b.engine.live() == 1 })
}

// TestTransactionKeepsItsGeneration reloads in the middle of a transaction.
func TestTransactionKeepsItsGeneration(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	gate := b.gen.feeds[0]
	in, err := gate.Begin(t.Context(), submitter(), &mailflow.Envelope{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := b.config()
	newRelay := &farEnd{}
	cfg.Outbound = mailflow.Route{{Name: "refuse", Handler: handle(func(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
		tx.RefuseAll(&mailflow.Reply{Code: 550, Text: "closed"})
		return nil
	})}}
	cfg.Servers = map[string]*Server{"relay": {Server: mailflow.Server{Name: "relay"}, Transport: newRelay}}
	b.load(cfg)
	b.gen.Retire()

	rcpt := mailflow.Recipient{Address: mailflow.MustParseAddress("bob@example.net")}
	if err := in.Rcpt(t.Context(), rcpt); err != nil {
		t.Fatal(err)
	}
	if rs, err := in.Commit(t.Context(), strings.NewReader(mail)); err != nil || !rs[0].Accepted() {
		t.Fatalf("%v, %v: it must end under the routes it began with", rs, err)
	}
	await(t, "delivery by the newest server", func() bool { return len(newRelay.taken()) == 1 })
	if gate.Current() == mailflow.Listener(nil) {
		t.Error("a session of the old generation finds no listener")
	}
	rs, err := b.offer(submitter(), "a@mycompany.com", mail, "bob@example.net")
	if err != nil || rs[0].Code != 550 {
		t.Errorf("the next transaction: %v, %v, want the new routes", rs, err)
	}
	await(t, "the old transport to be closed", func() bool {
		b.relay.mu.Lock()
		defer b.relay.mu.Unlock()
		return b.relay.closed
	})
}

// closing is a store that knows whether it is closed.
type closing struct {
	mailflow.Store

	closed atomic.Bool
}

func (c *closing) Close() error {
	c.closed.Store(true)
	return c.Store.Close()
}

// TestPrepareUndoesItself has the second socket fail.
func TestPrepareUndoesItself(t *testing.T) {
	t.Parallel()
	e := New(Options{Now: time.Now})
	b := &bench{t: t, engine: e, relay: &farEnd{}, store: memstore.Open(time.Now)}
	store := &closing{Store: b.store}
	first := &deaf{done: make(chan struct{})}
	cfg := b.config()
	cfg.Store = &opener{identity: "x", store: store}
	cfg.Doors = []Door{{Name: "d", Listener: &silent{}, Sockets: []Socket{
		{Key: "1", Listen: func(context.Context) (net.Listener, error) { return first, nil }},
		{Key: "2", Listen: func(context.Context) (net.Listener, error) { return nil, errBroken }},
	}}}
	if _, err := e.Prepare(t.Context(), cfg); !errors.Is(err, errBroken) {
		t.Fatalf("error %v", err)
	}
	select {
	case <-first.done:
	default:
		t.Error("the first socket is still open")
	}
	if !store.closed.Load() || len(e.sockets) != 0 || len(e.stores) != 0 {
		t.Error("the store or a socket is left over")
	}
}

// TestStoreChange refuses another store while this one holds undelivered mail.
func TestStoreChange(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.relay.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) { return all(d, 450), nil }
	b.accept("bob@example.net")
	cfg := b.config()
	cfg.Store = &opener{identity: "elsewhere", store: memstore.Open(time.Now)}
	if _, err := b.engine.Prepare(t.Context(), cfg); !errors.Is(err, errUndelivered) {
		t.Errorf("error %v, want the change refused", err)
	}
	qs, _ := b.store.Deliveries(t.Context(), mailflow.QueueQuery{})
	await(t, "the order to drop it", func() bool {
		return b.engine.Act(t.Context(), qs[0].ID, mailflow.QueueAct{Kind: mailflow.ActDrop}) == nil
	})
	g, err := b.engine.Prepare(t.Context(), cfg)
	if err != nil {
		t.Fatalf("with an empty queue: %v", err)
	}
	b.engine.Activate(g)
	b.gen.Retire()
	await(t, "the old store to be closed", func() bool {
		_, err := b.store.Depth(t.Context())
		return err != nil
	})
}

// TestGrace ends the process under an open transaction and an open session.
func TestGrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(c *Config) { c.Grace = time.Minute })
		gate := b.gen.feeds[0]
		in, err := gate.Begin(t.Context(), submitter(), &mailflow.Envelope{})
		if err != nil {
			t.Fatal(err)
		}
		began, ended := time.Now(), make(chan time.Duration)
		go func() {
			b.gen.Drain()
			ended <- time.Since(began)
		}()
		synctest.Wait()
		if _, err := gate.Begin(t.Context(), submitter(), &mailflow.Envelope{}); mailflow.AsReply(err).Code != 421 {
			t.Errorf("a new transaction while draining: %v, want 421", err)
		}
		if gate.Current() != nil {
			t.Error("there is a listener while draining")
		}
		time.Sleep(10 * time.Second)
		in.Abort()
		if took := <-ended; took != 10*time.Second {
			t.Errorf("the end took %v, want just as long as the transaction", took)
		}
	})
}

// TestRetiredLate loads a configuration while the last one is about to pause
// the queue: it runs on.
func TestRetiredLate(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	old := b.gen
	if !old.remove() {
		t.Fatal("it was not the last one")
	}
	b.load(b.config())
	old.drain()
	b.accept("bob@example.net")
	await(t, "delivery by the new generation", func() bool { return len(b.relay.taken()) == 1 })
}

// TestRetiredBetween has the last generation end after the next one has taken
// the store, and before it is active.
func TestRetiredBetween(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	old := b.gen
	if !old.remove() {
		t.Fatal("it was not the last one")
	}
	g, err := b.engine.Prepare(t.Context(), b.config())
	if err != nil {
		t.Fatal(err)
	}
	old.drain()
	b.engine.Activate(g)
	b.accept("bob@example.net")
	await(t, "delivery by the new generation", func() bool { return len(b.relay.taken()) == 1 })
	if g.store.ending {
		t.Error("the store that is used is said to be closing: the next load waits forever")
	}
}
