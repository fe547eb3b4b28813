// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bytes"
	"io"
	"strings"
)

// block is a header block that is read.
type block struct {
	top     bool // that of the message
	digest  bool // the part is a message unless it says otherwise
	any     bool // a field was seen
	lines   int
	size    int
	field   int // the field that a folded line belongs to; -1 for one that goes
	kept    [len(keptFields)][]byte
	dropped []byte // lines that are no fields
	noField bool   // the last line was dropped
}

// keptFields are the fields that say what a part is.
var keptFields = [...]string{
	fieldType: "Content-Type", fieldTransfer: "Content-Transfer-Encoding",
	fieldDisposition: "Content-Disposition", fieldID: "Content-Id",
}

const (
	fieldType = iota
	fieldTransfer
	fieldDisposition
	fieldID
)

// headerPiece reads one piece of a line of the header.
func (r *repair) headerPiece(first bool) {
	h := &r.head
	h.size += len(r.line)
	text := bytes.TrimRight(r.line, "\r\n")
	if bytes.IndexByte(text, 0) >= 0 {
		text = bytes.ReplaceAll(text, []byte{0}, nil)
	}
	h.lines++
	switch {
	case first && len(text) == 0:
		r.endHeader(true)
		return
	case h.lines == 1 && h.top && (bytes.HasPrefix(text, []byte("From ")) || bytes.HasPrefix(text, []byte(">From "))):
		h.field = -1 // the line that divides the messages of a mailbox file
	case !first || h.lines > 1 && (text[0] == ' ' || text[0] == '\t'):
		r.addToField(text)
	default:
		r.beginField(text)
	}
	// A block with a field ends here, one without was text all the time.
	if h.size > r.header || !h.any && len(h.dropped) >= maxDropped {
		if h.any {
			r.flaws.add(flawLongHeader)
		}
		r.endHeader(false)
	}
}

// beginField reads the first line of a field.
func (r *repair) beginField(text []byte) {
	h := &r.head
	name, value, ok := bytes.Cut(text, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if h.noField = !ok || !isFieldName(name); h.noField {
		h.field = -1
		r.drop()
		return
	}
	h.any = true
	h.field = -1
	for i, keep := range keptFields {
		if !strings.EqualFold(keep, string(name)) {
			continue
		}
		if h.kept[i] != nil {
			r.flaws.add(flawTwice)
			return
		}
		h.field = i
		h.kept[i] = make([]byte, 0, len(value))
		r.addToField(value)
	}
}

// addToField adds text to the field that is read.
func (r *repair) addToField(text []byte) {
	h := &r.head
	if h.noField {
		r.drop()
	}
	if h.field < 0 {
		return
	}
	kept := h.kept[h.field]
	if room := maxFieldBytes - len(kept); len(text) > room {
		r.flaws.add(flawLongField)
		text = text[:room]
	}
	h.kept[h.field] = append(kept, text...)
}

// drop leaves the line out, unless it is text.
func (r *repair) drop() {
	h := &r.head
	if len(h.dropped) < maxDropped {
		h.dropped = append(h.dropped, r.line...)
	}
}

// endHeader writes the header block, and what is text of it: lines without any
// field are no header, and lines that are no fields are no header where no
// empty line follows.
func (r *repair) endHeader(empty bool) {
	h := &r.head
	text := h.dropped
	switch {
	case len(text) == 0:
	case !h.any && empty:
		r.flaws.add(flawNoHeader)
		text = append(text, "\r\n"...)
	case !h.any || !empty:
		r.flaws.add(flawNoHeader)
	default:
		r.flaws.add(flawNoField)
		text = nil
	}
	if r.parts++; r.parts > r.limits.parts {
		r.flaws.add(flawParts)
		r.write("\r\n")
		r.stop()
		return
	}
	// What is written must be read as it is here, so it is cleaned before.
	var values [len(keptFields)]string
	for i, value := range h.kept {
		values[i] = strings.Trim(printable(value), " \t")
	}
	if h.digest && values[fieldType] == "" {
		values[fieldType] = "message/rfc822"
	}
	media := parseValued(values[fieldType])
	if l, ok := r.open(media); ok {
		if parseMedia(media.value).value != media.value { // no sound subtype
			media.value = "multipart/mixed"
		}
		if !l.flat {
			r.write("Content-Type: ", media.value, `; boundary="`, l.ours, "\"\r\n")
		}
		r.write("\r\n") // a flat one leaves an empty part
		r.leaf = l.flat
		r.state = inFront
		r.front = append(r.front, text...)
		return
	}
	for i, value := range values {
		if value != "" {
			r.write(keptFields[i], ": ", value, "\r\n")
		}
	}
	r.write("\r\n")
	r.leaf = true
	r.content(text)
	r.state = inLeaf
}

// stop ends the message before its end.
func (r *repair) stop() {
	r.state = inEpilogue
	r.err = io.EOF
	for _, l := range r.stack {
		l.closed = true
	}
	r.pop(0)
}

// printable makes a value one line.
func printable(s []byte) string {
	for i, c := range s {
		if c < ' ' && c != '\t' || c == 0x7f {
			s[i] = ' '
		}
	}
	return string(s)
}

// isFieldName reports whether b is an ftext (RFC 5322 section 3.6.8).
func isFieldName(b []byte) bool {
	return len(b) > 0 && bytes.IndexFunc(b, func(c rune) bool { return c <= ' ' || c >= 0x7f }) < 0
}

func isMultipart(media valued) bool { return strings.HasPrefix(media.value, "multipart/") }
