// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/microcosm-cc/bluemonday"
	"golang.org/x/net/html"
)

// policy is what may stand in HTML at all.
var policy = func() *bluemonday.Policy {
	p := bluemonday.UGCPolicy()
	p.AllowURLSchemes("cid", "tel")
	p.AllowRelativeURLs(false) // a mail is at no address
	p.AddTargetBlankToFullyQualifiedLinks(true)
	p.RequireNoReferrerOnLinks(true)
	return p
}()

// sanitiser makes HTML harmless, and notes what it saw.
type sanitiser struct {
	room   int             // what is left of MaxHTMLBytes
	shown  map[string]bool // the Content-IDs of the images in it
	remote bool            // images were left out
	cut    bool            // the end was left out
}

// clean returns the HTML sanitised.
func (s *sanitiser) clean(page string) string {
	b := builder{room: s.room}
	z := html.NewTokenizer(strings.NewReader(policy.Sanitize(page)))
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			return s.finish(&b)
		case html.TextToken:
			b.text(string(z.Raw()))
		case html.StartTagToken, html.SelfClosingTagToken:
			s.element(&b, z.Token())
		case html.EndTagToken:
			name, _ := z.TagName()
			b.close(string(name))
		case html.CommentToken, html.DoctypeToken:
		}
	}
}

// element writes the start of an element.
func (s *sanitiser) element(b *builder, t html.Token) {
	alt := ""
	t.Attr = slices.DeleteFunc(t.Attr, func(a html.Attribute) bool {
		switch a.Key {
		case "alt":
			alt = a.Val
		case "id", "usemap", "name": // they would meet those of the page around
			return true
		case "href", "cite":
			return strings.HasPrefix(strings.ToLower(a.Val), "cid:")
		}
		return false
	})
	t.Type = html.StartTagToken
	if t.Data != "img" {
		if t.Data == "a" || t.Data == "area" {
			t.Attr = safeLink(t.Attr)
		}
		b.open(t.Data, t.String())
		return
	}
	i := slices.IndexFunc(t.Attr, func(a html.Attribute) bool { return a.Key == "src" })
	if i >= 0 && strings.HasPrefix(strings.ToLower(t.Attr[i].Val), "cid:") {
		id := t.Attr[i].Val[len("cid:"):]
		if plain, err := url.PathUnescape(id); err == nil {
			id = plain
		}
		s.shown[id] = true
		b.open(t.Data, t.String())
		return
	}
	s.remote = s.remote || i >= 0
	b.text(html.EscapeString(alt))
}

// safeLink says of a link that its page must know nothing of ours.
func safeLink(attrs []html.Attribute) []html.Attribute {
	attrs = slices.DeleteFunc(attrs, func(a html.Attribute) bool { return a.Key == "rel" || a.Key == "target" })
	if slices.ContainsFunc(attrs, func(a html.Attribute) bool { return a.Key == "href" }) {
		attrs = append(attrs,
			html.Attribute{Key: "rel", Val: "nofollow noopener noreferrer"}, html.Attribute{Key: "target", Val: "_blank"})
	}
	return attrs
}

// finish closes what is open and takes what was written off the room.
func (s *sanitiser) finish(b *builder) string {
	s.cut = s.cut || b.full
	out := b.end()
	s.room -= len(out)
	return out
}

// builder writes HTML in which every element is closed, within its room.
type builder struct {
	out   strings.Builder
	room  int
	full  bool
	stack []string // the open elements
	owed  int      // what closing them takes
}

// void are the elements without an end.
var void = []string{"area", "br", "col", "hr", "img", "wbr"}

// open writes the start tag of an element.
func (b *builder) open(name, tag string) {
	owes := 0
	if !slices.Contains(void, name) {
		if len(b.stack) >= maxDepth {
			return // its contents stay
		}
		owes = len("</>") + len(name)
	}
	if !b.fits(len(tag) + owes) {
		return
	}
	b.out.WriteString(tag)
	if owes > 0 {
		b.stack = append(b.stack, name)
		b.owed += owes
	}
}

// close ends an element, and those that stand open in it.
func (b *builder) close(name string) {
	if i := slices.Index(b.stack, name); i < 0 || slices.Contains(void, name) {
		return
	}
	for len(b.stack) > 0 {
		last := b.stack[len(b.stack)-1]
		b.pop()
		if last == name {
			return
		}
	}
}

func (b *builder) pop() {
	last := b.stack[len(b.stack)-1]
	b.stack = b.stack[:len(b.stack)-1]
	b.owed -= len("</>") + len(last)
	b.out.WriteString("</" + last + ">")
}

// text writes escaped text, or as much of it as there is room for.
func (b *builder) text(text string) {
	if b.fits(len(text)) {
		b.out.WriteString(text)
		return
	}
	// No letter and no character reference is cut in two.
	text = text[:max(0, min(len(text), b.room-b.out.Len()-b.owed))]
	if i := strings.LastIndexByte(text, '&'); i >= 0 && !strings.Contains(text[i:], ";") {
		text = text[:i]
	}
	for len(text) > 0 {
		if r, n := utf8.DecodeLastRuneInString(text); r != utf8.RuneError || n != 1 {
			break
		}
		text = text[:len(text)-1]
	}
	b.out.WriteString(text)
}

// fits reports whether that much more can be written. Once it cannot, nothing
// can: what follows would make no sense.
func (b *builder) fits(n int) bool {
	if b.full {
		b.room = 0
		return false
	}
	b.full = b.out.Len()+b.owed+n > b.room
	return !b.full
}

// end closes everything and returns the result.
func (b *builder) end() string {
	for len(b.stack) > 0 {
		b.pop()
	}
	return b.out.String()
}
