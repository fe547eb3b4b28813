// SPDX-License-Identifier: Apache-2.0

// Package arch holds the house plan as tests: which package may import which,
// and the manners that every file of the house has. Design and reasons are in
// CONTRIBUTING.md.
package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
)

// module is the path of the house in import statements.
const module = "github.com/mailcaddy/mailcaddy"

// root is the top of the house, as seen from this package.
const root = "../.."

// A source is one Go file of the house.
type source struct {
	path   string // from the root, with slashes
	text   []byte
	syntax *ast.File
	set    *token.FileSet
}

// pkg is the directory of the file, from the root; "." is the root.
func (s *source) pkg() string { return path.Dir(s.path) }

// isTest reports whether the file belongs to the tests of its package.
func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// at is where n stands, for messages.
func (s *source) at(n ast.Node) token.Position { return s.set.Position(n.Pos()) }

// lines is the number of lines from the first of n to its last.
func (s *source) lines(n ast.Node) int {
	return s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1
}

// load parses the house once for all tests.
var load = sync.OnceValues(func() (sources []*source, err error) {
	house := os.DirFS(root)
	set := token.NewFileSet()
	err = fs.WalkDir(house, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skipForeign(house, name)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(house, name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		sources = append(sources, &source{path: name, text: text, syntax: syntax, set: set})
		return nil
	})
	return sources, err
})

// skipForeign skips directories that are no part of the house: hidden ones,
// data of tests, and modules of their own.
func skipForeign(house fs.FS, name string) error {
	base := path.Base(name)
	if name != "." && (strings.HasPrefix(base, ".") || base == "testdata") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(house, path.Join(name, "go.mod")); err == nil && name != "." {
		return fs.SkipDir
	}
	return nil
}

// files returns the files of the house that keep says yes to.
func files(t *testing.T, keep func(*source) bool) []*source {
	t.Helper()
	all, err := load()
	if err != nil {
		t.Fatalf("reading the house: %v", err)
	}
	var kept []*source
	for _, s := range all {
		if keep(s) {
			kept = append(kept, s)
		}
	}
	if len(kept) == 0 {
		t.Fatal("no file of the house was found")
	}
	return kept
}

func anyFile(*source) bool { return true }

func noTest(s *source) bool { return !s.isTest() }
