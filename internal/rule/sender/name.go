// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"encoding/base64"
	"io"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// MaxName bounds a display name, in characters. Real ones stay below 100; with
// every character escaped a name of this length still fits the 998 octets of a
// line (RFC 5322 section 2.1.1). A longer one is cut, and says so by an
// ellipsis.
const MaxName = 320

// maxRawName bounds what is decoded of a name, in bytes: [MaxName] characters
// in any encoding, with much room.
const maxRawName = 16 << 10

// words decodes encoded words (RFC 2047) in any charset, also with the
// language of RFC 2231 section 5. A charset that nobody knows is read as the
// one that unlabelled mail is mostly in.
var words = mime.WordDecoder{CharsetReader: func(charset string, input io.Reader) (io.Reader, error) {
	charset, _, _ = strings.Cut(charset, "*")
	if strings.EqualFold(charset, "utf-8") {
		return input, nil
	}
	if enc, err := htmlindex.Get(charset); err == nil {
		return enc.NewDecoder().Reader(input), nil
	}
	return charmap.Windows1252.NewDecoder().Reader(input), nil
}}

// cleanName returns a display name as it stands in a field as one line of
// text, decoded and at most [MaxName] long.
func cleanName(raw string) string {
	text := toUTF8(cut(raw, maxRawName))
	if decoded, err := words.DecodeHeader(text); err == nil {
		text = toUTF8(decoded)
	}
	return oneLine(text)
}

// oneLine returns a display name as one line of text, at most [MaxName] long.
func oneLine(text string) string {
	var b strings.Builder
	last := ' '
	for _, r := range text {
		switch {
		case !noText(r):
			b.WriteRune(r)
			last = r
		case last != ' ':
			b.WriteByte(' ')
			last = ' '
		}
	}
	text = strings.TrimSpace(b.String())
	if utf8.RuneCountInString(text) > MaxName {
		text = strings.TrimSpace(string([]rune(text)[:MaxName-1])) + "…"
	}
	return text
}

// noText reports whether r must not stand in a name: control characters, line
// ends, and what turns the direction of text, which makes one address look
// like another.
func noText(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
}

// toUTF8 returns text with bytes that are no UTF-8 read as letters of the
// charset that 8-bit mail without a label is mostly in.
func toUTF8(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	decoded, err := charmap.Windows1252.NewDecoder().String(text)
	if err != nil {
		return strings.ToValidUTF8(text, "")
	}
	return decoded
}

// Format returns a mailbox as it stands in an address field: the name in
// quotes, or in encoded words (RFC 2047) if it has letters outside ASCII, and
// the address. It has no line break; what is no text in the name is left out.
func Format(name string, a mailflow.Address) string {
	if name = oneLine(name); name == "" {
		return a.String()
	}
	return formatName(name) + " " + a.Path()
}

// formatName returns name as a phrase.
func formatName(name string) string {
	switch {
	case strings.Contains(name, "=?"):
		return encodeAll(name) // in quotes many would decode it
	case strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) < 0:
		return `"` + escape.Replace(name) + `"`
	case strings.ContainsFunc(name, notInPhrase):
		return encodeAll(name)
	}
	return mime.QEncoding.Encode("utf-8", name)
}

// escape writes what needs it in a quoted string (RFC 5322 section 3.2.4).
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// maxWordBytes is what fits into an encoded word of 75 octets in base64.
const maxWordBytes = 45

// encodeAll returns text as encoded words, also where it is plain ASCII.
func encodeAll(text string) string {
	var b strings.Builder
	for text != "" {
		part := cut(text, maxWordBytes)
		text = text[len(part):]
		b.WriteString("=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(part)) + "?= ")
	}
	return strings.TrimSuffix(b.String(), " ")
}

// notInPhrase reports whether r may stand neither in an encoded word in a
// phrase (RFC 2047 section 5, rule 3) nor is escaped by the Q encoding.
func notInPhrase(r rune) bool {
	return r < utf8.RuneSelf && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(" !*+-/=_?", r)
}
