// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"bytes"
	"go/ast"
	"testing"
)

const (
	// maxFileLines keeps a file to one subject.
	maxFileLines = 400
	// maxFuncLines keeps a function to what fits the eye.
	maxFuncLines = 80
	// licence is the first line of every file.
	licence = "// SPDX-License-Identifier: Apache-2.0\n\n"
)

// TestLicence holds every file to the licence line, apart from the comment of
// its package.
func TestLicence(t *testing.T) {
	t.Parallel()
	for _, s := range files(t, anyFile) {
		if !bytes.HasPrefix(s.text, []byte(licence)) {
			t.Errorf("%s: the first line must be %q, and the second empty", s.path, licence[:len(licence)-2])
		}
	}
}

// TestSizes holds files and functions to their number of lines. Generated
// files, and tables of tests, may be longer.
func TestSizes(t *testing.T) {
	t.Parallel()
	for _, s := range files(t, noTest) {
		if ast.IsGenerated(s.syntax) {
			continue
		}
		if n := bytes.Count(s.text, []byte("\n")); n > maxFileLines {
			t.Errorf("%s: %d lines, more than %d: split it by subject", s.path, n, maxFileLines)
		}
		for _, decl := range s.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := s.lines(fn); n > maxFuncLines {
				t.Errorf("%s: %s has %d lines, more than %d", s.at(fn), fn.Name.Name, n, maxFuncLines)
			}
		}
	}
}
