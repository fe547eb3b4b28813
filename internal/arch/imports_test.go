// SPDX-License-Identifier: Apache-2.0

package arch

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A floor is a part of the house: the packages under prefix.
type floor struct {
	prefix string
	may    []string // the packages of the house it may import, by prefix
	never  []string // the packages of others it must not import, by prefix; "$" ends an exact path
}

// floors is the house from the ground up. Every package stands on the first
// floor that fits it, and imports no more of the house than that floor may;
// a package may always import its own subpackages. Siblings on a floor are
// not named in its row, so they never import each other.
var floors = []floor{
	// The words and contracts. net only for interface types, see TestNetInWords.
	{prefix: "mailflow/mailflowtest", may: []string{"mailflow"}},
	{prefix: "mailflow", never: []string{"os", "net/http", "database"}},

	// Decisions and wires.
	{prefix: "internal/rule", may: []string{"mailflow", "internal/rule"}, never: []string{"os", "net$", "net/http", "net/smtp", "net/textproto", "database", "log"}},
	{prefix: "internal/wire", may: []string{"mailflow"}},

	// The process-lived engine.
	{prefix: "internal/engine", may: []string{"mailflow", "internal/rule", "internal/wire"}},

	// Beside the floors: the option table, the logins that servers and fetch loops
	// share, the JSON and Caddyfile form of routes that the app shares with the
	// handlers that have a route inside, and these tests.
	{prefix: "internal/caddyblock"},
	{prefix: "internal/credential", may: []string{"mailflow", "internal/caddyblock", "internal/wire/oauth"}},
	{prefix: "internal/mailroute", may: []string{"mailflow", "internal/caddyblock"}},
	{prefix: "internal/arch"},

	// The Caddy modules.
	{prefix: "modules", may: []string{"mailflow", "internal"}},

	// The binary, the plug, and the tests of the whole.
	{prefix: "cmd", may: []string{module}},
	{prefix: "test", may: []string{module, "mailflow", "internal", "modules"}},
	{prefix: "bench", may: []string{module, "mailflow", "internal", "modules"}},
	{prefix: ".", may: []string{"modules"}},
}

// owners names for a package of others the only packages that may import it.
var owners = map[string][]string{
	"github.com/caddyserver": {"internal/caddyblock", "internal/credential", "internal/mailroute", "modules", "cmd", "test", "bench", "."},
	"go.uber.org/zap":        {"internal/engine", "modules", "cmd", "test", "bench"},
	"modernc.org/sqlite":     {"internal/wire/sqlstore", "modules/store"},
}

// TestImports holds every package to its floor. Tests of a package may import
// what they need.
func TestImports(t *testing.T) {
	t.Parallel()
	for _, s := range files(t, anyFile) {
		pkg := s.pkg()
		i := slices.IndexFunc(floors, func(f floor) bool { return under(pkg, f.prefix) })
		if i < 0 {
			t.Errorf("%s: %s stands on no floor: give it a row", s.path, pkg)
			continue
		}
		if s.isTest() {
			continue
		}
		for _, spec := range s.syntax.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !allowed(pkg, imp, floors[i]) {
				t.Errorf("%s: %s must not import %s", s.at(spec), pkg, imp)
			}
		}
	}
}

// allowed reports whether pkg, which stands on f, may import imp.
func allowed(pkg, imp string, f floor) bool {
	in, ours := strings.CutPrefix(imp, module+"/")
	if ours || imp == module {
		return under(in, pkg) || underAny(in, f.may)
	}
	if underAny(imp, f.never) {
		return false
	}
	for foreign, only := range owners {
		if under(imp, foreign) && !underAny(pkg, only) {
			return false
		}
	}
	return true
}

// under reports whether pkg is prefix or stands below it. "." is the root
// package alone; a "$" at the end of prefix means this package alone.
func under(pkg, prefix string) bool {
	if exact, ok := strings.CutSuffix(prefix, "$"); ok {
		return pkg == exact
	}
	return pkg == prefix || prefix != "." && prefix != module && strings.HasPrefix(pkg, prefix+"/")
}

func underAny(pkg string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return under(pkg, p) })
}

// TestNetInWords holds mailflow to the interface types of package net: a
// contract may hand a connection on, but nothing there dials or listens.
func TestNetInWords(t *testing.T) {
	t.Parallel()
	interfaces := []string{"Listener", "Conn", "Addr", "PacketConn", "Error"}
	for _, s := range files(t, func(s *source) bool { return under(s.pkg(), "mailflow") && !s.isTest() }) {
		if under(s.pkg(), "mailflow/mailflowtest") || !imports(s, "net") {
			continue
		}
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "net" && !slices.Contains(interfaces, sel.Sel.Name) {
				t.Errorf("%s: mailflow uses net.%s, which is no interface", s.at(sel), sel.Sel.Name)
			}
			return true
		})
	}
}

func imports(s *source, pkg string) bool {
	return slices.ContainsFunc(s.syntax.Imports, func(spec *ast.ImportSpec) bool {
		return spec.Path.Value == strconv.Quote(pkg)
	})
}

// TestPackageNames keeps out the rooms where everything ends up.
func TestPackageNames(t *testing.T) {
	t.Parallel()
	vague := []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "shared"}
	for _, s := range files(t, anyFile) {
		if slices.Contains(vague, s.syntax.Name.Name) || slices.Contains(vague, path.Base(s.pkg())) {
			t.Errorf("%s: name the package after its subject, not %q", s.path, s.syntax.Name.Name)
		}
	}
}
