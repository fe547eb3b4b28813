// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"bytes"
	"net/mail"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// header makes a header of its lines.
func header(lines ...string) mailflow.Header {
	return mailflow.ParseHeader([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n"))
}

// TestRead reads From fields as strangers write them.
func TestRead(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 10_000)
	for _, c := range []struct {
		name, from string // the field's value; with a line break, several fields
		want       string // name|address
	}{
		{"the usual", `"Admin" <admin@example.com>`, "Admin|admin@example.com"},
		{"no quotes", `Mary Smith <mary@example.com>`, "Mary Smith|mary@example.com"},
		{"address alone", `mary@example.com`, "|mary@example.com"},
		{"address in brackets", `<mary@example.com>`, "|mary@example.com"},
		{"the old form", `mary@example.com (Mary (really) Smith)`, "Mary (really) Smith|mary@example.com"},
		{"words and an address", `Mary Smith mary@example.com`, "Mary Smith|mary@example.com"},
		{"comma in the name", `"Doe, J" <j@example.com>`, "Doe, J|j@example.com"},
		{"address in the name", `"a@b.c" <j@example.com>`, "a@b.c|j@example.com"},
		{"quotes in the name", `"The \"Boss\"" <j@example.com>`, `The "Boss"|j@example.com`},
		{"case", `ADMIN@Acme.EXAMPLE`, "|ADMIN@acme.example"},
		{"two addresses", `"A" <a@example.com>, "B" <b@example.com>`, "A|a@example.com"},
		{"the first is none", `nobody, "B" <b@example.com>`, "B|b@example.com"},
		{"a list with semicolons", `a@example.com; b@example.com`, "|a@example.com"},
		{"a group", `Team: "A" <a@example.com>, b@example.com;`, "A|a@example.com"},
		{"an empty group", `undisclosed-recipients:;`, "|"},
		{"a colon that makes no group", `Re: Mary <a@example.com>`, "Re Mary|a@example.com"},
		{"encoded words", `=?utf-8?q?=C3=89lodie?= =?iso-8859-1?q?=DCnal?= <e@example.com>`, "ÉlodieÜnal|e@example.com"},
		{"an encoded word in quotes", `"=?utf-8?b?w4k=?=" <e@example.com>`, "É|e@example.com"},
		{"another charset", `=?koi8-r?b?6dfBzg==?= <i@example.com>`, "Иван|i@example.com"},
		{"an unknown charset", `=?x-unknown?q?Caf=E9?= <e@example.com>`, "Café|e@example.com"},
		{"a language (RFC 2231)", `=?utf-8*fr?q?=C3=89?= <e@example.com>`, "É|e@example.com"},
		{"8-bit UTF-8", "Zoé <z@example.com>", "Zoé|z@example.com"},
		{"8-bit without a label", "Zo\xe9 <z@example.com>", "Zoé|z@example.com"},
		{"a line break in an encoded word", `=?utf-8?q?A=0D=0ABcc:_x@y.example?= <a@example.com>`, "A Bcc: x@y.example|a@example.com"},
		{"blanks stay", `"A  B" <a@example.com>`, "A  B|a@example.com"},
		{"NUL and bells", "A\x00\x07B <a@example.com>", "A B|a@example.com"},
		{"what turns the direction", "A\u202eB <a@example.com>", "A B|a@example.com"},
		{"folded", "\"A\r\n B\" <a@example.com>", "A B|a@example.com"},
		{"a quoted local part", `"john doe"@example.com`, `|"john doe"@example.com`},
		{"a quoted local part in brackets", `J <"john doe"@example.com>`, `J|"john doe"@example.com`},
		{"a route", `A <@relay.example,@two.example:a@example.com>`, "A|a@example.com"},
		{"IDN", `"I" <info@bücher.example>`, "I|info@xn--bcher-kva.example"},
		{"unicode local part", `"É" <é@acme.example>`, "É|é@acme.example"},
		{"no bracket closes", `A <a@example.com`, "A|a@example.com"},
		{"no quote closes", `"A <a@example.com>`, "A <a@example.com>|"},
		{"no comment closes", `a@example.com (A`, "A|a@example.com"},
		{"not an address", `not an address`, "not an address|"},
		{"half an address", `admin@`, "admin|"},
		{"the other half", `@acme.example`, "|"},
		{"nothing", ``, "|"},
		{"null", `<>`, "|"},
		{"postmaster alone", `A <postmaster>`, "A|"},
		{"two fields", "\"A\" <a@example.com>\r\nFrom: \"B\" <b@example.com>", "A|a@example.com"},
		{"the first field has none", "nobody\r\nFrom: \"B\" <b@example.com>", "B|b@example.com"},
		{"10,000 characters", `"` + long + `" <a@example.com>`, long[:MaxName-1] + "…|a@example.com"},
	} {
		a := Read(header("From: " + c.from))
		if got := a.Name + "|" + a.Address.String(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if len(a.Text) > maxOriginal {
			t.Errorf("%s: keeps %d bytes", c.name, len(a.Text))
		}
	}
}

func TestReadCounts(t *testing.T) {
	t.Parallel()
	a := Read(header("From: a@example.com, b@example.com", "To: c@example.com", "from: d@example.com"))
	if a.Fields != 2 || a.Addresses != 3 || a.Text != "a@example.com, b@example.com" {
		t.Errorf("%+v", a)
	}
	if a = Read(header("To: c@example.com")); a != (Author{}) {
		t.Errorf("no From: %+v", a)
	}
}

// TestEndlessFrom reads a field that is as long as a header may be.
func TestEndlessFrom(t *testing.T) {
	t.Parallel()
	a := Read(header(`From: "` + strings.Repeat("x", 1<<19) + `" <a@example.com>`))
	if !a.Address.IsNull() || utf8.RuneCountInString(a.Name) != MaxName || len(a.Text) != maxOriginal {
		t.Errorf("%d bytes of name, %d of text, %s", len(a.Name), len(a.Text), a.Address)
	}
	if a = Read(header("From: a@example.com" + strings.Repeat(" ", 1<<17) + "x, b@example.com")); !a.malformed || a.Addresses != 1 {
		t.Errorf("%d addresses, malformed %v", a.Addresses, a.malformed)
	}
}

// TestAuthors hides nobody.
func TestAuthors(t *testing.T) {
	t.Parallel()
	got := Authors(header("From: Team: a@example.com, B <b@example.com;", "To: t@example.com", "From: \"c", "From: <d@example.com"))
	var all []string
	for _, a := range got {
		all = append(all, a.String())
	}
	if s := strings.Join(all, " "); s != "a@example.com b@example.com d@example.com" {
		t.Error(s)
	}
}

// TestReadOr looks for somebody in place of an author.
func TestReadOr(t *testing.T) {
	t.Parallel()
	path := mailflow.MustParseAddress("app@mycompany.com")
	for _, c := range []struct {
		lines            []string
		documented, odoo string
	}{
		{[]string{"From: a@example.com", "Sender: s@example.com"}, "a@example.com", "a@example.com"},
		{[]string{"Sender: s@example.com"}, "s@example.com", ""},
		{[]string{"From: Mary"}, "app@mycompany.com", ""},
		{nil, "app@mycompany.com", ""},
	} {
		h := header(c.lines...)
		if got := ReadOr(h, path, mailflow.BehaviorDocumented).Address.String(); got != c.documented {
			t.Errorf("%q documented: %s, want %s", c.lines, got, c.documented)
		}
		if got := ReadOr(h, path, mailflow.BehaviorOdoo).Address.String(); got != c.odoo {
			t.Errorf("%q odoo: %s, want %s", c.lines, got, c.odoo)
		}
	}
	if a := ReadOr(header("From: Mary"), path, mailflow.BehaviorDocumented); a.Name != "Mary" {
		t.Errorf("the name is lost: %+v", a)
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"":                   "a@example.com",
		"Admin":              `"Admin" <a@example.com>`,
		"Doe, J":             `"Doe, J" <a@example.com>`,
		`The "Boss" \o/`:     `"The \"Boss\" \\o/" <a@example.com>`,
		"Zoé":                "=?utf-8?q?Zo=C3=A9?= <a@example.com>",
		"Zoé, (the) <first>": "=?utf-8?b?Wm/DqSwgKHRoZSkgPGZpcnN0Pg==?= <a@example.com>",
		"a\r\nBcc: b":        `"a Bcc: b" <a@example.com>`,
	} {
		if got := Format(name, mailflow.MustParseAddress("a@example.com")); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// FuzzFrom reads any From field, encapsulates what it finds, and holds the new
// field to its form: one line of ASCII, one address, and the name kept.
func FuzzFrom(f *testing.F) {
	for _, seed := range []string{
		`"Admin" <admin@example.com>`, `a@example.com, b@example.com`, "Zo\xe9 <z@example.com>", `Team: a@b.example;`,
		`=?utf-8?q?A=0D=0ABcc:_x@y.example?= <a@example.com>`, `"unclosed`, `(((`, `<<>>`, `"\`, `=?utf-8?b?////?= <x@y.example>`,
		`=?utf-8?q?=?= =?utf-8?q??= <x@y.example>`, "=?iso-2022-jp?b?GyRCJDMbKEI=?= <x@y.example>", "a\r\nFrom: b@c.example",
	} {
		f.Add([]byte(seed))
	}
	policy := &Policy{DefaultFrom: mailflow.MustParseAddress("notifications@mycompany.com")}
	f.Fuzz(func(t *testing.T, from []byte) {
		h := mailflow.ParseHeader(append(append([]byte("From: "), from...), "\r\n\r\n"...))
		a := Read(h)
		if utf8.RuneCountInString(a.Name) > MaxName || len(a.Text) > maxOriginal || strings.ContainsAny(a.Name+a.Text, "\r\n\x00") {
			t.Fatalf("%q gives %+v", from, a)
		}
		for _, b := range []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo} {
			policy := *policy
			policy.Behavior = b
			sent, err := Decide(ReadMail(h, mailflow.MustParseAddress("app@mycompany.com"), b), &policy, Hop{})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range sent.Header {
				if strings.ContainsAny(c.Value, "\r\n\x00") {
					t.Fatalf("%q gives a line break in %s: %q", from, c.Name, c.Value)
				}
				if c.Name == "From" {
					checkField(t, c.Value, sent.From, b)
				}
			}
		}
	})
}

// checkField reads a From field that was made here with another reader.
func checkField(t *testing.T, value string, want mailflow.Address, b mailflow.Behavior) {
	t.Helper()
	if bytes.IndexFunc([]byte(value), func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 && want.IsASCII() {
		t.Fatalf("%q has letters outside ASCII", value)
	}
	list, err := mail.ParseAddressList(value)
	if err != nil || len(list) != 1 {
		t.Fatalf("%s: %q cannot be read: %v", b, value, err)
	}
	if again := Read(header("From: " + value)); !again.Address.Is(want) || again.Addresses != 1 {
		t.Fatalf("%s: %q is read as %+v, want %s", b, value, again, want)
	}
}

// FuzzName formats any name and reads it back.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"Admin", `a"b\c`, "Zoé", "é, (x)", "=?utf-8?q?a?=", strings.Repeat("é ", 400), "?=", "=?x"} {
		f.Add(seed)
	}
	a := mailflow.MustParseAddress("a@example.com")
	f.Fuzz(func(t *testing.T, name string) {
		field := Format(name, a)
		if strings.ContainsAny(field, "\r\n\x00") {
			t.Fatalf("%q gives %q", name, field)
		}
		want := oneLine(name)
		if got := Read(header("From: " + field)); got.Name != want || got.Address != a {
			t.Fatalf("%q gives %q, which is read as %q, want %q", name, field, got.Name, want)
		}
		for word := range strings.FieldsSeq(field) {
			if strings.HasPrefix(word, "=?") && len(word) > 75 {
				t.Fatalf("%q has an encoded word of %d octets", field, len(word))
			}
		}
	})
}
