// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Options says how a [Server] behaves.
type Options struct {
	// Hostname is the name in the greeting and in the reply to EHLO.
	Hostname string
	// TLS returns the TLS configuration, or nil while there is none. It is
	// asked at each connection and each EHLO. Default: no TLS.
	TLS func() *tls.Config
	// Implicit is set where TLS comes before the greeting (RFC 8314).
	Implicit bool
	// MaxSessions is how many sessions may be open at once, MaxSessionsPerIP
	// how many from one address; what exceeds them gets 421. Default: no limit.
	MaxSessions, MaxSessionsPerIP int
	// Timeouts bound what a peer may take.
	Timeouts Timeouts
	// Now is the clock of all deadlines. It is required.
	Now func() time.Time
	// Report is told what is refused before there is a transaction. It is
	// called by many sessions at once. Default: nobody is told.
	Report func(Incident)
	// Debug is told what go-smtp says of itself. Default: nobody is told.
	Debug func(text string)
}

// Incident is something that the guard did on its own.
type Incident struct {
	// Kind says what it was.
	Kind IncidentKind
	// IP is the peer's address; invalid on unix sockets.
	IP netip.Addr
	// User is the name that a login failed for.
	User string
	// Err is the cause; nil if there is no more to say.
	Err error
}

// IncidentKind is a kind of [Incident].
type IncidentKind string

// The kinds.
const (
	AuthFailed      IncidentKind = "login refused"
	TooManyErrors   IncidentKind = "too many errors"
	TooManySessions IncidentKind = "too many sessions"
	TLSFailed       IncidentKind = "tls handshake failed"
	Panicked        IncidentKind = "session panicked"
)

// Server speaks SMTP on connections. It is made by [New].
type Server struct {
	options Options
	backend Backend

	mu    sync.Mutex
	conns map[*conn]struct{}
	perIP map[netip.Addr]int
}

// New returns a Server for backend.
func New(o Options, backend Backend) *Server {
	o.Timeouts = o.Timeouts.withDefaults()
	if o.TLS == nil {
		o.TLS = func() *tls.Config { return nil }
	}
	if o.Report == nil {
		o.Report = func(Incident) {}
	}
	if o.Debug == nil {
		o.Debug = func(string) {}
	}
	return &Server{options: o, backend: backend, conns: make(map[*conn]struct{}), perIP: make(map[netip.Addr]int)}
}

// Serve speaks with the peers that ln accepts, each in a goroutine of its own,
// until Accept fails; it then returns at once. The open sessions go on until
// they end or ctx does: then those that wait for a command get 421, content
// under way is given up with 421, and what is being committed is finished with
// its reply and 421 after it.
func (s *Server) Serve(ctx context.Context, ln net.Listener) {
	for {
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		s.accept(ctx, raw)
	}
}

// accept begins a session on raw, or turns it away.
func (s *Server) accept(ctx context.Context, raw net.Conn) {
	c := newConn(ctx, s, raw)
	if !s.enter(c) {
		s.options.Report(Incident{Kind: TooManySessions, IP: c.client.IP})
		s.turnAway(raw)
		return
	}
	stop := context.AfterFunc(ctx, c.drain)
	c.left = func() {
		stop()
		s.leave(c)
	}
	c.begin()
}

// turnAway answers a connection that is one too many. It must not wait for the
// peer, since it holds up all others; on a fresh connection the reply fits the
// socket's buffer.
func (s *Server) turnAway(raw net.Conn) {
	if !s.options.Implicit {
		_ = raw.SetWriteDeadline(s.options.Now().Add(greetTime))
		_, _ = raw.Write([]byte("421 4.7.0 " + s.options.Hostname + " Too many connections, try again later\r\n"))
	}
	_ = raw.Close()
}

// enter counts c, unless it is one too many.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ip := s.options, c.client.IP
	if o.MaxSessions > 0 && len(s.conns) >= o.MaxSessions {
		return false
	}
	if o.MaxSessionsPerIP > 0 && ip.IsValid() && s.perIP[ip] >= o.MaxSessionsPerIP {
		return false
	}
	s.conns[c] = struct{}{}
	if ip.IsValid() {
		s.perIP[ip]++
	}
	return true
}

// leave counts c no longer.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	ip := c.client.IP
	if !ip.IsValid() {
		return
	}
	if s.perIP[ip]--; s.perIP[ip] <= 0 {
		delete(s.perIP, ip)
	}
}

// Sessions returns how many sessions are open.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}
