// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"strings"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// commonSender returns an entry by which two filters allow the same senders
// alike: both by address, or both by domain. It is empty if there is none.
func commonSender(a, b []string) string {
	for _, pair := range [...][2][]string{{a, b}, {b, a}} {
		other, err := relay.ParseFilter(pair[1])
		if err != nil {
			continue
		}
		for _, entry := range filterEntries(pair[0]) {
			if allowsAlike(other, entry) {
				return entry
			}
		}
	}
	return ""
}

// allowsAlike reports whether f names what the entry names, by address if that
// is one, else by domain.
func allowsAlike(f relay.Filter, entry string) bool {
	if strings.Contains(entry, "@") {
		addr, err := mailflow.ParseAddress(entry)
		return err == nil && f.MatchAddress(addr)
	}
	name, below := strings.CutPrefix(entry, "*.")
	domain, err := mailflow.NormalizeDomain(name)
	if err != nil {
		return false
	}
	if below {
		domain = "any." + domain
	}
	return f.MatchDomain(domain)
}

// filterEntries returns the single entries of a filter that was read well,
// without display names. Those with a comma in quotes are not found.
func filterEntries(texts []string) []string {
	var entries []string
	for _, text := range texts {
		for entry := range strings.SplitSeq(text, ",") {
			if i := strings.LastIndexByte(entry, '<'); i >= 0 {
				entry = strings.TrimSuffix(strings.TrimSpace(entry[i+1:]), ">")
			}
			if entry = strings.TrimSpace(entry); entry != "" {
				entries = append(entries, entry)
			}
		}
	}
	return entries
}

// allows reports whether a filter that was read well allows the address.
func allows(filter []string, addr mailflow.Address) bool {
	f, err := relay.ParseFilter(filter)
	return err == nil && f.Match(addr)
}
