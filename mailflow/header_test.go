// SPDX-License-Identifier: Apache-2.0

package mailflow_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// names joins the names of the fields.
func names(h mailflow.Header) string {
	var all []string
	for _, f := range h.Fields() {
		all = append(all, f.Name)
	}
	return strings.Join(all, " ")
}

func TestParseHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		raw, names, body string
	}{
		{"A: 1\r\nB: 2\r\n\r\nbody", "A B", "body"},
		{"A: 1\nB: 2\n\nbody", "A B", "body"},
		{"A: 1\r\n folded\r\n\tmore\r\nB: 2\r\n\r\nx", "A B", "x"},
		{"A: 1\r\nno field\r\nB: 2\r\n\r\nx", "A B", "x"},
		{"From x y z\r\nA: 1\r\n\r\nx", "A", "x"},
		{"A : 1\r\nB\t: 2\r\n\r\nx", "A B", "x"},
		{"A:\r\n\r\nx", "A", "x"},
		{"A: 1\r\nB", "A", ""},
		{"A: 1", "A", ""},
		{"\r\nA: 1\r\n", "", "A: 1\r\n"},
		{"\nA: 1\n", "", "A: 1\n"},
		{"", "", ""},
		{"A B: 1\r\nÄ: 2\r\nC: 3\r\n\r\n", "C", ""},
		{": no name\r\nA: 1\r\n\r\n", "A", ""},
		{"A: 1\r\n \r\nB: 2\r\n\r\nx", "A B", "x"},
	} {
		h := mailflow.ParseHeader([]byte(c.raw))
		if names(h) != c.names || c.raw[h.Size():] != c.body {
			t.Errorf("%q has %q and the body %q", c.raw, names(h), c.raw[h.Size():])
		}
	}
	long := strings.Repeat("A: b\r\n", mailflow.MaxHeaderBytes/6+10)
	if h := mailflow.ParseHeader([]byte(long)); h.Size() != mailflow.MaxHeaderBytes {
		t.Errorf("a huge header has %d bytes", h.Size())
	}
}

func TestHeaderValues(t *testing.T) {
	t.Parallel()
	h := mailflow.ParseHeader([]byte("Subject: =?utf-8?q?Caf=C3=A9?=\r\n =?utf-8?q?_noir?=\r\nX-A: 1\r\nx-a:  2 \r\nX-Bad: =?nope?q?x?=\r\nX-Raw: h\xc3\xa4\r\n\r\n"))
	for name, want := range map[string]string{
		"subject": "Café noir", "X-A": "1", "X-None": "", "X-Bad": "=?nope?q?x?=", "X-Raw": "hä",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := fmt.Sprintf("%q", h.Values("X-A")); got != `["1" "2"]` {
		t.Errorf("X-A is %s", got)
	}
	if !h.Has("SUBJECT") || h.Has("Subject2") {
		t.Error("Has is wrong")
	}
}

func TestHeaderAddresses(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"anna@example.com":                               "anna@example.com",
		"Anna <anna@EXAMPLE.com>":                        "anna@example.com",
		`"Doe, J." <j@example.com>, b@example.com`:       "j@example.com b@example.com",
		`"x y"@example.com`:                              `"x y"@example.com`,
		"=?utf-8?q?J=C3=B6rg?= <j@bücher.example>":       "j@xn--bcher-kva.example",
		"group: a@example.com, b@example.com;":           "a@example.com b@example.com",
		"undisclosed-recipients:;":                       "",
		"Anna, anna@example.com":                         "anna@example.com",
		"Anna <anna@example.com":                         "anna@example.com",
		"anna@example.com b@example.com":                 "anna@example.com b@example.com",
		"=?iso-8859-99?q?x?= <a@example.com>":            "a@example.com",
		"a@b@example.com, 'quoted@example.com'":          "quoted@example.com",
		"Anna\r\n <anna@example.com>,\r\n b@example.com": "anna@example.com b@example.com",
		"":       "",
		"nobody": "",
	} {
		h := mailflow.ParseHeader([]byte("To: " + value + "\r\n\r\n"))
		var got []string
		for _, a := range h.Addresses("to") {
			got = append(got, a.String())
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q has %q, want %q", value, s, want)
		}
	}
}

func TestHeaderFrom(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"From: a@example.com\r\nSender: b@example.com\r\n\r\n":      "a@example.com",
		"Sender: b@example.com\r\n\r\n":                             "b@example.com",
		"From: nobody\r\nSender: b@example.com\r\n\r\n":             "b@example.com",
		"From: a@example.com, c@example.com\r\n\r\n":                "a@example.com",
		"From: nobody\r\nFrom: a@example.com\r\n\r\n":               "a@example.com",
		"Subject: x\r\n\r\n":                                        "",
		"From: \"evil@example.com\" <a@example.com>\r\n\r\n":        "a@example.com",
		"Subject: x\r\n\r\nFrom: body@example.com\r\n":              "",
		"FROM: =?utf-8?q?b=40example.com?= <a@example.com>\r\n\r\n": "a@example.com",
	} {
		if got := mailflow.ParseHeader([]byte(raw)).From().String(); got != want {
			t.Errorf("%q is from %q, want %q", raw, got, want)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, s := range []string{"A: b\r\n\r\nx", "A: b\n c\n", "\r\n", " a\r\nTo: a@b\r\n", "To: =?utf-8?q?=?= <a@b>, \"x\" <\"y z\"@b>", "A\r\r\n:\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h := mailflow.ParseHeader(raw)
		if h.Size() > len(raw) || h.Size() > mailflow.MaxHeaderBytes {
			t.Fatalf("%q has a header of %d", raw, h.Size())
		}
		at := 0
		for _, field := range h.Fields() {
			i := strings.Index(string(raw[at:h.Size()]), string(field.Raw))
			if i < 0 || field.Name == "" || strings.ContainsAny(field.Name, ": \t\r\n") {
				t.Fatalf("field %q of %q", field.Raw, raw)
			}
			at += i + len(field.Raw)
			if strings.ContainsAny(field.Value(), "\r\n") {
				t.Fatalf("value %q", field.Value())
			}
			_ = field.Text()
			for _, a := range h.Addresses(field.Name) {
				if again, err := mailflow.ParseAddress(a.String()); err != nil || again != a {
					t.Fatalf("address %#v of %q does not read back: %v", a, field.Raw, err)
				}
			}
		}
		if again := mailflow.ParseHeader(raw[:h.Size()]); again.Size() != h.Size() || len(again.Fields()) != len(h.Fields()) {
			t.Fatalf("the header of %q read again differs", raw)
		}
	})
}
