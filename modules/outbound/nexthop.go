// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// TLSMode says how a connection is protected.
type TLSMode string

// The modes.
const (
	TLSStart    TLSMode = "starttls"
	TLSImplicit TLSMode = "implicit"
	TLSOff      TLSMode = "off"
)

// tlsModes are all of them.
var tlsModes = []TLSMode{TLSStart, TLSImplicit, TLSOff}

// submissionsPort is the port of implicit TLS (RFC 8314 section 7.3).
const submissionsPort = 465

// NextHop is a server that takes mail. Placeholders in its address, user and
// password are replaced each time a connection is opened: a password that has
// changed on disk counts from then on. An open connection waits 30 seconds
// for the next message, and serves at most 10 minutes or 1000 messages.
type NextHop struct {
	// Where the server listens: HOST, HOST:PORT or unix//path/of/socket. The
	// host is looked up as the machine does, /etc/hosts included, and its
	// addresses are tried in order.
	// Default port: 587, with implicit TLS 465; of LMTP 24.
	Address string `json:"address,omitempty"`

	// How the connection is protected. `starttls` asks for TLS in the session
	// and sends nothing without it; `implicit` speaks TLS from the first byte;
	// `off` sends in clear. The certificate must be valid and be for the host.
	// Default: `implicit` on port 465, else `starttls`. On a loopback address
	// or a unix socket TLS is used when the server offers it, whatever its
	// certificate is, since nobody stands between.
	TLS TLSMode `json:"tls,omitempty"`

	// The user to log in as. A password is never sent in clear, unless the
	// server is on this machine.
	// Default: no login.
	Auth *Login `json:"auth,omitempty"`

	// The longest time that the server may be silent.
	// Default: what RFC 5321 section 4.5.3.2 demands, 2 to 10 minutes.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	protocol smtprelay.Protocol
	hello    string
	roots    *x509.CertPool // nil = those of the system
	sessions tls.ClientSessionCache
	pool     *smtprelay.Pool
}

// setUp prepares h. It opens nothing.
func (h *NextHop) setUp(ctx context.Context, protocol smtprelay.Protocol) error {
	h.protocol = protocol
	h.sessions = tls.NewLRUClientSessionCache(0)
	h.pool = &smtprelay.Pool{Now: time.Now}
	return h.Auth.setUp(ctx)
}

// Validate checks h as far as it can be known before placeholders are
// replaced.
func (h *NextHop) Validate() error {
	if h.Address == "" {
		return fmt.Errorf("no server address: %w, or the provider's preset, such as preset postmark", errAddress)
	}
	if h.TLS != "" && !slices.Contains(tlsModes, h.TLS) {
		return fmt.Errorf("tls %q is none of %q", h.TLS, tlsModes)
	}
	if h.Timeout < 0 {
		return fmt.Errorf("timeout %s is negative", time.Duration(h.Timeout))
	}
	if err := h.Auth.validate(); err != nil {
		return err
	}
	if strings.Contains(h.Address, "{") {
		return nil
	}
	a, err := parseAddress(h.Address)
	if err != nil {
		return err
	}
	if h.Auth != nil && h.TLS == TLSOff && !a.loopback() {
		return fmt.Errorf("auth with tls off would send the password to %s in clear: write tls starttls or tls implicit", a.host)
	}
	return nil
}

// UseServices takes the name that the gateway says hello with.
func (h *NextHop) UseServices(s *mailflow.Services) error {
	h.hello = s.Hostname
	return nil
}

// Deliver implements [mailflow.Transport].
func (h *NextHop) Deliver(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	key, err := resolve("server address", h.Address)
	if err != nil {
		return nil, unusable(err)
	}
	return h.pool.Deliver(ctx, key, h.dial, a)
}

// dial opens a connection.
func (h *NextHop) dial(ctx context.Context) (*smtprelay.Conn, error) {
	cfg, err := h.config()
	if err != nil {
		return nil, unusable(err)
	}
	return smtprelay.Dial(ctx, cfg)
}

// unusable marks an error of the configuration: no mail can go this way now,
// and none is at fault.
func unusable(err error) error { return fmt.Errorf("%w: %w", mailflow.ErrUnreachable, err) }

// config returns what to dial, with the placeholders of now.
func (h *NextHop) config() (smtprelay.Config, error) {
	cfg, err := h.Target()
	if err == nil {
		cfg.Login, err = h.Auth.login()
	}
	return cfg, err
}

