// SPDX-License-Identifier: Apache-2.0

package resolver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// tryTimeout bounds one try with one server.
	tryTimeout = 3 * time.Second
	// rounds is how often each server is asked.
	rounds = 2
	// udpSize is the largest answer that is taken by UDP: one that is never
	// cut into fragments (DNS flag day 2020).
	udpSize = 1232
	// maxIdle is how many TLS connections to one server wait for the next
	// question, and idleTime is for how long.
	maxIdle  = 4
	idleTime = 10 * time.Second
)

// Server is a recursive name server.
type Server struct {
	// Address is where it listens.
	Address netip.AddrPort
	// TLS asks it by TLS, not by UDP and TCP. The certificate must be valid
	// for Name, or for the address where Name is empty.
	TLS  bool
	Name string
	// TLSConfig says which authorities to trust; nil for those of the system.
	TLSConfig *tls.Config
	// Trusted makes its proofs count.
	Trusted bool
}

// exchange asks the servers in turn and returns the first answer, and whether
// it is from a trusted server.
func (r *Resolver) exchange(ctx context.Context, q question) (*dns.Msg, bool, error) {
	start := int(r.first.Load())
	var errs []error
	for try := range rounds * len(r.links) {
		i := (start + try) % len(r.links)
		l := r.links[i]
		msg, err := l.ask(ctx, q)
		if err == nil {
			if err = judge(msg, q); err == nil {
				r.first.Store(int32(i)) //nolint:gosec // there are few servers
				return msg, l.server.Trusted, nil
			}
			if l.server.Trusted && msg.Rcode == dns.RcodeServerFailure {
				return nil, false, fmt.Errorf("%s: %w", l.server.Address, err) // perhaps a forgery that it found out
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", l.server.Address, err))
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) > len(r.links) {
		errs = errs[len(errs)-len(r.links):] // the last of each
	}
	return nil, false, errors.Join(errs...)
}

// A link is the way to one server.
type link struct {
	server  Server
	timeout time.Duration
	now     func() time.Time

	mu     sync.Mutex
	idle   []idleConn // TLS only, oldest first
	closed bool
}

type idleConn struct {
	conn  *dns.Conn
	since time.Time
}

// query makes the message that asks q. The AD bit asks the server to say
// whether it has proof (RFC 6840 section 5.7).
func query(q question) *dns.Msg {
	m := new(dns.Msg).SetQuestion(q.name, q.qtype)
	m.AuthenticatedData = true
	m.SetEdns0(udpSize, false)
	return m
}

// ask asks the server once.
func (l *link) ask(ctx context.Context, q question) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	m := query(q)
	if l.server.TLS {
		return l.askTLS(ctx, m)
	}
	msg, err := l.askBy(ctx, "udp", m)
	if err == nil && msg.Truncated && msg.Id == m.Id {
		return l.askBy(ctx, "tcp", m)
	}
	return msg, err
}

// askBy asks on a fresh connection.
func (l *link) askBy(ctx context.Context, network string, m *dns.Msg) (*dns.Msg, error) {
	client := &dns.Client{Net: network, Timeout: l.timeout}
	msg, _, err := client.ExchangeContext(ctx, m, l.server.Address.String())
	return msg, err
}

// askTLS asks on a connection that is open already, or on a fresh one.
func (l *link) askTLS(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	client := &dns.Client{Net: "tcp-tls", Timeout: l.timeout}
	if conn := l.take(); conn != nil {
		if msg, _, err := client.ExchangeWithConnContext(ctx, m, conn); err == nil {
			l.put(conn)
			return msg, nil
		}
		_ = conn.Close() // the server had closed it
	}
	conn, err := l.dialTLS(ctx)
	if err != nil {
		return nil, err
	}
	msg, _, err := client.ExchangeWithConnContext(ctx, m, conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	l.put(conn)
	return msg, nil
}

// dialTLS opens a connection.
func (l *link) dialTLS(ctx context.Context) (*dns.Conn, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if l.server.TLSConfig != nil {
		config = l.server.TLSConfig.Clone()
	}
	if config.ServerName = l.server.Name; config.ServerName == "" {
		config.ServerName = l.server.Address.Addr().String()
	}
	nc, err := (&tls.Dialer{NetDialer: new(net.Dialer), Config: config}).DialContext(ctx, "tcp", l.server.Address.String())
	if err != nil {
		return nil, err
	}
	return &dns.Conn{Conn: nc}, nil
}

// take returns an idle connection, the last used first, or nil.
func (l *link) take() *dns.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for n := len(l.idle); n > 0; n-- {
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		if now.Sub(c.since) < idleTime {
			return c.conn
		}
		_ = c.conn.Close()
	}
	return nil
}

// put takes a connection back, and closes one that there is no place for.
func (l *link) put(conn *dns.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.idle) >= maxIdle {
		_ = conn.Close()
		return
	}
	l.idle = append(l.idle, idleConn{conn, l.now()})
}

// close closes the idle connections.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.idle {
		_ = c.conn.Close()
	}
	l.idle = nil
}
