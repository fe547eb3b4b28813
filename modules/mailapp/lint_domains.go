// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"slices"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// lintSenders looks at the address that each domain encapsulates senders in.
func (a *App) lintSenders() []finding {
	var all []finding
	for i := range a.services.Domains {
		d := &a.services.Domains[i]
		from := d.DefaultFrom
		if from.IsNull() {
			from = d.EmailFrom
		}
		if from.IsNull() {
			all = append(all, a.lintNoDefaultFrom(d)...)
			continue
		}
		all = append(all, a.lintDefaultFrom(d, from)...)
	}
	return all
}

// lintNoDefaultFrom finds a server whose mail nothing encapsulates.
func (a *App) lintNoDefaultFrom(d *mailflow.Domain) []finding {
	open := func(s mailflow.Server) bool { return len(s.FromFilter) == 0 }
	i := slices.IndexFunc(a.services.Servers, open)
	if i < 0 || slices.Equal(d.DefaultFromFilter, []string{everybody}) {
		return nil
	}
	return []finding{found(
		"a server has no from_filter and the domain no default_from, foreign senders stay in From and fail DMARC",
		"give the domain a default_from, or the server a from_filter; `default_from_filter *` says that it is meant",
		zap.String("domain", d.Name), zap.String("outgoing", a.services.Servers[i].Name),
	)}
}

// lintDefaultFrom looks for the servers that carry a default_from.
func (a *App) lintDefaultFrom(d *mailflow.Domain, from mailflow.Address) []finding {
	servers := a.services.Servers
	if len(servers) == 0 {
		return nil
	}
	carries := func(s mailflow.Server) bool { return carriesFrom(s, d, from, len(servers) == 1) }
	if !slices.ContainsFunc(servers, carries) {
		return []finding{found(
			"no outgoing server may send the domain's default_from",
			"add it or its domain to a from_filter, or change default_from",
			zap.String("domain", d.Name), zap.String("default_from", from.String()),
		)}
	}
	var all []finding
	for _, s := range servers {
		f, err := relay.ParseFilter(s.FromFilter)
		if err != nil || !f.MatchAddress(from) {
			continue
		}
		all = append(all, found(
			"default_from is an address of a from_filter, all other senders that no filter names are encapsulated in it",
			"if they are to stay as they are, write the domain into the from_filter",
			zap.String("domain", d.Name), zap.String("default_from", from.String()), zap.String("outgoing", s.Name),
		))
	}
	return all
}

// carriesFrom reports whether transactional mail from the domain's default_from
// may leave by the server, which is the only one or not.
func carriesFrom(s mailflow.Server, d *mailflow.Domain, from mailflow.Address, only bool) bool {
	filter := s.FromFilter
	switch {
	case !transactional(s):
		return false
	case s.Default && !only:
		return false // it is never used
	case s.Default && len(d.DefaultFromFilter) > 0:
		filter = d.DefaultFromFilter
	}
	return len(filter) == 0 || slices.Equal(filter, []string{everybody}) || allows(filter, from)
}

// lintDomains looks for addresses of one domain that another one answers: mail
// to them belongs to that one.
func (a *App) lintDomains() []finding {
	var all []finding
	for _, d := range a.services.Domains {
		addrs := slices.Concat(d.Catchall, d.Bounce)
		for _, addr := range addrs {
			if addr.Domain == d.Name || a.services.Domains.Find(addr.Domain) == nil {
				continue
			}
			all = append(all, found(
				"domains overlap, an address of one stands in another",
				"give each domain addresses of its own; mail to this one belongs to the domain that it stands in",
				zap.String("domain", d.Name), zap.String("address", addr.String()),
			))
		}
	}
	return all
}

// lintSigning looks for domains whose mail leaves unsigned.
func (a *App) lintSigning() []finding {
	var all []finding
	for _, d := range a.services.Domains {
		if d.Signs {
			continue
		}
		leaves := func(s mailflow.Server) bool { return a.sendsUnsigned(s, d.Name) }
		i := slices.IndexFunc(a.services.Servers, leaves)
		if i < 0 {
			continue
		}
		all = append(all, found(
			"mail of a domain leaves unsigned, it has no DKIM key",
			"make one with `mailcaddy mail dkim generate "+d.Name+" s1`, publish its record and add `dkim s1 PATH`; "+
				"nothing is to be done where the server signs for the domain",
			zap.String("domain", d.Name), zap.String("outgoing", a.services.Servers[i].Name),
		))
	}
	return all
}

// sendsUnsigned reports whether the server takes mail of the domain to the
// world, and is not known to sign it.
func (a *App) sendsUnsigned(s mailflow.Server, domain string) bool {
	o := a.Outgoing[s.Name]
	if s.Captures || s.Default && len(a.Outgoing) > 1 || o.transport == "lmtp" || o.provider != nil && o.provider.DKIM.Record != "" {
		return false
	}
	if len(s.FromFilter) == 0 {
		return true
	}
	f, err := relay.ParseFilter(s.FromFilter)
	return err == nil && (f.MatchDomain(domain) || slices.ContainsFunc(filterEntries(s.FromFilter), func(entry string) bool {
		addr, err := mailflow.ParseAddress(entry)
		return err == nil && addr.Domain == domain
	}))
}
