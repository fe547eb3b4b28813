// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"bytes"
	"mime"
	"net/mail"
	"strings"
)

// MaxHeaderBytes bounds the header block of a message. Real headers stay
// below 64 KiB; beyond 1 MiB a message is read as if its body began there.
const MaxHeaderBytes = 1 << 20

// Field is one header field as it stands in the message.
type Field struct {
	// Name is the field name as written.
	Name string
	// Raw is the whole field with its name, folding and final CRLF.
	Raw []byte
}

// Value returns the field's unfolded text: without name and line ends, with
// blanks trimmed. Encoded words stay encoded.
func (f Field) Value() string {
	_, v, _ := bytes.Cut(f.Raw, []byte(":"))
	return strings.TrimSpace(unfold.Replace(string(v)))
}

// Text returns the value with its encoded words (RFC 2047) decoded; a word in
// an unknown charset stays as it is.
func (f Field) Text() string {
	v := f.Value()
	if d, err := new(mime.WordDecoder).DecodeHeader(v); err == nil {
		return d
	}
	return v
}

var unfold = strings.NewReplacer("\r\n", "", "\n", "", "\r", "")

// Header is the header block of a message, in the order of the message. It is
// read-only. Reading never fails: a line that is no field is left out of the
// fields and stays in the bytes.
type Header struct {
	fields []Field
	size   int
}

// ParseHeader reads the header block that b begins with, up to and with the
// empty line that ends it. Lines end with CRLF or with LF.
func ParseHeader(b []byte) Header {
	var h Header
	if len(b) > MaxHeaderBytes {
		b = b[:MaxHeaderBytes]
	}
	for h.size < len(b) {
		n := fieldEnd(b[h.size:])
		raw := b[h.size : h.size+n]
		h.size += n
		if len(bytes.Trim(raw, "\r\n")) == 0 {
			break
		}
		name, _, ok := bytes.Cut(raw, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		if ok && isFieldName(name) {
			h.fields = append(h.fields, Field{Name: string(name), Raw: raw})
		}
	}
	return h
}

// fieldEnd returns the length of the first field of b with its folded lines.
func fieldEnd(b []byte) int {
	n := 0
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 0 {
			return len(b)
		}
		first := n == 0
		n += i + 1
		empty := len(bytes.Trim(b[:n], "\r\n")) == 0
		if first && empty || n == len(b) || b[n] != ' ' && b[n] != '\t' {
			return n
		}
	}
}

// isFieldName reports whether b is an ftext (RFC 5322 section 3.6.8).
func isFieldName(b []byte) bool {
	return len(b) > 0 && bytes.IndexFunc(b, func(r rune) bool { return r <= ' ' || r >= 0x7f }) < 0
}

// Size returns the length of the header block in bytes, with the empty line
// that ends it: the body begins there.
func (h Header) Size() int { return h.size }

// Fields returns all fields in order. The caller must not change them.
func (h Header) Fields() []Field { return h.fields }

// Get returns the decoded text of the first field of that name, in any case,
// or "".
func (h Header) Get(name string) string {
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			return f.Text()
		}
	}
	return ""
}

// Values returns the decoded texts of all fields of that name.
func (h Header) Values(name string) []string {
	var vs []string
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			vs = append(vs, f.Text())
		}
	}
	return vs
}

// Has reports whether a field of that name stands in the header.
func (h Header) Has(name string) bool {
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			return true
		}
	}
	return false
}

// Addresses returns the addresses of all fields of that name. What cannot be
// read as a list is searched for the addresses in it; groups give their
// members.
func (h Header) Addresses(name string) []Address {
	var as []Address
	for _, f := range h.fields {
		if strings.EqualFold(f.Name, name) {
			as = append(as, addressesIn(f.Value())...)
		}
	}
	return as
}

// From returns the author's address: the first of the From field, else the
// Sender's, else the null address.
func (h Header) From() Address {
	for _, name := range [...]string{"From", "Sender"} {
		if as := h.Addresses(name); len(as) > 0 {
			return as[0]
		}
	}
	return Address{}
}

// addressesIn reads an address list (RFC 5322 section 3.4), leniently.
func addressesIn(v string) []Address {
	var as []Address
	if list, err := mail.ParseAddressList(v); err == nil {
		for _, m := range list {
			if a, err := ParseAddress(quoteLocal(m.Address)); err == nil {
				as = append(as, a)
			}
		}
		return as
	}
	for word := range strings.FieldsFuncSeq(v, func(r rune) bool { return strings.ContainsRune(" \t,;<>()", r) }) {
		if !strings.Contains(word, "@") {
			continue
		}
		if a, err := ParseAddress(strings.Trim(word, `"'`)); err == nil && a.Domain != "" {
			as = append(as, a)
		}
	}
	return as
}

// quoteLocal puts back the quotes that net/mail takes off a local part.
func quoteLocal(s string) string {
	i := strings.LastIndexByte(s, '@')
	if i < 0 {
		return s
	}
	return Address{Local: s[:i]}.String() + s[i:]
}
