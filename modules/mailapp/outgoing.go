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
	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
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

	// How it is reached. Required.
	ViaRaw json.RawMessage `json:"via,omitempty" caddy:"namespace=mail.transports inline_key=transport"`
}

// Bounds of a priority, and what a server has that names none: Odoo's default,
// with room on both sides.
const (
	defaultPriority = 10
	maxPriority     = 1_000_000
)

// provisionServer loads the transport of the server of that name.
func (a *App) provisionServer(name string, o *Outgoing) (*engine.Server, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if o == nil || len(o.ViaRaw) == 0 {
		return nil, errors.New("it does not say how it is reached; add `via smtp HOST:PORT`")
	}
	if o.Priority < 0 || o.Priority > maxPriority {
		return nil, fmt.Errorf("priority %d is not between 1 and %d", o.Priority, maxPriority)
	}
	filter := make([]string, len(o.FromFilter))
	for i, entry := range o.FromFilter {
		var err error
		if filter[i], err = expand(entry); err != nil {
			return nil, fmt.Errorf("from_filter: %w", err)
		}
	}
	if _, err := relay.ParseFilter(filter); err != nil {
		return nil, fmt.Errorf("from_filter: %w", err)
	}
	guest, err := a.ctx.LoadModule(o, "ViaRaw")
	if err != nil {
		return nil, fmt.Errorf("loading its transport: %w", err)
	}
	transport, ok := guest.(mailflow.Transport)
	if !ok {
		return nil, fmt.Errorf("%T is not a mail transport", guest)
	}
	c, captures := guest.(mailflow.Capturer)
	b, perDomain := guest.(mailflow.DomainTransport)
	return &engine.Server{
		Server: mailflow.Server{
			Name:       name,
			Priority:   cmp.Or(o.Priority, defaultPriority),
			FromFilter: filter,
			Default:    o.Default,
			Captures:   captures && c.Captures(),
			PerDomain:  perDomain && b.PerDomain(),
		},
		Transport: transport,
	}, nil
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
		"from_filter": caddyblock.Func(server.readFilter).Many(),
		"default":     caddyblock.Flag(&server.Default),
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

// readFilter reads the entries of a filter; a list with commas is split.
func (o *Outgoing) readFilter(d *caddyfile.Dispenser) error {
	err := ahead(d, func(arg string) error {
		_, err := relay.ParseFilter([]string{arg})
		return err
	})
	if err != nil {
		return err
	}
	entries := d.RemainingArgs()
	if len(entries) == 0 {
		return d.ArgErr()
	}
	o.FromFilter = append(o.FromFilter, entries...)
	return nil
}
