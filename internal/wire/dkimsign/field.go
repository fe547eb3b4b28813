// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// fieldName is the name of the field of a signature.
const fieldName = "DKIM-Signature"

// foldAt is the length that lines keep within (RFC 5322 section 2.1.1).
const foldAt = 78

// field is a DKIM-Signature field (RFC 6376 section 3.5).
type field struct {
	algorithm, domain, selector string
	time                        int64 // in seconds of Unix
	names                       []string
	body                        []byte // the hash of the body
}

// format returns the field with an empty b=, as it is signed.
func (f *field) format() string {
	var l lines
	l.add(fieldName + ":")
	for _, tag := range []string{
		"v=1", "a=" + f.algorithm, "c=relaxed/relaxed", "d=" + f.domain, "s=" + f.selector,
		"t=" + strconv.FormatInt(f.time, 10),
	} {
		l.add(" ", tag, ";")
	}
	for i, name := range f.names {
		switch {
		case i == 0 && len(f.names) == 1:
			l.add(" ", "h=", name, ";")
		case i == 0:
			l.add(" ", "h=", name, ":")
		case i == len(f.names)-1:
			l.add("", name, ";")
		default:
			l.add("", name, ":")
		}
	}
	l.add(" ", "bh=", base64.StdEncoding.EncodeToString(f.body), ";")
	l.breakLine()
	l.add("", "b=")
	return l.text.String()
}

// complete returns text, which format made, with the signature and the final
// CRLF.
func (*field) complete(text string, signature []byte) string {
	l := lines{column: len("\tb=")}
	l.text.WriteString(text)
	b := base64.StdEncoding.EncodeToString(signature)
	for len(b) > 0 {
		n := min(len(b), foldAt-l.column)
		l.add("", b[:n])
		if b = b[n:]; len(b) > 0 {
			l.breakLine()
		}
	}
	l.text.WriteString("\r\n")
	return l.text.String()
}

// lines folds a field.
type lines struct {
	text   strings.Builder
	column int
}

// add adds what parts say as one word, after gap, or on a new line if it does
// not fit.
func (l *lines) add(gap string, parts ...string) {
	word := strings.Join(parts, "")
	if l.column > 1 && l.column+len(gap)+len(word) > foldAt {
		l.breakLine()
		gap = ""
	}
	l.text.WriteString(gap)
	l.text.WriteString(word)
	l.column += len(gap) + len(word)
}

func (l *lines) breakLine() {
	l.text.WriteString("\r\n\t")
	l.column = 1
}
