// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzRead holds that every message is read, within the limits, and that what
// is told of attachments is what is opened.
func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	small := standard
	small.limits = limits{depth: 3, nested: 2, parts: 12, header: 600, text: 60, attachments: 4, attachmentBytes: 50, second: 1000}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, r := range []reader{standard, small} {
			g := readAll(t, r, raw)
			holds(t, g, r.limits)
			if slices.Contains(g.Flaws, flawUnreadable) || slices.Contains(g.Flaws, flawSecond) {
				t.Errorf("repaired, and not sound: %q", g.Flaws)
			}
		}
		second(t, raw)
	})
}

// second holds the second reader to the same promises, whatever the first says.
func second(t *testing.T, raw []byte) {
	t.Helper()
	r := standard
	r.header = noHeader
	holds(t, readAll(t, r, raw), r.limits)
}

// holds checks what is true of every mail.
func holds(t *testing.T, g golden, l limits) {
	t.Helper()
	text, web := 0, 0
	for plain, html := range g.Forms() {
		text, web = text+len(plain), web+len(html)
		if !utf8.ValidString(plain+html) || strings.ContainsAny(plain+html, "\x00\r") {
			t.Errorf("broken text %q or %q", plain, html)
		}
	}
	// Texts of one form are divided by a line end.
	if text > l.text+l.parts || web > l.text+l.parts {
		t.Errorf("%d bytes of text and %d of HTML, the limit is %d", text, web, l.text)
	}
	if len(g.Attachments) > l.attachments+1 {
		t.Errorf("%d attachments", len(g.Attachments))
	}
	for _, a := range g.Attachments {
		switch {
		case a.Name == "" || len(a.Name) > maxNameBytes || strings.ContainsAny(a.Name, "/\\\x00\r\n\"<>") || !utf8.ValidString(a.Name):
			t.Errorf("attachment is called %q", a.Name)
		case strings.Count(a.Type, "/") < 1 || strings.ContainsFunc(a.Type, notInType):
			t.Errorf("attachment is a %q", a.Type)
		case a.Size > l.attachmentBytes && a.Name != "message.eml":
			t.Errorf("attachment of %d bytes", a.Size)
		case !utf8.ValidString(a.ContentID) || strings.ContainsAny(a.ContentID, " \"<>"):
			t.Errorf("attachment has the ID %q", a.ContentID)
		}
	}
	for i, flaw := range g.Flaws {
		if i >= MaxFlaws || slices.Contains(g.Flaws[:i], flaw) {
			t.Errorf("flaws %q", g.Flaws)
		}
	}
}
