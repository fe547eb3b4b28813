// SPDX-License-Identifier: Apache-2.0

package domainauth

import (
	"slices"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestForesee(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from, envelope, hello, signed string
		want                          []string
		passes                        int
	}{
		"all align":            {"a@my.example", "bounce@my.example", "mx.my.example", "my.example", []string{CodeDKIMAligned, CodeSPFAligned}, 2},
		"a subdomain aligns":   {"a@news.my.example", "b@bounces.my.example", "", "my.example", []string{CodeDKIMAligned, CodeSPFAligned}, 2},
		"spoofed customer":     {"mary@customer.example", "bounce@my.example", "", "", []string{CodeDKIMUnsigned, CodeSPFOther}, 0},
		"signed for another":   {"mary@customer.example", "bounce@my.example", "", "my.example", []string{CodeDKIMOther, CodeSPFOther}, 0},
		"siblings under co.uk": {"a@one.co.uk", "a@two.co.uk", "", "two.co.uk", []string{CodeDKIMOther, CodeSPFOther}, 0},
		"null sender":          {"daemon@my.example", "", "mx.my.example", "", []string{CodeDKIMUnsigned, CodeSPFAligned}, 1},
		"null sender, other":   {"daemon@my.example", "", "", "", []string{CodeDKIMUnsigned, CodeSPFOther}, 0},
		"no From":              {"", "bounce@my.example", "", "my.example", []string{CodeNoFrom}, 0},
	} {
		got := Foresee(Identities{
			From: mailflow.MustParseAddress(c.from), Envelope: mailflow.MustParseAddress(c.envelope),
			Hello: c.hello, SignedAs: c.signed,
		})
		var codes []string
		passes := 0
		for _, f := range got {
			codes = append(codes, f.Code)
			if f.Passes {
				passes++
			}
			if f.Text == "" {
				t.Errorf("%s: %s has no words", name, f.Code)
			}
		}
		if !slices.Equal(codes, c.want) || passes != c.passes {
			t.Errorf("%s: %v, %d pass; want %v, %d", name, codes, passes, c.want, c.passes)
		}
	}
}

func TestAligned(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"my.example", "my.example", true},
		{"a.b.my.example", "c.my.example", true},
		{"my.example", "notmy.example", false},
		{"com", "com", true},
		{"a.github.io", "b.github.io", false}, // a public suffix
		{"", "", false},
		{"localhost", "localhost", true},
	} {
		if got := Aligned(c.a, c.b); got != c.want {
			t.Errorf("Aligned(%q, %q) = %v", c.a, c.b, got)
		}
	}
}
