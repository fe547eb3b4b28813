// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
)

// repair writes a message anew with a sound structure, as a stream. Of headers
// it keeps the fields that say what a part is. Contents of leaves pass as they
// are, so that a decoder sees what the sender wrote.
type repair struct {
	limits

	in    *bufio.Reader
	flaws *flaws
	state state
	begin bool   // the next piece begins a line
	line  []byte // the last piece that was read
	stack []*level
	names map[string]int // how often a boundary is on the stack
	parts int
	prove string // makes our boundaries ones that no stranger can know

	head  block  // the header that is read
	front []byte // what stands before the first boundary of the innermost multipart

	leaf    bool   // content of a leaf was begun
	lineEnd []byte // the end of its last line, which may belong to a boundary

	out []byte // written and not read
	at  int
	err error
}

// state is what the next piece belongs to.
type state int

const (
	inHeader state = iota
	inFront        // before the first boundary
	inLeaf
	inEpilogue // behind the last boundary
)

// level is an open multipart.
type level struct {
	theirs string // empty if the header names none
	ours   string
	flat   bool // its parts are written as parts of the level above
	digest bool
	parts  int
	closed bool // its end was seen; others behind it may show that it was none
}

func newRepair(r io.Reader, l limits, f *flaws) *repair {
	return &repair{
		limits: l, in: bufio.NewReaderSize(r, bufferBytes), flaws: f,
		begin: true, names: make(map[string]int), prove: rand.Text(), head: block{top: true},
	}
}

// Read implements io.Reader.
func (r *repair) Read(p []byte) (int, error) {
	if rest := r.out[r.at:]; len(rest) < len(p) {
		r.out, r.at = append(r.out[:0], rest...), 0
	}
	for len(r.out)-r.at < len(p) && r.err == nil {
		r.step()
	}
	n := copy(p, r.out[r.at:])
	r.at += n
	if n == 0 && len(p) > 0 {
		return 0, r.err
	}
	return n, nil
}

func (r *repair) write(s ...string) {
	for _, s := range s {
		r.out = append(r.out, s...)
	}
}

// content writes a piece of a leaf, but for the end of its line.
func (r *repair) content(b []byte) {
	text, end := b, []byte(nil)
	switch {
	case bytes.HasSuffix(b, []byte("\r\n")):
		text, end = b[:len(b)-2], b[len(b)-2:]
	case bytes.HasSuffix(b, []byte("\n")), bytes.HasSuffix(b, []byte("\r")):
		text, end = b[:len(b)-1], b[len(b)-1:]
	}
	if len(text) > 0 || string(r.lineEnd) != "\r" || string(end) != "\n" {
		r.out = append(r.out, r.lineEnd...)
		r.lineEnd = r.lineEnd[:0]
	}
	r.out = append(r.out, text...)
	r.lineEnd = append(r.lineEnd, end...)
}

// boundary writes one of our boundaries. The line end before it is its own (RFC
// 2046 section 5.1.1).
func (r *repair) boundary(ours, end string) {
	if r.leaf {
		r.write("\r\n")
		r.leaf, r.lineEnd = false, r.lineEnd[:0]
	}
	r.write("--", ours, end, "\r\n")
}

// step reads one piece of a line and writes what becomes of it.
func (r *repair) step() {
	first := r.begin
	var err error
	r.line, err = r.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) && (!errors.Is(err, io.EOF) || len(r.line) == 0) {
		if r.err = err; errors.Is(err, io.EOF) {
			r.end()
		}
		return
	}
	r.begin = bytes.HasSuffix(r.line, []byte("\n"))
	if first {
		if i, closes, ok := r.delimiter(); ok {
			r.endPart(i)
			switch {
			case r.err != nil:
			case closes:
				r.closeLevel()
			default:
				r.beginPart()
			}
			return
		}
	}
	switch r.state {
	case inHeader:
		r.headerPiece(first)
	case inFront:
		if len(r.front) < maxPreamble {
			r.front = append(r.front, r.line...)
		}
	case inLeaf:
		r.content(r.line)
	case inEpilogue:
		if len(bytes.TrimSpace(r.line)) > 0 {
			r.flaws.add(flawEpilogue)
		}
	}
}

