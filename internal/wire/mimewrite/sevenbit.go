// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"bufio"
	"context"
	"io"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ErrSealed is returned by [Content.Open] for a message that cannot be
// converted to seven bits without damage (RFC 6152 section 3).
var ErrSealed = &mailflow.Reply{
	Code: 554, Enhanced: mailflow.EnhancedCode{5, 6, 3}, Text: "Conversion required but prohibited",
}

// Limits on the structure that is converted. Real mail stays far below; what
// is beyond is refused, since memory and work grow with it.
const (
	maxDepth      = 50       // multiparts and messages within each other
	maxParts      = 20_000   // a plan of a few bytes is kept for each
	maxPartHeader = 64 << 10 // the header of a part, in bytes
)

// openSevenBit plans the conversion and returns a reader that makes it.
func (c *Content) openSevenBit(ctx context.Context) (io.ReadCloser, error) {
	p := &planner{}
	if err := newWalk(ctx, c.reader(), p).run(); err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	out := bufio.NewWriterSize(w, 32<<10)
	go func() {
		err := newWalk(ctx, c.reader(), &converter{plan: p.parts, out: out}).run()
		if err == nil {
			err = out.Flush()
		}
		_ = w.CloseWithError(err) // never fails
	}()
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(ctx.Err()) })
	return &pipe{PipeReader: r, stop: stop}, nil
}

// pipe ends the conversion when it is closed.
type pipe struct {
	*io.PipeReader
	stop func() bool
}

// Close implements io.Closer.
func (p *pipe) Close() error {
	p.stop()
	return p.PipeReader.Close()
}

// encoding is how a part is written.
type encoding uint8

const (
	asIs      encoding = iota
	quoted             // quoted-printable
	base64ed           // base64
	requoted           // is quoted-printable and has 8-bit bytes beside
	stripped           // is base64 and has 8-bit bytes beside, which mean nothing
	composite          // is a multipart or a message, with converted parts
)

// part is the plan for one part.
type part struct {
	enc     encoding
	utf8    bool // the content is valid UTF-8
	retitle bool // the part's header has 8-bit bytes
}

// planner is the visitor of the first round: it finds how each part has to be
// written.
type planner struct {
	parts []part
	now   census
	at    int // the leaf that is counted
}

func (p *planner) head(e *entity, raw []byte) error {
	if len(p.parts) >= maxParts {
		return ErrSealed
	}
	n := part{retitle: e.depth > 0 && hasEightBit(raw)}
	if n.retitle && (e.sealed || e.message) || !isASCII(e.boundary) {
		return ErrSealed
	}
	if e.kind != leafKind && e.eightBitCTE && !e.sealed {
		n.enc = composite
	}
	p.parts = append(p.parts, n)
	p.at, p.now = len(p.parts)-1, census{}
	return nil
}

func (p *planner) text(_ *entity, b []byte) error {
	p.now.count(b)
	return nil
}

func (p *planner) end(e *entity, _ delimiter) error {
	n := &p.parts[p.at]
	n.utf8 = p.now.utf8()
	switch {
	case !p.now.needs():
	case e.sealed:
		return ErrSealed
	case e.quoted:
		n.enc = requoted
	case e.base64:
		n.enc = stripped
	case e.container:
		return ErrSealed // its encoding must not be quoted-printable or base64
	case p.now.dense():
		n.enc = base64ed
	default:
		n.enc = quoted
	}
	return nil
}

func (*planner) gap([]byte) error { return nil }

// census counts what decides on the encoding of a leaf.
type census struct {
	size, eight int64
	line        int  // length of the line so far
	long, bare  bool // a line beyond 998; a CR or LF alone or a NUL
	cr          bool // the last byte was a CR
	broken      bool // is not UTF-8
	pending     []byte
}

func (c *census) count(b []byte) {
	c.size += int64(len(b))
	for _, x := range b {
		if c.cr != (x == '\n') || x == 0 {
			c.bare = true
		}
		c.cr = x == '\r'
		switch {
		case x == '\n':
			c.line = 0
			continue
		case x >= 0x80:
			c.eight++
		}
		if x != '\r' {
			c.line++
		}
		c.long = c.long || c.line > maxLine
	}
	c.check(b)
}

// needs reports whether the content cannot be sent as it is.
func (c *census) needs() bool { return c.eight > 0 || c.long }

// dense reports whether base64 is the better choice: it is shorter, or the
// content has bytes that quoted-printable text would change.
func (c *census) dense() bool { return c.bare || c.cr || 2*c.eight*3 > c.size }
