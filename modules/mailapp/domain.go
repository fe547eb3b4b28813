// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
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
	// local part or a full address; "off" for none. Default: notifications.
	DefaultFrom string `json:"default_from,omitempty"`

	// The senders that may stay as they are where the server has no say:
	// addresses, domains, and *.domain for sub-domains; "*" alone for
	// everybody. Default: all our domains.
	DefaultFromFilter []string `json:"default_from_filter,omitempty"`

	// A full address in place of default_from, and of the bounce address,
	// where the domain has none: Odoo's option of that name. Default: none.
	EmailFrom string `json:"email_from,omitempty"`

	// Whether the catchall and bounce addresses may carry "+TOKEN", which
	// tells what a reply or a bounce is about: "on", "off", or "auto", which
	// is on when a door of this gateway receives mail. Default: auto.
	Subaddress Subaddress `json:"subaddress,omitempty"`

	// How many recipients are handed over for the domain in a period, such as
	// "200/day" or "14/s". What exceeds it waits. Default: no limit.
	Limit []string `json:"limit,omitempty"`

	// Who owns the domain, as people are told. Default: none.
	Company string `json:"company,omitempty"`

	// Where people write to the company: a local part or a full address. It is
	// named to those whom an alias refuses. Default: none.
	CompanyAddress string `json:"company_address,omitempty"`

	// Further domains in which the local parts of its aliases are valid; "*"
	// alone for every domain. No two domains can allow the same one.
	// Default: none.
	AllowedDomains []string `json:"allowed_domains,omitempty"`

	// The keys that the domain's mail is signed with (DKIM, RFC 6376); with
	// several each makes a signature. Default: none, mail leaves unsigned.
	DKIM []DKIMKey `json:"dkim,omitempty"`
}

// DKIMKey is a key to sign with.
type DKIMKey struct {
	// The name of the key in DNS: its record stands at
	// SELECTOR._domainkey.DOMAIN. Required.
	Selector string `json:"selector"`

	// The private key: the path of its PEM file, or a placeholder such as
	// {file./run/secrets/dkim.pem} that brings its text. Required.
	Key string `json:"key"`
}

// String hides the key.
func (k DKIMKey) String() string { return "key " + k.Selector }

// Subaddress says whether addresses of a domain may carry a token.
type Subaddress string

// The values.
const (
	SubaddressAuto Subaddress = "auto"
	SubaddressOn   Subaddress = "on"
	SubaddressOff  Subaddress = "off"
)

// subaddresses are all of them.
var subaddresses = []Subaddress{SubaddressAuto, SubaddressOn, SubaddressOff}

// The documentation's names of a domain's addresses.
const (
	defaultCatchall = "catchall"
	defaultBounce   = "bounce"
	defaultFrom     = "notifications"
)

// off is the value of an option that takes a default away.
const off = "off"

// resolve returns d, which is configured under that name, for decisions.
// Whether mail comes in by one of our doors decides about subaddress auto.
func (d *Domain) resolve(name string, receives bool) (resolved mailflow.Domain, err error) {
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
	if err := d.resolveSenders(&resolved); err != nil {
		return mailflow.Domain{}, err
	}
	if err := oneOf("subaddress", d.Subaddress, subaddresses...); err != nil {
		return mailflow.Domain{}, err
	}
	resolved.Subaddress = d.Subaddress == SubaddressOn || d.Subaddress != SubaddressOff && receives
	if resolved.Limits, err = parseLimits(d.Limit); err != nil {
		return mailflow.Domain{}, err
	}
	if err := d.resolveCompany(&resolved); err != nil {
		return mailflow.Domain{}, err
	}
	resolved.Signs = len(d.DKIM) > 0
	return resolved, checkKeys(d.DKIM)
}

// resolveSenders sets what decides in whose name the domain's mail leaves.
func (d *Domain) resolveSenders(resolved *mailflow.Domain) (err error) {
	if from := cmp.Or(d.DefaultFrom, defaultFrom); from != off {
		if resolved.DefaultFrom, err = mailbox(from, resolved.Name); err != nil {
			return fmt.Errorf("default_from: %w", err)
		}
	}
	if resolved.DefaultFromFilter, err = resolveFilter(d.DefaultFromFilter, anySender); err != nil {
		return fmt.Errorf("default_from_filter: %w", err)
	}
	if d.EmailFrom == "" {
		return nil
	}
	if resolved.EmailFrom, err = fullAddress(d.EmailFrom); err != nil {
		return fmt.Errorf("email_from: %w", err)
	}
	return nil
}

