// SPDX-License-Identifier: Apache-2.0

package domainauth

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-msgauth/authres"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Limits on one Authentication-Results field. Who signs a mail a hundred times
// makes its receiver's field long.
const (
	// MaxResultsBytes is the longest field that is read; those of the large
	// providers stay below 2 KiB.
	MaxResultsBytes = 16 << 10
	// MaxResults is how many results of one field are read. The others are as
	// if they were not there, which proves nothing.
	MaxResults = 64
)

// Methods are the methods whose results are read, in the order of their
// names. Others are passed over.
var Methods = []string{"arc", "auth", "dkim", "dmarc", "spf"}

// Outcomes are the results that a method can have (RFC 8601 section 2.7).
var Outcomes = []string{"pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"}

// outcomes are other words for them: hardfail is an old one for fail, and
// policy says that a signature is good but not good enough for the receiver.
var outcomes = map[string]string{"hardfail": "fail", "policy": "neutral"}

// Results is what one Authentication-Results field says.
type Results struct {
	// ID is the authserv-id: who says so, in lower case with A-labels. It is
	// empty if the field names nobody, or cannot be read.
	ID string
	// Results are those of known methods, in the order of the field.
	Results []mailflow.AuthResult
}

// ParseResults reads the unfolded value of an Authentication-Results field (RFC
// 8601 section 2.2). It reports whether it could: a field that is too long,
// has a comment or a quoted string without end, names nobody or has a version
// other than 1 says nothing. One result that cannot be read is left out.
//
// A result is about one domain: for DMARC that of header.from, for SPF that of
// smtp.mailfrom, or smtp.helo where there is no sender; for DKIM header.d, or
// that of header.i; for auth that of smtp.auth.
func ParseResults(value string) (Results, bool) {
	if len(value) > MaxResultsBytes {
		return Results{}, false
	}
	text, ok := plain(value)
	if !ok {
		return Results{}, false
	}
	parts := strings.Split(text, ";")
	who := strings.Fields(parts[0])
	if len(who) == 0 || len(who) > 2 || strings.ContainsAny(who[0], "=/") {
		return Results{}, false
	}
	r := Results{ID: serviceID(who[0])}
	if len(who) == 2 && who[1] != "1" {
		return r, false
	}
	for _, part := range parts[1:min(len(parts), MaxResults+1)] {
		if result, ok := parseResult(part); ok {
			result.By = r.ID
			r.Results = append(r.Results, result)
		}
	}
	return r, true
}

// plain returns the value without comments. Its quoted strings have lost their
// quotes, and everything in them that has a meaning outside: what a stranger
// wrote between quotes cannot become a result.
func plain(value string) (string, bool) {
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(value); i++ {
		c := value[i]
		escaped := c == '\\' && (quoted || depth > 0)
		if escaped {
			if i++; i == len(value) {
				return "", false
			}
			c = value[i]
		}
		switch {
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", false
		case depth > 0:
			if !escaped {
				depth += nesting(c)
			}
		case quoted && c == '"' && !escaped:
			quoted = false
		case quoted && strings.IndexByte(" \t;()=\"\\", c) >= 0:
			b.WriteByte('_')
		case quoted:
			b.WriteByte(c)
		case c == '"':
			quoted = true
		case c == '(':
			depth++
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	return strings.Map(onlyBlanks, b.String()), depth == 0 && !quoted
}

// onlyBlanks leaves blank and tab as the only blanks: other characters of that
// kind do not part words in a header.
func onlyBlanks(r rune) rune {
	if r >= utf8.RuneSelf && unicode.IsSpace(r) {
		return '_'
	}
	return r
}

// nesting returns how much deeper in comments the text is after c.
func nesting(c byte) int {
	switch c {
	case '(':
		return 1
	case ')':
		return -1
	}
	return 0
}

// serviceID returns an authserv-id so that two spellings of it are equal.
func serviceID(s string) string {
	if d, err := mailflow.NormalizeDomain(s); err == nil {
		return d
	}
	return strings.ToLower(s)
}

// parseResult reads one result without comments and quotes.
func parseResult(part string) (mailflow.AuthResult, bool) {
	words := joinPairs(strings.Fields(part))
	if len(words) == 0 {
		return mailflow.AuthResult{}, false
	}
	method, result, ok := strings.Cut(words[0], "=")
	name, version, versioned := strings.Cut(strings.ToLower(method), "/")
	result = strings.ToLower(result)
	if other, known := outcomes[result]; known {
		result = other
	}
	if !ok || versioned && version != "1" || !slices.Contains(Methods, name) || !slices.Contains(Outcomes, result) || saysTwice(words) {
		return mailflow.AuthResult{}, false
	}
	words[0] = name + "=" + result
	_, read, err := authres.Parse("id; " + strings.Join(words, " "))
	if err != nil || len(read) != 1 {
		return mailflow.AuthResult{}, false
	}
	return mailflow.AuthResult{Method: name, Result: result, Domain: subject(read[0])}, true
}

// joinPairs puts together what blanks round "=" and "/" part.
func joinPairs(words []string) []string {
	var joined []string
	for _, w := range words {
		if n := len(joined); n > 0 && goesOn(joined[n-1], w) {
			joined[n-1] += w
			continue
		}
		joined = append(joined, w)
	}
	return joined
}

// goesOn reports whether next belongs to the pair that last begins.
func goesOn(last, next string) bool {
	switch strings.IndexByte(last, '=') {
	case -1:
		return strings.HasSuffix(last, "/") || strings.HasPrefix(next, "/") || strings.HasPrefix(next, "=")
	case len(last) - 1:
		return !strings.Contains(next, "=") // an empty value is written too
	}
	return false
}

// saysTwice reports whether a property stands in a result twice. A sender may
// have written one of the two, and nobody knows which.
func saysTwice(words []string) bool {
	seen := make(map[string]bool, len(words))
	for _, w := range words {
		key, _, ok := strings.Cut(strings.ToLower(w), "=")
		if !ok {
			continue
		}
		if seen[key] {
			return true
		}
		seen[key] = true
	}
	return false
}

// subject returns the domain that a result is about; empty if it says none.
func subject(r authres.Result) string {
	switch r := r.(type) {
	case *authres.DMARCResult:
		return domainOf(r.From)
	case *authres.SPFResult:
		if from := strings.Trim(r.From, "<>"); from != "" {
			return domainOf(from)
		}
		return domainOf(r.Helo)
	case *authres.DKIMResult:
		if r.Domain != "" {
			return domainOf(r.Domain)
		}
		return domainOf(r.Identifier)
	case *authres.AuthResult:
		if strings.Contains(r.Auth, "@") {
			return domainOf(r.Auth)
		}
	}
	return ""
}

// domainOf returns the domain of an address, or of a domain alone, normalised;
// empty if it is none.
func domainOf(s string) string {
	s = strings.Trim(s, "<>")
	d, err := mailflow.NormalizeDomain(s[strings.LastIndexByte(s, '@')+1:])
	if err != nil {
		return ""
	}
	return d
}
