// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/internal/rule/token"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// inboundRoute finds threads.
const inboundRoute = "dedupe\nreplies\naliases\ncatchall\nfallback\nunrouted"

var keys, _ = token.Keys(nil).Rotate(mailflowtest.At)

// receiving are the services of a gateway with aliases.
func receiving(b mailflow.Behavior) *mailflow.Services {
	address := mailflow.MustParseAddress
	s := services()
	s.Behavior = b
	s.Domains = mailflow.Domains{{
		Name: "mycompany.com", Catchall: []mailflow.Address{address("catchall@mycompany.com"), address("replies@mycompany.com")},
		Bounce: []mailflow.Address{address("bounce@mycompany.com")}, Company: "My Company", CompanyAddress: address("info@mycompany.com"),
		AllowedDomains: []string{"mycompany.ro"}, Subaddress: true, Signs: true,
	}}
	s.Aliases = []mailflow.Alias{
		{Address: address("sales@mycompany.com"), Model: "lead", Set: map[string]string{"team": "direct"}, Owner: "bob@mycompany.com"},
		{Address: address("support@mycompany.com"), Model: "ticket", Contact: mailflow.ContactKnown, Refuse: "Please register first"},
		{Address: address("team@mycompany.com"), Model: "lead", Contact: mailflow.ContactFollowers},
		{Address: address("board@mycompany.com"), Model: "ticket", Contact: mailflow.ContactFollowers, Parent: "t1"},
		{Address: address("jobs@mycompany.com"), Model: "job", Contact: mailflow.ContactEmployees},
		{Address: address("always@mycompany.com"), Model: "ticket", Thread: "t2"},
		{Address: address("lost@mycompany.com"), Thread: "nowhere"},
		{Address: address("robots@mycompany.com"), Model: "lead", AcceptAutomatic: true},
	}
	return s
}

// held is what the store of that gateway has.
func held() *mailflowtest.View {
	address := mailflow.MustParseAddress
	return &mailflowtest.View{Held: mailflowtest.Holdings{
		Threads: []mailflow.Thread{
			{ID: "t1", Model: "lead", Foreign: "7", From: "Anna <anna@customer.example>"},
			{ID: "t2", Model: "ticket"},
			{ID: "gone", Model: "lead", Domain: "mycompany.com", State: mailflow.ThreadGone},
		},
		Posts: []mailflow.Post{
			{ID: "p1", Thread: "t1", MessageID: "<a@x>"},
			{ID: "p2", Thread: "t1", MessageID: "<note@x>", Kind: mailflow.PostNote},
			{ID: "p3", Thread: "t2", MessageID: "<b@x>"},
			{ID: "p4", Thread: "gone", MessageID: "<gone@x>"},
		},
		Contacts: []mailflow.Contact{
			{ID: "anna", Addresses: []mailflow.Address{address("anna@customer.example")}},
			{ID: "bob", Addresses: []mailflow.Address{address("bob@mycompany.com")}, User: true},
			{ID: "eve", Addresses: []mailflow.Address{address("eve@mycompany.com")}, Employee: true},
			{ID: "alias", Addresses: []mailflow.Address{address("sales@mycompany.com")}},
		},
		Followers: []mailflow.Follower{{Thread: "t1", Contact: "anna"}},
		Aliases:   []mailflow.Alias{{Address: address("kept@mycompany.com"), Model: "lead", Version: 3}},
	}}
}

// found says in short what became of the recipients.
func found(tx *mailflow.Transaction) string {
	var all []string
	for _, v := range tx.Verdicts() {
		said := "pending"
		switch a := v.Action.(type) {
		case nil:
			if v.Reply != nil {
				said = v.Reply.Enhanced.String() + " " + v.By
			}
		case mailflow.PostTo:
			said = "to " + a.Thread
			if a.Open != nil {
				said = "opens " + a.Open.Model
				if a.Open.Responsible != "" {
					said += " of " + a.Open.Responsible
				}
			}
			if a.Author != "" {
				said += " by " + a.Author
			}
			if a.Kind == mailflow.PostNote {
				said += " note"
			}
			if a.Parent != "" {
				said += " answers " + a.Parent
			}
			if a.Follow == "" && a.Author != "" {
				said += " not following"
			}
			if a.Weak != "" {
				said += " weak"
			}
		case mailflow.Drop:
			said = "dropped"
		case mailflow.Unroute:
			said = "unrouted"
		default:
			said = a.String()
		}
		all = append(all, v.Recipient.Address.Local+": "+said)
	}
	return strings.Join(all, ", ")
}

