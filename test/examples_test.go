// SPDX-License-Identifier: Apache-2.0

package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// fence finds the Caddyfile examples of a Markdown page.
var fence = regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$")

// TestExamples adapts every Caddyfile that the documentation shows a reader.
// One that is not formatted as `caddy fmt` would is refused as well: that is
// one of the adapter's warnings.
func TestExamples(t *testing.T) {
	t.Parallel()
	pages := []string{"../README.md", "../Caddyfile.example"}
	for _, pattern := range []string{"../docs/*.md", "../docs/*.Caddyfile"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, example := range examples(t, page, string(text)) {
				_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(example), nil)
				if err != nil {
					t.Errorf("%v in:\n%s", err, example)
				}
				for _, warning := range warnings {
					t.Errorf("%s in:\n%s", warning, example)
				}
			}
		})
	}
}

// examples returns the Caddyfiles that a page shows: its fences, or all of it.
func examples(t *testing.T, page, text string) []string {
	t.Helper()
	if filepath.Ext(page) != ".md" {
		return []string{text}
	}
	var found []string
	for _, match := range fence.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	if n := strings.Count(text, "```caddyfile"); n != len(found) {
		t.Errorf("%d of %d caddyfile fences do not begin their line or are not closed", n-len(found), n)
	}
	return found
}
