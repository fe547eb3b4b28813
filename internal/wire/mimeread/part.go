// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/emersion/go-message/textproto"
)

// part is a leaf of the message.
type part struct {
	media       valued
	disposition valued
	transfer    string
	id          string // Content-Id without angle brackets
	top         bool   // it is the whole message
	choice      int    // the outermost multipart/alternative that it stands in; 0 = none
	body        io.Reader
}

// decoded returns the content with its transfer encoding undone.
func (p *part) decoded(f *flaws) io.Reader { return decodeTransfer(p.transfer, p.body, f) }

// isText reports whether the part belongs to the body.
func (p *part) isText() bool {
	return (p.media.value == "text/plain" || p.media.value == "text/html") &&
		p.disposition.value != "attachment" && (p.top || p.fileName() == "")
}

// fileName returns the name that the sender gave, as it is; may be empty.
func (p *part) fileName() string {
	if name := p.disposition.params["filename"]; name != "" {
		return name
	}
	return p.media.params["name"]
}

// walker goes from leaf to leaf by go-message, over the repaired message.
type walker struct {
	in     io.Reader
	header func(*bufio.Reader) (textproto.Header, error)
	flaws  *flaws
	nested int

	begun  bool
	open   []container
	made   int // multiparts so far
	leaves int // leaves so far
}

type container struct {
	parts  *textproto.MultipartReader
	choice int
}

func (r reader) walk(src io.Reader, f *flaws) *walker {
	return &walker{in: newRepair(src, r.limits, f), header: r.header, flaws: f, nested: r.nested}
}

// next returns the next leaf; its body can be read until the next call. It
// returns io.EOF at the end.
func (w *walker) next() (*part, error) {
	if !w.begun {
		w.begun = true
		in := bufio.NewReader(w.in)
		h, err := w.header(in)
		if err != nil {
			return nil, noEOF(err)
		}
		if p := w.enter(h, in); p != nil {
			return p, nil
		}
	}
	for len(w.open) > 0 {
		found, err := w.open[len(w.open)-1].parts.NextPart()
		if errors.Is(err, io.EOF) {
			w.open = w.open[:len(w.open)-1]
			continue
		}
		if err != nil {
			return nil, noEOF(err)
		}
		if p := w.enter(found.Header, found); p != nil {
			return p, nil
		}
	}
	return nil, io.EOF
}

// noEOF keeps an error from being taken for the end of the message.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// enter returns the leaf that begins, or opens the multipart and returns nil.
func (w *walker) enter(h textproto.Header, body io.Reader) *part {
	p := &part{
		media:       parseMedia(h.Get(keptFields[fieldType])),
		disposition: parseValued(h.Get(keptFields[fieldDisposition])),
		transfer:    h.Get(keptFields[fieldTransfer]),
		id:          trimID(h.Get(keptFields[fieldID])),
		body:        body,
	}
	choice := 0
	if len(w.open) > 0 {
		choice = w.open[len(w.open)-1].choice
	}
	if !isMultipart(p.media) || len(w.open) >= w.nested {
		w.leaves++
		p.choice = choice
		p.top = len(w.open) == 0
		return p
	}
	w.made++
	switch p.media.value {
	case "multipart/alternative":
		if choice == 0 {
			choice = w.made
		}
	case "multipart/encrypted":
		w.flaws.add(flawEncrypted)
	}
	w.open = append(w.open, container{textproto.NewMultipartReader(body, p.media.params["boundary"]), choice})
	return nil
}

// parseMedia reads a Content-Type. None is plain text (RFC 2045 section 5.2);
// what is no type at all is bytes.
func parseMedia(s string) valued {
	v := parseValued(s)
	switch main, sub, _ := strings.Cut(v.value, "/"); {
	case v.value == "" || v.value == "text":
		v.value = "text/plain"
	case main == "" || sub == "" || strings.ContainsFunc(v.value, notInType):
		v.value = "application/octet-stream"
	}
	return v
}

// notInType reports letters that cannot stand in a media type (RFC 6838
// section 4.2).
func notInType(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("/!#$&-^_.+", c)
}

// trimID takes blanks and angle brackets off a Content-Id, and what cannot
// stand in one.
func trimID(s string) string {
	s = strings.Trim(asUTF8("", s), "<> \t")
	if len(s) > maxNameBytes || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || strings.ContainsRune(`"<>`, c) }) {
		return ""
	}
	return s
}
