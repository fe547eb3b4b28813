// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"fmt"
	"strings"
	"testing"
)

// recorder notes how a test would end.
type recorder struct {
	testing.TB
	end string
}

func (*recorder) Helper() {}

func (r *recorder) Fatal(args ...any) { r.end = "failed: " + fmt.Sprint(args...) }

func (r *recorder) Skip(args ...any) { r.end = "skipped: " + fmt.Sprint(args...) }

func TestRequire(t *testing.T) {
	tests := []struct{ require, program, want string }{
		{"", "go", ""},
		{"all", "go", ""},
		{"", "no-such-program", "skipped: "},
		{"all", "no-such-program", "failed: "},
	}
	for _, tt := range tests {
		t.Setenv("MAILCADDY_REQUIRE", tt.require)
		r := &recorder{TB: t}
		path := Require(r, tt.program)
		if found := path != ""; found != (tt.want == "") || !strings.HasPrefix(r.end, tt.want) {
			t.Errorf("Require(%q) with MAILCADDY_REQUIRE=%q = %q, test %q", tt.program, tt.require, path, r.end)
		}
		if r.end != "" && !strings.Contains(r.end, ".ci/run install") {
			t.Errorf("%q does not say how to install the program", r.end)
		}
	}
}
