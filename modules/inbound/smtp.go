// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtpguard"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(SMTP))
}

// Defaults and bounds of a door.
const (
	defaultMaxSize       = 35 << 20
	defaultMaxRecipients = 100   // RFC 5321 section 4.5.3.1.8: at least
	maxMaxRecipients     = 10000 // each costs memory and a decision at RCPT
	// maxSessions bounds the memory of a door under attack: about 20 KiB each.
	maxSessions = 10000
)

// SMTP is a door that takes mail by SMTP. It receives mail for our domains, or
// takes mail to the world from those who may submit, or both.
//
// Written neither receive nor submit, a door on loopback or a unix socket does
// both and trusts loopback; any other door receives.
type SMTP struct {
	// The addresses to listen on, such as ":25" or "unix//run/mail.sock".
	// At least one is required.
	Listen []string `json:"listen,omitempty"`

	// Takes mail for our domains from anybody. Default: see above.
	Receive bool `json:"receive,omitempty"`

	// Takes mail to the world from users who have logged in, and from the
	// networks it names. Default: see above.
	Submit *Submit `json:"submit,omitempty"`

	// The users who may log in, by name. Default: none.
	Users map[string]*User `json:"users,omitempty"`

	// The domain of ours that mail belongs to when nothing else says.
	// Default: none.
	Domain string `json:"domain,omitempty"`

	// Encryption: "auto" offers it as soon as there is a certificate, "off"
	// never. Default: auto
	TLS TLSMode `json:"tls,omitempty"`

	// The largest message, in bytes. Default: 36700160 (35 MiB)
	MaxSize int64 `json:"max_size,omitempty"`

	// The largest number of recipients of a message. Default: 100
	MaxRecipients int `json:"max_recipients,omitempty"`

	// The listener's name, as `name` in the Caddyfile gives it to the app, which
	// makes it the key under listeners. Default: that key
	Name string `json:"name,omitempty"`

	networks []netip.Prefix
	receive  bool
	submit   bool
	trusts   bool // loopback, by default
	hostname string
	log      *zap.Logger
}

// Submit says who may submit without logging in.
type Submit struct {
	// The networks whose peers need no login, as CIDR or single addresses.
	// Default: none
	Networks []string `json:"networks,omitempty"`
}

// TLSMode says whether a door encrypts.
type TLSMode string

// The modes.
const (
	TLSAuto TLSMode = "auto"
	TLSOff  TLSMode = "off"
)

// CaddyModule returns the Caddy module information.
func (*SMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.listeners.smtp", New: func() caddy.Module { return new(SMTP) }}
}

// Provision sets the defaults and works the roles out.
func (s *SMTP) Provision(ctx caddy.Context) error {
	s.log = ctx.Logger()
	if s.TLS == "" {
		s.TLS = TLSAuto
	}
	if s.MaxSize == 0 {
		s.MaxSize = defaultMaxSize
	}
	if s.MaxRecipients == 0 {
		s.MaxRecipients = defaultMaxRecipients
	}
	if s.Domain != "" {
		d, err := mailflow.NormalizeDomain(s.Domain)
		if err != nil {
			return fmt.Errorf("reading domain: %w", err)
		}
		s.Domain = d
	}
	for name, u := range s.Users {
		if err := u.provision(name); err != nil {
			return fmt.Errorf("reading user %q: %w", name, err)
		}
	}
	return s.provisionRoles()
}

// provisionRoles works out what the door does and whom it trusts.
func (s *SMTP) provisionRoles() error {
	s.receive, s.submit = s.Receive, s.Submit != nil
	if !s.receive && !s.submit {
		s.receive = true
		if local, err := onlyLocal(s.Listen); err != nil {
			return err
		} else if local {
			s.submit, s.trusts = true, true
		}
	}
	if s.Submit == nil {
		return nil
	}
	for _, text := range s.Submit.Networks {
		p, err := readNetwork(text)
		if err != nil {
			return fmt.Errorf("reading submit: %w", err)
		}
		s.networks = append(s.networks, p)
	}
	return nil
}

// Validate refuses what would make an open relay, or a door for nobody.
func (s *SMTP) Validate() error {
	if len(s.Listen) == 0 {
		return errors.New("no address to listen on: name one, such as :25")
	}
	if s.TLS != TLSAuto && s.TLS != TLSOff {
		return fmt.Errorf("tls %q is neither %q nor %q", s.TLS, TLSAuto, TLSOff)
	}
	if s.MaxSize < 0 {
		return fmt.Errorf("max_size %d is negative", s.MaxSize)
	}
	if s.MaxRecipients < 1 || s.MaxRecipients > maxMaxRecipients {
		return fmt.Errorf("max_recipients %d is not between 1 and %d", s.MaxRecipients, maxMaxRecipients)
	}
	for _, p := range s.networks {
		if err := checkTrusted(p); err != nil {
			return err
		}
	}
	if len(s.Users) > 0 && !s.submit {
		return errors.New("users may log in only where mail is submitted: add submit, or remove the users")
	}
	return nil
}

