// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ErrHeaderSize is returned for a message whose header block does not end
// within [mailflow.MaxHeaderBytes]: what has to be taken out of it might stand
// beyond.
var ErrHeaderSize = &mailflow.Reply{
	Code: 554, Enhanced: mailflow.EnhancedCode{5, 6, 0}, Text: "Header block too large",
}

// Params is what a [Content] is made of.
type Params struct {
	// Message is the stored message. Its Body stays the caller's and must be
	// open as long as the Content is in use.
	Message *mailflow.Message
	// Received is the field that goes to the top, as [Received] makes it;
	// empty for none.
	Received string
	// Changes are made to the header in order.
	Changes []mailflow.HeaderChange
}

// Content is a message as it is sent. It implements [mailflow.Content] and is
// safe for concurrent use.
type Content struct {
	header []byte
	body   mailflow.Body
	skip   int64 // where the body begins in the stored bytes
	eight  bool
	utf8   bool
}

// New makes the content. It reads the header block only. Errors are a
// [mailflow.Reply] if the message cannot be sent at all, such as
// [ErrHeaderSize]; a change with a line break or a name that is none is
// refused; others are of reading the Body.
func New(p Params) (*Content, error) {
	m := p.Message
	raw := make([]byte, m.Header.Size())
	if _, err := m.Body.ReadAt(raw, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the header of %s: %w", m.ID, err)
	}
	if len(raw) >= mailflow.MaxHeaderBytes && !bytes.HasSuffix(raw, []byte("\r\n\r\n")) {
		return nil, ErrHeaderSize
	}
	b := readBlock(raw)
	mode := encodeWords
	if m.UTF8Header {
		mode = keepUTF8
	}
	for _, c := range p.Changes {
		if err := b.apply(c, mode); err != nil {
			return nil, fmt.Errorf("changing the header of %s: %w", m.ID, err)
		}
	}
	for _, name := range neverSent {
		b.remove(name)
	}
	header := b.bytes(p.Received)
	return &Content{
		header: header,
		body:   m.Body,
		skip:   int64(len(raw)),
		eight:  m.EightBit,
		utf8:   hasEightBit(header),
	}, nil
}

// neverSent are the fields that a sender takes out: Return-Path is the last
// hop's to write, the others name those who must not be named.
var neverSent = [...]string{"Return-Path", "Bcc", "Resent-Bcc"}

// Size implements [mailflow.Content].
func (c *Content) Size() int64 { return int64(len(c.header)) + c.body.Size() - c.skip }

// EightBit implements [mailflow.Content].
func (c *Content) EightBit() bool { return c.eight }

// UTF8Header implements [mailflow.Content].
func (c *Content) UTF8Header() bool { return c.utf8 }

// Header returns the header block as it is sent, with the empty line that ends
// it. The caller must not change it.
func (c *Content) Header() []byte { return c.header }

// Open implements [mailflow.Content]. With [mailflow.Encoding7Bit] it reads an
// 8-bit body once before it returns; the error is [ErrSealed] if the message
// cannot be converted.
func (c *Content) Open(ctx context.Context, enc mailflow.Encoding) (io.ReadCloser, error) {
	if enc == mailflow.Encoding7Bit && c.eight {
		return c.openSevenBit(ctx)
	}
	return io.NopCloser(c.reader()), nil
}

// reader returns the bytes as they are.
func (c *Content) reader() io.Reader {
	return io.MultiReader(bytes.NewReader(c.header), c.bodyReader())
}

func (c *Content) bodyReader() io.Reader {
	return io.NewSectionReader(c.body, c.skip, c.body.Size()-c.skip)
}

// hasEightBit reports whether a byte outside ASCII stands in b.
func hasEightBit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

var _ mailflow.Content = (*Content)(nil)
