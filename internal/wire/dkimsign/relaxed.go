// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"strings"
)

// canonicalField appends the relaxed form of a field to b (RFC 6376 section
// 3.4.2), without its final CRLF. The value may be folded.
func canonicalField(b []byte, name, value string) []byte {
	b = append(b, strings.ToLower(name)...)
	b = append(b, ':')
	first := true
	for word := range strings.FieldsFuncSeq(value, isBreak[rune]) {
		if !first {
			b = append(b, ' ')
		}
		b, first = append(b, word...), false
	}
	return b
}

// isBreak reports whether c is a blank or part of a line end. All line ends
// within a field are those of its folding.
func isBreak[T rune | byte](c T) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// bodyHash is the SHA-256 sum of the relaxed form of what is written to it.
type bodyHash struct {
	ctx     context.Context // of the one Sign that it is made for
	ends    *lineEnds
	hash    hash.Hash
	relaxed relaxedBody
}

func newBodyHash(ctx context.Context, ends *lineEnds) *bodyHash {
	sum := sha256.New()
	return &bodyHash{ctx: ctx, ends: ends, hash: sum, relaxed: relaxedBody{w: bufio.NewWriter(sum)}}
}

// Write takes more of the body. The error is errLineEnd or that of the context.
func (b *bodyHash) Write(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	if err := b.ends.check(p); err != nil {
		return 0, err
	}
	b.relaxed.write(p)
	return len(p), nil
}

// sum ends the body.
func (b *bodyHash) sum() ([]byte, error) {
	if err := b.ends.close(); err != nil {
		return nil, err
	}
	b.relaxed.close()
	return b.hash.Sum(nil), b.ctx.Err()
}

// relaxedBody writes the relaxed form of a body (RFC 6376 section 3.4.4): no
// blanks at line ends, one for several, and no empty lines at the end.
type relaxedBody struct {
	w     *bufio.Writer // of a hash, which never fails
	blank bool          // blanks were read, and not yet written
	lines int           // line ends were read, and not yet written
	began bool          // something was written
}

// write takes more of the body, in which each CR and LF belongs to a CRLF.
func (b *relaxedBody) write(p []byte) {
	for len(p) > 0 {
		n := 1
		switch p[0] {
		case ' ', '\t':
			b.blank = true
		case '\r':
			b.blank = false
		case '\n':
			b.lines++
		default:
			n = relaxedPrefix(p)
			b.flush()
			_, _ = b.w.Write(p[:n])
		}
		p = p[n:]
	}
}

// relaxedPrefix returns how much of p, which begins with a word, is relaxed
// already: words with one blank between.
func relaxedPrefix(p []byte) int {
	n := 1
	for n < len(p) {
		switch {
		case !isBreak(p[n]):
			n++
		case p[n] == ' ' && n+1 < len(p) && !isBreak(p[n+1]):
			n += 2
		default:
			return n
		}
	}
	return n
}

// flush writes what was kept back, since more text follows.
func (b *relaxedBody) flush() {
	for ; b.lines > 0; b.lines-- {
		_, _ = b.w.WriteString("\r\n")
	}
	if b.blank {
		_ = b.w.WriteByte(' ')
	}
	b.blank, b.began = false, true
}

// close ends the last line. An empty body stays empty.
func (b *relaxedBody) close() {
	if b.began {
		_, _ = b.w.WriteString("\r\n")
	}
	_ = b.w.Flush()
}

// errLineEnd is returned for a CR or LF that is not part of a CRLF: verifiers
// disagree on where such a line ends.
var errLineEnd = errors.New("the message has a CR or LF alone, which cannot be sent")

// lineEnds looks for a CR or LF alone in a text that comes in pieces.
type lineEnds struct{ cr bool }

func (l *lineEnds) check(p []byte) error {
	for len(p) > 0 {
		if l.cr {
			if p[0] != '\n' {
				return errLineEnd
			}
			l.cr, p = false, p[1:]
			continue
		}
		i := bytes.IndexByte(p, '\n')
		line := p
		if i >= 0 {
			line = p[:i]
		}
		switch end := bytes.IndexByte(line, '\r'); {
		case end < 0 && i >= 0:
			return errLineEnd
		case end < 0:
			return nil
		case end != len(line)-1:
			return errLineEnd
		}
		l.cr, p = true, p[len(line):]
	}
	return nil
}

// close reports a CR at the end.
func (l *lineEnds) close() error {
	if l.cr {
		return errLineEnd
	}
	return nil
}
