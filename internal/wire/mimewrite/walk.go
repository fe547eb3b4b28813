// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// visitor sees a message as a row of headers, contents and what stands
// between. The slices are valid during the call.
type visitor interface {
	// head is called for each part, in order, with its header block.
	head(e *entity, raw []byte) error
	// text is called with the content of a leaf, piece by piece.
	text(e *entity, b []byte) error
	// end is called after the content of a leaf with the boundary that follows,
	// to which the last CRLF of the content belongs, or with atEnd.
	end(e *entity, by delimiter) error
	// gap is called with boundaries, preambles and epilogues.
	gap(b []byte) error
}

// kind is what the body of an entity is.
type kind int

const (
	leafKind kind = iota
	multipartKind
	messageKind
)

// entity is a message or one of its parts.
type entity struct {
	kind        kind
	depth       int
	boundary    string
	digest      bool // parts are messages unless they say otherwise
	container   bool // is called a multipart or a message, whatever kind it is
	sealed      bool // stands in a signed multipart
	seals       bool // is a signed multipart
	message     bool // is an attached message: its header is no MIME header only
	eightBitCTE bool // says 8bit or binary
	quoted      bool // says quoted-printable
	base64      bool // says base64
	top         bool // is the message itself or an attached one
}

// walk goes through a message once, in bounded memory.
type walk struct {
	ctx   context.Context
	r     *bufio.Reader
	v     visitor
	stack []string // the open boundaries
	begin bool     // the next byte begins a line
	line  []byte   // the last piece that was read
}

func newWalk(ctx context.Context, r io.Reader, v visitor) *walk {
	return &walk{ctx: ctx, r: bufio.NewReaderSize(r, 32<<10), v: v, begin: true}
}

// run goes through the whole message.
func (w *walk) run() error {
	_, err := w.entity(&entity{top: true}, "text/plain")
	return err
}

// delimiter is a boundary line that ended a part: its level on the stack, -1
// for the end of the message.
type delimiter struct {
	level  int
	closes bool
}

var atEnd = delimiter{level: -1}

// next reads the next piece of a line, at most the reader's buffer. It returns
// io.EOF at the end of the message.
func (w *walk) next() (first bool, err error) {
	if err := w.ctx.Err(); err != nil {
		return false, err
	}
	first = w.begin
	w.line, err = w.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || errors.Is(err, io.EOF) && len(w.line) > 0 {
		err = nil
	}
	w.begin = bytes.HasSuffix(w.line, []byte("\n"))
	return first, err
}

// delimits reports whether the last piece is an open boundary.
func (w *walk) delimits() (delimiter, bool) {
	rest, ok := bytes.CutPrefix(w.line, []byte("--"))
	if !ok {
		return atEnd, false
	}
	rest = bytes.TrimRight(rest, " \t\r\n")
	for i, open := range slices.Backward(w.stack) {
		after, ok := bytes.CutPrefix(rest, []byte(open))
		if ok && (len(after) == 0 || string(after) == "--") {
			return delimiter{level: i, closes: len(after) > 0}, true
		}
	}
	return atEnd, false
}

// each calls f for every piece up to a boundary or the end.
func (w *walk) each(f func([]byte) error) (delimiter, error) {
	for {
		first, err := w.next()
		if errors.Is(err, io.EOF) {
			return atEnd, nil
		}
		if err != nil {
			return atEnd, err
		}
		if first {
			if d, ok := w.delimits(); ok {
				return d, nil
			}
		}
		if err := f(w.line); err != nil {
			return atEnd, err
		}
	}
}

// entity goes through e, whose type is def unless its header says otherwise.
// It returns the boundary at which it ended, which the caller passes on.
func (w *walk) entity(e *entity, def string) (delimiter, error) {
	if e.depth > maxDepth {
		return atEnd, ErrSealed
	}
	raw, d, err := w.header(e)
	if err != nil {
		return atEnd, err
	}
	e.read(raw, def)
	if err := w.v.head(e, raw); err != nil {
		return atEnd, err
	}
	if d != nil {
		if e.kind == leafKind {
			err = w.v.end(e, *d)
		}
		return *d, err
	}
	switch e.kind {
	case multipartKind:
		return w.multipart(e)
	case messageKind:
		return w.entity(&entity{depth: e.depth + 1, sealed: e.sealed, message: true, top: true}, "text/plain")
	case leafKind:
	}
	end, err := w.each(func(b []byte) error { return w.v.text(e, b) })
	if err != nil {
		return atEnd, err
	}
	return end, w.v.end(e, end)
}

