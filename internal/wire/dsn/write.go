// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"bytes"
	"errors"
	"hash/fnv"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// dateFormat is the date-time of RFC 5322 section 3.3.
const dateFormat = "Mon, 02 Jan 2006 15:04:05 -0700"

// maxDiagnostic is how much of what a peer said is quoted, in bytes: a reply
// of one line has 512 (RFC 5321 section 4.5.3.1.5).
const maxDiagnostic = 512

// foldAt is where lines are folded (RFC 5322 section 2.1.1).
const foldAt = 78

// writer collects the lines of a notification.
type writer struct {
	b    bytes.Buffer
	utf8 bool
}

// line writes s and a line end.
func (w *writer) line(s string) {
	w.b.WriteString(s)
	w.b.WriteString("\r\n")
}

// field writes a header field, folded at its blanks. Nothing in value breaks
// the line.
func (w *writer) field(name, value string) {
	line := name + ": " + w.clean(value, maxHeader)
	for start := len(name) + 2; len(line) > foldAt; start = 1 {
		at := strings.LastIndexByte(line[:foldAt], ' ')
		if at <= start {
			at = strings.IndexByte(line[start:], ' ') + start
		}
		if at <= start {
			break
		}
		w.line(line[:at])
		line = line[at:]
	}
	w.line(line)
}

// clean returns s on one line: control characters and runs of blanks are one
// blank, letters outside ASCII a question mark unless the notification is
// UTF-8. It is cut to limit bytes.
func (w *writer) clean(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r >= utf8.RuneSelf && !w.utf8 {
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// token returns s if it is a name such as a host's, else instead.
func token(s, instead string) string {
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:[]", r)
	}
	if s == "" || len(s) > mailflow.MaxDomainLength || strings.IndexFunc(s, bad) >= 0 {
		return instead
	}
	return s
}

// quotation is what a report quotes of the message.
type quotation struct {
	bytes []byte
	whole bool // all of it, not the header alone
}

// says tells the sender what is attached.
func (q quotation) says() string {
	if q.whole {
		return "Your message is attached."
	}
	return "The header of your message is attached."
}

// quote reads what the report quotes.
func quote(r *Report) quotation {
	m := r.Message
	if r.Return != mailflow.ReturnHeaders && m.Size() <= MaxQuoted && reports(r, Failed) {
		if b, err := read(m.Body, m.Size()); err == nil {
			return quotation{bytes: b, whole: true}
		}
	}
	b, err := read(m.Body, int64(m.Header.Size()))
	if err != nil {
		return quotation{}
	}
	b = bytes.TrimSuffix(b, []byte("\r\n\r\n"))
	if len(b) > maxHeader {
		b = b[:max(0, bytes.LastIndex(b[:maxHeader], []byte("\r\n")))]
	}
	return quotation{bytes: bytes.TrimRight(b, "\r\n")}
}

// reports reports whether a recipient has that action: only a failure returns
// the content (RFC 3461 section 4.3).
func reports(r *Report, a Action) bool {
	for i := range r.Recipients {
		if r.Recipients[i].Action == a {
			return true
		}
	}
	return false
}

func read(r io.ReaderAt, size int64) ([]byte, error) {
	b := make([]byte, size)
	if n, err := r.ReadAt(b, 0); n < len(b) || err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return b, nil
}

// original writes the part with the message or its header. The types for
// UTF-8 (RFC 6533) are taken when the header is UTF-8.
func original(w *writer, q quotation) {
	global := eightBit(q.bytes[:mailflow.ParseHeader(q.bytes).Size()])
	switch {
	case q.whole && global:
		w.line("Content-Type: message/global")
	case q.whole:
		w.line("Content-Type: message/rfc822")
	case global:
		w.line("Content-Type: message/global-headers")
	default:
		w.line("Content-Type: text/rfc822-headers")
	}
	if eightBit(q.bytes) {
		w.line("Content-Transfer-Encoding: 8bit")
	}
	w.line("")
	w.b.Write(q.bytes)
	w.line("")
}

func eightBit(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0
}

// hash returns a number that stands for id and n.
func hash(id string, n int) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, id+"\x00"+strconv.Itoa(n)) // never fails
	return h.Sum64()
}

func contains(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }
