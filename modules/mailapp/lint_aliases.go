// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// lintAliases looks for aliases that mail does not get to, or that take none.
func (a *App) lintAliases() []finding {
	var all []finding
	for i := range a.services.Aliases {
		all = append(all, lintAlias(a.services.Domains, &a.services.Aliases[i])...)
	}
	return all
}

// lintAlias looks at one alias.
func lintAlias(domains mailflow.Domains, al *mailflow.Alias) []finding {
	var all []finding
	address := zap.String("alias", al.Address.String())
	if domains.Ours(al.Address) {
		all = append(all, found(
			"an alias is the catchall or bounce address of a domain, or has its +TOKEN, what answers something never opens a thread there",
			"give it an address of its own", address,
		))
	}
	if domains.Find(al.Address.Domain) == nil {
		all = append(all, found(
			"an alias stands in a domain that is none of ours, answers to its threads have no address of their own and submitted mail for it leaves",
			"add a `domain "+al.Address.Domain+"` block, or write the alias in one of our domains; "+
				"`allowed_domains` lets it count in others", address,
		))
	}
	if al.Contact == mailflow.ContactFollowers && al.Thread == "" && al.Parent == "" {
		all = append(all, found(
			"an alias takes mail of followers and names no thread that they follow, it takes answers only",
			"name its `parent`, or the `thread` that always gets the mail", address,
		))
	}
	return all
}

// sentences returns findings as texts for who has asked.
func sentences(all []finding) []string {
	var texts []string
	for _, f := range all {
		texts = append(texts, f.message+"; "+f.nextStep)
	}
	return texts
}
