// SPDX-License-Identifier: Apache-2.0

package refusal

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message/mail"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// refused returns a refusal of a mail with that header.
func refused(header string) Refusal {
	return Refusal{
		MessageID: "<r1@mx.mycompany.com>", Tag: "<t1" + LoopTag + "@mx.mycompany.com>", Hostname: "mx.mycompany.com",
		At:   time.Date(2026, 3, 2, 10, 29, 58, 0, time.UTC),
		From: mailflow.MustParseAddress("bounce@mycompany.com"), To: mailflow.MustParseAddress("nora@unknown.example"),
		ReplyTo:    mailflow.MustParseAddress("info@mycompany.com"),
		Recipients: []mailflow.Address{mailflow.MustParseAddress("support@mycompany.com")},
		Help:       "Please register first: https://mycompany.com/register",
		Header:     mailflow.ParseHeader([]byte(strings.ReplaceAll(header, "\n", "\r\n") + "\r\n\r\n")),
		Answers:    "<in-1@unknown.example>",
	}
}

// parse reads a refusal as its receiver does.
func parse(tb testing.TB, b []byte) (mail.Header, string) {
	tb.Helper()
	r, err := mail.CreateReader(bytes.NewReader(b))
	if err != nil {
		tb.Fatalf("%v in:\n%s", err, b)
	}
	part, err := r.NextPart()
	if err != nil {
		tb.Fatal(err)
	}
	body, err := io.ReadAll(part.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return r.Header, strings.ReplaceAll(string(body), "\r\n", "\n")
}

func TestBuild(t *testing.T) {
	t.Parallel()
	b, err := Build(refused("From: Nora <nora@unknown.example>\nSubject: =?utf-8?q?Caf=C3=A9?="))
	if err != nil {
		t.Fatal(err)
	}
	h, body := parse(t, b)
	for name, want := range map[string]string{
		"From": `"MAILER-DAEMON" <bounce@mycompany.com>`, "To": "<nora@unknown.example>", "Reply-To": "<info@mycompany.com>",
		"Subject": "Re: Café", "Auto-Submitted": "auto-replied", "In-Reply-To": "<in-1@unknown.example>",
		"References": "<in-1@unknown.example> <t1" + LoopTag + "@mx.mycompany.com>",
		"Date":       "Mon, 02 Mar 2026 10:29:58 +0000",
	} {
		if got, err := h.Text(name); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	want := `Hello,

your message could not be taken for support@mycompany.com.

Please register first: https://mycompany.com/register

-- 
This is an automatic answer of the mail system at mx.mycompany.com.

The header of your message:

> From: Nora <nora@unknown.example>
> Subject: =?utf-8?q?Caf=C3=A9?=
`
	if body != want {
		t.Errorf("the text:\n%s", body)
	}
}

func TestSubject(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "Re: your message", "Hi": "Re: Hi", "RE: Hi": "RE: Hi"} {
		if got := subject(in); got != want {
			t.Errorf("%q gives %q", in, got)
		}
	}
}

// FuzzBuild looks for a mail that gets out of its quotation.
func FuzzBuild(f *testing.F) {
	f.Add("Subject: x", "<a@b>", "help")
	f.Add("Subject: =?utf-8?q?=0D=0AX-Evil:_1?=", "<a@b>", "a\r\n.\r\nb")
	f.Fuzz(func(t *testing.T, header, id, help string) {
		if strings.ContainsAny(id, "\r\n") {
			return // an id is one word
		}
		r := refused(header)
		r.Help = help
		b, err := Build(r)
		if err != nil {
			t.Fatal(err)
		}
		h, _ := parse(t, b)
		if n := h.Len(); n != 13 {
			t.Fatalf("%d fields:\n%s", n, b)
		}
		if h.Has("X-Evil") || bytes.Contains(bytes.ReplaceAll(b, []byte("\r\n"), nil), []byte("\n")) {
			t.Fatalf("the mail is broken:\n%s", b)
		}
	})
}
