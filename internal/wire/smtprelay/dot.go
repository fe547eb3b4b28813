// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"bufio"
	"bytes"
	"errors"
)

// errLineEnd is returned for content with a CR or an LF that is not part of a
// CRLF. Servers disagree on where such lines end, which lets a mail smuggle in
// another one; so it is never sent.
var errLineEnd = errors.New("content has a bare CR or LF")

// A dotWriter writes content as DATA wants it (RFC 5321 section 4.5.2): with a
// dot before each line that begins with one, and the final dot at the end.
type dotWriter struct {
	w    *bufio.Writer
	last byte // the last byte written
}

func newDotWriter(w *bufio.Writer) *dotWriter { return &dotWriter{w: w, last: '\n'} }

// Write writes p. It looks at whole lines and copies what lies between the
// dots as one block. The error is errLineEnd or that of the connection.
func (d *dotWriter) Write(p []byte) (int, error) {
	if err := d.check(p); err != nil {
		return 0, err
	}
	n := len(p)
	if d.atLineStart() && n > 0 && p[0] == '.' {
		if err := d.w.WriteByte('.'); err != nil {
			return 0, err
		}
	}
	for len(p) > 0 {
		i := bytes.Index(p, []byte("\n."))
		if i < 0 {
			if _, err := d.w.Write(p); err != nil {
				return 0, err
			}
			d.last = p[len(p)-1]
			break
		}
		if _, err := d.w.Write(p[:i+1]); err != nil {
			return 0, err
		}
		if err := d.w.WriteByte('.'); err != nil {
			return 0, err
		}
		d.last, p = '\n', p[i+1:]
	}
	return n, nil
}

// Close writes the final dot, after a line end where the content has none. It
// does not flush.
func (d *dotWriter) Close() error {
	if d.last == '\r' {
		return errLineEnd
	}
	end := ".\r\n"
	if !d.atLineStart() {
		end = "\r\n.\r\n"
	}
	_, err := d.w.WriteString(end)
	return err
}

func (d *dotWriter) atLineStart() bool { return d.last == '\n' }

// check returns errLineEnd if a CR or LF of p stands alone. A CR at the end of
// p is judged with the next block.
func (d *dotWriter) check(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	crs, lfs, prev := bytes.Count(p, []byte{'\r'}), 0, d.last
	if prev == '\r' {
		crs++
	}
	if p[len(p)-1] == '\r' {
		crs--
	}
	for rest := p; ; lfs++ {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		if i > 0 {
			prev = rest[i-1]
		}
		if prev != '\r' {
			return errLineEnd
		}
		prev, rest = '\n', rest[i+1:]
	}
	if crs != lfs { // each LF has its CR, so a CR is left over
		return errLineEnd
	}
	return nil
}
