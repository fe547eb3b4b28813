// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/jhillyerd/enmime/v2"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// readSecond reads the stored bytes by enmime. It returns nil if that fails, or
// if the message is too much for it. Errors are those of the body
// and of ctx.
func (r reader) readSecond(ctx context.Context, body mailflow.Body) ([]*part, error) {
	if body.Size() > r.second {
		return nil, nil
	}
	src := newSource(ctx, body)
	raw, err := io.ReadAll(src)
	if err != nil {
		return nil, fmt.Errorf("reading a message for people: %w", err)
	}
	return secondParts(raw, r.parts), nil
}

// secondParser makes no text of HTML, and decodes what it can.
var secondParser = enmime.NewParser(
	enmime.DisableTextConversion(true),
	enmime.DisableCharacterDetection(true),
	enmime.MultipartWOBoundaryAsSinglePart(true),
	enmime.SkipMalformedParts(true),
	enmime.MaxStoredPartErrors(1),
)

// secondParts returns the leaves that enmime finds, at most limit; nil if it
// finds none. Their contents are decoded, those of text to UTF-8.
func secondParts(raw []byte, limit int) (parts []*part) {
	// A reader of last resort that panics over a stranger's bytes has not read
	// them; the original is attached then.
	defer func() {
		if recover() != nil {
			parts = nil
		}
	}()
	if multiparts(raw) > MaxSecondNested {
		return nil
	}
	root, err := secondParser.ReadParts(bytes.NewReader(raw))
	if err != nil || root == nil {
		return nil
	}
	choices := make(map[*enmime.Part]int)
	for _, found := range root.DepthMatchAll(func(p *enmime.Part) bool { return p.FirstChild == nil }) {
		if len(parts) == limit {
			break
		}
		p := &part{
			media:       parseMedia(found.ContentType),
			disposition: valued{value: found.Disposition, params: map[string]string{"filename": found.FileName}},
			id:          trimID(found.ContentID),
			top:         found.Parent == nil,
			body:        bytes.NewReader(found.Content),
		}
		for up := found.Parent; up != nil; up = up.Parent {
			if up.ContentType == "multipart/alternative" {
				if choices[up] == 0 {
					choices[up] = len(choices) + 1
				}
				p.choice = choices[up]
			}
		}
		parts = append(parts, p)
	}
	return parts
}

// multiparts counts what may be a multipart.
func multiparts(raw []byte) int {
	return bytes.Count(bytes.ToLower(raw), []byte("multipart/"))
}

// addFound adds what the second reader found. Reading memory does not fail.
func (c *collector) addFound(parts []*part) {
	c.flaws.add(flawSecond)
	for _, p := range parts {
		if p.isText() {
			_ = c.addText(p)
		} else {
			_ = c.addAttachment(p)
		}
	}
}

// openOther opens attachment n of what is there when go-message gave up: those
// of the second reader if the first one found nothing, else the message itself.
func (r reader) openOther(ctx context.Context, body mailflow.Body, n int, partly bool) (io.Reader, error) { //nolint:revive // what was found, not what to do
	if !partly {
		parts, err := r.readSecond(ctx, body)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if p.isText() {
				continue
			}
			if n == 0 {
				return io.LimitReader(p.body, r.attachmentBytes), nil
			}
			n--
		}
		if parts != nil {
			return nil, ErrNoAttachment
		}
	}
	if n != 0 {
		return nil, ErrNoAttachment
	}
	return newSource(ctx, body), nil
}
