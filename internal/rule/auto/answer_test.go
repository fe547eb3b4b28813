// SPDX-License-Identifier: Apache-2.0

package auto

import (
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestMayAnswer(t *testing.T) {
	t.Parallel()
	const anna = "anna@sender.example"
	for _, c := range []struct {
		header, path string
		want         bool
	}{
		{"From: " + anna, anna, true},
		{"From: " + anna, "", false},
		{"From: " + anna + "\nAuto-Submitted: auto-generated", anna, false},
		{"From: Mailer-Daemon@x.example", anna, false},
		{"From: " + anna, "postmaster@x.example", false},
		{"From: " + anna + "\nX-Auto-Response-Suppress: DR, AutoReply", anna, false},
		{"From: " + anna + "\nX-Auto-Response-Suppress: All", anna, false},
		{"From: " + anna + "\nX-Auto-Response-Suppress: OOF", anna, true},
		{"From: " + anna + "\nList-Id: <l.example>", anna, false},
	} {
		h := mailflow.ParseHeader([]byte(strings.ReplaceAll(c.header, "\n", "\r\n") + "\r\n\r\n"))
		ok, why := MayAnswer(h, mailflow.MustParseAddress(c.path))
		if ok != c.want || ok != (why == "") {
			t.Errorf("%q from %q: %v, %q", c.header, c.path, ok, why)
		}
	}
}