// Target returns what to dial, with the placeholders of now and without the
// login.
func (h *NextHop) Target() (smtprelay.Config, error) {
	text, err := resolve("server address", h.Address)
	if err != nil {
		return smtprelay.Config{}, err
	}
	a, err := parseAddress(text)
	if err != nil {
		return smtprelay.Config{}, err
	}
	cfg := smtprelay.Config{
		Protocol: h.protocol, Host: a.host, Port: a.port, Path: a.path, Hello: h.hello,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: h.roots, ClientSessionCache: h.sessions},
		Timeouts:  smtprelay.AtMost(time.Duration(h.Timeout)), Now: time.Now,
	}
	h.protect(&cfg, a)
	return cfg, nil
}

// protect sets the TLS mode, and the port that follows from it.
func (h *NextHop) protect(cfg *smtprelay.Config, a address) {
	switch {
	case h.TLS == TLSOff:
		cfg.TLS = smtprelay.TLSOff
	case h.TLS == TLSImplicit, h.TLS == "" && a.port == submissionsPort:
		cfg.TLS = smtprelay.TLSImplicit
	case h.TLS == "" && a.loopback():
		cfg.TLS = smtprelay.TLSOptional
		cfg.TLSConfig.InsecureSkipVerify = true // clear text would do here too
	default:
		cfg.TLS = smtprelay.TLSRequired
	}
	if cfg.Port != 0 {
		return
	}
	switch {
	case h.protocol == smtprelay.LMTP:
		cfg.Port = 24
	case cfg.TLS == smtprelay.TLSImplicit:
		cfg.Port = submissionsPort
	default:
		cfg.Port = 587
	}
}

// Test implements [mailflow.Tester].
func (h *NextHop) Test(ctx context.Context, from, rcpt mailflow.Address) mailflow.TestReport {
	cfg, err := h.config()
	if err != nil {
		return mailflow.TestReport{Steps: []mailflow.TestStep{{
			Name: string(smtprelay.StageResolve), Error: err.Error(),
			Hint: "Correct the option in the outgoing block, or give the placeholder a value where the server runs.",
		}}, Unproven: []string{"Nothing was tried."}}
	}
	return smtprelay.Probe(ctx, cfg, from, rcpt, func(stage smtprelay.Stage, err error) string { return hint(&cfg, stage, err) })
}

// Account implements [mailflow.AccountTransport].
func (h *NextHop) Account() (string, error) {
	if h.Auth == nil {
		return "", nil
	}
	return resolve("user", h.Auth.User)
}

// Endpoint returns the host and the TCP port that mail is handed over at, with
// the placeholders of now. The host is empty where that is a unix socket.
func (h *NextHop) Endpoint() (host string, port uint16, err error) {
	cfg, err := h.Target()
	if err != nil || cfg.Path != "" {
		return "", 0, err
	}
	return cfg.Host, cfg.Port, nil
}

// Close closes the idle connections.
func (h *NextHop) Close() error { return h.pool.Close() }

// UnmarshalCaddyfile sets up h from Caddyfile tokens. Syntax:
//
//	via smtp|lmtp <address> {
//	    tls     starttls|implicit|off
//	    auth    plain|login <user> <password>
//	    auth    oauth2 google|microsoft|<issuer URL> {
//	        client|secret|user|scope|tenant|grant ...
//	    }
//	    timeout <duration>
//	}
func (h *NextHop) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Block{Args: caddyblock.Words(&h.Address), Options: h.options()}.Read(d)
}

// options is the table of h's block. Syntax:
//
//	tls     starttls|implicit|off
//	auth    plain|login <user> <password>
//	auth    oauth2 google|microsoft|<issuer URL> { ... }
//	timeout <duration>
func (h *NextHop) options() caddyblock.Options {
	return caddyblock.Options{
		"tls":     caddyblock.Enum(&h.TLS, tlsModes...),
		"auth":    caddyblock.Func(h.unmarshalAuth),
		"timeout": caddyblock.Duration(&h.Timeout),
	}
}

// Interface guards
var (
	_ caddy.Validator           = (*NextHop)(nil)
	_ caddyfile.Unmarshaler     = (*NextHop)(nil)
	_ mailflow.AccountTransport = (*NextHop)(nil)
	_ mailflow.Tester           = (*NextHop)(nil)
	_ mailflow.ServicesUser     = (*NextHop)(nil)
)
