// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// conn is one connection: the peer on one side, go-smtp on the other. Except
// for drain all of it runs in go-smtp's goroutine of the connection.
type conn struct {
	server   *Server
	ctx      context.Context //nolint:containedctx // go-smtp's callbacks have none
	socket   net.Conn
	net      net.Conn // the socket, or TLS on it
	left     func()
	draining atomic.Bool

	client   Client
	session  Session // the one of the latest EHLO; nil before
	in       input
	out      []byte    // replies that are not sent yet
	stageEnd time.Time // when the stage is over, whatever comes

	pending []byte   // what go-smtp reads next
	partial []byte   // what go-smtp wrote of a line
	lines   []string // what go-smtp wrote of a reply

	state     dialogue
	counts    counts
	offered   bool // STARTTLS was offered
	closing   bool // no more is read from the peer
	lingering bool // what the peer still sends is read before closing
	restart   bool // go-smtp begins anew, as STARTTLS wants
}

// Errors of reading from the peer.
var (
	errDraining = errors.New("the gateway is shutting down")
	errLineLong = errors.New("line too long")
)

func newConn(ctx context.Context, s *Server, raw net.Conn) *conn {
	c := &conn{server: s, ctx: ctx, socket: raw, net: raw}
	c.client.LMTP = s.options.LMTP
	return c
}

// identify finds out who the peer is. It may wait for the peer's first bytes,
// see [Server.accept].
func (c *conn) identify() {
	c.client.IP = addrOf(c.socket)
	c.client.Local = c.client.IP.IsLoopback() || c.socket.RemoteAddr().Network() == "unix"
}

// addrOf returns the address of the peer of c; invalid on unix sockets.
func addrOf(c net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// begin starts go-smtp on the connection.
func (c *conn) begin() {
	srv := smtp.NewServer(&adapter{conn: c})
	srv.Domain = c.server.options.Hostname
	srv.MaxLineLength = maxGoSMTPLine
	srv.AllowInsecureAuth = true // the session says what may be used
	srv.EnableSMTPUTF8 = true
	srv.EnableDSN = true
	srv.ErrorLog = debugLog{c.server.options.Debug}
	// Serve hands the stream to a goroutine and returns, since the listener
	// has no more than one connection.
	_ = srv.Serve(&single{conn: &stream{conn: c}, addr: c.net.LocalAddr()})
}

// timeouts returns the timeouts in force.
func (c *conn) timeouts() *Timeouts { return &c.server.options.Timeouts }

// stage begins a stage that lasts at most d.
func (c *conn) stage(d time.Duration) { c.stageEnd = c.server.options.Now().Add(d) }

// fill sends the replies that wait, and reads once. pause is how long the peer
// may be silent.
func (c *conn) fill(pause time.Duration) error {
	if err := c.flush(); err != nil {
		return err
	}
	deadline := c.server.options.Now().Add(pause)
	if c.stageEnd.Before(deadline) {
		deadline = c.stageEnd
	}
	if err := c.net.SetReadDeadline(deadline); err != nil {
		return err
	}
	// drain sets the flag before it sets its deadline: one of the two holds.
	if c.draining.Load() {
		return errDraining
	}
	err := c.in.fill(c.net)
	if err != nil && c.draining.Load() {
		return errDraining
	}
	return err
}

// flush sends the replies that wait.
func (c *conn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	if err := c.net.SetWriteDeadline(c.server.options.Now().Add(c.timeouts().Write)); err != nil {
		return err
	}
	_, err := c.net.Write(c.out)
	c.out = c.out[:0]
	if cap(c.out) > smallBuffer {
		c.out = nil
	}
	if err != nil {
		c.closing = true
	}
	return err
}

// readFailed ends the session after an error of reading.
func (c *conn) readFailed(err error) {
	switch {
	case errors.Is(err, errDraining):
		c.emit(mailflow.ReplyShuttingDown)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.emit(errTimeout)
	}
	c.closing = true
}

// drain ends the session: at once if it waits for the peer, else after the
// reply that is being made. It may be called from any goroutine.
func (c *conn) drain() {
	c.draining.Store(true)
	_ = c.socket.SetReadDeadline(time.Unix(1, 0)) // long past
}

// end closes the connection after the last reply. It gives the connection's
// place back first: a peer that has seen the end may come again at once. While
// it lingers for one that went wrong the place is taken.
func (c *conn) end() {
	if c.flush() == nil && c.lingering {
		c.linger()
	}
	c.in.release()
	c.left()
	_ = c.net.Close()
}

// linger reads what the peer sent before it has seen the last reply.
func (c *conn) linger() {
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	if c.net.SetReadDeadline(c.server.options.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.net, lingerBytes)
	}
}

// stream is the connection as go-smtp sees it.
type stream struct {
	conn   *conn
	closed bool
}

// Read gives go-smtp the next command, or the end.
func (s *stream) Read(p []byte) (int, error) {
	c := s.conn
	if s.closed {
		return 0, io.EOF
	}
	if len(c.pending) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// Write takes a piece of a reply.
func (s *stream) Write(p []byte) (int, error) {
	if s.closed {
		return 0, net.ErrClosed
	}
	s.conn.fromServer(p)
	return len(p), nil
}

// Close ends go-smtp's part, and the connection unless go-smtp starts anew.
func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	c := s.conn
	if c.restart {
		c.restart = false
		c.begin()
		return nil
	}
	c.closing = true
	c.end()
	return nil
}

func (s *stream) LocalAddr() net.Addr  { return s.conn.net.LocalAddr() }
func (s *stream) RemoteAddr() net.Addr { return s.conn.net.RemoteAddr() }

// Deadlines are the guard's.
func (s *stream) SetDeadline(time.Time) error      { return nil }
func (s *stream) SetReadDeadline(time.Time) error  { return nil }
func (s *stream) SetWriteDeadline(time.Time) error { return nil }

// single is a listener with one connection.
type single struct {
	conn net.Conn
	addr net.Addr
}

// Accept gives the connection the first time.
func (s *single) Accept() (net.Conn, error) {
	if s.conn == nil {
		return nil, net.ErrClosed
	}
	c := s.conn
	s.conn = nil
	return c, nil
}

// Close does nothing.
func (s *single) Close() error { return nil }

// Addr returns the address that the connection came to.
func (s *single) Addr() net.Addr { return s.addr }
