// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/rule/token"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Options are what an [Engine] is made with.
type Options struct {
	// Now is the clock.
	Now func() time.Time
}

// Engine owns what outlives configurations. There is one in a process. It is
// safe for concurrent use.
type Engine struct {
	now func() time.Time

	// preparing lets one load at a time open stores and sockets.
	preparing sync.Mutex

	mu      sync.Mutex
	stack   []*Generation            // live generations, the newest last
	ending  map[*Generation]struct{} // retired ones that still have work
	sockets map[string]*socket
	stores  map[string]*openStore
	idle    *sync.Cond // signalled when a generation has finished
}

// New returns an engine that has nothing open.
func New(o Options) *Engine {
	e := &Engine{
		now: o.Now, ending: make(map[*Generation]struct{}),
		sockets: make(map[string]*socket), stores: make(map[string]*openStore),
	}
	e.idle = sync.NewCond(&e.mu)
	return e
}

// Prepare opens the store and binds the sockets that cfg needs and that are
// not open yet. On an error it leaves everything as it was. The generation
// serves nobody before [Engine.Activate]; one that is not activated must be
// retired.
func (e *Engine) Prepare(ctx context.Context, cfg *Config) (*Generation, error) {
	e.preparing.Lock()
	defer e.preparing.Unlock()
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	store, err := e.openStore(ctx, cfg.Store)
	if err != nil {
		return nil, err
	}
	g, err := newGeneration(e, cfg, store)
	if err == nil {
		err = g.bind(ctx)
	}
	if err != nil {
		e.mu.Lock()
		store.coming--
		e.mu.Unlock()
		e.closeStore(store)
		return nil, err
	}
	return g, nil
}

// Activate makes g the newest generation: every connection and every MAIL from
// now on is its own.
func (e *Engine) Activate(g *Generation) {
	e.mu.Lock()
	e.stack = append(e.stack, g)
	g.store.coming--
	g.serve()
	e.retarget()
	e.mu.Unlock()
	g.store.runner.start()
	g.store.runner.wakeAll()
}

// Close waits until all retired generations have finished their work. With a
// generation that is still active it would wait in vain for what that holds.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.ending) > 0 {
		e.idle.Wait()
	}
}

// newest returns the generation that serves, or nil.
func (e *Engine) newest() *Generation {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.top()
}

func (e *Engine) top() *Generation {
	if len(e.stack) == 0 {
		return nil
	}
	return e.stack[len(e.stack)-1]
}

// pin returns the newest generation and keeps it until unpin; nil if there is
// none.
func (e *Engine) pin() *Generation {
	e.mu.Lock()
	defer e.mu.Unlock()
	g := e.top()
	if g != nil {
		g.pins++
	}
	return g
}

// unpin lets go of a pinned generation.
func (e *Engine) unpin(g *Generation) {
	e.mu.Lock()
	defer e.mu.Unlock()
	g.pins--
	g.settle()
}

// live counts the generations that are active or have work left.
func (e *Engine) live() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.stack) + len(e.ending)
}

// succeeded reports whether a generation is active, or about to be on that
// store: then nothing of it may be paused or ended. e.mu is held.
func (e *Engine) succeeded(s *openStore) bool { return e.top() != nil || s.coming > 0 }

// doors returns the addresses that g's listeners are bound to.
func (e *Engine) doors(g *Generation) []DoorStatus {
	var ds []DoorStatus
	for _, d := range g.config.Doors {
		s := DoorStatus{Name: d.Name}
		for _, f := range g.feeds {
			if f.door == d.Name {
				s.Addresses = append(s.Addresses, f.Addr().String())
			}
		}
		ds = append(ds, s)
	}
	return ds
}

// openStore returns the store of that opener, opened if it is not yet.
func (e *Engine) openStore(ctx context.Context, opener mailflow.StoreOpener) (*openStore, error) {
	identity := opener.Identity()
	e.mu.Lock()
	s, ok := e.stores[identity]
	for ok && s.ending {
		e.idle.Wait() // the same store is just being closed
		s, ok = e.stores[identity]
	}
	if ok {
		s.refs++
		s.coming++
	}
	newest := e.top()
	e.mu.Unlock()
	if ok {
		return s, nil
	}
	if newest != nil {
		if err := movable(ctx, newest.store); err != nil {
			return nil, err
		}
	}
	opened, err := opener.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s = &openStore{Store: opened, identity: identity, refs: 1, coming: 1}
	if err := s.refreshKeys(ctx, e.now()); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	s.runner = newRunner(e, s)
	e.mu.Lock()
	e.stores[identity] = s
	e.mu.Unlock()
	return s, nil
}

// errUndelivered refuses a change of store that would leave mail behind.
var errUndelivered = errors.New("the present store holds undelivered mail; " +
	"wait until the queue is empty, or drop what is left, before changing `store`")

// movable reports why the store may not be left.
func movable(ctx context.Context, s *openStore) error {
	depth, err := s.Depth(ctx)
	if err != nil {
		return fmt.Errorf("looking into the present store: %w", err)
	}
	for state, n := range depth {
		if n > 0 && !state.Final() {
			return errUndelivered
		}
	}
	return nil
}

// closeStore lets go of a store, and closes it with its last user.
func (e *Engine) closeStore(s *openStore) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.refs--
	if s.refs > 0 {
		return
	}
	s.ending = true
	e.mu.Unlock()
	s.runner.stop()
	_ = s.Close() // what was acknowledged is committed already
	e.mu.Lock()
	delete(e.stores, s.identity)
	e.idle.Broadcast()
}

// openStore is an open store with its queue runner.
type openStore struct {
	mailflow.Store

	identity string
	runner   *runner
	keys     atomic.Pointer[token.Keys]

	// Guarded by Engine.mu.
	refs   int
	coming int  // generations that are prepared on it and not active yet
	ending bool // nobody may begin to use it
}

// drop removes g from the stack.
func (e *Engine) drop(g *Generation) {
	e.stack = slices.DeleteFunc(e.stack, func(o *Generation) bool { return o == g })
}
