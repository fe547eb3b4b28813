// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Generation is one configuration while it lives.
type Generation struct {
	engine *Engine
	config *Config
	store  *openStore
	feeds  []*feed
	// filters says by server whose mail it may send.
	filters map[string]relay.Filter
	// book knows which aliases an address means.
	book *alias.Book

	// ctx ends the sessions that this generation's listeners serve.
	ctx    context.Context
	cancel context.CancelFunc

	// Guarded by Engine.mu.
	pins     int // transactions and attempts
	conns    int // open connections
	retired  bool
	finished bool
	settled  chan struct{} // closed when retired and without pins
}

func newGeneration(e *Engine, cfg *Config, store *openStore) (*Generation, error) {
	filters := make(map[string]relay.Filter, len(cfg.Servers))
	for name, s := range cfg.Servers {
		f, err := relay.ParseFilter(s.FromFilter)
		if err != nil {
			return nil, fmt.Errorf("outgoing server %s: from_filter: %w", name, err)
		}
		filters[name] = f
	}
	book, err := alias.NewBook(&mailflow.Services{Behavior: cfg.Behavior, Domains: cfg.Domains, Aliases: cfg.Aliases})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Generation{
		engine: e, config: cfg, store: store, filters: filters, book: book,
		ctx: ctx, cancel: cancel, settled: make(chan struct{}),
	}, nil
}

// bind binds the sockets of g's doors, or none.
func (g *Generation) bind(ctx context.Context) error {
	for _, d := range g.config.Doors {
		for _, s := range d.Sockets {
			sock, err := g.engine.bind(ctx, s)
			if err != nil {
				g.unbind()
				return fmt.Errorf("listening for %s: %w", d.Name, err)
			}
			g.feeds = append(g.feeds, newFeed(g, d.Name, d.Listener, sock))
		}
	}
	return nil
}

// unbind lets go of g's sockets.
func (g *Generation) unbind() {
	for _, f := range g.feeds {
		f.end()
		g.engine.unbind(f.socket)
	}
}

// serve starts g's listeners. Engine.mu is held.
func (g *Generation) serve() {
	for _, f := range g.feeds {
		go func() {
			if err := f.listener.Serve(g.ctx, f, f); err != nil {
				g.config.Logger.Error("listener stopped", zap.String("listener", f.door), zap.Error(err))
			}
		}()
	}
}

// Retire takes g away. Its transactions, sessions and attempts go on in the
// background. If it was the last generation they have the configuration's
// grace; what is left then is cut off.
func (g *Generation) Retire() {
	if g.remove() {
		go g.drain()
	}
}

// Drain is [Generation.Retire] for a process that ends: it returns when all
// work has ended, after the grace at the latest.
func (g *Generation) Drain() {
	if g.remove() {
		g.drain()
		g.engine.Close()
	}
}

// remove takes g off the stack and reports whether it was the last one.
func (g *Generation) remove() (last bool) {
	e := g.engine
	e.mu.Lock()
	if g.retired {
		e.mu.Unlock()
		return false
	}
	e.drop(g)
	g.retired = true
	e.ending[g] = struct{}{}
	last = e.top() == nil
	e.retarget()
	e.mu.Unlock()

	g.unbind()
	e.mu.Lock()
	g.settle()
	e.mu.Unlock()
	return last
}

// drain ends what still goes on after the last generation: it waits for
// transactions and attempts, and then closes all sessions. If a new generation
// comes meanwhile, everything goes on instead.
func (g *Generation) drain() {
	e := g.engine
	e.mu.Lock()
	if e.succeeded(g.store) {
		e.mu.Unlock()
		return
	}
	g.store.runner.pause()
	e.mu.Unlock()
	timer := time.NewTimer(g.config.Grace)
	defer timer.Stop()
	select {
	case <-g.settled:
	case <-timer.C:
		g.config.Logger.Warn("grace period is over, closing what is left")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.succeeded(g.store) {
		return
	}
	g.store.ending = true
	for old := range e.ending {
		old.cancel()
	}
	g.store.runner.cut()
}

// settle notes that g has less to do. Engine.mu is held.
func (g *Generation) settle() {
	if !g.retired || g.pins > 0 {
		return
	}
	select {
	case <-g.settled:
	default:
		close(g.settled)
	}
	if g.conns == 0 && !g.finished {
		g.finished = true
		go g.finish()
	}
}

// finish closes what only g used.
func (g *Generation) finish() {
	g.cancel()
	var errs []error
	for _, s := range g.config.Servers {
		if c, ok := s.Transport.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		g.config.Logger.Debug("closing transports", zap.Error(err))
	}
	g.engine.closeStore(g.store)
	g.engine.mu.Lock()
	delete(g.engine.ending, g)
	g.engine.idle.Broadcast()
	g.engine.mu.Unlock()
}

// server returns the outgoing server of that name.
func (g *Generation) server(name string) (*Server, bool) {
	s, ok := g.config.Servers[name]
	return s, ok && name != ""
}

// route returns the route of that name.
func (g *Generation) route(name mailflow.RouteName) mailflow.Route {
	if name == mailflow.Inbound {
		return g.config.Inbound
	}
	return g.config.Outbound
}
