// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"fmt"
	"strings"
)

// xtext encodes s as xtext (RFC 3461 section 4): bytes outside "!" to "~", "+"
// and "=" become "+" and two hex digits.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// utf8xtext encodes s as utf-8-addr-xtext (RFC 6533 section 3), which is ASCII
// and stands for an address of type utf-8 with or without SMTPUTF8.
func utf8xtext(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < '!' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
