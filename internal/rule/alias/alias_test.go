// SPDX-License-Identifier: Apache-2.0

package alias

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func headerOf(text string) mailflow.Header {
	return mailflow.ParseHeader([]byte(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n"))
}

func TestAddressed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ header, documented, odoo string }{
		{"To: a@x.de, B <b@x.de>\nCc: c@x.de", "[[a@x.de b@x.de c@x.de]]", "[[a@x.de b@x.de c@x.de]]"},
		{"Delivered-To: box@x.de\nTo: a@x.de", "[[box@x.de] [a@x.de]]", "[[box@x.de a@x.de]]"},
		{"X-Original-To: a@x.de\nDelivered-To: box@x.de\nTo: list@y.de", "[[a@x.de box@x.de] [list@y.de]]", "[[box@x.de list@y.de]]"},
		{"Envelope-To: a@x.de", "[[a@x.de]]", "[]"},
		{"Resent-To: a@x.de\nResent-Cc: b@x.de", "[[a@x.de b@x.de]]", "[[a@x.de b@x.de]]"},
		{"Bcc: a@x.de\nResent-Bcc: b@x.de\nX-Envelope-To: c@x.de", "[]", "[]"},
		{"To: a@x.de, A@X.de\nTo: b@x.de", "[[a@x.de b@x.de]]", "[[a@x.de b@x.de]]"},
		{"To: a @ x.de", "[[a@x.de]]", "[[a@x.de]]"},
		{"To: \"Team @ Home\" <a@x.de>", "[[a@x.de]]", "[[a@x.de]]"},
		{"To: <@r.de,@s.de:a@x.de>, B <@r.de:b@x.de>", "[[a@x.de b@x.de]]", "[[a@x.de b@x.de]]"},
		{"To: undisclosed-recipients:;", "[]", "[]"},
		{"To: postmaster, nodomain", "[]", "[]"},
		{"To: team: a@x.de, b@x.de;", "[[a@x.de b@x.de]]", "[[a@x.de b@x.de]]"},
	} {
		for b, want := range map[mailflow.Behavior]string{mailflow.BehaviorDocumented: c.documented, mailflow.BehaviorOdoo: c.odoo} {
			if got := fmt.Sprint(Addressed(headerOf(c.header), b)); got != want {
				t.Errorf("%s: %q is for %s, want %s", b, c.header, got, want)
			}
		}
	}
	var many []string
	for i := range 3 * MaxAddressed {
		many = append(many, fmt.Sprintf("a%d@x.de", i))
	}
	if got := Addressed(headerOf("To: "+strings.Join(many, ",\n ")), ""); len(got[0]) != MaxAddressed {
		t.Errorf("%d addresses are read", len(got[0]))
	}
	if got := fmt.Sprint(Direct(headerOf("Delivered-To: d@x.de\nTo: a@x.de\nCc: c@x.de"))); got != "[d@x.de a@x.de]" {
		t.Errorf("written to %s", got)
	}
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	customer := Writer{Address: address("a@x.de"), Contacts: []mailflow.Contact{{ID: "a"}}}
	employee := Writer{Address: address("e@x.de"), Contacts: []mailflow.Contact{{ID: "e", Employee: true}}}
	stranger := Writer{Address: address("s@x.de")}
	followers := []mailflow.Follower{{Contact: "a"}}
	for _, c := range []struct {
		rule   mailflow.ContactRule
		w      Writer
		thread string
		want   string
	}{
		{"", stranger, "", ""},
		{mailflow.ContactEveryone, stranger, "", ""},
		{mailflow.ContactKnown, customer, "", ""},
		{mailflow.ContactKnown, stranger, "", CodeUnknown},
		{mailflow.ContactFollowers, customer, "t", ""},
		{mailflow.ContactFollowers, employee, "t", CodeNotFollower},
		{mailflow.ContactFollowers, stranger, "t", CodeNotFollower},
		{mailflow.ContactFollowers, customer, "", CodeMisconfigured},
		{mailflow.ContactEmployees, employee, "", ""},
		{mailflow.ContactEmployees, customer, "", CodeNotEmployee},
		{mailflow.ContactEmployees, stranger, "", CodeNotEmployee},
	} {
		if got := Refusal(&mailflow.Alias{Contact: c.rule}, c.w, c.thread, followers); got != c.want {
			t.Errorf("%q of %s: %q, want %q", c.rule, c.w.Address, got, c.want)
		}
	}
}

