// SPDX-License-Identifier: Apache-2.0

package alias

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// every stands in allowed_domains for all domains.
const every = "*"

// Book knows which aliases an address means. It does not change and is safe
// for concurrent use.
type Book struct {
	odoo    bool
	domains mailflow.Domains
	// byAddress are the aliases of the configuration, byLocal those of them
	// with any_domain.
	byAddress map[string]*mailflow.Alias
	byLocal   map[string][]*mailflow.Alias
	// home are, for each further domain, our domains that allow it; those
	// under "*" allow every one.
	home map[string][]string
}

// NewBook returns the book of the aliases that the configuration has. It
// refuses two aliases with one address, and a domain that two of ours allow:
// a local part that both have would mean two aliases.
func NewBook(s *mailflow.Services) (*Book, error) {
	b := &Book{
		odoo: s.Behavior == mailflow.BehaviorOdoo, domains: s.Domains,
		byAddress: make(map[string]*mailflow.Alias), byLocal: make(map[string][]*mailflow.Alias), home: make(map[string][]string),
	}
	for i := range s.Aliases {
		a := &s.Aliases[i]
		if b.byAddress[a.Address.Key()] != nil {
			return nil, fmt.Errorf("alias %s stands twice", a.Address)
		}
		b.byAddress[a.Address.Key()] = a
		if local := strings.ToLower(a.Address.Local); a.AnyDomain {
			b.byLocal[local] = append(b.byLocal[local], a)
		}
	}
	return b, b.allow()
}

// allow reads the allowed_domains of our domains.
func (b *Book) allow() error {
	if b.odoo {
		// There is one list, which any_domain asks; it names no alias.
		for i := range b.domains {
			for _, name := range b.domains[i].AllowedDomains {
				b.home[name] = append(b.home[name], b.domains[i].Name)
			}
		}
		return nil
	}
	for i := range b.domains {
		ours := &b.domains[i]
		for _, name := range ours.AllowedDomains {
			if name == ours.Name || slices.Contains(b.home[name], ours.Name) {
				continue
			}
			b.home[name] = append(b.home[name], ours.Name)
			if by := b.allowedBy(name); len(by) > 1 {
				return fmt.Errorf("allowed_domains: %s is allowed by %s; name it in one of them", name, strings.Join(by, " and by "))
			}
		}
	}
	return nil
}

// allowedBy returns our domains that allow name, or with "*" any domain.
func (b *Book) allowedBy(name string) []string {
	by := slices.Concat(b.home[name], b.home[every])
	if name == every {
		for _, home := range b.home {
			by = append(by, home...)
		}
	}
	slices.Sort(by)
	return slices.Compact(by)
}

// Candidates returns the addresses under which rcpt may stand in the store:
// what [mailflow.ThreadView.Aliases] is asked for.
func (b *Book) Candidates(rcpt mailflow.Address) []mailflow.Address {
	all := []mailflow.Address{rcpt}
	if b.odoo {
		return all
	}
	for _, ours := range b.homes(rcpt.Domain) {
		all = append(all, mailflow.Address{Local: rcpt.Local, Domain: ours})
	}
	return all
}

// homes returns our other domains whose aliases are valid in domain.
func (b *Book) homes(domain string) []string {
	var all []string
	for _, ours := range slices.Concat(b.home[domain], b.home[every]) {
		if ours != domain && !slices.Contains(all, ours) {
			all = append(all, ours)
		}
	}
	return all
}

// Match returns the aliases that rcpt means, the closest first: of the
// configuration and of stored, which the store has for [Book.Candidates]. An
// alias of the configuration hides the stored one of its address. In the
// documented behavior an address means one alias, or none.
func (b *Book) Match(rcpt mailflow.Address, stored []mailflow.Alias) []mailflow.Alias {
	var found []match
	add := func(a *mailflow.Alias, how closeness) {
		same := func(m match) bool { return m.alias.Address.Is(a.Address) }
		if how > none && !slices.ContainsFunc(found, same) {
			found = append(found, match{*a, how})
		}
	}
	for _, c := range b.Candidates(rcpt) {
		if a := b.byAddress[c.Key()]; a != nil {
			add(a, b.means(rcpt, a))
		}
	}
	for _, a := range b.byLocal[strings.ToLower(rcpt.Local)] {
		add(a, b.means(rcpt, a))
	}
	for i := range stored {
		if b.byAddress[stored[i].Address.Key()] == nil {
			add(&stored[i], b.means(rcpt, &stored[i]))
		}
	}
	slices.SortStableFunc(found, func(x, y match) int {
		return cmp.Or(cmp.Compare(y.how, x.how), cmp.Compare(x.alias.Address.Key(), y.alias.Address.Key()))
	})
	if !b.odoo && len(found) > 1 {
		found = found[:1]
	}
	aliases := make([]mailflow.Alias, len(found))
	for i := range found {
		aliases[i] = found[i].alias
	}
	return aliases
}

// match is an alias that an address means.
type match struct {
	alias mailflow.Alias
	how   closeness
}

// closeness says how an address means an alias.
type closeness int

const (
	none closeness = iota
	byLocalPart
	byAllowedDomain
	byFullAddress
)

// means says how rcpt means a.
func (b *Book) means(rcpt mailflow.Address, a *mailflow.Alias) closeness {
	switch {
	case a.Address.Is(rcpt):
		return byFullAddress
	case !strings.EqualFold(a.Address.Local, rcpt.Local) || rcpt.Domain == "":
		return none
	case !b.odoo && slices.Contains(b.homes(rcpt.Domain), a.Address.Domain):
		return byAllowedDomain
	case a.AnyDomain && b.passes(rcpt.Domain, a):
		return byLocalPart
	}
	return none
}

// passes reports whether the local part of a, which has any_domain, is valid
// in domain: in ours always, in others if nobody allows certain ones only.
func (b *Book) passes(domain string, a *mailflow.Alias) bool {
	if b.domains.Find(domain) != nil || len(b.home[every]) > 0 {
		return true
	}
	if b.odoo {
		return len(b.home) == 0 || len(b.home[domain]) > 0
	}
	ours := b.domains.Find(a.Address.Domain)
	return ours == nil || len(ours.AllowedDomains) == 0 || slices.Contains(ours.AllowedDomains, domain)
}
