// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestFilterMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter []string
		yes    []string
		no     []string
	}{
		{[]string{"info@example.com"}, []string{"info@example.com", "INFO@Example.COM"}, []string{"test@example.com", "info@sub.example.com"}},
		{[]string{"example.com"}, []string{"a@example.com", "b@EXAMPLE.com"}, []string{"a@sub.example.com", "a@notexample.com"}},
		{[]string{"*.example.com"}, []string{"a@sub.example.com", "a@a.b.example.com"}, []string{"a@example.com", "a@xexample.com"}},
		{[]string{" Example.com , info@other.example,"}, []string{"a@example.com", "info@other.example"}, []string{"b@other.example"}},
		{[]string{"example.com", "other.example"}, []string{"a@example.com", "a@other.example"}, []string{"a@third.example"}},
		{[]string{"bücher.example"}, []string{"a@xn--bcher-kva.example", "a@BÜCHER.example"}, []string{"a@bucher.example"}},
		{[]string{"xn--bcher-kva.example"}, []string{"a@bücher.example"}, nil},
		{[]string{`"Doe, John" <john@example.com>`}, []string{"john@example.com"}, []string{"doe@example.com"}},
		{[]string{`Info <info@example.com>, "A; B" <b@example.com>`}, []string{"info@example.com", "b@example.com"}, nil},
		{[]string{`"a,b"@example.com`}, []string{`"a,b"@example.com`}, nil},
		{[]string{"localhost"}, []string{"root@localhost"}, nil},
		{nil, nil, []string{"a@example.com"}},
	} {
		f, err := ParseFilter(c.filter)
		if err != nil {
			t.Errorf("%q: %v", c.filter, err)
			continue
		}
		for _, a := range c.yes {
			if !f.Match(mailflow.MustParseAddress(a)) {
				t.Errorf("%q does not match %s", c.filter, a)
			}
		}
		for _, a := range append(c.no, "") {
			if f.Match(mailflow.MustParseAddress(a)) {
				t.Errorf("%q matches %q", c.filter, a)
			}
		}
	}
}

func TestFilterIsRefused(t *testing.T) {
	t.Parallel()
	for filter, hint := range map[string]string{
		"":                        "leave the filter out",
		" , ":                     "leave the filter out",
		"*":                       "leave the filter out",
		"a.example, *":            "leave the filter out",
		"a.example;b.example":     "commas",
		"a.example\nb.example":    "commas",
		"@example.com":            `"example.com"`,
		"*@example.com":           `"example.com"`,
		"inf*@example.com":        "no meaning",
		"ex*mple.com":             "at the beginning",
		"a b":                     "domain",
		"a b@example.com":         "quotes",
		"info@":                   "empty domain",
		"example..com":            "malformed",
		"<>":                      "empty",
		"info@example.com@b.test": "quotes",
	} {
		_, err := ParseFilter([]string{filter})
		if !errors.Is(err, ErrFilter) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q gives %v, not a hint with %q", filter, err, hint)
		}
	}
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"a@b.example", "*.b.example, c.example", `"x, y" <a@b.example>`, "*", `"\"`, "@", "ü@ü.example"} {
		f.Add(s, "a@b.example")
	}
	f.Fuzz(func(t *testing.T, text, address string) {
		filter, err := ParseFilter([]string{text})
		if err != nil {
			if !errors.Is(err, ErrFilter) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if filter.IsEmpty() {
			t.Fatalf("%q was taken and has no entry", text)
		}
		if filter.Match(mailflow.Address{}) {
			t.Fatalf("%q matches the null address", text)
		}
		a, err := mailflow.ParseAddress(address)
		if err != nil || a.Domain == "" {
			return
		}
		upper := mailflow.Address{Local: strings.ToUpper(a.Local), Domain: a.Domain}
		if upper.Is(a) && filter.Match(a) != filter.Match(upper) {
			t.Fatalf("%q tells %s and %s apart", text, a, upper)
		}
	})
}
