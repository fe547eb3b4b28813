// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// maxAddresses is the most addresses of a host that are tried: a resolver that
// answers with hundreds must not hold an attempt for hours.
const maxAddresses = 8

// Dial opens a connection. The attempt to do so ends with ctx; the connection
// itself outlives it. Errors are a [StageError].
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	return open(ctx, cfg.withDefaults(), func(_ Stage, step func() (string, error)) error {
		_, err := step()
		return err
	})
}

// A runner does one step of opening a connection. The step returns what came
// back, for the operator.
type runner func(stage Stage, step func() (detail string, err error)) error

// open opens a connection, each step by run.
func open(ctx context.Context, cfg *Config, run runner) (*Conn, error) {
	c, err := reach(ctx, cfg, run)
	if err == nil {
		release := c.bind(ctx)
		err = c.start(ctx, run)
		release()
		if err == nil && c.dead {
			err = broken(StageHello, net.ErrClosed)
		}
	}
	if err == nil {
		return c, nil
	}
	if c != nil {
		_ = c.Close()
	}
	if cause := context.Cause(ctx); cause != nil {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	return nil, err
}

// reach looks the server up and connects.
func reach(ctx context.Context, cfg *Config, run runner) (c *Conn, err error) {
	var targets []target
	err = run(StageResolve, func() (detail string, err error) {
		targets, detail, err = resolve(ctx, cfg)
		return detail, broken(StageResolve, err)
	})
	if err != nil {
		return nil, err
	}
	err = run(StageConnect, func() (detail string, err error) {
		c, detail, err = connect(ctx, cfg, targets)
		return detail, broken(StageConnect, err)
	})
	return c, err
}

// A target is an address to dial.
type target struct{ network, address string }

// resolve returns what to dial.
func resolve(ctx context.Context, cfg *Config) ([]target, string, error) {
	if cfg.Path != "" {
		return []target{{"unix", cfg.Path}}, cfg.Path, nil
	}
	var ips []netip.Addr
	if ip, err := netip.ParseAddr(cfg.Host); err == nil {
		ips = []netip.Addr{ip}
	} else if strings.EqualFold(cfg.Host, "localhost") {
		ips = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	} else if ips, err = cfg.Resolve(ctx, cfg.Host); err != nil {
		return nil, "", fmt.Errorf("host %s: %w", cfg.Host, err)
	}
	if len(ips) == 0 {
		return nil, "", fmt.Errorf("host %s has no address", cfg.Host)
	}
	var targets []target
	var names []string
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		targets = append(targets, target{"tcp", net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(int(cfg.Port)))})
		names = append(names, ip.Unmap().String())
	}
	return targets, strings.Join(names, ", "), nil
}

