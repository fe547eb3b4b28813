// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/internal/rule/preset"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Outgoing is a server that mail leaves by.
type Outgoing struct {
	// Its place among the servers that fit a sender alike: lower first, then
	// by name. Default: 10.
	Priority int `json:"priority,omitempty"`

	// The senders it may send for: addresses, domains, and *.domain for
	// sub-domains. Default: any.
	FromFilter []string `json:"from_filter,omitempty"`

	// It is used only when there is no other server. Default: false.
	Default bool `json:"default,omitempty"`

	// The provider that it belongs to, such as "postmark" or "gmail". It gives
	// what the server and its `via smtp` do not say themselves. Default: none.
	Preset string `json:"preset,omitempty"`

	// The argument of the preset: the region of amazon_ses, or "eu" of
	// mailgun. Default: that of the preset.
	PresetArgs []string `json:"preset_args,omitempty"`

	// What it is for: "transactional" or "mass". Default: transactional mail,
	// and mass mail as long as no other server is for that.
	Purpose string `json:"purpose,omitempty"`

	// The reverse-path it is given: "bounce" for the bounce address of the
	// message's domain, "from" for the address in From, "login" for the one
	// that the gateway logs in with. Default: that of the preset, or bounce.
	Envelope mailflow.EnvelopeRule `json:"envelope,omitempty"`

	// Whether it takes the null reverse-path, which reports have. Default:
	// what is known of the preset, or true.
	NullSender *bool `json:"null_sender,omitempty"`

	// How many recipients it is handed in a period, such as "200/day" or
	// "14/s". What exceeds it waits. Default: those of the preset, or none.
	Limit []string `json:"limit,omitempty"`

	// How it is reached. Required.
	ViaRaw json.RawMessage `json:"via,omitempty" caddy:"namespace=mail.transports inline_key=transport"`

	provider  *preset.Preset // nil = none
	transport string         // its name
	inClear   []string       // options of via whose secret is written out
}

// Bounds of a priority, and what a server has that names none: Odoo's default,
// with room on both sides.
const (
	defaultPriority = 10
	maxPriority     = 1_000_000
)

// envelopeRules are the reverse-paths that a server may be given.
var envelopeRules = []mailflow.EnvelopeRule{mailflow.EnvelopeBounce, mailflow.EnvelopeFrom, mailflow.EnvelopeLogin}

// provisionServer loads the transport of the server of that name.
func (a *App) provisionServer(name string, o *Outgoing) (*engine.Server, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if o == nil || len(o.ViaRaw) == 0 {
		return nil, errors.New("it does not say how it is reached; add `via smtp HOST:PORT`")
	}
	var err error
	if o.provider, err = o.applyPreset(); err != nil {
		return nil, err
	}
	server, err := o.resolve(name)
	if err != nil {
		return nil, err
	}
	o.inClear = secretsInClear(o.ViaRaw)
	guest, err := a.ctx.LoadModule(o, "ViaRaw")
	if err != nil {
		return nil, fmt.Errorf("loading its transport: %w", err)
	}
	transport, ok := guest.(mailflow.Transport)
	if !ok {
		return nil, fmt.Errorf("%T is not a mail transport", guest)
	}
	giveValues(guest)
	c, captures := guest.(mailflow.Capturer)
	server.Captures = captures && c.Captures()
	b, perDomain := guest.(mailflow.DomainTransport)
	server.PerDomain = perDomain && b.PerDomain()
	if server.Envelope == mailflow.EnvelopeLogin {
		if server.Login, err = account(transport); err != nil {
			return nil, fmt.Errorf("envelope login: %w", err)
		}
	}
	return &engine.Server{Server: server, Transport: transport}, nil
}

