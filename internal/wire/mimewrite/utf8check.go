// SPDX-License-Identifier: Apache-2.0

package mimewrite

import "unicode/utf8"

// check goes on judging whether the content is UTF-8; a letter may be split
// between two calls.
func (c *census) check(b []byte) {
	if c.broken {
		return
	}
	if len(c.pending) > 0 {
		n := min(utf8.UTFMax-len(c.pending), len(b))
		joined := append(c.pending, b[:n]...)
		if !utf8.FullRune(joined) {
			c.pending = joined
			return
		}
		r, size := utf8.DecodeRune(joined)
		if r == utf8.RuneError && size == 1 {
			c.broken = true
			return
		}
		b = b[size-len(c.pending):]
		c.pending = c.pending[:0]
	}
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				c.pending = append(c.pending, b[i:]...)
				b = b[:i]
			}
			break
		}
	}
	c.broken = !utf8.Valid(b)
}

// utf8 reports whether the content was UTF-8 to its end.
func (c *census) utf8() bool { return !c.broken && len(c.pending) == 0 }
