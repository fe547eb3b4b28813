// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Conn is an open connection to a next hop, greeted and logged in. It serves
// one attempt after the other and is not safe for concurrent use.
type Conn struct {
	cfg *Config
	raw net.Conn // as dialled
	nc  net.Conn // raw, or TLS on it
	r   *bufio.Reader
	out []byte // commands that wait for flush

	ext      Extensions
	state    *tls.ConnectionState // nil in clear
	verified bool                 // the TLS peer is who it should be
	loopback bool                 // the peer is on this machine

	opened time.Time
	idle   time.Time // since when
	sent   int       // transactions so far

	dirty   bool            // a transaction is open: RSET before the next
	dead    bool            // not fit for another transaction
	goodbye *mailflow.Reply // the 421 that the server said last
}

// newConn wraps nc.
func newConn(cfg *Config, nc net.Conn) *Conn {
	return &Conn{
		cfg: cfg, raw: nc, nc: nc, r: bufio.NewReaderSize(nc, maxReplyLine),
		opened: cfg.Now(), loopback: isLoopback(nc.RemoteAddr()),
	}
}

// isLoopback reports whether addr is on this machine.
func isLoopback(addr net.Addr) bool {
	if addr.Network() == "unix" {
		return true
	}
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// Extensions returns what the server offers.
func (c *Conn) Extensions() Extensions { return c.ext }

// Close closes the connection at once.
func (c *Conn) Close() error {
	c.dead = true
	return c.raw.Close()
}

// Quit says good-bye and closes the connection. It waits no longer than the
// Quit timeout, and errors of the peer are of no interest any more.
func (c *Conn) Quit() {
	if !c.dead {
		c.put("QUIT")
		deadline := c.cfg.Now().Add(c.cfg.Timeouts.Quit)
		if c.raw.SetDeadline(deadline) == nil {
			if _, err := c.nc.Write(c.out); err == nil {
				_, _ = readReply(c.r, func() error { return nil })
			}
		}
	}
	_ = c.Close()
}

// bind makes the connection end with ctx until release is called. After that
// the connection is dead if ctx ended meanwhile.
func (c *Conn) bind(ctx context.Context) (release func()) {
	raw := c.raw
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	return func() {
		if !stop() {
			c.dead = true
		}
	}
}

// put appends a command line to what flush sends.
func (c *Conn) put(parts ...string) {
	for _, p := range parts {
		c.out = append(c.out, p...)
	}
	c.out = append(c.out, "\r\n"...)
}

// flush sends the commands in one write.
func (c *Conn) flush() error {
	_, err := c.Write(c.out)
	c.out = c.out[:0]
	return err
}

// Write sends p as it is. Its deadline moves on with each call, so the caller
// writes in blocks.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.nc.SetWriteDeadline(c.cfg.Now().Add(c.cfg.Timeouts.Block)); err != nil {
		return 0, err
	}
	return c.nc.Write(p)
}

// read reads one reply; its lines may be timeout apart. The connection is dead
// after an error and after a 421 (RFC 5321 section 3.8).
func (c *Conn) read(timeout time.Duration) (reply, error) {
	rep, err := readReply(c.r, func() error {
		return c.nc.SetReadDeadline(c.cfg.Now().Add(timeout))
	})
	if err != nil {
		c.dead = true
		return reply{}, err
	}
	if rep.code == 421 {
		c.dead, c.goodbye = true, rep.public()
	}
	return rep, nil
}

// command sends one command and reads its reply.
func (c *Conn) command(timeout time.Duration, parts ...string) (reply, error) {
	c.put(parts...)
	if err := c.flush(); err != nil {
		c.dead = true
		return reply{}, err
	}
	return c.read(timeout)
}

// reset ends an open transaction.
func (c *Conn) reset() error {
	rep, err := c.command(c.cfg.Timeouts.Command, "RSET")
	switch {
	case err != nil:
		return fmt.Errorf("resetting the connection: %w", err)
	case rep.code/100 != 2:
		c.dead = true
		return fmt.Errorf("resetting the connection: %s", rep.public().String())
	}
	c.dirty = false
	return nil
}
