// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// TestCorpora reads the recorded mails (*.eml) below the directory that
// MAILCADDY_CORPORA names. All are read by the first reader, and no word that
// enmime finds in their bodies is missing.
func TestCorpora(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("MAILCADDY_CORPORA")
	if dir == "" {
		t.Skip("MAILCADDY_CORPORA names no directory")
	}
	count, flawed := 0, 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".eml" {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got := readAll(t, standard, raw)
		holds(t, got, standard.limits)
		if slices.Contains(got.Flaws, flawSecond) || slices.Contains(got.Flaws, flawUnreadable) {
			t.Errorf("%s: %q", entry.Name(), got.Flaws)
		}
		if missing := missingWords(t, got, raw); len(missing) > 0 {
			t.Errorf("%s lacks %.20q", entry.Name(), missing)
		}
		if count++; len(got.Flaws) > 0 {
			flawed++
			t.Logf("%s: %q", entry.Name(), got.Flaws)
		}
		return nil
	})
	if err != nil || count == 0 {
		t.Fatal("no mails were read", err)
	}
	t.Logf("%d mails, %d of them with flaws", count, flawed)
}

// missingWords returns the words of the body, as the second reader finds them,
// that are neither in the body nor attached as the first one has them.
func missingWords(t *testing.T, got golden, raw []byte) (missing []string) {
	t.Helper()
	have := make(map[string]bool)
	add := func(text string) {
		for _, word := range asciiWords(text) {
			have[word] = true
		}
	}
	for text, html := range got.Forms() {
		add(text)
		add(html)
	}
	for _, content := range got.Opened {
		add(content)
	}
	c := &collector{limits: standard.limits}
	c.addFound(secondParts(raw, MaxParts))
	for text := range c.mail().Forms() {
		for _, word := range asciiWords(text) {
			if !have[word] {
				missing = append(missing, word)
			}
		}
	}
	return missing
}

// asciiWords returns the words that every charset writes alike.
func asciiWords(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool {
		return c > unicode.MaxASCII || !unicode.IsLetter(c) && !unicode.IsDigit(c)
	})
}
