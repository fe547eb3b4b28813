// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// textOf returns the text of HTML as it is read: a line for each block, with an
// empty one between paragraphs.
func textOf(page string) string {
	z := html.NewTokenizer(strings.NewReader(page))
	var w textWriter
	for {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			return strings.TrimSpace(w.out.String())
		case html.TextToken:
			if w.hidden == 0 {
				w.text(string(z.Text()))
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, attrs := z.TagName()
			tag := atom.Lookup(name)
			if tag == atom.Img && attrs {
				w.alt(z)
				continue
			}
			w.tag(tag, kind == html.StartTagToken)
		case html.EndTagToken:
			name, _ := z.TagName()
			w.endTag(atom.Lookup(name))
		case html.CommentToken, html.DoctypeToken:
		}
	}
}

// textWriter writes text with the blanks that a browser would show.
type textWriter struct {
	out    strings.Builder
	lines  int  // line ends that the next word needs before it
	blank  bool // a blank that it needs
	hidden int  // elements around that are not shown
	pre    int  // elements around that keep their blanks
}

// hiddenTags are elements whose text is not shown.
var hiddenTags = map[atom.Atom]bool{
	atom.Script: true, atom.Style: true, atom.Title: true, atom.Template: true, atom.Iframe: true,
	atom.Noembed: true, atom.Noframes: true, atom.Object: true, atom.Select: true,
}

// blocks are elements that begin and end a line, with the line ends before them.
var blocks = map[atom.Atom]int{
	atom.P: 2, atom.Blockquote: 2, atom.Ul: 2, atom.Ol: 2, atom.Dl: 2, atom.Table: 2, atom.Pre: 2, atom.Hr: 2,
	atom.H1: 2, atom.H2: 2, atom.H3: 2, atom.H4: 2, atom.H5: 2, atom.H6: 2,
	atom.Div: 1, atom.Tr: 1, atom.Li: 1, atom.Dt: 1, atom.Dd: 1, atom.Section: 1, atom.Article: 1, atom.Header: 1,
	atom.Footer: 1, atom.Address: 1, atom.Center: 1, atom.Form: 1, atom.Figure: 1, atom.Body: 1, atom.Option: 1,
}

func (w *textWriter) tag(tag atom.Atom, opens bool) { //nolint:revive // what was read, not what to do
	switch {
	case hiddenTags[tag]:
		if opens {
			w.hidden++
		}
	case tag == atom.Br:
		w.lines++
	case tag == atom.Td || tag == atom.Th:
		w.blank = true
	default:
		w.lines = max(w.lines, blocks[tag])
	}
	if tag == atom.Pre && opens {
		w.pre++
	}
	if tag == atom.Li && w.hidden == 0 {
		w.word("- ")
	}
}

func (w *textWriter) endTag(tag atom.Atom) {
	switch {
	case hiddenTags[tag]:
		w.hidden = max(0, w.hidden-1)
	case tag == atom.Pre:
		w.pre = max(0, w.pre-1)
	}
	w.lines = max(w.lines, blocks[tag])
}

// alt writes the alternative text of an image.
func (w *textWriter) alt(z *html.Tokenizer) {
	for more := true; more; {
		var key, value []byte
		if key, value, more = z.TagAttr(); string(key) == "alt" && w.hidden == 0 {
			w.text(string(value))
		}
	}
}

// text writes text, with its blanks put together outside of <pre>.
func (w *textWriter) text(text string) {
	if w.pre > 0 {
		w.word(text)
		return
	}
	for i, word := range strings.FieldsFunc(text, isBlank) {
		if i > 0 || isBlank(rune(text[0])) {
			w.blank = true
		}
		w.word(word)
	}
	if text != "" && isBlank(rune(text[len(text)-1])) {
		w.blank = true
	}
}

// isBlank reports the white space of HTML; a no-break space is none.
func isBlank(c rune) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' }

// maxEmptyLines bounds the empty lines in a row: newsletters are full of empty
// blocks.
const maxEmptyLines = 2

// word writes a word, or anything that stays as it is.
func (w *textWriter) word(word string) {
	switch {
	case w.out.Len() == 0:
	case w.lines > 0:
		w.out.WriteString("\n\n\n"[:min(w.lines, maxEmptyLines+1)])
	case w.blank:
		w.out.WriteByte(' ')
	}
	w.lines, w.blank = 0, false
	w.out.WriteString(word)
}
