// SPDX-License-Identifier: Apache-2.0

// Package digest makes of a message that was read what people see of it: text
// that can be read and searched, and HTML that can be shown.
//
// # Text
//
// A passage that has a plain form is that; one in HTML alone becomes the text
// of it: a line for each block, no markup, nothing that a browser would not
// show as text.
//
// # HTML
//
// The HTML of mail is hostile. What [Make] gives is the policy of bluemonday for
// contents of users, and stricter:
//
//   - No scripts, styles, forms, frames, plug-ins, comments, foreign elements,
//     handlers, IDs. Every element that is opened is closed, so that it stays
//     inside the element that it is shown in.
//   - Nothing is loaded: an image is shown only where the message brings it along
//     (cid:). Others are replaced by their alternative text; they would tell the
//     sender who reads when and where.
//   - Links lead to http, https, mailto and tel, open a page of their own that
//     knows nothing of ours, and give no referrer.
//
// Whoever shows it should forbid scripts and loads by a Content-Security-Policy
// all the same.
package digest

import (
	"html"
	"iter"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// MaxTextBytes bounds the text. It is stored with the post and indexed.
	MaxTextBytes = 2 << 20
	// MaxHTMLBytes bounds the HTML. Browsers show no more with ease, and
	// newsletters of 100 KiB are called too long.
	MaxHTMLBytes = 2 << 20
	// maxDepth bounds the elements that stand in each other: browsers give up
	// at 512.
	maxDepth = 200
)

// What a digest leaves out.
const (
	flawRemote = "images that would be loaded from elsewhere were left out"
	flawLong   = "the text is too long; the rest was left out"
)

// Make makes a digest of the passages of a body, each with its plain and its
// HTML form, one of which may be empty. An attachment keeps its ContentID only
// where the HTML shows it.
func Make(passages iter.Seq2[string, string], attachments []mailflow.Attachment, flaws []string) *mailflow.Digest {
	d := &mailflow.Digest{Flaws: slices.Clone(flaws)}
	s := sanitiser{room: MaxHTMLBytes, shown: make(map[string]bool)}
	var texts, pages []string
	web := false
	for text, page := range passages {
		if page == "" {
			pages = append(pages, s.plain(text))
		} else {
			web = true
			pages = append(pages, s.clean(page))
			if text == "" {
				text = textOf(page)
			}
		}
		texts = append(texts, strings.TrimRight(text, " \t\n"))
	}
	d.Text = strings.Join(texts, "\n\n")
	if len(d.Text) > MaxTextBytes {
		d.Text = strings.ToValidUTF8(d.Text[:MaxTextBytes], "")
		s.cut = true
	}
	if web {
		d.HTML = strings.Join(pages, "\n")
	}
	if s.remote {
		d.Flaws = append(d.Flaws, flawRemote)
	}
	if s.cut && !slices.Contains(d.Flaws, flawLong) {
		d.Flaws = append(d.Flaws, flawLong)
	}
	for _, a := range attachments {
		if !s.shown[a.ContentID] {
			a.ContentID = ""
		}
		d.Attachments = append(d.Attachments, a)
	}
	return d
}

// plain returns plain text as HTML.
func (s *sanitiser) plain(text string) string {
	var b builder
	b.room = s.room
	b.open("pre", "<pre>")
	b.text(html.EscapeString(text))
	return s.finish(&b)
}
