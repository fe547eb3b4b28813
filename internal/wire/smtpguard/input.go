// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bytes"
	"io"
	"sync"
)

// input holds what was read from the peer and is not used yet. It is small
// while the peer is silent, and borrows a large buffer for content.
type input struct {
	buf      []byte
	r, w     int // buf[r:w] waits
	borrowed *[]byte
}

// contentBuffers are lent to those who receive content.
var contentBuffers = sync.Pool{New: func() any {
	b := make([]byte, contentBuffer)
	return &b
}}

// waiting returns what waits.
func (in *input) waiting() []byte { return in.buf[in.r:in.w] }

// use marks the first n bytes as used.
func (in *input) use(n int) {
	if in.r += n; in.r == in.w {
		in.r, in.w = 0, 0
	}
}

// fill reads once behind what waits. It makes room where there is none.
func (in *input) fill(from io.Reader) error {
	if in.buf == nil {
		in.buf = make([]byte, smallBuffer)
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) {
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	n, err := from.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// unread puts a byte before what waits.
func (in *input) unread(b byte) {
	if in.r == 0 {
		rest := in.waiting()
		buf := make([]byte, max(smallBuffer, len(rest)+1))
		if in.borrowed != nil && len(rest) < len(in.buf) {
			buf = in.buf
		}
		in.w = 1 + copy(buf[1:], rest)
		in.buf, in.r = buf, 1
	}
	in.r--
	in.buf[in.r] = b
}

// borrow changes to a large buffer.
func (in *input) borrow() {
	if in.borrowed != nil || len(in.buf) > contentBuffer {
		return
	}
	b, ok := contentBuffers.Get().(*[]byte)
	if !ok {
		return
	}
	in.w = copy(*b, in.waiting())
	in.r, in.buf, in.borrowed = 0, *b, b
}

// release gives the large buffer back, and lets go of a small one that grew.
// What waits is kept, if need be in a buffer of its own size.
func (in *input) release() {
	if in.borrowed == nil && len(in.buf) <= smallBuffer {
		return
	}
	rest := in.waiting()
	var small []byte
	if len(rest) > 0 {
		small = make([]byte, max(smallBuffer, len(rest)))
	}
	in.w = copy(small, rest)
	in.r, in.buf = 0, small
	if in.borrowed != nil {
		contentBuffers.Put(in.borrowed)
		in.borrowed = nil
	}
}

// fault is why a line or content is refused.
type fault string

// The faults.
const (
	faultNone   fault = ""
	faultBareLF fault = "bare LF"
	faultBareCR fault = "bare CR"
	faultNUL    fault = "NUL"
	faultLong   fault = "too long a line"
)

// faultOf returns what is wrong with a line that ends in LF. bareLF is whether
// no CR stands before it; body is the line without its end.
func faultOf(body []byte, bareLF bool) fault {
	switch {
	case bareLF:
		return faultBareLF
	case bytes.IndexByte(body, '\r') >= 0:
		return faultBareCR
	case bytes.IndexByte(body, 0) >= 0:
		return faultNUL
	}
	return faultNone
}

// readLine reads a command without its CRLF. The line is valid until the next
// read. Errors: errLineLong for a line that was skipped, a faultError, or one
// of reading.
func (c *conn) readLine() ([]byte, error) {
	seen, skipped := 0, 0
	for {
		w := c.in.waiting()
		i := bytes.IndexByte(w[seen:], '\n')
		limit := MaxCommandLine
		if c.state.inAuth || len(w) >= 5 && bytes.EqualFold(w[:5], []byte("AUTH ")) {
			limit = MaxAuthLine
		}
		if i < 0 && bytes.IndexByte(w[seen:], 0) >= 0 {
			return nil, faultError(faultNUL) // no line may come: TLS begins so, and waits
		}
		if i < 0 && len(w) < limit && skipped == 0 {
			seen = len(w)
		} else if i < 0 {
			if skipped += len(w); skipped > MaxSkippedLine {
				return nil, faultError(faultLong)
			}
			c.in.use(len(w))
			seen = 0
		} else {
			return c.cutLine(w[:seen+i+1], limit, skipped > 0)
		}
		if err := c.fill(c.timeouts().Command); err != nil {
			return nil, err
		}
	}
}

// cutLine uses line, which ends in LF. rest is set when it is only the end of a
// line that was too long.
func (c *conn) cutLine(line []byte, limit int, rest bool) ([]byte, error) { //nolint:revive // rest is a state
	c.in.use(len(line))
	if rest || len(line) > limit {
		return nil, errLineLong
	}
	body, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if f := faultOf(body, !ok); f != faultNone {
		return nil, faultError(f)
	}
	return body, nil
}

// faultError is a fault in a command.
type faultError fault

// Error implements error.
func (e faultError) Error() string { return string(e) }
