// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/emersion/go-message/textproto"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Mail is a message as people see it.
type Mail struct {
	// Passages are the body in order.
	Passages []Passage
	// Attachments are in the order of the message; [Open] takes their index.
	Attachments []mailflow.Attachment
	// Flaws says what was wrong with the message and what was left out, each
	// once, in the order in which it was found.
	Flaws []string
}

// Passage is a stretch of the body. It has one form, or both where the message
// offers a choice. Lines end with LF; all is UTF-8 without NUL.
type Passage struct {
	// Text is plain text.
	Text string
	// HTML is as it came: it is hostile until it is sanitised.
	HTML string
}

// Forms gives the plain and the HTML form of each passage.
func (m *Mail) Forms() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, p := range m.Passages {
			if !yield(p.Text, p.HTML) {
				return
			}
		}
	}
}

// ErrNoAttachment is returned by [Open] for an index that the message does not
// have.
var ErrNoAttachment = errors.New("the message has no such attachment")

// Read reads a message. Errors are those of the body and of ctx.
func Read(ctx context.Context, body mailflow.Body) (*Mail, error) {
	return standard.read(ctx, body)
}

// Open returns the decoded bytes of attachment n, the index in
// [Mail.Attachments]. Text keeps its charset. The body must stay open, and ctx
// valid, while the bytes are read. Errors: [ErrNoAttachment], those of the body
// and of ctx.
func Open(ctx context.Context, body mailflow.Body, n int) (io.Reader, error) {
	return standard.open(ctx, body, n)
}

// reader is the way to read with its limits.
type reader struct {
	limits

	// header reads the first header block.
	header func(*bufio.Reader) (textproto.Header, error)
}

var standard = reader{
	limits: limits{
		depth: MaxDepth, nested: MaxNested, parts: MaxParts, header: mailflow.MaxHeaderBytes, text: MaxTextBytes,
		attachments: MaxAttachments, attachmentBytes: MaxAttachmentBytes, second: MaxSecondBytes,
	},
	header: textproto.ReadHeader,
}

func (r reader) read(ctx context.Context, body mailflow.Body) (*Mail, error) {
	src := newSource(ctx, body)
	c := &collector{limits: r.limits}
	w := r.walk(src, &c.flaws)
	err := c.collect(w)
	if err == nil {
		return c.mail(), nil
	}
	if src.err != nil {
		return nil, fmt.Errorf("reading a message for people: %w", src.err)
	}
	if w.leaves == 0 {
		switch found, err := r.readSecond(ctx, body); {
		case err != nil:
			return nil, err
		case found != nil:
			c.addFound(found)
			return c.mail(), nil
		}
	}
	c.flaws.add(flawUnreadable)
	c.attach(mailflow.Attachment{Name: "message.eml", Type: "message/rfc822", Size: body.Size()})
	return c.mail(), nil
}

func (r reader) open(ctx context.Context, body mailflow.Body, n int) (io.Reader, error) {
	src := newSource(ctx, body)
	w := r.walk(src, new(flaws))
	at := 0
	p, err := w.next()
	for ; err == nil; p, err = w.next() {
		if p.isText() {
			continue
		}
		if at == n && n < r.attachments {
			return &opened{src: src, r: io.LimitReader(p.decoded(new(flaws)), r.attachmentBytes)}, nil
		}
		at++
	}
	at = min(at, r.attachments)
	switch {
	case src.err != nil:
		return nil, fmt.Errorf("opening an attachment: %w", src.err)
	case errors.Is(err, io.EOF):
		return nil, ErrNoAttachment
	}
	return r.openOther(ctx, body, n-at, w.leaves > 0)
}
