// SPDX-License-Identifier: Apache-2.0

package mailflow_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "",
		"anna@example.com":              "anna@example.com",
		"Anna@EXAMPLE.com":              "Anna@example.com",
		"anna@example.com.":             "anna@example.com",
		"anna+tag@example.com":          "anna+tag@example.com",
		"a..b@example.com":              "a..b@example.com",
		"a.@example.com":                "a.@example.com",
		"o'neil/x=1@example.com":        "o'neil/x=1@example.com",
		`"anna b"@example.com`:          `"anna b"@example.com`,
		`"anna"@example.com`:            "anna@example.com",
		`"a@b"@example.com`:             `"a@b"@example.com`,
		`"a\"b\\c"@example.com`:         `"a\"b\\c"@example.com`,
		"jörg@bücher.example":           "jörg@xn--bcher-kva.example",
		"a@BÜCHER.example":              "a@xn--bcher-kva.example",
		"a@xn--bcher-kva.example":       "a@xn--bcher-kva.example",
		"a@host_name.example":           "a@host_name.example",
		"a@[192.0.2.1]":                 "a@[192.0.2.1]",
		"a@[IPv6:2001:DB8::1]":          "a@[IPv6:2001:db8::1]",
		"a@[ipv6:2001:db8:0:0::1]":      "a@[IPv6:2001:db8::1]",
		"a@localhost":                   "a@localhost",
		"Postmaster":                    "Postmaster",
		"postmaster@example.com":        "postmaster@example.com",
		strings.Repeat("a", 128) + "@b": strings.Repeat("a", 128) + "@b",
	} {
		a, err := mailflow.ParseAddress(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if a.String() != want {
			t.Errorf("%q is %q, want %q", text, a, want)
		}
		again, err := mailflow.ParseAddress(a.String())
		if err != nil || again != a {
			t.Errorf("%q does not read back: %q, %v", text, again, err)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"anna", "@", "anna@", "@example.com", " anna@example.com", "anna @example.com", "an na@example.com",
		"<anna@example.com>", "Anna <anna@example.com>", "anna@example.com>", "a,b@example.com", "a@b@example.com",
		`"anna@example.com`, `""@example.com`, `"a"b@example.com`, "\"a\x00\"@example.com", "\"a\r\n\"@example.com", "\"a\\\n\"@example.com",
		"a\xff@example.com", "a@exam ple.com", "a@example..com", "a@.example.com", "a@-", "a@ex\r\nample.com", "a@ex/ample.com",
		"a@[192.0.2.1", "a@[192.0.2]", "a@[2001:db8::1]", "a@[IPv6:192.0.2.1]", "a@[IPv6:fe80::1%eth0]", "a@[]",
		strings.Repeat("a", 129) + "@example.com", "a@" + strings.Repeat("a", 64) + ".com", "a@" + strings.Repeat("abc.", 70) + "com",
		"Postmaster@",
	} {
		if a, err := mailflow.ParseAddress(text); !errors.Is(err, mailflow.ErrAddress) {
			t.Errorf("%q is read as %q, %v", text, a, err)
		}
	}
}

func TestAddressIdentity(t *testing.T) {
	t.Parallel()
	a, b := mailflow.MustParseAddress("Anna@bücher.example"), mailflow.MustParseAddress("anna@XN--BCHER-KVA.example")
	if !a.Is(b) || a.Key() != b.Key() || a == b {
		t.Errorf("%s and %s are not one mailbox with two spellings", a, b)
	}
	if c := mailflow.MustParseAddress("anna@other.example"); a.Is(c) || a.Key() == c.Key() {
		t.Errorf("%s and %s are one mailbox", a, c)
	}
	null := mailflow.Address{}
	if !null.IsNull() || null.Path() != "<>" || a.IsNull() || a.Path() != "<Anna@xn--bcher-kva.example>" {
		t.Errorf("paths are %s and %s", null.Path(), a.Path())
	}
	if j := mailflow.MustParseAddress("jörg@b.example"); j.IsASCII() || !a.IsASCII() {
		t.Error("IsASCII is wrong")
	}
}

func TestAddressAsText(t *testing.T) {
	t.Parallel()
	type record struct {
		A mailflow.Address `json:"a"`
	}
	want := record{mailflow.MustParseAddress(`"x y"@example.com`)}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got record
	if err := json.Unmarshal(raw, &got); err != nil || got != want {
		t.Errorf("%s gives %v, %v", raw, got, err)
	}
	if err := json.Unmarshal([]byte(`{"a":"x y"}`), &got); !errors.Is(err, mailflow.ErrAddress) {
		t.Errorf("a bad address is read: %v", err)
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"", "a@b.example", `"a\"b"@b`, "ü@bücher.example", "a@[IPv6:::1]", "Postmaster", "a@b_c", "a@ß.example", "@@", "\"\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := mailflow.ParseAddress(text)
		if err != nil {
			if !errors.Is(err, mailflow.ErrAddress) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		s := a.String()
		if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.ValidString(s) {
			t.Fatalf("%q gives %q, which breaks a command", text, s)
		}
		again, err := mailflow.ParseAddress(s)
		if err != nil || again != a || !again.Is(a) {
			t.Fatalf("%q gives %#v, which reads back as %#v, %v", text, a, again, err)
		}
		if a.IsNull() != (text == "") {
			t.Fatalf("%q is the null address", text)
		}
	})
}
