// SPDX-License-Identifier: Apache-2.0

package preset

import (
	"strings"
	"testing"
)

func mustFind(tb testing.TB, write string) Preset {
	tb.Helper()
	words := strings.Fields(write)
	p, err := Find(words[0], words[1:])
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestLearn(t *testing.T) {
	t.Parallel()
	const ses = "0100017da2b2e5b3-950ca51b-f7d6-4b3f-8f72-7fbc979e76d1-000000"
	const outlook = "PN3PR01MB95977486061BD2542BD09B67B865A@PN3PR01MB9597.INDPRD01.PROD.OUTLOOK.COM"
	tests := []struct{ preset, reply, want string }{
		{"amazon_ses", "Ok " + ses, "<" + ses + "@email.amazonses.com>"},
		{"amazon_ses eu-west-1", "ok  " + ses + " ", "<" + ses + "@eu-west-1.amazonses.com>"},
		{"amazon_ses", "Ok", ""},
		{"amazon_ses", "", ""},
		{"amazon_ses", "Ok: queued", ""},
		{"amazon_ses", "Ok " + ses + " twice", ""},
		{"amazon_ses", "Ok <" + ses + ">", ""},
		{"amazon_ses", "Ok a@b", ""},
		{"amazon_ses", "Ok ..", ""},
		{"amazon_ses", "Ok " + strings.Repeat("a", maxID), ""},
		{"outlook", "OK <" + outlook + "> [Hostname=PN3PR01MB9597.INDPRD01.PROD.OUTLOOK.COM]", "<" + outlook + ">"},
		{"outlook", "OK <" + outlook, ""},
		{"outlook", "OK " + outlook + ">", ""},
		{"outlook", "OK > <" + outlook, ""},
		{"outlook", "OK <>", ""},
		{"outlook", "OK <a b@c>", ""},
		{"outlook", "OK <a@b@c>", ""},
		{"outlook", "OK <ä@b>", ""},
		// It repeats our id there, and sends with another.
		{"brevo", "OK: queued as <20260522160105.116184@server-1>", ""},
		{"mailjet", "OK queued as cdcb3013-4387-44f3-807a-135ab054a927", ""},
		{"mailgun", "Great success", ""},
		{"sendgrid", "Ok: queued as nhIMmON9SFOPcT0ii4nt2A", ""},
		{"postmark", "OK", ""},
		{"gmail", "OK  1646870409 p2-20020a1709026b8200b0014f1c918957si2953939plk.484 - gsmtp", ""},
	}
	for _, tt := range tests {
		if got := mustFind(t, tt.preset).Learn(tt.reply); got != tt.want {
			t.Errorf("%s: Learn(%q) = %q, want %q", tt.preset, tt.reply, got, tt.want)
		}
	}
}

// FuzzLearn: whatever a server says, the answer is nothing or one msg-id that
// can stand in a header field and in the store.
func FuzzLearn(f *testing.F) {
	f.Add("Ok 0100017da2b2e5b3-950ca51b-f7d6-4b3f-8f72-7fbc979e76d1-000000")
	f.Add("OK <a@b.example> [Hostname=x]")
	f.Add("OK <a@b\r\nBcc: c@d.example>")
	f.Fuzz(func(t *testing.T, reply string) {
		for _, name := range Names() {
			id := mustFind(t, name).Learn(reply)
			if id == "" {
				continue
			}
			if id[0] != '<' || id[len(id)-1] != '>' || len(id) > maxID+2 || strings.Count(id, "@") != 1 ||
				strings.IndexFunc(id, func(r rune) bool { return r <= ' ' || r >= 0x7f }) >= 0 {
				t.Errorf("%s: Learn(%q) = %q", name, reply, id)
			}
		}
	})
}
