// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Line lengths without CRLF, from RFC 5322 section 2.1.1.
const (
	foldAt  = 78
	maxLine = 998
)

// charset says how letters outside ASCII are written.
type charset int

const (
	encodeWords charset = iota // as encoded words (RFC 2047)
	keepUTF8                   // as they are (RFC 6532)
)

// makeField returns the whole field, folded, with its final CRLF. The value
// has no line break.
func makeField(name, value string, mode charset) []byte {
	value = strings.Trim(value, " \t")
	if mode == encodeWords && !isASCII(value) {
		value = encode(name, value)
	}
	if longestWord(value) > maxLine-len(name)-2 && !hasAddresses(name) {
		value = encodeAll(name, value)
	}
	return []byte(fold(name+": "+value, len(name)+2) + "\r\n")
}

// fold breaks line, a field whose value begins at start, before blanks so that
// no line is longer than 78 where that is possible. Taking the CRLFs out gives
// line back.
func fold(line string, start int) string {
	var b strings.Builder
	for len(line) > foldAt {
		at := breakAt(line, start)
		if at < 0 {
			break
		}
		b.WriteString(line[:at])
		b.WriteString("\r\n")
		line, start = line[at:], 1
	}
	b.WriteString(line)
	return b.String()
}

// breakAt returns the place of the blank before which line is broken: the last
// one within 78, else the first one after; -1 if there is none. What stands
// before it from start on has a letter, since a line of blanks alone is
// obsolete (RFC 5322 section 4.2).
func breakAt(line string, start int) int {
	best := -1
	for i := start + 1; i < len(line); i++ {
		if !isBlank(line[i]) || isBlank(line[i-1]) {
			continue
		}
		if i > foldAt && best >= 0 {
			return best
		}
		best = i
		if i > foldAt {
			return best
		}
	}
	return best
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// encode returns value with its letters outside ASCII as encoded words. In an
// address field these stand only in display names.
func encode(name, value string) string {
	if !hasAddresses(name) {
		return encodeAll(name, value)
	}
	list, err := mail.ParseAddressList(value)
	if err != nil {
		return value
	}
	texts := make([]string, len(list))
	for i, m := range list {
		local, domain, _ := cutLast(m.Address, '@')
		if d, err := mailflow.NormalizeDomain(domain); err == nil {
			domain = d
		}
		texts[i] = (&mail.Address{Name: m.Name, Address: local + "@" + domain}).String()
	}
	return strings.Join(texts, ", ")
}

// maxEncodedWord is the longest encoded word (RFC 2047 section 2).
const maxEncodedWord = 75

// encodeAll returns value as encoded words throughout, the first of them short
// enough to stand behind the name.
func encodeAll(name, value string) string {
	const open, end = "=?utf-8?q?", "?="
	var b strings.Builder
	b.WriteString(open)
	room := max(maxEncodedWord-len(name)-2, len(open)+len(end)+12) - len(open) - len(end)
	for _, r := range value {
		letter := quoteRune(r)
		if len(letter) > room {
			b.WriteString(end + " " + open)
			room = maxEncodedWord - len(open) - len(end)
		}
		b.WriteString(letter)
		room -= len(letter)
	}
	b.WriteString(end)
	return b.String()
}

// quoteRune returns r in the Q encoding (RFC 2047 section 4.2).
func quoteRune(r rune) string {
	switch {
	case r == ' ':
		return "_"
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return string(r)
	}
	var b strings.Builder
	for _, c := range []byte(string(r)) {
		fmt.Fprintf(&b, "=%02X", c)
	}
	return b.String()
}

// addressFields have address lists as values: there an encoded word stands
// only in a display name.
var addressFields = []string{
	"from", "sender", "reply-to", "to", "cc", "bcc",
	"resent-from", "resent-sender", "resent-reply-to", "resent-to", "resent-cc", "resent-bcc",
}

func hasAddresses(name string) bool {
	return slices.Contains(addressFields, strings.ToLower(name))
}

func longestWord(s string) int {
	longest := 0
	for word := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' || r == '\t' }) {
		longest = max(longest, len(word))
	}
	return longest
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// cutLast splits s at the last sep.
func cutLast(s string, sep byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
