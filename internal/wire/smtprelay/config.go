// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"
)

// Protocol is what a next hop speaks.
type Protocol int

// The protocols.
const (
	// SMTP is RFC 5321.
	SMTP Protocol = iota
	// LMTP is RFC 2033: LHLO, and one reply for each recipient.
	LMTP
)

// TLSMode says how a connection is protected.
type TLSMode int

// The modes.
const (
	// TLSRequired starts TLS by STARTTLS (RFC 3207) and sends nothing without.
	TLSRequired TLSMode = iota
	// TLSImplicit speaks TLS from the first byte (RFC 8314 section 3).
	TLSImplicit
	// TLSOptional starts TLS when the server offers it, and goes on in clear
	// when it does not or answers that it cannot at the moment.
	TLSOptional
	// TLSOff never starts TLS.
	TLSOff
)

// Config says how to reach a next hop. It is not changed by this package.
type Config struct {
	// Protocol is what the next hop speaks.
	Protocol Protocol
	// Host is a host name or an IP address, Port its TCP port.
	Host string
	Port uint16
	// Path is a unix socket; it takes the place of Host and Port.
	Path string
	// Hello is the name that EHLO gives; empty for "localhost".
	Hello string

	// TLS says how the connection is protected.
	TLS TLSMode
	// TLSConfig says whom to trust. Its ServerName is Host where it is empty.
	// A connection counts as verified unless it skips verification without a
	// VerifyConnection of its own. It may be nil.
	TLSConfig *tls.Config
	// Login logs in where it is not nil.
	Login *Login

	// Resolve returns the addresses of Host in the order in which they are
	// tried. It is not asked for an IP address and for localhost. It may be
	// nil for the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial opens a connection; nil for that of [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Timeouts says how long the server may be silent.
	Timeouts Timeouts
	// Now is the clock.
	Now func() time.Time
}

// Login is a user and the way to prove it.
type Login struct {
	// Mechanism is PLAIN (RFC 4616) or LOGIN, in upper case.
	Mechanism string
	User      string
	Password  string
	// Token takes the place of Mechanism and Password: the login is by
	// XOAUTH2 or OAUTHBEARER (RFC 7628), whichever the server offers, with the
	// access token that it returns. It is asked again at most once, with the
	// token that the server has refused; if it returns that one again, the
	// login has failed.
	Token func(ctx context.Context, rejected string) (string, error)
}

// withDefaults returns a copy of cfg with the hooks and timeouts set.
func (cfg Config) withDefaults() *Config {
	if cfg.Hello == "" {
		cfg.Hello = "localhost"
	}
	if cfg.Resolve == nil {
		cfg.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	cfg.Timeouts = cfg.Timeouts.withDefaults()
	return &cfg
}

// tlsConfig returns the configuration of the handshake.
func (cfg *Config) tlsConfig() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.TLSConfig != nil {
		c = cfg.TLSConfig.Clone()
	}
	if c.ServerName == "" {
		c.ServerName = cfg.Host
	}
	return c
}
