// SPDX-License-Identifier: Apache-2.0

package auto

import (
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func header(text string) mailflow.Header {
	return mailflow.ParseHeader([]byte(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n"))
}

func TestOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Kind{
		"Subject: Out of office":       Personal,
		"Auto-Submitted: no":           Personal,
		"Auto-Submitted: auto-replied": Replied,
		"AUTO-SUBMITTED: Auto-Replied (vacation); owner-email=\"x@y.example\"": Replied,
		"Auto-Submitted: auto-generated":                                       Generated,
		"Auto-Submitted: auto-notified; x=y":                                   Generated,
		"X-Autoreply: yes":                                                     Replied,
		"X-Auto-Reply: no":                                                     Personal,
		"Precedence: auto_reply":                                               Replied,
		"Precedence: Bulk":                                                     Generated,
		"Precedence: first-class":                                              Personal,
		"List-Id: <l.example>":                                                 Generated,
		"List-Unsubscribe: <https://x.example>":                                Generated,
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b":                            Report,
		"Content-Type: multipart/report; report-type=disposition-notification; boundary=b":                   Replied,
		"Content-Type: multipart/report; report-type=feedback-report; boundary=b":                            Report,
		"Content-Type: multipart/report; boundary=b":                                                         Report,
		"Auto-Submitted: auto-replied\nContent-Type: multipart/report; report-type=disposition-notification": Replied,
		"Content-Type: multipart/mixed; boundary=b":                                                          Personal,
		"Content-Type: ;;;": Personal,
	} {
		if got := Of(header(text)); got.Kind != want || (got.Why == "") != (want == Personal) {
			t.Errorf("%s gives %+v, want %q", text, got, want)
		}
	}
}

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
		ok, why := MayAnswer(header(c.header), mailflow.MustParseAddress(c.path))
		if ok != c.want || ok != (why == "") {
			t.Errorf("%q from %q: %v, %q", c.header, c.path, ok, why)
		}
	}
}

func FuzzMayAnswer(f *testing.F) {
	f.Add("Auto-Submitted: auto-replied", "a@b.example")
	f.Fuzz(func(t *testing.T, text, path string) {
		a, err := mailflow.ParseAddress(path)
		if err != nil {
			return
		}
		h := header(text)
		if ok, why := MayAnswer(h, a); ok && (Of(h).Kind != Personal || why != "") {
			t.Fatalf("%q is answered: %q", text, why)
		}
	})
}
