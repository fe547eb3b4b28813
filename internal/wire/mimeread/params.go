// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"cmp"
	"io"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding/charmap"
)

// valued is a field value with parameters (RFC 2045 section 5.1): a media type
// or a disposition.
type valued struct {
	value  string // in lower case
	params map[string]string
}

// token returns a parameter that is one word: a charset, a boundary.
func (v valued) token(name string) string {
	word, _, _ := strings.Cut(v.params[name], " ")
	return strings.ToLower(word)
}

// section is a piece of a parameter (RFC 2231 section 3).
type section struct {
	name    string
	at      int
	encoded bool
	text    string
}

// parseValued reads such a field leniently: what is no parameter is left out,
// values need no quotes, quotes need no end. Parameters in sections are put
// together and decoded (RFC 2231), encoded words in others too (RFC 2047),
// because many programs write them. Of a parameter that stands twice the first
// counts, and the one in the form of RFC 2231 before the plain one (RFC 6266
// section 4.3).
func parseValued(s string) valued {
	first, rest, _ := strings.Cut(s, ";")
	first, _, _ = strings.Cut(strings.TrimSpace(first), " ")
	v := valued{value: strings.ToLower(first)}
	if rest == "" {
		return v
	}
	v.params = make(map[string]string)
	var extended []section
	for count := 0; rest != "" && count < maxParams; count++ {
		var name, text string
		name, text, rest = nextParam(rest)
		if name == "" {
			continue
		}
		if sec, ok := asSection(name, text); ok {
			extended = append(extended, sec)
			continue
		}
		if _, twice := v.params[name]; !twice {
			v.params[name] = decodeWords(text)
		}
	}
	joinSections(v.params, extended)
	return v
}

// nextParam cuts the first parameter off s. The name is in lower case, and
// empty if there is none.
func nextParam(s string) (name, text, rest string) {
	s = strings.TrimLeft(s, "; \t")
	i := strings.IndexAny(s, "=;")
	if i < 0 {
		return "", "", ""
	}
	if s[i] == ';' {
		return "", "", s[i+1:]
	}
	name = strings.ToLower(strings.TrimSpace(s[:i]))
	s = strings.TrimLeft(s[i+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		text, rest, _ = strings.Cut(s, ";")
		return name, strings.TrimSpace(text), rest
	}
	text, s = unquote(s[1:])
	_, rest, _ = strings.Cut(s, ";")
	return name, text, rest
}

// unquote reads a quoted string whose first quote is gone. A backslash that
// quotes neither a quote nor a backslash stays: it stands in the paths that
// Windows programs write.
func unquote(s string) (text, rest string) {
	if i := strings.IndexAny(s, `"\`); i >= 0 && s[i] == '"' {
		return s[:i], s[i+1:]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// asSection reads name*, name*0 or name*0*.
func asSection(name, text string) (section, bool) {
	base, mark, ok := strings.Cut(name, "*")
	if !ok {
		return section{}, false
	}
	s := section{name: base, text: text}
	mark, s.encoded = strings.CutSuffix("*"+mark, "*")
	if digits := strings.TrimPrefix(mark, "*"); digits != "" {
		n, err := strconv.Atoi(digits)
		if err != nil {
			return section{}, false
		}
		s.at = n
	}
	return s, true
}

// joinSections puts sections together, in their order and not in that of the
// field.
func joinSections(params map[string]string, all []section) {
	slices.SortStableFunc(all, func(a, b section) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.at, b.at))
	})
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].name == all[0].name {
			n++
		}
		params[all[0].name] = joinOne(all[:n])
		all = all[n:]
	}
}

func joinOne(sections []section) string {
	var raw strings.Builder
	var label string
	last := -1
	for i, s := range sections {
		if s.at == last {
			continue // stands twice
		}
		last = s.at
		text := s.text
		if s.encoded && i == 0 {
			if parts := strings.SplitN(text, "'", 3); len(parts) == 3 {
				label, text = parts[0], parts[2]
			}
		}
		if s.encoded {
			text = unescape(text)
		}
		raw.WriteString(text)
	}
	return asUTF8(label, raw.String())
}

// unescape decodes %XX. What is no such escape stays.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := url.PathUnescape(s[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// asUTF8 converts a short text. A charset that is unknown, or wrong, makes
// Windows-1252 of what is no UTF-8: each of its bytes is a letter.
func asUTF8(label, s string) string {
	label = strings.ToLower(label)
	if label != "" && label != "utf-8" && label != "us-ascii" {
		if r, err := charset.Reader(label, strings.NewReader(s)); err == nil {
			if b, err := io.ReadAll(r); err == nil {
				return string(b)
			}
		}
	}
	if utf8.ValidString(s) {
		return s
	}
	s, _ = charmap.Windows1252.NewDecoder().String(s) // it knows all bytes
	return s
}

// words decodes encoded words in all charsets that we have.
var words = mime.WordDecoder{CharsetReader: charset.Reader}

// decodeWords decodes a value with encoded words or bare 8-bit letters. Words
// that cannot be decoded stay.
func decodeWords(s string) string {
	if strings.Contains(s, "=?") {
		if d, err := words.DecodeHeader(s); err == nil {
			s = d
		}
	}
	return asUTF8("", s)
}
