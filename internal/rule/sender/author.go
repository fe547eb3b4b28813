// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"net/mail"
	"strings"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// maxOriginal bounds what X-Original-From keeps, in bytes: one line (RFC 5322
// section 2.1.1) with its name.
const maxOriginal = 900

// maxField bounds what is read of a From field, in bytes: more than a name of
// 10,000 characters in any encoding. What stands behind it is not sent.
const maxField = 64 << 10

// Author is who a mail says it is from.
type Author struct {
	// Address is the first address in From; null if there is none.
	Address mailflow.Address
	// Name is the display name, decoded, on one line and at most [MaxName]
	// characters long; empty if there is none.
	Name string
	// Text is the From field as it stands, on one line and of bounded length;
	// empty if there is no such field.
	Text string
	// Fields says how many From fields there are, Addresses how many addresses
	// in them.
	Fields, Addresses int

	// spelled is the address as it stands, and bare is set when the name does
	// not stand before brackets.
	spelled string
	bare    bool
	// malformed is set when the field is not what RFC 5322 allows.
	malformed bool
}

// Read returns the author of a mail with that header. It takes whatever stands
// there: the first address of the first From field that has one. A field
// without an address still gives a name. A mail has to have one From field
// with one address (RFC 5322 section 3.6.2 allows more, and then wants a
// Sender); what differs shows in Fields and Addresses.
func Read(h mailflow.Header) Author {
	var a Author
	for _, f := range h.Fields() {
		if !strings.EqualFold(f.Name, "From") {
			continue
		}
		a.Fields++
		value := fieldValue(f)
		if a.Text == "" {
			a.Text = clip(toUTF8(value), maxOriginal)
		}
		for _, m := range mailboxes(value) {
			if m.address.IsNull() {
				if a.Addresses == 0 && a.Name == "" {
					a.Name = nameless(m)
				}
				continue
			}
			if a.Addresses++; a.Addresses == 1 {
				a.Address, a.Name, a.spelled, a.bare = m.address, m.name, m.spelled, m.bare
				_, err := strict.ParseList(value)
				a.malformed = err != nil || len(value) == maxField
			}
		}
	}
	return a
}

// fieldValue returns the value of a field, cut to [maxField].
func fieldValue(f mailflow.Field) string {
	value := f.Value()
	return value[:min(len(value), maxField)]
}

// strict reads what RFC 5322 allows, in any charset.
var strict = mail.AddressParser{WordDecoder: &words}

// Authors returns all addresses of all From fields, read as [Read] does: a
// field that other readers give up on hides nobody from [May].
func Authors(h mailflow.Header) []mailflow.Address {
	var as []mailflow.Address
	for _, f := range h.Fields() {
		if !strings.EqualFold(f.Name, "From") {
			continue
		}
		for _, m := range mailboxes(fieldValue(f)) {
			if !m.address.IsNull() {
				as = append(as, m.address)
			}
		}
	}
	return as
}

// nameless returns the name of an entry without an address. What is nearly an
// address gives its local part, as one does.
func nameless(m mailbox) string {
	name := m.name
	if name == "" {
		name = cleanName(m.spelled)
	}
	if local, _, ok := strings.Cut(name, "@"); ok && !strings.Contains(name, " ") {
		return local
	}
	return name
}

// ReadOr is [Read], with somebody else in place of an author without an
// address: in the documented behavior that is who stands in Sender, else the
// reverse-path. Odoo has none then.
func ReadOr(h mailflow.Header, reversePath mailflow.Address, b mailflow.Behavior) Author {
	a := Read(h)
	if !a.Address.IsNull() || b == mailflow.BehaviorOdoo {
		return a
	}
	for _, s := range h.Addresses("Sender") {
		if s.Domain != "" {
			a.Address = s
			return a
		}
	}
	if reversePath.Domain != "" {
		a.Address = reversePath
	}
	return a
}

// clip cuts s to n bytes at a character and makes it one line of text.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return cut(s, n)
}

// cut cuts s to n bytes at a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
