// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// When a connection is not used again.
const (
	// maxIdle is how long it waits for the next message. Servers give up
	// after some minutes, and hold a process each until then.
	maxIdle = 30 * time.Second
	// maxMessages is how many messages it carries, so that load spreads anew
	// over the addresses of a server.
	maxMessages = 1000
	// maxAge is how old it gets, so that a server that has left the DNS, and a
	// password that has changed, are not used for ever.
	maxAge = 10 * time.Minute
)

// Pool keeps open connections for the next message, by the server that they
// lead to. It does not bound how many there are: the caller's attempts do. It
// is safe for concurrent use. Its zero value with a clock is ready.
type Pool struct {
	// Now is the clock.
	Now func() time.Time
	// MaxIdle is how long a connection waits for the next message. Default: 30s.
	MaxIdle time.Duration

	mu     sync.Mutex
	idle   map[string][]*Conn // oldest first
	sweep  *time.Timer        // runs while a connection is idle
	closed bool
	quits  sync.WaitGroup // connections that say good-bye
}

// Deliver makes one attempt on an idle connection to the server that key
// names, or on one that dial opens. Errors are those of dial and
// [Conn.Deliver].
func (p *Pool) Deliver(ctx context.Context, key string, dial func(context.Context) (*Conn, error), a *mailflow.Attempt) ([]mailflow.Result, error) {
	if c := p.take(key); c != nil {
		results, err := c.Deliver(ctx, a)
		p.put(key, c)
		if !errors.Is(err, errStale) || ctx.Err() != nil {
			return results, err
		}
	}
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	results, err := c.Deliver(ctx, a)
	p.put(key, c)
	return results, err
}

// take returns an idle connection that is still good, the last used first, or
// nil.
func (p *Pool) take(key string) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	for n := len(p.idle[key]); n > 0; n-- {
		c := p.idle[key][n-1]
		p.idle[key] = p.idle[key][:n-1]
		switch {
		case !alive(c.raw):
			_ = c.Close()
		case p.expired(c, now):
			p.quit(c)
		default:
			return c
		}
	}
	return nil
}

// put takes a connection back. One that is not kept says good-bye.
func (p *Pool) put(key string, c *Conn) {
	if !c.Usable() {
		_ = c.Close()
		return
	}
	if !p.keep(key, c) {
		c.Quit()
	}
}

// keep puts c among the idle ones, unless it has served its time.
func (p *Pool) keep(key string, c *Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	if p.closed || p.expired(c, now) {
		return false
	}
	c.idle = now
	if p.idle == nil {
		p.idle = make(map[string][]*Conn)
	}
	p.idle[key] = append(p.idle[key], c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(p.maxIdle(), p.expire)
	}
	return true
}

func (p *Pool) maxIdle() time.Duration {
	if p.MaxIdle > 0 {
		return p.MaxIdle
	}
	return maxIdle
}

// expired reports whether c has served its time. The idle time counts only
// while c is in the pool.
func (p *Pool) expired(c *Conn, now time.Time) bool {
	most := maxMessages
	if c.ext.MaxMessages > 0 {
		most = min(most, c.ext.MaxMessages)
	}
	return c.sent >= most || now.Sub(c.opened) >= maxAge
}

// expire closes the connections that have been idle for too long, and comes
// again while there are others.
func (p *Pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	for key, conns := range p.idle {
		n := 0
		for n < len(conns) && now.Sub(conns[n].idle) >= p.maxIdle() {
			p.quit(conns[n])
			n++
		}
		if p.idle[key] = conns[n:]; n == len(conns) {
			delete(p.idle, key)
		}
	}
	p.sweep = nil
	if len(p.idle) > 0 && !p.closed {
		p.sweep = time.AfterFunc(p.maxIdle()/4, p.expire)
	}
}

// quit ends c beside the caller, who may hold the lock.
func (p *Pool) quit(c *Conn) { p.quits.Go(c.Quit) }

// Close says good-bye on all idle connections. Those in use end with their
// attempt.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	if p.sweep != nil {
		p.sweep.Stop()
	}
	for _, conns := range p.idle {
		for _, c := range conns {
			p.quit(c)
		}
	}
	p.idle = nil
	p.mu.Unlock()
	p.quits.Wait()
	return nil
}
