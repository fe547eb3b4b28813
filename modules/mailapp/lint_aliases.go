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
		al := &a.services.Aliases[i]
		address := zap.String("alias", al.Address.String())
		if a.services.Domains.Ours(al.Address) {
			all = append(all, found(
				"an alias is the catchall or bounce address of a domain, or has its +TOKEN, what answers something never opens a thread there",
				"give it an address of its own", address,
			))
		}
		if a.services.Domains.Find(al.Address.Domain) == nil {
			all = append(all, found(
				"an alias stands in a domain that is none of ours, no door takes mail for it",
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
	}
	return all
}