// delimiter reports whether the piece is a boundary, and of which level.
func (r *repair) delimiter() (at int, closes, ok bool) {
	rest, ok := bytes.CutPrefix(r.line, []byte("--"))
	if !ok || len(r.stack) == 0 {
		return 0, false, false
	}
	rest = bytes.TrimRight(rest, " \t\r\n")
	if r.names[string(rest)]+r.names[string(bytes.TrimSuffix(rest, []byte("--")))] == 0 {
		return r.otherDelimiter(rest)
	}
	at = -1
	for i, l := range slices.Backward(r.stack) {
		after, ok := bytes.CutPrefix(rest, []byte(l.theirs))
		if !ok || l.theirs == "" || len(after) > 0 && string(after) != "--" {
			continue
		}
		// Of two levels with the same boundary the open one is meant.
		if !l.closed {
			return i, len(after) > 0, true
		}
		if at < 0 {
			at, closes = i, len(after) > 0
		}
	}
	return at, closes, at >= 0
}

// otherDelimiter finds the boundary of a multipart whose header names none or a
// wrong one: a line that looks like one, before the fields of a part.
func (r *repair) otherDelimiter(rest []byte) (at int, closes, ok bool) {
	if r.state != inFront || len(rest) == 0 || !r.begin {
		return 0, false, false
	}
	// Peek may move what line points to.
	theirs := string(rest)
	r.line = bytes.Clone(r.line)
	const field = "content-"
	next, err := r.in.Peek(len(field))
	if err != nil || !bytes.EqualFold(next, []byte(field)) {
		return 0, false, false
	}
	r.flaws.add(flawBoundary)
	at = len(r.stack) - 1
	r.rename(r.stack[at], theirs)
	return at, false, true
}

// endPart ends what is open above a level.
func (r *repair) endPart(at int) {
	if r.state == inHeader {
		r.endHeader(false)
	}
	if r.err == nil {
		r.pop(at + 1)
	}
}

// closeLevel takes note of the end of the innermost multipart. It is written
// once nothing more can come.
func (r *repair) closeLevel() {
	l := r.stack[len(r.stack)-1]
	if l.parts == 0 {
		r.endFront(l)
	}
	l.closed = true
	r.state = inEpilogue
}

// beginPart begins the next part of the innermost multipart.
func (r *repair) beginPart() {
	l := r.stack[len(r.stack)-1]
	if l.closed {
		l.closed = false
		r.flaws.add(flawReopened)
	}
	if l.parts++; l.parts == 1 {
		r.front = r.front[:0]
	}
	r.boundary(l.ours, "")
	r.head = block{digest: l.digest}
	r.state = inHeader
}

// pop closes the multiparts from level at on.
func (r *repair) pop(at int) {
	for len(r.stack) > at {
		l := r.stack[len(r.stack)-1]
		if !l.closed {
			r.flaws.add(flawUnclosed)
			if l.parts == 0 {
				r.endFront(l)
			}
		}
		if !l.flat {
			r.boundary(l.ours, "--")
		}
		r.rename(l, "")
		r.stack = r.stack[:len(r.stack)-1]
	}
}

// rename gives a level on the stack another boundary, or none.
func (r *repair) rename(l *level, theirs string) {
	if r.names[l.theirs]--; r.names[l.theirs] <= 0 {
		delete(r.names, l.theirs)
	}
	if l.theirs = theirs; theirs != "" {
		r.names[theirs]++
	}
}

// endFront makes text of a multipart without parts.
func (r *repair) endFront(l *level) {
	if len(bytes.TrimSpace(r.front)) == 0 {
		return
	}
	r.flaws.add(flawNoBoundary)
	r.boundary(l.ours, "")
	r.write("\r\n")
	r.leaf = true
	r.content(r.front)
	r.front = r.front[:0]
}

// end closes the message.
func (r *repair) end() {
	if r.state == inHeader {
		r.endHeader(false)
	}
	if len(r.stack) == 0 {
		r.out = append(r.out, r.lineEnd...)
	}
	r.pop(0)
}

// open begins the body of a part that is a multipart, or reports that it is
// none for us.
func (r *repair) open(media valued) (opened *level, ok bool) {
	if !isMultipart(media) {
		return nil, false
	}
	if len(r.stack) >= r.depth {
		r.flaws.add(flawDeep)
		return nil, false
	}
	l := &level{
		ours:   r.prove + "-" + strconv.Itoa(r.parts),
		digest: media.value == "multipart/digest",
	}
	if n := len(r.stack); n >= r.nested {
		l.ours, l.flat = r.stack[n-1].ours, true
	}
	r.stack = append(r.stack, l)
	// Blanks at its end are none of it (RFC 2046 section 5.1.1).
	r.rename(l, strings.TrimRight(media.params["boundary"], " \t"))
	r.front = r.front[:0]
	return l, true
}
