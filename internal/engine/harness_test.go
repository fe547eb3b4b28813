// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// bench is an engine with one generation that a test talks to.
type bench struct {
	t      *testing.T
	engine *Engine
	store  *memstore.Store
	relay  *farEnd
	gen    *Generation

	mu     sync.Mutex
	events []Event
}

// farEnd is a transport that a test scripts.
type farEnd struct {
	mu     sync.Mutex
	answer func(n int, d *mailflow.Delivery) ([]mailflow.Result, error)
	calls  int
	got    []sent
	closed bool
}

// sent is what a farEnd was given.
type sent struct {
	delivery mailflow.Delivery
	bytes    string
}

func (f *farEnd) Deliver(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	rc, err := a.Content.Open(ctx, mailflow.EncodingAsIs)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rc.Close() }()
	b, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.calls++
	n, answer := f.calls, f.answer
	f.got = append(f.got, sent{delivery: *a.Delivery.Clone(), bytes: string(b)})
	f.mu.Unlock()
	if answer != nil {
		return answer(n, a.Delivery)
	}
	return all(a.Delivery, 250), nil
}

func (f *farEnd) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *farEnd) taken() []sent {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]sent(nil), f.got...)
}

// all answers every recipient alike.
func all(d *mailflow.Delivery, code int) []mailflow.Result {
	var rs []mailflow.Result
	for _, r := range d.Envelope.Recipients {
		rs = append(rs, mailflow.ResultOf(r, &mailflow.Reply{Code: code, Enhanced: mailflow.EnhancedCode{code / 100, 0, 0}, Text: "so be it"}))
	}
	return rs
}

// choose claims everything for the server "relay".
type choose struct{ server string }

func (c choose) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	tx.Trace.Won("server_chosen", c.server)
	tx.ClaimAll(mailflow.Deliver{Server: c.server})
	return next(ctx, tx)
}

// handle is a handler made of a function.
type handle func(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error

func (h handle) Handle(ctx context.Context, tx *mailflow.Transaction, next mailflow.Next) error {
	return h(ctx, tx, next)
}

// deaf is a net.Listener that nobody calls.
type deaf struct {
	once sync.Once
	done chan struct{}
}

func (d *deaf) Accept() (net.Conn, error) { <-d.done; return nil, net.ErrClosed }
func (d *deaf) Close() error              { d.once.Do(func() { close(d.done) }); return nil }
func (d *deaf) Addr() net.Addr            { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }

// silent is a mailflow.Listener that serves nobody.
type silent struct{ name string }

func (*silent) Serve(_ context.Context, ln net.Listener, _ mailflow.Gate) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return nil //nolint:nilerr // the contract: Serve ends without error
		}
		_ = c.Close()
	}
}

// opener opens one memory store, again and again.
type opener struct {
	identity string
	store    mailflow.Store
	err      error
}

func (o *opener) Identity() string                             { return o.identity }
func (o *opener) Open(context.Context) (mailflow.Store, error) { return o.store, o.err }

// config returns a working configuration.
func (b *bench) config() *Config {
	return &Config{
		Hostname: "mx.mycompany.com",
		Grace:    time.Second,
		Store:    &opener{identity: "memory", store: b.store},
		Domains: mailflow.Domains{{
			Name: "mycompany.com", Default: true,
			Catchall: []mailflow.Address{mailflow.MustParseAddress("catchall@mycompany.com")},
		}},
		Servers:  map[string]*Server{"relay": {Server: mailflow.Server{Name: "relay"}, Transport: b.relay}},
		Doors:    []Door{{Name: "smtp25", Listener: &silent{"smtp25"}, Sockets: []Socket{deafSocket("a")}}},
		Outbound: mailflow.Route{{Name: "choose_server", Handler: choose{"relay"}}},
		Queue:    QueuePolicy{Retry: []time.Duration{time.Minute, 5 * time.Minute}, GiveUp: time.Hour, Concurrency: 4},
		Logger:   zap.NewNop(),
		Observe: func(e Event) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, e)
		},
	}
}

func deafSocket(key string) Socket {
	return Socket{Key: key, Listen: func(context.Context) (net.Listener, error) {
		return &deaf{done: make(chan struct{})}, nil
	}}
}

// newBench returns an engine that runs a configuration, which edit changes.
func newBench(t *testing.T, edit func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, relay: &farEnd{}, store: memstore.Open(time.Now)}
	b.engine = New(Options{Now: time.Now})
	cfg := b.config()
	if edit != nil {
		edit(cfg)
	}
	b.gen = b.load(cfg)
	t.Cleanup(b.close)
	return b
}

func (b *bench) load(cfg *Config) *Generation {
	b.t.Helper()
	g, err := b.engine.Prepare(b.t.Context(), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	b.engine.Activate(g)
	return g
}

func (b *bench) close() {
	for g := b.engine.newest(); g != nil; g = b.engine.newest() {
		g.Drain()
	}
	b.engine.Close()
}

// submitter is a peer that may send to the world.
func submitter() *mailflow.Peer {
	return &mailflow.Peer{Listener: "smtp25", Protocol: "ESMTP", Hello: "app", Submits: true, At: time.Now()}
}

// stranger is a peer that may not.
func stranger() *mailflow.Peer {
	p := submitter()
	p.Submits = false
	return p
}

const mail = "From: anna@mycompany.com\r\nSubject: Hello\r\n\r\nHow are you?\r\n"

// offer hands in a message and returns the replies.
func (b *bench) offer(peer *mailflow.Peer, from, content string, to ...string) ([]*mailflow.Reply, error) {
	b.t.Helper()
	env := &mailflow.Envelope{}
	if from != "" {
		env.From = mailflow.MustParseAddress(from)
	}
	in, err := b.engine.newest().feeds[0].Begin(b.t.Context(), peer, env)
	if err != nil {
		return nil, err
	}
	defer in.Abort()
	for _, r := range to {
		if err := in.Rcpt(b.t.Context(), mailflow.Recipient{Address: mailflow.MustParseAddress(r)}); err != nil {
			return nil, err
		}
	}
	return in.Commit(b.t.Context(), strings.NewReader(content))
}

// accept hands in a message that must be accepted.
func (b *bench) accept(to ...string) {
	b.t.Helper()
	rs, err := b.offer(submitter(), "anna@mycompany.com", mail, to...)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, r := range rs {
		if !r.Accepted() {
			b.t.Fatalf("reply %v", r)
		}
	}
}

// states returns the deliveries in each state, as "state address…".
func (b *bench) states() []string {
	b.t.Helper()
	qs, err := b.store.Deliveries(context.Background(), mailflow.QueueQuery{})
	if err != nil {
		b.t.Fatal(err)
	}
	var out []string
	for _, q := range qs {
		out = append(out, string(q.State)+" "+strings.Join(addresses(q.Envelope.Recipients), " "))
	}
	return out
}

// patience bounds what a test waits for in real time: nothing waits for it in
// vain but a failing test, and loaded machines are slow.
const patience = 40 * time.Second

// await waits until ok, in real time.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

var errBroken = errors.New("broken")
