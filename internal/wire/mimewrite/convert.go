// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// converter is the visitor of the second round: it writes the message by plan.
type converter struct {
	plan []part
	next int // the part that comes
	now  part
	out  *bufio.Writer

	held []byte // the last CR, LF or CRLF of a leaf: the boundary's, perhaps
	enc  io.WriteCloser
	col  int // column of a requoted leaf or a gap
}

func (c *converter) head(e *entity, raw []byte) error {
	c.now = c.plan[c.next]
	c.next++
	if c.now.retitle {
		raw = retitled(raw)
	}
	switch c.now.enc {
	case composite:
		raw = c.withEncoding(e, raw, "7bit")
	case quoted:
		raw = c.withEncoding(e, raw, "quoted-printable")
		c.enc = quotedprintable.NewWriter(c.out)
	case base64ed:
		raw = c.withEncoding(e, raw, "base64")
		c.enc = newBase64(c.out)
	case asIs, requoted, stripped:
	}
	c.held, c.col = c.held[:0], 0
	_, err := c.out.Write(raw)
	return err
}

func (c *converter) text(_ *entity, b []byte) error {
	switch c.now.enc {
	case quoted, base64ed:
		return c.hold(b)
	case requoted:
		return c.requote(b)
	case stripped:
		return c.without(b)
	case asIs, composite:
	}
	_, err := c.out.Write(b)
	return err
}

func (c *converter) end(_ *entity, by delimiter) error {
	c.col = 0
	if c.now.enc != quoted && c.now.enc != base64ed {
		return nil
	}
	if by == atEnd {
		if _, err := c.enc.Write(c.held); err != nil {
			return err
		}
		c.held = c.held[:0]
	}
	if err := c.enc.Close(); err != nil {
		return err
	}
	if by == atEnd && c.now.enc == base64ed {
		c.held = []byte("\r\n")
	}
	_, err := c.out.Write(c.held)
	return err
}

// gap writes what no reader shows: bytes outside ASCII have no meaning there,
// and a line that is too long may be broken. The blank keeps what follows from
// being a boundary.
func (c *converter) gap(b []byte) error {
	for _, x := range b {
		if c.col++; x == '\n' {
			c.col = 0
		} else if c.col > maxLine-1 {
			c.col = 2
			if _, err := c.out.WriteString("\r\n "); err != nil {
				return err
			}
		}
		if x >= 0x80 {
			x = '?'
		}
		if err := c.out.WriteByte(x); err != nil {
			return err
		}
	}
	return nil
}