func TestInbound(t *testing.T) {
	t.Parallel()
	const anna, nora, eve = "From: Anna <anna@customer.example>\n", "From: Nora <nora@unknown.example>\n", "From: eve@mycompany.com\n"
	signed := "References: <" + keys.Sign(mailflow.TokenThread, "t1") + ".x@mx>\n"
	message := "References: <" + keys.Sign(mailflow.TokenMessage, "m1") + "@mx>\n"
	tokened := "catchall+" + keys.Sign(mailflow.TokenThread, "t1") + "@mycompany.com"
	const vacation = "Auto-Submitted: auto-replied\n"
	for _, c := range []struct {
		name, header string
		to           string
		want         string
		odoo         string // where it differs
	}{
		{"an alias", nora, "sales@mycompany.com", "sales: opens lead of bob", ""},
		{"an alias, a contact", anna, "sales@mycompany.com", "sales: opens lead of bob by anna", ""},
		{"in an allowed domain", nora, "sales@mycompany.ro", "sales: opens lead of bob", "sales: unrouted"},
		{"of the store", nora, "kept@mycompany.com", "kept: opens lead", ""},
		{"of nobody", nora, "other@mycompany.com", "other: unrouted", ""},
		{"by an alias", "From: sales@mycompany.com\n", "sales@mycompany.com", "sales: opens lead of bob", ""},
		{"two aliases", anna, "sales@mycompany.com support@mycompany.com", "sales: opens lead of bob by anna, support: opens ticket by anna", ""},
		{"known only", nora, "support@mycompany.com", "support: 5.7.1 aliases", ""},
		{"known only, beside another", nora, "support@mycompany.com kept@mycompany.com", "support: 5.7.1 aliases, kept: opens lead", ""},
		{"employees only", eve, "jobs@mycompany.com", "jobs: opens job by eve", ""},
		{"employees only, a part of one", "From: ve@mycompany.com\n", "jobs@mycompany.com", "jobs: 5.7.1 aliases", ""},
		{"followers of the parent", anna, "board@mycompany.com", "board: opens ticket by anna", ""},
		{"followers of the parent, another", eve, "board@mycompany.com", "board: 5.7.1 aliases", ""},
		{"followers of nothing", anna, "team@mycompany.com", "team: unrouted", "team: 5.7.1 aliases"},
		{"always one thread", anna, "always@mycompany.com", "always: to t2 by anna", ""},
		{"always one thread, which is gone", anna, "lost@mycompany.com", "lost: unrouted", ""},

		{"a reply", anna + "References: <a@x>\n", "catchall@mycompany.com", "catchall: to t1 by anna answers p1", ""},
		{"a reply to a former name", anna + "References: <a@x>\n", "replies@mycompany.com", "replies: to t1 by anna answers p1", ""},
		{"a reply of a stranger", nora + "References: <a@x>\n", "catchall@mycompany.com", "catchall: to t1 answers p1", ""},
		{"a reply to a note", anna + "References: <note@x>\n", "catchall@mycompany.com", "catchall: to t1 by anna note answers p2", ""},
		{"a reply to the bounce address", anna + "References: <a@x>\n", "bounce@mycompany.com", "bounce: to t1 by anna answers p1", ""},
		{"a reply to its alias", anna + "References: <a@x>\n", "sales@mycompany.com", "sales: to t1 by anna answers p1", ""},
		{"a reply to its alias, not by a follower", eve + "References: <a@x>\n", "team@mycompany.com", "team: 5.7.1 replies", ""},
		{"a reply to its alias by a follower", anna + "References: <a@x>\n", "team@mycompany.com", "team: to t1 by anna answers p1", ""},
		{"a forward", anna + "References: <a@x>\n", "support@mycompany.com", "support: opens ticket by anna", ""},
		{"a reply and a forward", anna + "References: <a@x>\n", "catchall@mycompany.com support@mycompany.com", "catchall: to t1 by anna answers p1, support: opens ticket by anna", "catchall: opens ticket by anna, support: opens ticket by anna"},
		{"a forward beside its own alias", anna + "References: <a@x>\n", "sales@mycompany.com support@mycompany.com", "sales: to t1 by anna answers p1, support: opens ticket by anna", ""},
		{"two threads, of one", anna + "References: <a@x> <b@x>\n", "catchall@mycompany.com", "catchall: to t1 by anna answers p1 not following weak", "catchall: to t2 by anna answers p3"},
		{"two threads, a stranger", nora + "References: <a@x> <b@x>\n", "catchall@mycompany.com", "catchall: 5.7.1 catchall", "catchall: to t2 answers p3"},
		{"two threads, to an alias", nora + "References: <a@x> <b@x>\n", "sales@mycompany.com", "sales: to t1 answers p1", "sales: opens lead of bob"},
		{"signed", nora + signed, "catchall@mycompany.com", "catchall: to t1", ""},
		{"by address", nora, tokened, strings.ToLower(strings.Split(tokened, "@")[0]) + ": to t1", ""},
		{"of Odoo, a stranger", nora + "References: <1-openerp-7-lead@odoo>\n", "catchall@mycompany.com", "catchall: 5.7.1 catchall", ""},
		{"of Odoo, of the thread", anna + "References: <1-openerp-7-lead@odoo>\n", "catchall@mycompany.com", "catchall: to t1 by anna not following weak", ""},
		{"the thread is gone", anna + "References: <gone@x>\n", "catchall@mycompany.com", "catchall: opens lead by anna", ""},
		{"answers a refusal", anna + "References: <1-openerp-loop-detection-bounce-email@odoo>\n", "sales@mycompany.com", "sales: unrouted", "sales: dropped"},
		{"answers a refusal and a thread", anna + "References: <a@x> <1-loop-detection-bounce-email@odoo>\n", "catchall@mycompany.com", "catchall: to t1 by anna answers p1", "catchall: dropped"},

		{"catchall", anna, "catchall@mycompany.com", "catchall: 5.7.1 catchall", ""},
		{"catchall, a former name", anna, "replies@mycompany.com", "replies: 5.7.1 catchall", ""},
		{"catchall, something behind it", anna, "catchall+x@mycompany.com", "catchall+x: 5.7.1 catchall", "catchall+x: unrouted"},
		{"catchall and an alias", anna, "catchall@mycompany.com kept@mycompany.com", "catchall: opens lead by anna, kept: opens lead by anna", ""},
		{"catchall and a refusal", nora, "catchall@mycompany.com support@mycompany.com", "catchall: 5.7.1 catchall, support: 5.7.1 aliases", "catchall: 5.7.1 aliases, support: 5.7.1 aliases"},
		{"catchall and nobody", anna, "catchall@mycompany.com other@mycompany.com", "catchall: 5.7.1 catchall, other: unrouted", "catchall: 5.7.1 catchall, other: 5.7.1 catchall"},
		{"catchall, and a copy to an alias", anna + "To: catchall@mycompany.com\nCc: kept@mycompany.com\n", "catchall@mycompany.com kept@mycompany.com", "catchall: opens lead by anna, kept: opens lead by anna", "catchall: 5.7.1 catchall, kept: 5.7.1 catchall"},
		{"catchall, an answer to a message in no thread", anna + message, "catchall@mycompany.com", "catchall: unrouted", "catchall: 5.7.1 catchall"},

		{"vacation to an alias", anna + vacation, "sales@mycompany.com", "sales: unrouted", "sales: opens lead of bob by anna"},
		{"vacation to an alias that takes it", anna + vacation, "robots@mycompany.com", "robots: opens lead by anna", ""},
		{"vacation to a thread", anna + vacation + "References: <a@x>\n", "catchall@mycompany.com", "catchall: to t1 by anna note answers p1 not following", "catchall: to t1 by anna answers p1"},
		{"vacation to two threads", anna + vacation + "References: <a@x> <b@x>\n", "catchall@mycompany.com", "catchall: unrouted", "catchall: to t2 by anna answers p3"},
		{"vacation to catchall", anna + vacation, "catchall@mycompany.com", "catchall: unrouted", "catchall: 5.7.1 catchall"},
		{"a bill", anna + "Auto-Submitted: auto-generated\n", "sales@mycompany.com", "sales: opens lead of bob by anna", ""},
	} {
		for _, b := range []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo} {
			route, err := build(t, mailflow.Inbound, receiving(b), inboundRoute)
			if err != nil {
				t.Fatal(err)
			}
			tx := receivedBy(t, c.header, c.to, held())
			if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			want := c.want
			if b == mailflow.BehaviorOdoo && c.odoo != "" {
				want = c.odoo
			}
			if got := found(tx); got != want {
				t.Errorf("%s: %s:\ngot  %s\nwant %s\n%v", b, c.name, got, want, tx.Trace.Notes())
			}
		}
	}
}

