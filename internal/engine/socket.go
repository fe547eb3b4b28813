// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// socket is a bound socket. Its accept loop runs from bind to the last unbind
// and hands every connection to the newest generation.
type socket struct {
	key    string
	ln     net.Listener
	refs   int // guarded by Engine.mu
	target atomic.Pointer[feed]
}

// bind returns the socket of that key, bound if it is not yet.
func (e *Engine) bind(ctx context.Context, s Socket) (*socket, error) {
	e.mu.Lock()
	sock, ok := e.sockets[s.Key]
	if ok {
		sock.refs++
	}
	e.mu.Unlock()
	if ok {
		return sock, nil
	}
	ln, err := s.Listen(ctx)
	if err != nil {
		return nil, err
	}
	sock = &socket{key: s.Key, ln: ln, refs: 1}
	e.mu.Lock()
	e.sockets[s.Key] = sock
	e.mu.Unlock()
	go sock.accept()
	return sock, nil
}

// unbind lets go of a socket, and closes it with its last user.
func (e *Engine) unbind(s *socket) {
	e.mu.Lock()
	s.refs--
	last := s.refs == 0
	if last {
		delete(e.sockets, s.key)
	}
	e.mu.Unlock()
	if last {
		_ = s.ln.Close() // its backlog is lost whatever Close says
	}
}

// retarget points every socket at the newest generation that uses it.
// Engine.mu is held.
func (e *Engine) retarget() {
	for _, s := range e.sockets {
		var target *feed
		if g := e.top(); g != nil {
			target = g.feed(s)
		}
		s.target.Store(target)
	}
}

// feed returns g's feed on that socket, or nil.
func (g *Generation) feed(s *socket) *feed {
	for _, f := range g.feeds {
		if f.socket == s {
			return f
		}
	}
	return nil
}

// Pauses of the accept loop when the process has no file descriptor left: it
// begins short, since one is often free at once, and does not spin.
const (
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// accept hands connections to the feeds until the socket is closed.
func (s *socket) accept() {
	pause := minAcceptPause
	for {
		conn, err := s.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			<-time.NewTimer(pause).C
			pause = min(2*pause, maxAcceptPause)
			continue
		}
		pause = minAcceptPause
		s.hand(conn)
	}
}

// hand gives conn to the newest feed; a feed that ends meanwhile passes it on.
func (s *socket) hand(conn net.Conn) {
	for {
		f := s.target.Load()
		if f != nil && f.take(conn) {
			return
		}
		if s.target.Load() == f {
			_ = conn.Close() // nobody serves this address any more
			return
		}
	}
}

// feed is one generation's share of a socket: the net.Listener that its
// mailflow.Listener serves, and the gate by which mail comes in.
type feed struct {
	generation *Generation
	door       string
	listener   mailflow.Listener
	socket     *socket
	conns      chan net.Conn
	ended      chan struct{}
	once       sync.Once
}

func newFeed(g *Generation, door string, l mailflow.Listener, s *socket) *feed {
	return &feed{
		generation: g, door: door, listener: l, socket: s,
		conns: make(chan net.Conn), ended: make(chan struct{}),
	}
}

// Accept implements [net.Listener].
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.ended:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener]. The socket belongs to the engine and stays
// open; what the listener no longer accepts is closed.
func (f *feed) Close() error {
	f.end()
	return nil
}

// Addr implements [net.Listener].
func (f *feed) Addr() net.Addr { return f.socket.ln.Addr() }

// end makes Accept fail.
func (f *feed) end() { f.once.Do(func() { close(f.ended) }) }

// take hands conn to the listener, unless the feed has ended.
func (f *feed) take(conn net.Conn) bool {
	if !f.generation.enter() {
		return false
	}
	c := &counted{Conn: conn, generation: f.generation}
	select {
	case f.conns <- c:
		return true
	case <-f.ended:
		f.generation.leave()
		return false
	}
}

// counted is a connection that its generation waits for.
type counted struct {
	net.Conn

	generation *Generation
	once       sync.Once
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.generation.leave)
	return err
}

// CloseWrite ends the sending side where the connection has two, so that a
// session can end without cutting off its last reply.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// enter counts one more open connection, unless g has finished.
func (g *Generation) enter() bool {
	g.engine.mu.Lock()
	defer g.engine.mu.Unlock()
	if g.finished {
		return false
	}
	g.conns++
	return true
}

// leave counts one open connection less.
func (g *Generation) leave() {
	g.engine.mu.Lock()
	defer g.engine.mu.Unlock()
	g.conns--
	g.settle()
}