// resolve returns o, which is configured under that name, for decisions, as
// far as it does not depend on the transport.
func (o *Outgoing) resolve(name string) (server mailflow.Server, err error) {
	if o.Priority < 0 || o.Priority > maxPriority {
		return server, fmt.Errorf("priority %d is not between 1 and %d", o.Priority, maxPriority)
	}
	if err := oneOf("purpose", o.Purpose, purposes...); err != nil {
		return server, err
	}
	if err := oneOf("envelope", o.Envelope, envelopeRules...); err != nil {
		return server, err
	}
	server = mailflow.Server{
		Name:         name,
		Priority:     cmp.Or(o.Priority, defaultPriority),
		Default:      o.Default,
		Purpose:      o.Purpose,
		Envelope:     cmp.Or(o.Envelope, mailflow.EnvelopeBounce),
		NoNullSender: o.NullSender != nil && !*o.NullSender,
	}
	if server.FromFilter, err = resolveFilter(o.FromFilter, someSenders); err != nil {
		return server, fmt.Errorf("from_filter: %w", err)
	}
	if server.Limits, err = parseLimits(o.Limit); err != nil || o.provider == nil {
		return server, err
	}
	if o.Envelope == "" {
		server.Envelope = cmp.Or(o.provider.Envelope, mailflow.EnvelopeBounce)
	}
	if o.NullSender == nil {
		server.NoNullSender = o.provider.NullSender == preset.No
	}
	if len(o.Limit) == 0 {
		server.Limits = o.provider.Limits
	}
	return server, nil
}

// account returns the address that a transport logs in with.
func account(transport mailflow.Transport) (mailflow.Address, error) {
	t, ok := transport.(mailflow.AccountTransport)
	if !ok {
		return mailflow.Address{}, errors.New("it has no login; write `envelope from` instead")
	}
	user, err := t.Account()
	if err != nil {
		return mailflow.Address{}, err
	}
	if user == "" {
		return mailflow.Address{}, errors.New("it has no login; add `auth` to its via, or write `envelope from`")
	}
	return fullAddress(user)
}

// provisionServers loads the outgoing servers and returns them as decisions
// see them, in their order.
func (a *App) provisionServers() ([]mailflow.Server, error) {
	a.config.Servers = make(map[string]*engine.Server, len(a.Outgoing))
	servers := make([]mailflow.Server, 0, len(a.Outgoing))
	def := ""
	for _, name := range slices.Sorted(maps.Keys(a.Outgoing)) {
		s, err := a.provisionServer(name, a.Outgoing[name])
		if err != nil {
			return nil, fmt.Errorf("outgoing %s: %w", name, err)
		}
		if s.Default && def != "" {
			return nil, fmt.Errorf("the outgoing servers %s and %s both say default; only one can", def, name)
		}
		if s.Default {
			def = name
		}
		a.config.Servers[name] = s
		servers = append(servers, s.Server)
	}
	slices.SortStableFunc(servers, func(a, b mailflow.Server) int { return cmp.Compare(a.Priority, b.Priority) })
	return servers, nil
}

// readOutgoing reads an outgoing block; d stands on the option's name. Syntax:
//
//	outgoing <name> {
//		priority    <number>
//		from_filter <addresses and domains...>
//		default
//		preset      <name> [<argument>]
//		purpose     transactional|mass
//		envelope    bounce|from|login
//		null_sender yes|no
//		limit       <number>/day|h|min|s...
//		via         <transport> [<arguments...>] {
//			...
//		}
//	}
func (a *App) readOutgoing(d *caddyfile.Dispenser) error {
	name, err := readName(d, a.Outgoing)
	if err != nil {
		return err
	}
	server := new(Outgoing)
	put(&a.Outgoing, name, server)
	err = caddyblock.Block{Kind: "outgoing", Options: caddyblock.Options{
		"priority":    caddyblock.Int(&server.Priority, 1, maxPriority),
		"from_filter": readFilter(&server.FromFilter, someSenders),
		"default":     caddyblock.Flag(&server.Default),
		"preset":      caddyblock.Func(server.readPreset),
		"purpose":     caddyblock.Enum(&server.Purpose, purposes...),
		"envelope":    caddyblock.Enum(&server.Envelope, envelopeRules...),
		"null_sender": caddyblock.YesNo(&server.NullSender),
		"limit":       readLimits(&server.Limit),
		"via":         caddyblock.Guest(&server.ViaRaw, "mail.transports", "transport", "transport"),
	}}.ReadRest(d)
	if err != nil {
		return err
	}
	if len(server.ViaRaw) == 0 {
		return d.Errf("outgoing %s does not say how it is reached; add `via smtp HOST:PORT`", name)
	}
	return nil
}
