// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ErrFilter is what every error of [ParseFilter] wraps.
var ErrFilter = errors.New("no sender filter")

// Filter is a set of mail addresses: single ones, all of a domain, and all of
// the sub-domains of a domain. The zero Filter has no entries; what that means
// is the caller's decision. A Filter does not change and is safe for
// concurrent use.
type Filter struct {
	addresses map[string]bool // by Address.Key
	domains   map[string]bool
	parents   []string // with a leading dot
}

// ParseFilter reads filter entries. Each text is one entry or a list of
// entries with commas between them; blanks round an entry, upper and lower
// case, and the unicode or punycode spelling of a domain make no difference.
//
//	info@example.com          one address
//	"Info" <info@example.com> the same
//	example.com               every address of that domain
//	*.example.com             every address of its sub-domains, not of itself
//
// A text without an entry, "*" alone, lists with semicolons or line breaks,
// and "@example.com" are refused. Errors wrap [ErrFilter] and say what to
// write instead.
func ParseFilter(texts []string) (Filter, error) {
	var f Filter
	for _, text := range texts {
		entries, err := splitEntries(text)
		if err != nil {
			return Filter{}, fmt.Errorf("%w: %q: %w", ErrFilter, text, err)
		}
		for _, entry := range entries {
			if err := f.add(entry); err != nil {
				return Filter{}, fmt.Errorf("%w: %q: %w", ErrFilter, entry, err)
			}
		}
	}
	return f, nil
}

// splitEntries splits text at the commas that stand outside of quotes.
func splitEntries(text string) ([]string, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("line breaks do not separate entries, commas do")
	}
	var entries []string
	quoted, escaped, start := false, false, 0
	take := func(end int) {
		if entry := strings.TrimSpace(text[start:end]); entry != "" {
			entries = append(entries, entry)
		}
		start = end + 1
	}
	for i := range len(text) {
		switch c := text[i]; {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',':
			take(i)
		case c == ';':
			return nil, errors.New("semicolons do not separate entries, commas do")
		}
	}
	take(len(text))
	if len(entries) == 0 {
		return nil, errors.New("it is empty; leave the filter out to allow every sender")
	}
	return entries, nil
}

// add reads one entry.
func (f *Filter) add(entry string) error {
	entry = withoutName(entry)
	switch {
	case entry == "*":
		return errors.New("leave the filter out to allow every sender")
	case strings.HasPrefix(entry, "@"):
		return fmt.Errorf("write %q for all addresses of the domain", entry[1:])
	case strings.Contains(entry, "@"):
		return f.addAddress(entry)
	}
	name, below := strings.CutPrefix(entry, "*.")
	if strings.Contains(name, "*") {
		return errors.New(`"*" stands only at the beginning, as in "*.example.com"`)
	}
	domain, err := mailflow.NormalizeDomain(name)
	if err != nil {
		return err
	}
	if below {
		f.parents = append(f.parents, "."+domain)
		return nil
	}
	if f.domains == nil {
		f.domains = make(map[string]bool)
	}
	f.domains[domain] = true
	return nil
}

func (f *Filter) addAddress(entry string) error {
	if strings.Contains(entry, "*") {
		if local, domain, _ := strings.Cut(entry, "@"); local == "*" {
			return fmt.Errorf("write %q for all addresses of the domain", domain)
		}
		return errors.New(`"*" has no meaning in an address`)
	}
	a, err := mailflow.ParseAddress(entry)
	if err != nil {
		return err
	}
	if f.addresses == nil {
		f.addresses = make(map[string]bool)
	}
	f.addresses[a.Key()] = true
	return nil
}

// withoutName takes a display name and angle brackets off.
func withoutName(entry string) string {
	rest, ok := strings.CutSuffix(entry, ">")
	if !ok {
		return entry
	}
	if i := strings.LastIndexByte(rest, '<'); i >= 0 {
		return strings.TrimSpace(rest[i+1:])
	}
	return entry
}

// IsEmpty reports whether f has no entries.
func (f Filter) IsEmpty() bool {
	return len(f.addresses) == 0 && len(f.domains) == 0 && len(f.parents) == 0
}

// MatchAddress reports whether a stands in f as an address.
func (f Filter) MatchAddress(a mailflow.Address) bool { return f.addresses[a.Key()] }

// MatchDomain reports whether f allows all addresses of the domain, which is
// normalised.
func (f Filter) MatchDomain(domain string) bool {
	if domain == "" {
		return false
	}
	if f.domains[domain] {
		return true
	}
	for _, parent := range f.parents {
		if strings.HasSuffix(domain, parent) {
			return true
		}
	}
	return false
}

// Match reports whether f allows a, by address or by domain.
func (f Filter) Match(a mailflow.Address) bool {
	return f.MatchAddress(a) || f.MatchDomain(a.Domain)
}

// MatchBelow reports whether f allows a only because a "*.domain" of its
// entries does.
func (f Filter) MatchBelow(a mailflow.Address) bool {
	return !f.MatchAddress(a) && !f.domains[a.Domain] && f.MatchDomain(a.Domain)
}
