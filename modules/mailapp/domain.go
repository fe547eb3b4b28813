// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Domain is one of our domains: one company or one brand.
type Domain struct {
	// Messages belong to this domain when nothing else says. Of several
	// domains one may be it; a single one always is. Default: false.
	Default bool `json:"default,omitempty"`

	// The addresses that take replies: local parts in this domain, or full
	// addresses. The first is used from now on, the others are former ones
	// that are still accepted. Default: catchall.
	Catchall []string `json:"catchall,omitempty"`

	// The addresses that take bounces; as catchall. Default: bounce.
	Bounce []string `json:"bounce,omitempty"`

	// The address that senders are put in who may not send as themselves: a
	// local part or a full address. Default: notifications.
	DefaultFrom string `json:"default_from,omitempty"`
}

// The documentation's names of a domain's addresses.
const (
	defaultCatchall = "catchall"
	defaultBounce   = "bounce"
	defaultFrom     = "notifications"
)

// resolve returns d, which is configured under that name, for decisions.
func (d *Domain) resolve(name string) (resolved mailflow.Domain, err error) {
	if d == nil {
		d = new(Domain) // `null` in JSON
	}
	resolved.Default = d.Default
	if resolved.Name, err = normalizeName(name); err != nil {
		return mailflow.Domain{}, err
	}
	if resolved.Catchall, err = mailboxes(d.Catchall, defaultCatchall, resolved.Name); err != nil {
		return mailflow.Domain{}, fmt.Errorf("catchall: %w", err)
	}
	if resolved.Bounce, err = mailboxes(d.Bounce, defaultBounce, resolved.Name); err != nil {
		return mailflow.Domain{}, fmt.Errorf("bounce: %w", err)
	}
	from := d.DefaultFrom
	if from == "" {
		from = defaultFrom
	}
	if resolved.DefaultFrom, err = mailbox(from, resolved.Name); err != nil {
		return mailflow.Domain{}, fmt.Errorf("default_from: %w", err)
	}
	return resolved, nil
}

// mailboxes reads names, or the default one, as addresses in domain.
func mailboxes(names []string, def, domain string) ([]mailflow.Address, error) {
	if len(names) == 0 {
		names = []string{def}
	}
	addrs := make([]mailflow.Address, len(names))
	for i, name := range names {
		var err error
		if addrs[i], err = mailbox(name, domain); err != nil {
			return nil, err
		}
	}
	return addrs, nil
}

// mailbox reads a local part in domain, or a full address, with placeholders.
func mailbox(name, domain string) (mailflow.Address, error) {
	name, err := expand(name)
	if err != nil {
		return mailflow.Address{}, err
	}
	full := strings.TrimSpace(name)
	if !strings.Contains(full, "@") {
		full += "@" + domain
	}
	a, err := mailflow.ParseAddress(full)
	if err != nil {
		return mailflow.Address{}, fmt.Errorf("%q: %w", name, err)
	}
	a.Local = strings.ToLower(a.Local)
	return a, nil
}

// normalizeName returns the name of a domain as a map key.
func normalizeName(name string) (string, error) {
	if err := checkPlain(name); err != nil {
		return "", err
	}
	name, err := mailflow.NormalizeDomain(strings.TrimSpace(name))
	if err != nil {
		return "", err
	}
	return name, checkName(name)
}

// resolveDomains returns the configured domains, sorted.
func (a *App) resolveDomains() (mailflow.Domains, error) {
	domains := make(mailflow.Domains, 0, len(a.Domains))
	for _, name := range slices.Sorted(maps.Keys(a.Domains)) {
		d, err := a.Domains[name].resolve(name)
		if err != nil {
			return nil, fmt.Errorf("domain %s: %w", name, err)
		}
		domains = append(domains, d)
	}
	slices.SortFunc(domains, func(a, b mailflow.Domain) int { return strings.Compare(a.Name, b.Name) })
	def := ""
	for i, d := range domains {
		switch {
		case i > 0 && domains[i-1].Name == d.Name:
			return nil, fmt.Errorf("domain %s is configured twice, in two spellings", d.Name)
		case d.Default && def != "":
			return nil, fmt.Errorf("the domains %s and %s both say default; only one can", def, d.Name)
		case d.Default:
			def = d.Name
		}
	}
	return domains, nil
}

// readDomain reads a domain block; d stands on the option's name. Syntax:
//
//	domain <name> {
//		default
//		catchall     <name> [<former names...>]
//		bounce       <name> [<former names...>]
//		default_from <name>|<address>
//	}
func (a *App) readDomain(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name, err := normalizeName(d.Val())
	if err != nil {
		return d.Errf("domain: %w", err)
	}
	if _, ok := a.Domains[name]; ok {
		return d.Errf("domain %s has a block already", name)
	}
	domain := new(Domain)
	put(&a.Domains, name, domain)
	return caddyblock.Block{Kind: "domain", Options: caddyblock.Options{
		"default":      caddyblock.Flag(&domain.Default),
		"catchall":     mailboxNames(&domain.Catchall, name),
		"bounce":       mailboxNames(&domain.Bounce, name),
		"default_from": mailboxName(&domain.DefaultFrom, name),
	}}.ReadRest(d)
}

// mailboxNames reads the names of mailboxes in domain. The first is the one
// that is used, so they stand in one place.
func mailboxNames(field *[]string, domain string) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		if err := ahead(d, isMailbox(domain)); err != nil {
			return err
		}
		if *field = d.RemainingArgs(); len(*field) == 0 {
			return d.ArgErr()
		}
		return nil
	})
}

// mailboxName reads the name of one mailbox in domain.
func mailboxName(field *string, domain string) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		if err := ahead(d, isMailbox(domain)); err != nil {
			return err
		}
		if !d.Args(field) {
			return d.ArgErr()
		}
		return nil
	})
}

// isMailbox returns the check of an argument that names a mailbox in domain.
func isMailbox(domain string) func(arg string) error {
	return func(arg string) error {
		_, err := mailbox(arg, domain)
		return err
	}
}