// hold encodes b but for its last line end.
func (c *converter) hold(b []byte) error {
	if len(c.held) > 0 {
		if string(c.held) == "\r" && len(b) > 0 && b[0] == '\n' {
			c.held, b = append(c.held, '\n'), b[1:]
		}
		if len(b) == 0 {
			return nil
		}
		if _, err := c.enc.Write(c.held); err != nil {
			return err
		}
	}
	text := bytes.TrimSuffix(b, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	c.held = append(c.held[:0], b[len(text):]...)
	_, err := c.enc.Write(text)
	return err
}

// maxQuoted is where a requoted line is broken: RFC 2045 section 6.7 allows 76
// columns, of which an escape and the soft line break take four.
const maxQuoted = 72

// requote writes quoted-printable text with its 8-bit bytes escaped.
func (c *converter) requote(b []byte) error {
	const digits = "0123456789ABCDEF"
	for _, x := range b {
		var err error
		switch {
		case x == '\n':
			c.col, err = 0, c.out.WriteByte(x)
		case x >= 0x80:
			if c.col > maxQuoted {
				c.col = 0
				if _, err := c.out.WriteString("=\r\n"); err != nil {
					return err
				}
			}
			c.col += 3
			_, err = c.out.Write([]byte{'=', digits[x>>4], digits[x&15]})
		default:
			c.col++
			err = c.out.WriteByte(x)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// without writes b without its 8-bit bytes.
func (c *converter) without(b []byte) error {
	for _, x := range b {
		if x >= 0x80 {
			continue
		}
		if err := c.out.WriteByte(x); err != nil {
			return err
		}
	}
	return nil
}

// withEncoding returns the header block raw with that transfer encoding, and
// with the MIME fields that give it meaning.
func (c *converter) withEncoding(e *entity, raw []byte, name string) []byte {
	b := readBlock(raw)
	set := mailflow.Field{Name: "Content-Transfer-Encoding", Raw: []byte("Content-Transfer-Encoding: " + name + "\r\n")}
	if at := b.index(set.Name); at >= 0 {
		b.remove(set.Name)
		at = min(at, len(b.fields))
		b.fields = append(b.fields[:at], append([]mailflow.Field{set}, b.fields[at:]...)...)
	} else {
		b.fields = append(b.fields, set)
	}
	if e.top && b.index("MIME-Version") < 0 {
		b.fields = append(b.fields, mailflow.Field{Raw: []byte("MIME-Version: 1.0\r\n")})
	}
	if e.top && e.kind == leafKind && b.index("Content-Type") < 0 {
		charset := "unknown-8bit"
		if c.now.utf8 {
			charset = "utf-8"
		}
		b.fields = append(b.fields, mailflow.Field{Raw: []byte("Content-Type: text/plain; charset=" + charset + "\r\n")})
	}
	if len(b.rest) == 0 {
		b.rest = []byte("\r\n")
	}
	return b.bytes("")
}

// retitled returns the header of a part in ASCII: parameters by RFC 2231, the
// rest as encoded words.
func retitled(raw []byte) []byte {
	b := readBlock(raw)
	for i := range b.fields {
		f := &b.fields[i]
		if !hasEightBit(f.Raw) {
			continue
		}
		if f.Name == "" {
			f.Raw = []byte(strings.Map(questionMark, string(f.Raw)))
			continue
		}
		value := f.Value()
		switch strings.ToLower(f.Name) {
		case "content-type", "content-disposition":
			if typ, params, err := mime.ParseMediaType(strings.ToValidUTF8(value, "?")); err == nil {
				value = mime.FormatMediaType(typ, params)
			}
			value = strings.Map(questionMark, value)
		default:
			set := "utf-8"
			if !utf8.ValidString(value) {
				set = "unknown-8bit"
			}
			value = mime.QEncoding.Encode(set, value)
		}
		f.Raw = makeField(f.Name, value, keepUTF8)
	}
	return b.bytes("")
}

func questionMark(r rune) rune {
	if r >= utf8.RuneSelf {
		return '?'
	}
	return r
}

// base64Lines writes base64 in lines of 76 (RFC 2045 section 6.8); the last
// line has no line end.
type base64Lines struct {
	enc io.WriteCloser
}

func newBase64(w io.Writer) io.WriteCloser {
	return &base64Lines{base64.NewEncoder(base64.StdEncoding, &wrapped{w: w})}
}

// Write implements io.Writer.
func (l *base64Lines) Write(p []byte) (int, error) { return l.enc.Write(p) }

// Close implements io.Closer.
func (l *base64Lines) Close() error { return l.enc.Close() }

// wrapped breaks what is written after every 76 bytes.
type wrapped struct {
	w   io.Writer
	col int
}

// Write implements io.Writer.
func (l *wrapped) Write(p []byte) (int, error) {
	const width = 76
	total := len(p)
	for len(p) > 0 {
		if l.col == width {
			if _, err := io.WriteString(l.w, "\r\n"); err != nil {
				return 0, err
			}
			l.col = 0
		}
		n := min(width-l.col, len(p))
		if _, err := l.w.Write(p[:n]); err != nil {
			return 0, err
		}
		l.col += n
		p = p[n:]
	}
	return total, nil
}