// receivedBy returns a transaction about a mail to the addresses of to.
func receivedBy(tb testing.TB, header, to string, view *mailflowtest.View) *mailflow.Transaction {
	tb.Helper()
	tx := mailflowtest.NewTransaction(tb, header+"Message-Id: <in@unknown.example>\nSubject: Hello\n\nHi.\n",
		mailflowtest.NewEnvelope("nora@unknown.example", strings.Fields(to)...))
	tx.View, tx.Tokens, tx.Domain = view, keys, "mycompany.com"
	return tx
}

// TestFallback opens a thread for what nothing else claims.
func TestFallback(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"From: anna@customer.example\n":                              "me: opens lead by anna",
		"From: nora@unknown.example\n":                               "me: opens lead",
		"From: nora@unknown.example\nAuto-Submitted: auto-replied\n": "me: unrouted",
	} {
		route, err := build(t, mailflow.Inbound, receiving(mailflow.BehaviorDocumented), inboundRoute)
		if err != nil {
			t.Fatal(err)
		}
		tx := receivedBy(t, header, "me@provider.example", held())
		tx.Peer.Fallback = "lead"
		if err := route.Run(t.Context(), tx, mailflow.Done); err != nil || found(tx) != want {
			t.Errorf("%q: %s, want %s (%v)", header, found(tx), want, err)
		}
	}
}