func TestContact(t *testing.T) {
	t.Parallel()
	w := Writer{Contacts: []mailflow.Contact{{ID: "old"}, {ID: "user", User: true}, {ID: "follows"}}}
	if c := w.Contact([]mailflow.Follower{{Contact: "x"}, {Contact: "follows"}}); c.ID != "follows" {
		t.Errorf("%s before the follower", c.ID)
	}
	if c := w.Contact(nil); c.ID != "user" {
		t.Errorf("%s before the user", c.ID)
	}
	w.Contacts = w.Contacts[:1]
	if c := w.Contact(nil); c.ID != "old" {
		t.Errorf("%s is the oldest", c.ID)
	}
	if c := (&Writer{}).Contact(nil); c != nil {
		t.Errorf("%v of nobody", c)
	}
}

func TestReply(t *testing.T) {
	t.Parallel()
	rcpt := address("sales@one.example")
	d := &mailflow.Domain{Company: "One", CompanyAddress: address("info@one.example")}
	for _, c := range []struct {
		code, custom string
		d            *mailflow.Domain
		text, help   string
	}{
		{CodeUnknown, "", nil, "who are known here", "sales@one.example was not accepted"},
		{CodeUnknown, "", d, "who are known here", "To reach One, please write to info@one.example."},
		{CodeUnknown, "Register at\nhttps://one.example", d, "Register at https://one.example", "Register at\nhttps://one.example"},
		{CodeUnknown, "Bitte anmelden: über uns", d, "who are known here", "Bitte anmelden: über uns"},
		{CodeUnknown, strings.Repeat("long ", 200), d, "who are known here", "long long"},
		{CodeNotFollower, "", d, "follow its conversation", "follow"},
		{CodeNotEmployee, "", d, "work here", "work here"},
		{CodeMisconfigured, "", d, "not set up", "not set up"},
		{CodeCatchall, "", d, "only answers", "collects the answers"},
	} {
		r := Reply(c.code, rcpt, c.custom, c.d)
		if !r.Permanent() || !strings.Contains(r.Text, c.text) || !strings.Contains(r.Help, c.help) || !isReplyText(r.Text) {
			t.Errorf("%s, %q: %+v", c.code, c.custom, r)
		}
	}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	h := headerOf("From: =?utf-8?q?Caf=C3=A9?= <a@x.de>\nSubject: =?utf-8?q?Caf=C3=A9?= open?")
	a := &mailflow.Alias{Address: address("sales@one.example"), Model: "lead", Set: map[string]string{"name": "Fixed", "team": "direct"}}
	got := Open(a, h)
	if got.Model != "lead" || got.Name != "Fixed" || got.From != "Café <a@x.de>" || got.Domain != "one.example" || fmt.Sprint(got.Fields) != "map[team:direct]" {
		t.Errorf("%+v", got)
	}
	if a.Set["name"] != "Fixed" {
		t.Error("the alias was changed")
	}
	if got := OpenModel("lead", h); got.Name != "Café open?" || got.Fields != nil {
		t.Errorf("%+v", got)
	}
	for from, want := range map[string]string{
		"From: Anna <a@x.de>":                         "Anna <a@x.de>",
		"From: a@x.de (Anna)":                         "Anna <a@x.de>",
		"From: a@x.de, b@x.de":                        "a@x.de",
		"From: \"Doe, John\" <a@x.de>":                `"Doe, John" <a@x.de>`,
		"From: =?utf-8?q?Doe=2C_\"John=22?= <a@x.de>": `"Doe, \"John\"" <a@x.de>`,
		"From: Anna":                                  "Anna",
		"Subject: x":                                  "",
	} {
		if got := From(headerOf(from)); got != want {
			t.Errorf("%s is from %s, want %s", from, got, want)
		}
	}
	long := OpenModel("lead", headerOf("Subject: "+strings.Repeat("é", 2000)))
	if len(long.Name) > mailflow.MaxStoredText || strings.ContainsRune(long.Name, '\uFFFD') {
		t.Errorf("%d bytes", len(long.Name))
	}
}

// FuzzAddressed reads address fields that a stranger wrote.
func FuzzAddressed(f *testing.F) {
	f.Add("a@x.de, \"B, b\" <b@x.de>, c: d@x.de;")
	f.Add("<<@>>, @, a@, \x00")
	f.Fuzz(func(t *testing.T, list string) {
		for _, b := range []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo} {
			for _, group := range Addressed(headerOf("To: "+list), b) {
				for _, a := range group {
					if a.Domain == "" || a.Local == "" {
						t.Fatalf("%q has the address %q", list, a)
					}
				}
			}
		}
	})
}