// UseServices implements [mailflow.ServicesUser].
func (s *SMTP) UseServices(services *mailflow.Services) error {
	s.hostname = services.Hostname
	if err := s.checkDomains(services.Domains); err != nil {
		return err
	}
	domains := map[string]string{"": s.Domain}
	for name, u := range s.Users {
		domains[name] = u.Domain
	}
	for name, d := range domains {
		if d == "" || services.Domains.Find(d) != nil {
			continue
		}
		if name != "" {
			return fmt.Errorf("user %q: domain %s is none of ours: add a domain block", name, d)
		}
		return fmt.Errorf("domain %s is none of ours: add a domain block", d)
	}
	return nil
}

// checkDomains refuses a door that takes mail of which nothing says to which of
// several domains it belongs.
func (s *SMTP) checkDomains(ds mailflow.Domains) error {
	if !s.submit || len(ds) < 2 || ds.Default() != nil || s.Domain != "" {
		return nil
	}
	if s.trusts || len(s.networks) > 0 {
		return errors.New("there are several domains: let one domain block say default, or the listener name its domain")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Users)) {
		if s.Users[name].Domain == "" {
			return fmt.Errorf("there are several domains: let one domain block say default, or user %q name its domain", name)
		}
	}
	return nil
}

// SetName tells the listener the name that the app knows it by, which is what
// matchers and logs call it. It is called once, before the first use.
func (s *SMTP) SetName(name string) { s.Name = name }

// Addresses returns the addresses to listen on, as configured.
func (s *SMTP) Addresses() []string { return s.Listen }

// Serve implements [mailflow.Listener].
func (s *SMTP) Serve(ctx context.Context, ln net.Listener, gate mailflow.Gate) error {
	hostname := s.hostname
	if hostname == "" {
		hostname = "localhost"
	}
	guard := smtpguard.New(smtpguard.Options{
		Hostname:    hostname,
		MaxSessions: maxSessions,
		Now:         time.Now,
		Report:      s.report,
		Debug:       func(text string) { s.log.Debug("protocol library says", zap.String("text", text)) },
	}, &backend{door: s, gate: gate})
	guard.Serve(ctx, ln)
	return nil
}

// report logs what the guard did on its own.
func (s *SMTP) report(i smtpguard.Incident) {
	fields := []zap.Field{zap.String("listener", s.Name), zap.Stringer("ip", i.IP)}
	if i.User != "" {
		fields = append(fields, zap.String("user", i.User))
	}
	if i.Err != nil {
		fields = append(fields, zap.Error(i.Err))
	}
	switch i.Kind {
	case smtpguard.AuthFailed:
		s.log.Warn("login refused", fields...)
	case smtpguard.TooManyErrors:
		s.log.Info("session closed after too many errors", fields...)
	case smtpguard.TooManySessions:
		s.log.Warn("connection refused, too many sessions", fields...)
	case smtpguard.TLSFailed:
		s.log.Info("tls handshake failed", fields...)
	case smtpguard.Panicked:
		s.log.Error("session panicked", fields...)
	}
}

// UnmarshalCaddyfile reads a door. Syntax:
//
//	smtp ADDRESS [ADDRESS...] {
//		name           NAME
//		receive
//		submit         [NETWORK...]
//		user           NAME HASH {
//			domain DOMAIN
//		}
//		domain         DOMAIN
//		tls            off
//		max_size       SIZE
//		max_recipients NUMBER
//	}
func (s *SMTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return caddyblock.Block{
		Args: caddyblock.Strings(&s.Listen),
		Options: caddyblock.Options{
			"name":           caddyblock.String(&s.Name),
			"receive":        caddyblock.Flag(&s.Receive),
			"submit":         caddyblock.Func(s.readSubmit).Many(),
			"user":           caddyblock.Func(s.readUser).Many(),
			"domain":         caddyblock.String(&s.Domain),
			"tls":            caddyblock.Enum(&s.TLS, TLSOff),
			"max_size":       caddyblock.Size(&s.MaxSize),
			"max_recipients": caddyblock.Int(&s.MaxRecipients, 1, maxMaxRecipients),
		},
	}.Read(d)
}

// readSubmit reads `submit [NETWORK...]`, which adds up.
func (s *SMTP) readSubmit(d *caddyfile.Dispenser) error {
	if s.Submit == nil {
		s.Submit = new(Submit)
	}
	s.Submit.Networks = append(s.Submit.Networks, d.RemainingArgs()...)
	return nil
}

// readUser reads a user. Syntax:
//
//	user NAME HASH {
//		domain DOMAIN
//	}
func (s *SMTP) readUser(d *caddyfile.Dispenser) error {
	var name string
	u := new(User)
	if !d.Args(&name, &u.Hash) {
		return d.ArgErr()
	}
	if _, ok := s.Users[name]; ok {
		return d.Errf("user %q stands twice", name)
	}
	if strings.Contains(name, "/") {
		return d.Errf("user %q: a name with a slash cannot be reached by the admin API", name)
	}
	if s.Users == nil {
		s.Users = make(map[string]*User)
	}
	s.Users[name] = u
	return caddyblock.Block{
		Kind:    "user",
		Options: caddyblock.Options{"domain": caddyblock.String(&u.Domain)},
	}.ReadRest(d)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SMTP)(nil)
	_ caddy.Validator       = (*SMTP)(nil)
	_ caddyfile.Unmarshaler = (*SMTP)(nil)
	_ mailflow.Listener     = (*SMTP)(nil)
	_ mailflow.ServicesUser = (*SMTP)(nil)
)
