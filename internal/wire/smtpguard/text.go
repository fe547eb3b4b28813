// SPDX-License-Identifier: Apache-2.0

package smtpguard

import "bytes"

// text checks content on its way: every line ends in CRLF, no line is too
// long, and neither CR, LF nor NUL stands anywhere else. With dots set it also
// takes the dot-stuffing off and finds the end, CRLF "." CRLF and nothing else
// (RFC 5321 section 4.1.1.4). After the first fault it gives no more bytes, but
// still finds the end.
type text struct {
	dots   bool
	middle bool  // in the middle of a line
	line   int   // its length so far
	fault  fault // the first one
	mute   bool  // give nothing, as after a fault
}

// feed takes bytes of src and puts those of the content into dst. It returns
// how many it took and put, and whether the end was reached. When it took
// nothing and dst has room, it needs more of src, which it then gets with
// these bytes first.
func (t *text) feed(dst, src []byte) (put, took int, end bool) {
	for took < len(src) {
		rest := src[took:]
		if t.dots && !t.middle && rest[0] == '.' {
			switch {
			case bytes.HasPrefix(rest, []byte(".\r\n")):
				return put, took + 3, true
			case len(rest) < 2 || len(rest) == 2 && rest[1] == '\r':
				return put, took, false
			}
			took, t.middle, t.line = took+1, true, 1
			continue
		}
		n, cost := t.piece(rest, len(dst)-put)
		if cost == 0 {
			return put, took, false
		}
		put += copy(dst[put:], rest[:n])
		took += cost
	}
	return put, took, false
}

// piece returns how many bytes of src are good content to give, at most room,
// and how many of src are done with. Both are the same until there is a fault;
// then nothing is given.
func (t *text) piece(src []byte, room int) (give, done int) {
	if t.gives() {
		src = src[:min(len(src), room+len("\r\n"))] // look no further than needed
	}
	i := bytes.IndexByte(src, '\n')
	if i < 0 {
		if i = len(src); src[i-1] == '\r' {
			i-- // its LF may come
		}
		return t.part(src[:i], room)
	}
	body, ok := bytes.CutSuffix(src[:i], []byte("\r"))
	if t.gives() && i+1 > room {
		return t.part(body, room) // never the CR without its LF
	}
	t.check(body, !ok)
	t.grow(i + 1)
	if ok {
		t.middle, t.line = false, 0
	}
	return t.given(i + 1), i + 1
}

// part does with body, in which no line ends, what piece does with src.
func (t *text) part(body []byte, room int) (give, done int) {
	if t.gives() {
		body = body[:min(len(body), room)]
	}
	if len(body) == 0 {
		return 0, 0
	}
	t.check(body, false)
	t.grow(len(body))
	return t.given(len(body)), len(body)
}

// check notes a fault of body.
func (t *text) check(body []byte, bareLF bool) {
	if t.fault == faultNone {
		t.fault = faultOf(body, bareLF)
	}
}

// grow counts n bytes of a line.
func (t *text) grow(n int) {
	t.middle = true
	if t.line += n; t.line > MaxTextLine && t.fault == faultNone {
		t.fault = faultLong
	}
}

// gives reports whether bytes are given.
func (t *text) gives() bool { return t.fault == faultNone && !t.mute }

// given returns n, or nothing if nothing is given.
func (t *text) given(n int) int {
	if !t.gives() {
		return 0
	}
	return n
}