// TestBelongs finds the domain of a mail by its thread, else by its alias.
func TestBelongs(t *testing.T) {
	t.Parallel()
	s := receiving(mailflow.BehaviorDocumented)
	s.Domains = append(s.Domains, mailflow.Domain{Name: "second.example"}, mailflow.Domain{Name: "third.example"})
	s.Aliases = append(s.Aliases, mailflow.Alias{Address: mailflow.MustParseAddress("sales@second.example"), Model: "lead"})
	route, err := build(t, mailflow.Inbound, s, inboundRoute)
	if err != nil {
		t.Fatal(err)
	}
	view := held()
	view.Held.Threads[0].Domain = "third.example"
	for _, c := range []struct{ header, to, want string }{
		{"", "sales@mycompany.com", "mycompany.com"},
		{"", "sales@second.example", "second.example"},
		{"", "sales@mycompany.com sales@second.example", "mycompany.com"},
		{"References: <a@x>\n", "catchall@mycompany.com", "third.example"},
		{"References: <a@x>\n", "sales@second.example", "third.example"},
		{"References: <b@x>\n", "catchall@mycompany.com", "mycompany.com"},
	} {
		tx := receivedBy(t, c.header+"From: anna@customer.example\n", c.to, view)
		if err := route.Run(t.Context(), tx, mailflow.Done); err != nil || tx.Domain != c.want {
			t.Errorf("%q to %s belongs to %s, want %s (%v)", c.header, c.to, tx.Domain, c.want, err)
		}
	}
}

