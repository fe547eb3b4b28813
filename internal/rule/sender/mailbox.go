// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Limits on an address list that a stranger wrote: reading it must not take
// long, and nothing beyond them is real.
const (
	// maxMailboxes is more than a From field ever has.
	maxMailboxes = 100
	// maxSpelled is more than a path has with its route and quotes, in bytes
	// (RFC 5321 section 4.5.3.1.3 allows 256).
	maxSpelled = 1024
)

// mailbox is one entry of an address list.
type mailbox struct {
	name    string // decoded, see cleanName
	spelled string // the address as it stands, without brackets
	address mailflow.Address
	bare    bool // a name that does not stand before brackets
}

// mailboxes reads an address list (RFC 5322 section 3.4), leniently: whatever
// stands there gives entries, some perhaps without an address. Groups give
// their members; the old form "address (name)" gives the name.
func mailboxes(list string) []mailbox {
	r := &listReader{text: list, groups: strings.LastIndexByte(list, ';')}
	for r.at < len(r.text) && len(r.found) < maxMailboxes {
		r.step()
	}
	r.flush()
	return r.found
}

// listReader reads an address list.
type listReader struct {
	text   string
	at     int
	groups int // the last semicolon: before it a colon may begin a group
	found  []mailbox

	// The entry that is read.
	words    []string // the phrase, or the address where there are no brackets
	glued    bool     // no blank stands before what comes
	joined   bool     // no blank stands before what is read
	quoted   bool     // the last word was in quotes
	comments []string
	angle    string
	inAngle  bool
}

// step reads the next part of an entry.
func (r *listReader) step() {
	r.joined, r.glued = r.glued, true
	switch c := r.text[r.at]; c {
	case ' ', '\t', '\r', '\n', 0:
		r.at++
		r.glued = false
	case ',', ';':
		r.at++
		r.flush()
	case ':':
		r.at++
		if !r.inAngle && r.at <= r.groups {
			r.words = nil // the name of a group, which a semicolon ends
		}
	case '"':
		r.words, r.quoted = append(r.words, r.quotedString()), true
	case '(':
		r.comments = append(r.comments, r.comment())
	case '<':
		r.angle, r.inAngle = r.bracketed(), true
	case '>':
		r.at++
	default:
		r.atom()
	}
}

// atom reads to the next special character or blank. What is glued to a quoted
// string begins with "@" in an address with a quoted local part.
func (r *listReader) atom() {
	end := encodedWord(r.text[r.at:])
	if end == 0 {
		end = strings.IndexAny(r.text[r.at:], " \t\r\n\x00,;:\"(<>")
	}
	if end < 0 {
		end = len(r.text) - r.at
	}
	word := r.text[r.at : r.at+end]
	r.at += end
	if last := len(r.words) - 1; r.joined && r.quoted && word[0] == '@' && last >= 0 {
		r.words[last] = mailflow.Address{Local: r.words[last]}.String() + word
	} else {
		r.words = append(r.words, word)
	}
	r.quoted = false
}

// encodedWord returns the length of the encoded word (RFC 2047) that text
// begins with, or 0. Special characters do not stand in one in a phrase, but
// they are met there.
func encodedWord(text string) int {
	rest, ok := strings.CutPrefix(text, "=?")
	if !ok {
		return 0
	}
	rest = rest[:min(len(rest), maxSpelled)]
	charset := strings.IndexByte(rest, '?')
	if charset < 0 || len(rest) < charset+3 || rest[charset+2] != '?' {
		return 0
	}
	content := rest[charset+3:]
	end := strings.Index(content, "?=")
	if end < 0 || strings.ContainsAny(content[:end], " \t\r\n") {
		return 0
	}
	return len("=?") + charset + 3 + end + len("?=")
}

// quotedString reads a quoted string, to the end of the text if it has none.
func (r *listReader) quotedString() string {
	var b strings.Builder
	for r.at++; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; {
		case c == '"':
			r.at++
			return b.String()
		case c == '\\' && r.at+1 < len(r.text):
			r.at++
			b.WriteByte(r.text[r.at])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// comment reads a comment with those inside.
func (r *listReader) comment() string {
	var b strings.Builder
	depth := 1
	for r.at++; r.at < len(r.text); r.at++ {
		c := r.text[r.at]
		switch {
		case c == '\\' && r.at+1 < len(r.text):
			r.at++
			c = r.text[r.at]
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				r.at++
				return b.String()
			}
		}
		b.WriteByte(c)
	}
	return b.String()
}

// bracketed reads what stands in angle brackets, or before the next comma or
// semicolon where they do not close before the next ones open.
func (r *listReader) bracketed() string {
	start, quoted, comma := r.at+1, false, -1
	end := start
scan:
	for ; end < len(r.text); end++ {
		switch c := r.text[end]; {
		case c == '\\' && quoted:
			end++
		case c == '"':
			quoted = !quoted
		case quoted:
		case (c == ',' || c == ';') && comma < 0:
			comma = end
		case c == '>':
			comma = -1
			break scan
		case c == '<':
			break scan
		}
	}
	if comma >= 0 {
		end = comma
	}
	r.at = min(end, len(r.text))
	return r.text[start:r.at]
}

// flush ends an entry.
func (r *listReader) flush() {
	m := mailbox{}
	if r.inAngle {
		m.spelled = withoutRoute(r.angle)
	} else {
		for i, w := range r.words {
			if strings.Contains(w, "@") && readAddress(w) != (mailflow.Address{}) {
				m.spelled = w
				r.words = append(r.words[:i:i], r.words[i+1:]...)
				break
			}
		}
	}
	m.address = readAddress(m.spelled)
	m.name = cleanName(strings.Join(r.words, " "))
	if m.name == "" {
		m.name = cleanName(strings.Join(r.comments, " "))
	}
	m.bare = m.name != "" && (!r.inAngle || len(r.words) == 0)
	if m.name != "" || m.spelled != "" {
		r.found = append(r.found, m)
	}
	r.words, r.comments, r.angle, r.inAngle, r.glued, r.quoted = nil, nil, "", false, false, false
}

// withoutRoute takes blanks and a source route off (RFC 5321 appendix C).
func withoutRoute(s string) string {
	if !strings.Contains(s, `"`) {
		s = strings.Join(strings.Fields(s), "")
	}
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "@") {
		if _, rest, ok := strings.Cut(s, ":"); ok {
			return rest
		}
	}
	return s
}

// readAddress reads an address; what is none, or has no domain, gives null.
func readAddress(s string) mailflow.Address {
	if len(s) > maxSpelled {
		return mailflow.Address{}
	}
	a, err := mailflow.ParseAddress(s)
	if err != nil || a.Domain == "" {
		return mailflow.Address{}
	}
	return a
}
