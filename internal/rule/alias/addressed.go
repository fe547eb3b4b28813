// SPDX-License-Identifier: Apache-2.0

package alias

import (
	"regexp"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// MaxAddressed bounds the addresses that are read from a header: a mail to
// more of ours is none that a person wrote, and each costs a look-up.
const MaxAddressed = 200

// Addressed returns whom a mail is for by its header, in groups: the first
// group that has an address of ours counts. First come the fields that the
// servers on its way wrote (Delivered-To, X-Original-To, Envelope-To), since
// they name the mailbox that it was put in, then those of its author (To, Cc,
// Resent-To, Resent-Cc). Odoo takes Delivered-To and those of the author
// together, and does not know the others.
//
// Each address stands once in its group, in the order of the fields. What is
// beyond [MaxAddressed] is left out.
func Addressed(h mailflow.Header, b mailflow.Behavior) [][]mailflow.Address {
	if b == mailflow.BehaviorOdoo {
		return groups(addresses(h, "Delivered-To", "To", "Cc", "Resent-To", "Resent-Cc"))
	}
	return groups(
		addresses(h, "X-Original-To", "Envelope-To", "Delivered-To"),
		addresses(h, "To", "Cc", "Resent-To", "Resent-Cc"),
	)
}

// Direct returns the addresses that a mail is written to, and not only copied:
// those in Delivered-To and To. Odoo looks at them to tell an answer from a
// forward, and to tell mail that is for the catchall address alone.
func Direct(h mailflow.Header) []mailflow.Address { return addresses(h, "Delivered-To", "To") }

// groups leaves out empty groups.
func groups(all ...[]mailflow.Address) [][]mailflow.Address {
	return slices.DeleteFunc(all, func(g []mailflow.Address) bool { return len(g) == 0 })
}

// addresses returns the addresses of the fields of these names, each once.
func addresses(h mailflow.Header, names ...string) []mailflow.Address {
	var all []mailflow.Address
	seen := make(map[string]bool)
	for _, name := range names {
		for _, f := range h.Fields() {
			if !strings.EqualFold(f.Name, name) {
				continue
			}
			for _, a := range listed(f.Value()) {
				if a.Domain == "" || seen[a.Key()] || len(all) == MaxAddressed {
					continue
				}
				seen[a.Key()] = true
				all = append(all, a)
			}
		}
	}
	return all
}

// What the old syntax allows (RFC 5322 section 4.4), and some people write.
var (
	// blanksAtSign are blanks round an "@".
	blanksAtSign = regexp.MustCompile(`[ \t]*@[ \t]*`)
	// sourceRoute is the way to an address, in front of it.
	sourceRoute = regexp.MustCompile(`<@[^<>:"]*:`)
)

// listed returns the addresses in the value of an address field.
func listed(value string) []mailflow.Address {
	read := func(value string) []mailflow.Address {
		return mailflow.ParseHeader([]byte("To: " + value + "\r\n\r\n")).Addresses("To")
	}
	as := read(value)
	if len(as) == 0 && strings.Contains(value, "@") {
		as = read(sourceRoute.ReplaceAllString(blanksAtSign.ReplaceAllString(value, "@"), "<"))
	}
	return as
}
