// SPDX-License-Identifier: Apache-2.0

package preset

import "strings"

// maxID bounds the id that is read from a reply, in bytes: the longest that
// is documented has 60, Outlook's some 100. RFC 5322 section 2.1.1 leaves a
// line 998.
const maxID = 250

// Learn returns the Message-Id, with angle brackets, that the provider gave a
// message in place of ours, by the text of its 2xx reply to the content: without
// code, enhanced code and line end. It is empty if the reply does not tell. The
// reply is a stranger's: what is no msg-id (RFC 5322 section 3.6.4) is not
// taken.
func (p Preset) Learn(reply string) string {
	var id string
	switch p.MessageID.In {
	case Nowhere:
		return ""
	case LastWord:
		words := strings.Fields(reply)
		if len(words) != 2 || !strings.EqualFold(words[0], "ok") {
			return ""
		}
		id = words[1] + "@" + p.MessageID.Domain
	case InBrackets:
		from, to := strings.IndexByte(reply, '<'), strings.IndexByte(reply, '>')
		if from < 0 || to < from {
			return ""
		}
		id = reply[from+1 : to]
	}
	if !isID(id) {
		return ""
	}
	return "<" + id + ">"
}

// isID reports whether s is the inside of a msg-id: two dot-atoms round an "@".
func isID(s string) bool {
	left, right, ok := strings.Cut(s, "@")
	return ok && len(s) <= maxID && isDotAtom(left) && isDotAtom(right)
}

// isDotAtom reports whether s is a dot-atom-text (RFC 5322 section 3.2.3).
func isDotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" || strings.IndexFunc(atom, notInAtom) >= 0 {
			return false
		}
	}
	return true
}

func notInAtom(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r)
}
