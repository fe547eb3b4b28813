// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"go/ast"
	"go/token"
	"testing"
)

// guarded names for a method the interface that a module claims with it. The
// names are Caddy's, which finds them at run time only: a method that is
// spelled a little wrong is never called.
var guarded = map[string]string{
	"Provision":          "Provisioner",
	"Validate":           "Validator",
	"Cleanup":            "CleanerUpper",
	"UnmarshalCaddyfile": "Unmarshaler",
}

// TestGuards holds every Caddy module to its interface guards: there is one
// for each interface of Caddy that it claims, and one at least, and they are
// the last declaration of their file.
func TestGuards(t *testing.T) {
	t.Parallel()
	type id struct{ pkg, typ string }
	methods := make(map[id]map[string]bool)
	guards := make(map[id]map[string]bool)
	for _, s := range files(t, func(s *source) bool { return under(s.pkg(), "modules") && !s.isTest() }) {
		for i, decl := range s.syntax.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if typ := receiver(decl); typ != "" {
					put(methods, id{s.pkg(), typ}, decl.Name.Name)
				}
			case *ast.GenDecl:
				found := guardsOf(decl)
				for typ, interfaces := range found {
					for _, name := range interfaces {
						put(guards, id{s.pkg(), typ}, name)
					}
				}
				if len(found) > 0 && i != len(s.syntax.Decls)-1 {
					t.Errorf("%s: the interface guards stand last in their file", s.at(decl))
				}
			}
		}
	}
	for typ, has := range methods {
		if !has["CaddyModule"] {
			continue
		}
		if len(guards[typ]) == 0 {
			t.Errorf("%s: module %s has no interface guard", typ.pkg, typ.typ)
		}
		for method, name := range guarded {
			if has[method] && !guards[typ][name] {
				t.Errorf("%s: module %s has a method %s and no guard for %s", typ.pkg, typ.typ, method, name)
			}
		}
	}
}

func put[K comparable](sets map[K]map[string]bool, key K, name string) {
	if sets[key] == nil {
		sets[key] = make(map[string]bool)
	}
	sets[key][name] = true
}

// receiver is the name of the type that fn is a method of.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	return typeName(fn.Recv.List[0].Type)
}

// guardsOf returns the interfaces that decl guards, by the type's name.
func guardsOf(decl *ast.GenDecl) map[string][]string {
	guards := make(map[string][]string)
	if decl.Tok != token.VAR {
		return guards
	}
	for _, spec := range decl.Specs {
		value := spec.(*ast.ValueSpec)
		if len(value.Names) != 1 || value.Names[0].Name != "_" || value.Type == nil || len(value.Values) != 1 {
			continue
		}
		if typ := valueType(value.Values[0]); typ != "" {
			guards[typ] = append(guards[typ], typeName(value.Type))
		}
	}
	return guards
}

// valueType is the type's name in T{}, &T{}, (*T)(nil) and new(T).
func valueType(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.CompositeLit:
		return typeName(expr.Type)
	case *ast.UnaryExpr:
		return valueType(expr.X)
	case *ast.CallExpr:
		if fn, ok := expr.Fun.(*ast.Ident); ok && fn.Name == "new" && len(expr.Args) == 1 {
			return typeName(expr.Args[0])
		}
		return typeName(expr.Fun)
	}
	return ""
}

// typeName is the last name in T, *T, (*T) and pkg.T.
func typeName(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.Ident:
		return expr.Name
	case *ast.StarExpr:
		return typeName(expr.X)
	case *ast.ParenExpr:
		return typeName(expr.X)
	case *ast.SelectorExpr:
		return expr.Sel.Name
	}
	return ""
}