// TestFacts names what decisions rest on.
func TestFacts(t *testing.T) {
	t.Parallel()
	route, err := build(t, mailflow.Inbound, receiving(mailflow.BehaviorDocumented), inboundRoute)
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		"kept@mycompany.com":     "version alias 3, absent seen",
		"sales@mycompany.com":    "absent seen",
		"always@mycompany.com":   "exists thread, absent in, absent seen",
		"catchall@mycompany.com": "exists thread, absent in, absent seen, below words",
		"other@mycompany.com":    "absent seen",
	} {
		header := "From: anna@customer.example\n"
		if strings.HasPrefix(to, "catchall") {
			header += "References: <a@x>\n"
		}
		tx := receivedBy(t, header, to, held())
		if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range tx.Verdicts()[0].Facts {
			kind, _, _ := strings.Cut(f.Key, "\x00")
			said := string(f.Kind) + " " + kind
			if f.Version != 0 {
				said += fmt.Sprint(" ", f.Version)
			}
			got = append(got, said)
			if f.Kind != mailflow.FactVersion && f.Kind != mailflow.FactExists && !f.Expires.After(tx.Now) {
				t.Errorf("%s: %s is kept until %s", to, said, f.Expires)
			}
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s rests on %s, want %s", to, s, want)
		}
	}
}

// TestProspects asks at RCPT.
func TestProspects(t *testing.T) {
	t.Parallel()
	route, err := build(t, mailflow.Inbound, receiving(mailflow.BehaviorDocumented), inboundRoute)
	if err != nil {
		t.Fatal(err)
	}
	for rcpt, known := range map[string]bool{
		"sales@mycompany.com": true, "kept@mycompany.com": true, "sales@mycompany.ro": true, "catchall@mycompany.com": true,
		"replies@mycompany.com": true, "catchall+x@mycompany.com": true, "bounce+x@mycompany.com": true,
		"other@mycompany.com": false, "sales+x@mycompany.com": false, "kept@elsewhere.example": false,
	} {
		tx := mailflowtest.NewTransaction(t, "", mailflowtest.NewEnvelope("nora@unknown.example", rcpt))
		tx.View = held()
		err := route.Rcpt(t.Context(), tx, tx.Envelope.Recipients[0])
		if (err == nil) != known {
			t.Errorf("%s: %v", rcpt, err)
		}
	}
	tx := mailflowtest.NewTransaction(t, "", mailflowtest.NewEnvelope("nora@unknown.example", "other@mycompany.com"))
	tx.View, tx.Peer.Fallback = held(), "lead"
	if err := route.Rcpt(t.Context(), tx, tx.Envelope.Recipients[0]); err != nil {
		t.Errorf("with a fallback: %v", err)
	}
}

func TestInboundContract(t *testing.T) {
	t.Parallel()
	for _, b := range []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo} {
		for _, name := range append(strings.Fields(inboundRoute), "forward relay") {
			route, err := build(t, mailflow.Inbound, receiving(b), name)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(string(b)+" "+name, func(t *testing.T) {
				t.Parallel()
				mailflowtest.RunHandlerSuite(t, route[0].Handler)
				mailflowtest.RunHandlerSuite(t, route[0].Handler, func(tb testing.TB) *mailflow.Transaction {
					tb.Helper()
					return receivedBy(tb, "From: anna@customer.example\nReferences: <a@x>\n", "support@mycompany.com catchall@mycompany.com sales@mycompany.com", held())
				})
			})
		}
	}
}

// TestInboundFails defers when the store does not answer.
func TestInboundFails(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dedupe", "replies", "aliases"} {
		route, err := build(t, mailflow.Inbound, receiving(mailflow.BehaviorDocumented), name)
		if err != nil {
			t.Fatal(err)
		}
		view := held()
		view.Fail = mailflow.ErrNoRoom
		tx := receivedBy(t, "From: anna@customer.example\nReferences: <a@x>\n", "sales@mycompany.com", view)
		if err := route.Run(t.Context(), tx, mailflow.Done); err == nil || found(tx) != "sales: pending" {
			t.Errorf("%s: %v, %s", name, err, found(tx))
		}
	}
}
