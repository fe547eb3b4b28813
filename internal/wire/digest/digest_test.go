// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"flag"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var update = flag.Bool("update", false, "write the golden files anew")

// pairs gives passages: a plain form and an HTML form, and so on.
func pairs(forms ...string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for pair := range slices.Chunk(forms, 2) {
			if !yield(pair[0], pair[1]) {
				return
			}
		}
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.html")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".html"), func(t *testing.T) {
			t.Parallel()
			page, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := Make(pairs("", string(page)), nil, nil)
			harmless(t, d.HTML)
			got := "-- text\n" + d.Text + "\n-- html\n" + strings.TrimSuffix(d.HTML, "\n") + "\n-- flaws\n" + strings.Join(d.Flaws, "\n") + "\n"
			name := strings.TrimSuffix(file, ".html") + ".golden"
			if *update {
				if err := os.WriteFile(name, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// allowed are the elements that may come out.
var allowed = strings.Fields(`a abbr acronym area article aside b bdi bdo blockquote br caption cite code col colgroup dd del
	details dfn div dl dt em figcaption figure footer h1 h2 h3 h4 h5 h6 hgroup hr i img ins li map mark meter nav ol p pre progress q
	rp rt ruby s samp section small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr`)

// harmless parses what came out as a browser does, in a page around it, and
// holds that nothing runs, nothing is loaded, and that it stays in its place.
func harmless(t *testing.T, out string) {
	t.Helper()
	if !utf8.ValidString(out) {
		t.Errorf("broken text in %q", out)
	}
	around := &html.Node{Type: html.ElementNode, Data: "body", DataAtom: atom.Body}
	nodes, err := html.ParseFragment(strings.NewReader("<div id=around>"+out+"</div><div id=after></div>"), around)
	if err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if len(nodes) != 2 || nodes[1].Data != "div" || len(nodes[1].Attr) != 1 || nodes[1].Attr[0].Val != "after" {
		t.Errorf("%q leaves its place", out)
		return
	}
	for n := range nodes[0].Descendants() {
		switch n.Type {
		case html.TextNode:
		case html.ElementNode:
			if !slices.Contains(allowed, n.Data) || n.Namespace != "" {
				t.Errorf("%q has an element %s", out, n.Data)
			}
			for _, a := range n.Attr {
				harmlessAttr(t, n, a)
			}
		case html.ErrorNode, html.DocumentNode, html.CommentNode, html.DoctypeNode, html.RawNode:
			t.Errorf("%q has a node of type %d: %q", out, n.Type, n.Data)
		}
	}
}

func harmlessAttr(t *testing.T, n *html.Node, a html.Attribute) {
	t.Helper()
	switch key := strings.ToLower(a.Key); {
	case strings.HasPrefix(key, "on"), slices.Contains([]string{
		"style", "srcset", "background", "poster", "action", "formaction", "data", "id", "name", "class", "usemap", "ping", "xlink:href",
	}, key):
		t.Errorf("attribute %s=%q of %s", a.Key, a.Val, n.Data)
	case key == "src":
		if n.Data != "img" || !strings.HasPrefix(strings.ToLower(a.Val), "cid:") {
			t.Errorf("%s loads %q", n.Data, a.Val)
		}
	case key == "href" || key == "cite" && (n.Data == "blockquote" || n.Data == "q"):
		scheme, _, _ := strings.Cut(strings.ToLower(a.Val), ":")
		if !slices.Contains([]string{"http", "https", "mailto", "tel"}, scheme) {
			t.Errorf("link to %q", a.Val)
		}
		if key == "href" && !slices.Contains(n.Attr, html.Attribute{Key: "rel", Val: "nofollow noopener noreferrer"}) {
			t.Errorf("link without rel: %+v", n.Attr)
		}
	}
}

func TestMake(t *testing.T) {
	t.Parallel()
	attachments := []mailflow.Attachment{
		{Name: "logo.png", ContentID: "logo@example.com"},
		{Name: "other.png", ContentID: "other@example.com"},
		{Name: "plain.txt"},
	}
	for _, c := range []struct {
		name, text, html string
		forms            []string
		flaws            string
	}{
		{"nothing", "", "", nil, ""},
		{"plain alone", "a\n\nb", "", []string{"a\n", "", "b\n", ""}, ""},
		{"both forms", "plain", "<p>web</p>", []string{"plain\n", "<p>web</p>"}, ""},
		{"web alone", "web", "<p>web</p>", []string{"", "<p>web</p>"}, ""},
		{"mixed", "first <x>\n\nsecond\n\nthird", "<pre>first &lt;x&gt;</pre>\n<p>second</p>\n<pre>third</pre>", []string{"first <x>", "", "", "<p>second</p>", "third", ""}, ""},
		{"unbalanced ones apart", "a\n\nb", "<b>a</b>\n<i>b</i>", []string{"", "<b>a", "", "</b><i>b"}, ""},
		{"remote", "x", "x", []string{"", `x<img src="https://t.example/">`}, flawRemote},
		{"shown", "", `<img src="cid:logo@example.com">`, []string{"", `<img src="cid:logo@example.com">`}, ""},
	} {
		d := Make(pairs(c.forms...), attachments, nil)
		if d.Text != c.text || d.HTML != c.html || strings.Join(d.Flaws, ",") != c.flaws {
			t.Errorf("%s: text %q, HTML %q, flaws %q", c.name, d.Text, d.HTML, d.Flaws)
		}
		want := slices.Clone(attachments)
		want[1].ContentID = ""
		if c.name != "shown" {
			want[0].ContentID = ""
		}
		if !slices.Equal(d.Attachments, want) {
			t.Errorf("%s: attachments %+v", c.name, d.Attachments)
		}
	}
	if attachments[1].ContentID == "" {
		t.Error("the caller's attachments were changed")
	}
}

// TestBounds holds that hostile pages come out bounded, closed and in time.
func TestBounds(t *testing.T) {
	t.Parallel()
	const size = MaxHTMLBytes / 4
	for name, piece := range map[string]string{
		"links":      `<a href="http://a">x</a>`,
		"open":       "<div>",
		"quotes":     "<blockquote><b>",
		"escapes":    "&",
		"angles":     "<",
		"references": "\"'",
		"letters":    "ü",
		"growing":    "&<\"",
		"ends":       "</div>",
		"attributes": `<p title="x" lang="en" dir="rtl">`,
		"images":     `<img src="https://t.example" alt="x">`,
		"comments":   "<!--",
		"scripts":    "<script>",
		"items":      "<li>",
	} {
		page := strings.Repeat(piece, size/len(piece))
		d := Make(pairs("", page, page, ""), nil, nil)
		if len(d.HTML) > MaxHTMLBytes+1 || len(d.Text) > MaxTextBytes {
			t.Errorf("%s: %d bytes of HTML, %d of text", name, len(d.HTML), len(d.Text))
		}
		harmless(t, d.HTML)
	}
	d := Make(pairs("", "<p>"+strings.Repeat("ü&lt;", size)), nil, []string{flawLong})
	if !strings.HasSuffix(d.HTML, "</p>") || len(d.HTML) < MaxHTMLBytes-20 || !slices.Equal(d.Flaws, []string{flawLong}) {
		t.Errorf("%d bytes, ending in %q, %q", len(d.HTML), d.HTML[len(d.HTML)-20:], d.Flaws)
	}
}

// FuzzDigest holds that what comes out is harmless whatever comes in.
func FuzzDigest(f *testing.F) {
	files, err := filepath.Glob("testdata/*.html")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		page, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(page), "")
	}
	f.Add("<b>", "<script>")
	f.Fuzz(func(t *testing.T, page, text string) {
		page, text = strings.ToValidUTF8(page, "?"), strings.ToValidUTF8(text, "?")
		d := Make(pairs("", page, text, "", text, page), nil, nil)
		harmless(t, d.HTML)
		if !utf8.ValidString(d.Text) {
			t.Errorf("broken text %q", d.Text)
		}
	})
}
