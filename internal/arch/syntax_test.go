// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestSyntaxComments holds every function that reads Caddyfile options to its
// doc comment: an UnmarshalCaddyfile shows the syntax, and every function
// with an option table names each option at the start of an indented line.
func TestSyntaxComments(t *testing.T) {
	t.Parallel()
	for _, s := range files(t, func(s *source) bool { return under(s.pkg(), "modules") && !s.isTest() }) {
		for _, decl := range s.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			options := optionNames(fn.Body)
			doc := fn.Doc.Text()
			if (fn.Name.Name == "UnmarshalCaddyfile" || len(options) > 0) && !strings.Contains(doc, "Syntax:") {
				t.Errorf("%s: the comment of %s shows no \"Syntax:\"", s.at(fn), fn.Name.Name)
				continue
			}
			for name, at := range options {
				if !regexp.MustCompile(`(?m)^[ \t]+` + regexp.QuoteMeta(name) + `\b`).MatchString(doc) {
					t.Errorf("%s: the comment of %s does not name option %q", s.at(at), fn.Name.Name, name)
				}
			}
		}
	}
}

// optionNames finds the options that body reads: the keys of its option
// tables, and the cases of a switch over the dispenser's value.
func optionNames(body *ast.BlockStmt) map[string]ast.Node {
	names := make(map[string]ast.Node)
	add := func(expr ast.Expr) {
		if lit, ok := expr.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if name, err := strconv.Unquote(lit.Value); err == nil {
				names[name] = lit
			}
		}
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if !isSelector(n.Type, "caddyblock", "Options") {
				return true
			}
			for _, elt := range n.Elts {
				if kv, ok := elt.(*ast.KeyValueExpr); ok {
					add(kv.Key)
				}
			}
		case *ast.SwitchStmt:
			call, ok := n.Tag.(*ast.CallExpr)
			if !ok || !isMethod(call.Fun, "Val") {
				return true
			}
			for _, stmt := range n.Body.List {
				for _, expr := range stmt.(*ast.CaseClause).List {
					add(expr)
				}
			}
		}
		return true
	})
	return names
}

func isSelector(expr ast.Expr, x, sel string) bool {
	s, ok := expr.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == x && s.Sel.Name == sel
}

func isMethod(expr ast.Expr, name string) bool {
	s, ok := expr.(*ast.SelectorExpr)
	return ok && s.Sel.Name == name
}
