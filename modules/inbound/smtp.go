// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

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
	// defaultMaxConnections bounds the memory of a door under attack: about
	// 20 KiB each.
	defaultMaxConnections = 10000
	// defaultMaxPerIP is what Postfix allows; large senders use fewer.
	defaultMaxPerIP = 50
	// defaultMaxAuthFailures is more than a user mistypes, and nothing to one
	// who guesses.
	defaultMaxAuthFailures = 10
	// maxLimit is beyond what any system has connections.
	maxLimit = 1_000_000
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

	// Encryption. Default: implicit on port 465; elsewhere STARTTLS as soon as
	// there is a certificate for the gateway's hostname; none where all
	// addresses are loopback or unix sockets
	TLS *TLS `json:"tls,omitempty"`

	// What connections pass before TLS and the protocol, in this order: modules
	// of caddy.listeners, such as proxy_protocol. Whom the door trusts and what
	// it limits goes by the address that they say. A proxy_protocol whose
	// fallback_policy is not set does not wait for a header from peers outside
	// of allow, but speaks with them at once. Default: nothing
	ListenerWrappersRaw []json.RawMessage `json:"listener_wrappers,omitempty" caddy:"namespace=caddy.listeners inline_key=wrapper"`

	// The largest message, in bytes. Default: 36700160 (35 MiB)
	MaxSize int64 `json:"max_size,omitempty"`

	// The largest number of recipients of a message. Default: 100
	MaxRecipients int `json:"max_recipients,omitempty"`

	// The most connections at once; what exceeds them is told to come later.
	// Those that began before a reload count as well. Default: 10000
	MaxConnections int `json:"max_connections,omitempty"`

	// The most connections at once from one IPv4 address or IPv6 /64. It does
	// not hold for this machine and the networks that may submit.
	// Default: 50
	MaxConnectionsPerIP int `json:"max_connections_per_ip,omitempty"`

	// How many logins may fail from one IPv4 address or IPv6 /64, at all doors
	// together, each within 15 minutes of the one before, until it cannot log
	// in for 15 minutes. It does not hold for this machine and the networks
	// that may submit. Default: 10
	MaxAuthFailures int `json:"max_auth_failures,omitempty"`

	// The listener's name, as `name` in the Caddyfile gives it to the app, which
	// makes it the key under listeners. Default: that key
	Name string `json:"name,omitempty"`

	networks []netip.Prefix
	receive  bool
	submit   bool
	trusts   bool // loopback, by default
	local    bool // only this machine reaches it
	lmtp     bool
	wrappers []caddy.ListenerWrapper
	secure   func() *tls.Config // nil: no TLS
	hostname string
	log      *zap.Logger
}

// Submit says who may submit without logging in.
type Submit struct {
	// The networks whose peers need no login, as CIDR or single addresses.
	// Default: none
	Networks []string `json:"networks,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*SMTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.listeners.smtp", New: func() caddy.Module { return new(SMTP) }}
}

// Provision sets the defaults and works the roles out.
func (s *SMTP) Provision(ctx caddy.Context) error {
	s.log = ctx.Logger()
	s.setDefaults()
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
	if err := s.provisionRoles(); err != nil {
		return err
	}
	return s.provisionWrappers(ctx)
}

// setDefaults sets the fields that have no value.
func (s *SMTP) setDefaults() {
	if s.TLS == nil {
		s.TLS = new(TLS)
	}
	if s.TLS.Mode == "" {
		s.TLS.Mode = TLSAuto
	}
	if s.MaxSize == 0 {
		s.MaxSize = defaultMaxSize
	}
	for field, value := range map[*int]int{
		&s.MaxRecipients:       defaultMaxRecipients,
		&s.MaxConnections:      defaultMaxConnections,
		&s.MaxConnectionsPerIP: defaultMaxPerIP,
		&s.MaxAuthFailures:     defaultMaxAuthFailures,
	} {
		if *field == 0 {
			*field = value
		}
	}
}

// provisionRoles works out what the door does and whom it trusts.
func (s *SMTP) provisionRoles() error {
	var err error
	if s.local, err = onlyLocal(s.Listen); err != nil {
		return err
	}
	s.receive, s.submit = s.Receive, s.Submit != nil
	if !s.receive && !s.submit {
		s.receive = true
		if s.local && !s.lmtp {
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
	if err := s.TLS.validate(); err != nil {
		return err
	}
	if s.MaxSize < 0 {
		return fmt.Errorf("max_size %d is negative", s.MaxSize)
	}
	if s.MaxRecipients < 1 || s.MaxRecipients > maxMaxRecipients {
		return fmt.Errorf("max_recipients %d is not between 1 and %d", s.MaxRecipients, maxMaxRecipients)
	}
	for name, value := range map[string]int{
		"max_connections": s.MaxConnections, "max_connections_per_ip": s.MaxConnectionsPerIP, "max_auth_failures": s.MaxAuthFailures,
	} {
		if value < 1 || value > maxLimit {
			return fmt.Errorf("%s %d is not between 1 and %d", name, value, maxLimit)
		}
	}
	for _, p := range s.networks {
		if err := checkTrusted(p); err != nil {
			return err
		}
	}
	if err := s.checkWrappers(); err != nil {
		return err
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
	if !s.submit || len(ds) < 2 || s.Domain != "" {
		return nil
	}
	if ds.Default() == nil && (s.trusts || len(s.networks) > 0) {
		return errors.New("there are several domains: let one domain block say default, or the listener name its domain")
	}
	return s.checkUserDomains()
}

// SetName tells the listener the name that the app knows it by, which is what
// matchers and logs call it. It is called once, before the first use.
func (s *SMTP) SetName(name string) { s.Name = name }

// Addresses returns the addresses to listen on, as configured.
func (s *SMTP) Addresses() []string { return s.Listen }

// Interface guards
var (
	_ caddy.Provisioner     = (*SMTP)(nil)
	_ caddy.Validator       = (*SMTP)(nil)
	_ caddyfile.Unmarshaler = (*SMTP)(nil)
	_ mailflow.Listener     = (*SMTP)(nil)
	_ mailflow.ServicesUser = (*SMTP)(nil)
)