// multipart goes through the parts of e.
func (w *walk) multipart(e *entity) (delimiter, error) {
	mine := len(w.stack)
	w.stack = append(w.stack, e.boundary)
	def := "text/plain"
	if e.digest {
		def = "message/rfc822"
	}
	d, err := w.each(w.v.gap)
	for err == nil && d.level == mine {
		if err := w.v.gap(w.line); err != nil {
			return atEnd, err
		}
		if d.closes {
			w.stack = w.stack[:mine]
			return w.each(w.v.gap)
		}
		d, err = w.entity(&entity{depth: e.depth + 1, sealed: e.sealed || e.seals}, def)
	}
	w.stack = w.stack[:mine]
	return d, err
}

// header reads a header block with its empty line. A part that ends within its
// header gives the boundary.
func (w *walk) header(e *entity) ([]byte, *delimiter, error) {
	limit := maxPartHeader
	if e.depth == 0 {
		limit = 2 * mailflow.MaxHeaderBytes // ours is read already, and fields were added
	}
	var raw []byte
	for {
		first, err := w.next()
		if errors.Is(err, io.EOF) {
			return raw, &delimiter{level: -1}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if first {
			if d, ok := w.delimits(); ok {
				return raw, &d, nil
			}
		}
		if len(raw)+len(w.line) > limit {
			return nil, nil, ErrSealed
		}
		raw = append(raw, w.line...)
		if first && len(bytes.Trim(w.line, "\r\n")) == 0 {
			return raw, nil, nil
		}
	}
}

// read sets what the header block says of e.
func (e *entity) read(raw []byte, def string) {
	h := mailflow.ParseHeader(raw)
	switch cte := strings.ToLower(firstToken(valueOf(h, "Content-Transfer-Encoding"))); cte {
	case "8bit", "binary":
		e.eightBitCTE = true
	case "quoted-printable":
		e.quoted = true
	case "base64":
		e.base64 = true
	}
	text := valueOf(h, "Content-Type")
	if text == "" {
		text = def
	}
	typ, params, err := mime.ParseMediaType(text)
	if err != nil && typ == "" {
		typ = strings.ToLower(firstToken(text))
	}
	boundary := params["boundary"]
	if boundary == "" {
		boundary = looseBoundary(text)
	}
	e.container = strings.HasPrefix(typ, "multipart/") || typ == "message/rfc822"
	switch {
	case e.quoted || e.base64:
	case strings.HasPrefix(typ, "multipart/") && boundary != "":
		e.kind, e.boundary = multipartKind, strings.TrimRight(boundary, " \t")
		e.digest = typ == "multipart/digest"
		e.seals = typ == "multipart/signed"
	case typ == "message/rfc822":
		e.kind = messageKind
	}
}

// valueOf returns the text of the first field of that name as it stands there.
func valueOf(h mailflow.Header, name string) string {
	for _, f := range h.Fields() {
		if strings.EqualFold(f.Name, name) {
			return f.Value()
		}
	}
	return ""
}

// looseBoundary finds the boundary in a Content-Type that is malformed.
func looseBoundary(text string) string {
	const key = "boundary="
	i := strings.Index(strings.ToLower(text), key)
	if i < 0 || i+len(key) > len(text) {
		return ""
	}
	rest := text[i+len(key):]
	if quoted, ok := strings.CutPrefix(rest, `"`); ok {
		rest, _, _ = strings.Cut(quoted, `"`)
		return rest
	}
	return firstToken(rest)
}

// firstToken returns s up to its first parameter or comment.
func firstToken(s string) string {
	if i := strings.IndexAny(s, "; \t("); i >= 0 {
		return s[:i]
	}
	return s
}
