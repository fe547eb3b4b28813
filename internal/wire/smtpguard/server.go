// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
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
	// LMTP is set where the protocol is LMTP (RFC 2033): LHLO instead of EHLO,
	// and after the content one reply for each recipient.
	LMTP bool
	// MaxSessions is how many connections may be open at once, MaxSessionsPerIP
	// how many from one IPv4 address or IPv6 /64; what exceeds them gets 421.
	// Default: no limit.
	MaxSessions, MaxSessionsPerIP int
	// Connections is what they are counted with. Default: by this server alone.
	Connections *Connections
	// MaxGuesses is how many logins from one IPv4 address or IPv6 /64 may fail,
	// on any number of connections, before its logins get 421 until
	// [GuessWindow] has passed since the last one. Default: no limit.
	MaxGuesses int
	// Guesses is what they are counted with. Default: by this server alone.
	Guesses *Guesses
	// Exempt says for whom MaxSessionsPerIP and MaxGuesses do not hold: those
	// who speak for many. Default: nobody but unix sockets.
	Exempt func(ip netip.Addr) bool
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
	TooManyGuesses  IncidentKind = "too many logins refused"
	TLSFailed       IncidentKind = "tls handshake failed"
	AcceptFailed    IncidentKind = "accepting failed"
	Panicked        IncidentKind = "session panicked"
)

// Server speaks SMTP or LMTP on connections. It is made by [New].
type Server struct {
	options Options
	backend Backend
	turning chan struct{} // a place for each connection that is turned away
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
	if o.Connections == nil {
		o.Connections = NewConnections()
	}
	if o.Guesses == nil {
		o.Guesses = NewGuesses()
	}
	if o.Exempt == nil {
		o.Exempt = func(netip.Addr) bool { return false }
	}
	return &Server{options: o, backend: backend, turning: make(chan struct{}, maxTurningAway)}
}

// Serve speaks with the peers that ln accepts, each in a goroutine of its own,
// until ln is closed; it then returns at once. The open sessions go on until
// they end or ctx does: then those that wait for a command get 421, content
// under way is given up with 421, and what is being committed is finished with
// its reply and 421 after it.
func (s *Server) Serve(ctx context.Context, ln net.Listener) {
	pause := minAcceptPause
	for {
		raw, err := ln.Accept()
		switch {
		case err == nil:
			pause = minAcceptPause
			s.accept(ctx, raw)
		case errors.Is(err, net.ErrClosed):
			return
		default:
			// A listener that looks into connections may fail with one of them.
			s.options.Report(Incident{Kind: AcceptFailed, Err: err})
			wait(ctx, pause)
			pause = min(2*pause, maxAcceptPause)
		}
	}
}

// accept takes raw on, or turns it away. It must not wait for the peer, since
// it holds up all others, and asks raw nothing: a connection that begins with a
// PROXY header answers, even about its address, only when that has come.
func (s *Server) accept(ctx context.Context, raw net.Conn) {
	if s.options.Connections.enter(s.options.MaxSessions) {
		go s.admit(ctx, raw)
		return
	}
	s.options.Report(Incident{Kind: TooManySessions})
	select {
	case s.turning <- struct{}{}:
		go func() {
			s.turnAway(raw)
			<-s.turning
		}()
	default:
		_ = raw.Close()
	}
}

// admit begins a session on raw, unless there are too many of that peer.
func (s *Server) admit(ctx context.Context, raw net.Conn) {
	c := newConn(ctx, s, raw)
	stop := context.AfterFunc(ctx, c.drain)
	c.identify()
	all, limit := s.options.Connections, s.options.MaxSessionsPerIP
	if s.options.Exempt(c.client.IP) {
		limit = 0
	}
	if !all.identify(c.client.IP, limit) {
		s.options.Report(Incident{Kind: TooManySessions, IP: c.client.IP})
		stop()
		s.turnAway(raw)
		all.leave()
		return
	}
	c.left = func() {
		stop()
		all.forget(c.client.IP)
		all.leave()
	}
	c.begin()
}

// turnAway answers a connection that is one too many, and closes it.
func (s *Server) turnAway(raw net.Conn) {
	if !s.options.Implicit {
		_ = raw.SetDeadline(s.options.Now().Add(greetTime))
		_, _ = raw.Write([]byte("421 4.7.0 " + s.options.Hostname + " Too many connections, try again later\r\n"))
	}
	_ = raw.Close()
}

// Sessions returns how many connections are open.
func (s *Server) Sessions() int { return s.options.Connections.Open() }