// connect returns a connection to the first of targets that greets.
func connect(ctx context.Context, cfg *Config, targets []target) (*Conn, string, error) {
	var errs []error
	for _, t := range targets {
		c, detail, err := connectTo(ctx, cfg, t)
		if err == nil {
			return c, detail, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 1 {
		return nil, "", errs[0]
	}
	return nil, "", errors.Join(errs...)
}

// connectTo dials one address and reads the greeting, which with implicit TLS
// comes after the handshake: there start reads it.
func connectTo(ctx context.Context, cfg *Config, t target) (*Conn, string, error) {
	dialing, cancel := context.WithTimeout(ctx, cfg.Timeouts.Connect)
	defer cancel()
	nc, err := cfg.Dial(dialing, t.network, t.address)
	if err != nil {
		return nil, "", err
	}
	c := newConn(cfg, nc)
	if cfg.TLS == TLSImplicit {
		return c, t.address, nil
	}
	release := c.bind(ctx)
	greeting, err := c.greeted(StageConnect)
	release()
	if err != nil {
		_ = c.Close()
		return nil, "", err
	}
	return c, t.address + ", " + greeting, nil
}

// greeted reads the greeting.
func (c *Conn) greeted(stage Stage) (string, error) {
	rep, err := c.read(c.cfg.Timeouts.Command)
	switch {
	case err != nil:
		return "", broken(stage, fmt.Errorf("waiting for the greeting of %s: %w", c.raw.RemoteAddr(), err))
	case rep.code != 220:
		return "", refused(stage, rep)
	}
	return rep.public().String(), nil
}

// start goes from the connection to a server that is ready for mail.
func (c *Conn) start(ctx context.Context, run runner) error {
	hello := func() (string, error) { return c.hello() }
	if c.cfg.TLS == TLSImplicit {
		err := run(StageTLS, func() (string, error) { return c.handshake(ctx) })
		if err != nil {
			return err
		}
		hello = func() (string, error) {
			if _, err := c.greeted(StageHello); err != nil {
				return "", err
			}
			return c.hello()
		}
	}
	if err := run(StageHello, hello); err != nil {
		return err
	}
	if c.cfg.TLS == TLSRequired || c.cfg.TLS == TLSOptional && c.ext.StartTLS {
		err := run(StageTLS, func() (string, error) { return c.startTLS(ctx) })
		if err != nil {
			return err
		}
	}
	if c.cfg.Login == nil {
		return nil
	}
	return run(StageAuth, func() (string, error) { return "as " + c.cfg.Login.User, c.auth(ctx, c.cfg.Login) })
}

// hello says EHLO, or LHLO, and HELO to a server that knows no EHLO.
func (c *Conn) hello() (string, error) {
	if !checkWord(c.cfg.Hello) {
		return "", broken(StageHello, fmt.Errorf("%q is no host name to say hello with", c.cfg.Hello))
	}
	verb := "EHLO "
	if c.cfg.Protocol == LMTP {
		verb = "LHLO "
	}
	rep, err := c.command(c.cfg.Timeouts.Command, verb, c.cfg.Hello)
	if err == nil && rep.code/100 == 5 && c.cfg.Protocol == SMTP && !c.dead {
		rep, err = c.command(c.cfg.Timeouts.Command, "HELO ", c.cfg.Hello)
		rep.lines = rep.lines[:min(1, len(rep.lines))]
	}
	switch {
	case err != nil:
		return "", broken(StageHello, err)
	case rep.code != 250:
		return "", refused(StageHello, rep)
	}
	c.ext = parseExtensions(rep)
	return c.ext.Name + " offers " + strings.Join(c.ext.Keywords, " "), nil
}

// startTLS protects the connection by STARTTLS and says hello again.
func (c *Conn) startTLS(ctx context.Context) (string, error) {
	if !c.ext.StartTLS {
		return "", broken(StageTLS, ErrNoSTARTTLS)
	}
	rep, err := c.command(c.cfg.Timeouts.Command, "STARTTLS")
	switch {
	case err != nil:
		return "", broken(StageTLS, err)
	case rep.code != 220 && c.cfg.TLS == TLSOptional && !c.dead:
		return "not used: server answered " + rep.public().String(), nil
	case rep.code != 220:
		return "", refused(StageTLS, rep)
	case c.r.Buffered() > 0:
		// Somebody on the way put in replies that would count as protected.
		return "", broken(StageTLS, errors.New("bytes in clear after the reply to STARTTLS"))
	}
	detail, err := c.handshake(ctx)
	if err != nil {
		return "", err
	}
	_, err = c.hello()
	return detail, err
}

// handshake makes the connection a TLS one.
func (c *Conn) handshake(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeouts.TLS)
	defer cancel()
	if err := c.raw.SetDeadline(c.cfg.Now().Add(c.cfg.Timeouts.TLS)); err != nil {
		return "", broken(StageTLS, err)
	}
	conf := c.cfg.tlsConfig()
	tc := tls.Client(c.raw, conf)
	if err := tc.HandshakeContext(ctx); err != nil {
		return "", broken(StageTLS, err)
	}
	state := tc.ConnectionState()
	c.nc, c.state = tc, &state
	c.verified = !conf.InsecureSkipVerify || conf.VerifyConnection != nil
	c.r.Reset(tc)
	return c.describeTLS(), nil
}

// describeTLS says what the handshake led to.
func (c *Conn) describeTLS() string {
	state := c.state
	s := tls.VersionName(state.Version) + ", " + tls.CipherSuiteName(state.CipherSuite)
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		names := slices.Clone(leaf.DNSNames)
		for _, ip := range leaf.IPAddresses {
			names = append(names, ip.String())
		}
		s += ", certificate for " + strings.Join(names, " ") + " until " + leaf.NotAfter.UTC().Format("2006-01-02")
	}
	if !c.verified {
		s += ", not verified"
	}
	return s
}
