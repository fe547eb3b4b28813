// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// block is a header block that is being changed: its fields, and the lines
// that are none, in order.
type block struct {
	fields []mailflow.Field // a line that is no field has no name
	rest   []byte           // the empty line, if there is one
}

// readBlock splits raw, a header block up to and with its empty line. No byte
// is lost.
func readBlock(raw []byte) *block {
	b := &block{}
	at := 0
	for _, f := range mailflow.ParseHeader(raw).Fields() {
		for !bytes.HasPrefix(raw[at:], f.Raw) {
			at += b.line(raw[at:])
		}
		b.fields = append(b.fields, f)
		at += len(f.Raw)
	}
	for at < len(raw) && len(bytes.Trim(raw[at:], "\r\n")) > 0 {
		at += b.line(raw[at:])
	}
	b.rest = raw[at:]
	return b
}

// line takes the line that raw begins with as one that is no field, and
// returns its length.
func (b *block) line(raw []byte) int {
	n := bytes.IndexByte(raw, '\n') + 1
	if n == 0 {
		n = len(raw)
	}
	b.fields = append(b.fields, mailflow.Field{Raw: raw[:n]})
	return n
}

// apply makes one change.
func (b *block) apply(c mailflow.HeaderChange, mode charset) error {
	if !isFieldName(c.Name) {
		return fmt.Errorf("%q is no field name", c.Name)
	}
	if c.Op == mailflow.HeaderRemove {
		part := strings.ToLower(c.Value)
		b.fields = slices.DeleteFunc(b.fields, func(f mailflow.Field) bool {
			return named(c.Name)(f) && strings.Contains(strings.ToLower(f.Value()), part)
		})
		return nil
	}
	if strings.ContainsAny(c.Value, "\r\n\x00") {
		return errors.New("a line break in the value of " + c.Name)
	}
	f := mailflow.Field{Name: c.Name, Raw: makeField(c.Name, c.Value, mode)}
	at := b.index(c.Name)
	switch c.Op {
	case mailflow.HeaderSet:
		if at >= 0 {
			b.fields[at] = f
			tail := slices.DeleteFunc(b.fields[at+1:], named(c.Name))
			b.fields = b.fields[:at+1+len(tail)]
			return nil
		}
	case mailflow.HeaderEnsure:
		if at >= 0 {
			return nil
		}
	case mailflow.HeaderAdd, mailflow.HeaderRemove:
	default:
		return fmt.Errorf("header change %q is unknown", c.Op)
	}
	b.fields = slices.Insert(b.fields, 0, f)
	return nil
}

// remove takes all fields of that name away.
func (b *block) remove(name string) { b.fields = slices.DeleteFunc(b.fields, named(name)) }

// index returns the place of the first field of that name, or -1.
func (b *block) index(name string) int { return slices.IndexFunc(b.fields, named(name)) }

func named(name string) func(mailflow.Field) bool {
	return func(f mailflow.Field) bool { return strings.EqualFold(f.Name, name) }
}

// bytes returns the block with top before it.
func (b *block) bytes(top string) []byte {
	size := len(top) + len(b.rest)
	for _, f := range b.fields {
		size += len(f.Raw)
	}
	out := append(make([]byte, 0, size), top...)
	for _, f := range b.fields {
		out = append(out, f.Raw...)
	}
	return append(out, b.rest...)
}

// isFieldName reports whether s is an ftext (RFC 5322 section 3.6.8).
func isFieldName(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == ':' }) < 0
}
