// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// TestDocumentedSending sends the documentation's examples through a gateway
// with the documented behavior: Postmark for transactional mail, Amazon SES
// for mass mail.
func TestDocumentedSending(t *testing.T) {
	g := startGateway(t, []string{"amazon", "postmark"})
	config, err := g.whole(object{
		"domains": object{"mycompany.com": object{"subaddress": "off"}},
		"outgoing": object{
			"postmark": object{"priority": 10, "from_filter": []string{"mycompany.com"}, "via": g.via("postmark")},
			"amazon":   object{"priority": 20, "purpose": mailflow.PurposeMass, "via": g.via("amazon")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	const bounce = "bounce@mycompany.com"
	for _, c := range []struct {
		name   string
		fields []string
		want   sentMail
		header []string // what stands in the header, and with "!" what does not
	}{
		{
			"a stranger is encapsulated",
			[]string{`From: "Admin" <admin@example.com>`, "Sender: admin@example.com", "Return-Path: <verp@example.com>"},
			sentMail{Server: "postmark", MailFrom: bounce, HeaderFrom: "Admin <notifications@mycompany.com>"},
			[]string{`Reply-To: "Admin" <admin@example.com>`, `X-Original-From: "Admin" <admin@example.com>`, "!Sender", "!Return-Path"},
		},
		{
			"a colleague is not",
			[]string{`From: "Anna" <anna@mycompany.com>`, "Sender: desk@mycompany.com", "Bcc: secret@mycompany.com"},
			sentMail{Server: "postmark", MailFrom: bounce, HeaderFrom: "Anna <anna@mycompany.com>"},
			[]string{"Sender: desk@mycompany.com", "!Reply-To", "!X-Original-From", "!Bcc"},
		},
		{
			"mass mail goes its own way, and its fields stay",
			[]string{
				`From: "News" <news@mycompany.com>`, "X-Mail-Purpose: mass",
				"List-Unsubscribe: <https://mycompany.com/u/1>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
			},
			sentMail{Server: "amazon", MailFrom: bounce, HeaderFrom: "News <news@mycompany.com>"},
			[]string{"List-Unsubscribe: <https://mycompany.com/u/1>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click", "!X-Mail-Purpose"},
		},
		{
			"hostile fields stay one line",
			[]string{"From: =?utf-8?q?A=0D=0ABcc:_x@y.example?= <a@example.com>, b@example.com", "From: c@example.com"},
			sentMail{Server: "postmark", MailFrom: bounce, HeaderFrom: `"A Bcc: x@y.example" <notifications@mycompany.com>`},
			[]string{"!Bcc"},
		},
	} {
		mail := strings.Join(c.fields, "\r\n") + "\r\nTo: rcpt@dest.example\r\n\r\nHello.\r\n"
		if err := g.submit(t.Context(), mail, []string{"rcpt@dest.example"}); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		sent := g.arrived(1)
		c.want.RcptTo = []string{"rcpt@dest.example"}
		if diff := differences(sentBy{Sent: sent}, sentBy{Sent: []sentMail{c.want}}); len(diff) > 0 {
			t.Fatalf("%s: got %+v, want %+v", c.name, sent, c.want)
		}
		messages := g.relays[c.want.Server].Messages()
		checkHeader(t, c.name, messages[len(messages)-1].Content, c.header)
	}
}

// checkHeader looks for fields of a mail, and with "!" for their absence.
func checkHeader(t *testing.T, name string, content []byte, want []string) {
	t.Helper()
	h := mailflow.ParseHeader(content)
	var lines []string
	for _, f := range h.Fields() {
		lines = append(lines, fmt.Sprintf("%s: %s", f.Name, f.Value()))
	}
	for _, w := range want {
		if field, not := strings.CutPrefix(w, "!"); not && h.Has(field) || !not && !slices.Contains(lines, w) {
			t.Errorf("%s: %q does not hold for\n%s", name, w, strings.Join(lines, "\n"))
		}
	}
}

// TestBounceAddressesNameTheDelivery sends one mail to two recipients: each
// gets it with a reverse-path of its own.
func TestBounceAddressesNameTheDelivery(t *testing.T) {
	g := startGateway(t, []string{"postmark"})
	config, err := g.whole(object{
		"domains":  object{"mycompany.com": object{"subaddress": "on"}},
		"outgoing": object{"postmark": object{"via": g.via("postmark")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	rcpts := []string{"a@dest.example", "b@dest.example"}
	if err := g.submit(t.Context(), "From: anna@mycompany.com\r\n\r\nHello.\r\n", rcpts); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, m := range g.arrived(len(rcpts)) {
		token, ok := strings.CutPrefix(m.MailFrom, "bounce+")
		token, here := strings.CutSuffix(token, "@mycompany.com")
		if !ok || !here || token == "" || len(m.RcptTo) != 1 {
			t.Errorf("%s for %q", m.MailFrom, m.RcptTo)
		}
		seen[token] = true
	}
	if len(seen) != len(rcpts) {
		t.Errorf("%d tokens for %d recipients", len(seen), len(rcpts))
	}
}