// checkKeys refuses keys that cannot be told apart in DNS.
func checkKeys(keys []DKIMKey) error {
	for i, k := range keys {
		if err := checkSelector(k.Selector); err != nil {
			return fmt.Errorf("dkim: %w", err)
		}
		if k.Key == "" {
			return fmt.Errorf("dkim: selector %s has no key; write `dkim %[1]s PATH`", k.Selector)
		}
		same := func(other DKIMKey) bool { return strings.EqualFold(other.Selector, k.Selector) }
		if slices.ContainsFunc(keys[:i], same) {
			return fmt.Errorf("dkim: selector %s has a key already", k.Selector)
		}
	}
	return nil
}

// checkSelector refuses what cannot stand in front of a domain (RFC 6376
// section 3.1).
func checkSelector(selector string) error {
	if _, err := mailflow.NormalizeDomain(selector); err != nil || strings.HasPrefix(selector, "[") {
		return fmt.Errorf("%q is no selector; it is a name in DNS, such as s1", selector)
	}
	return nil
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

// fullAddress reads a full address, with placeholders.
func fullAddress(text string) (mailflow.Address, error) {
	text, err := expand(text)
	if err != nil {
		return mailflow.Address{}, err
	}
	if !strings.Contains(text, "@") {
		return mailflow.Address{}, fmt.Errorf("%q is no full address such as info@example.com", text)
	}
	return mailbox(text, "")
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
		d := a.Domains[name]
		if d == nil {
			d = new(Domain) // `null` in JSON
		}
		resolved, err := d.resolve(name, a.receives())
		if err != nil {
			return nil, fmt.Errorf("domain %s: %w", name, err)
		}
		domains = append(domains, resolved)
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
//		default_from <name>|<address>|off
//		default_from_filter <addresses and domains...>|*
//		email_from   <address>
//		subaddress   auto|on|off
//		limit        <number>/day|h|min|s...
//		company      <name> [<name>|<address>]
//		allowed_domains <domains...>|*
//		dkim         <selector> <key>
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
		"default":             caddyblock.Flag(&domain.Default),
		"catchall":            mailboxNames(&domain.Catchall, name),
		"bounce":              mailboxNames(&domain.Bounce, name),
		"default_from":        checked(&domain.DefaultFrom, isMailbox(name)),
		"default_from_filter": readFilter(&domain.DefaultFromFilter, anySender),
		"email_from":          checked(&domain.EmailFrom, isFullAddress),
		"subaddress":          caddyblock.Enum(&domain.Subaddress, subaddresses...),
		"limit":               readLimits(&domain.Limit),
		"company":             readCompany(domain, name),
		"allowed_domains":     readAllowedDomains(&domain.AllowedDomains),
		"dkim":                readKey(&domain.DKIM),
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

// checked reads one argument that passes check.
func checked(field *string, check func(arg string) error) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		if err := ahead(d, check); err != nil {
			return err
		}
		if !d.Args(field) {
			return d.ArgErr()
		}
		return nil
	})
}

// readKey reads a key to sign with.
func readKey(field *[]DKIMKey) caddyblock.Option {
	return caddyblock.Func(func(d *caddyfile.Dispenser) error {
		var key DKIMKey
		if !d.Args(&key.Selector, &key.Key) {
			return d.ArgErr()
		}
		*field = append(*field, key)
		if err := checkKeys(*field); err != nil {
			return d.Errf("option %w", err)
		}
		return nil
	}).Many()
}

// isMailbox returns the check of an argument that names a mailbox in domain.
func isMailbox(domain string) func(arg string) error {
	return func(arg string) error {
		_, err := mailbox(arg, domain)
		return err
	}
}

// isFullAddress refuses what is no full address.
func isFullAddress(arg string) error {
	_, err := fullAddress(arg)
	return err
}
