// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/internal/rule/sender"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// defaultOutbound is the default outbound route.
const defaultOutbound = "classify\nchoose_server\nrewrite_from\nlimit\nsign"

// company is the documentation's example: mycompany.com sends transactional
// mail by Postmark and mass mail by Amazon.
func company(b mailflow.Behavior) *mailflow.Services {
	at := mailflow.MustParseAddress
	return &mailflow.Services{
		Hostname: "mx.mycompany.com", Behavior: b,
		Domains: mailflow.Domains{{
			Name: "mycompany.com", Default: true, Signs: true, DefaultFrom: at("notifications@mycompany.com"),
			Catchall: []mailflow.Address{at("catchall@mycompany.com")}, Bounce: []mailflow.Address{at("bounce@mycompany.com")},
			Subaddress: true,
		}},
		Servers: []mailflow.Server{
			{Name: "postmark", Priority: 10, FromFilter: []string{"mycompany.com"}},
			{Name: "ses", Priority: 20, Purpose: mailflow.PurposeMass},
			{Name: "spare", Priority: 30, FromFilter: []string{"notifications@mycompany.com"}},
		},
	}
}

// leaving runs the default route over a mail of a submitter.
func leaving(t *testing.T, s *mailflow.Services, lines string, edit func(*mailflow.Transaction), fields ...string) *mailflow.Transaction {
	t.Helper()
	route, err := build(t, mailflow.Outbound, s, lines)
	if err != nil {
		t.Fatal(err)
	}
	tx := mailflowtest.NewTransaction(t, strings.Join(fields, "\n")+"\n\nHello.\n", mailflowtest.NewEnvelope("app@mycompany.com", "c@far.example"))
	tx.Route, tx.Domain, tx.Purpose = mailflow.Outbound, "mycompany.com", mailflow.PurposeTransactional
	peer := *tx.Peer
	peer.Submits = true
	tx.Peer = &peer
	if edit != nil {
		edit(tx)
	}
	if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
		t.Fatal(err)
	}
	return tx
}

// left says how a mail leaves: server, reverse-path, From and what else is
// agreed on.
func left(tx *mailflow.Transaction) string {
	from := tx.Message.Header.Get("From")
	for _, c := range tx.HeaderChanges() {
		if c.Name == "From" {
			from = c.Value
		}
	}
	token := ""
	if tx.Sending.PerRecipient {
		token = "+TOKEN"
	}
	return fmt.Sprintf("%s | %s%s | %s | %s, signed for %q, limited %v", verdicts(tx), tx.Sender(), token, from, tx.Purpose, tx.Sending.SignAs, tx.Sending.Limited)
}

func codes(tx *mailflow.Transaction) []string {
	var cs []string
	for _, n := range tx.Trace.Notes() {
		cs = append(cs, n.Code)
	}
	return cs
}

// TestDocumentationExample sends the documentation's mails through the default
// route.
func TestDocumentationExample(t *testing.T) {
	t.Parallel()
	const rest = ", signed for \"mycompany.com\", limited true"
	for _, c := range []struct {
		name   string
		fields []string
		want   string
	}{
		{"a stranger's mail is encapsulated", []string{`From: "Admin" <admin@example.com>`}, `c: deliver by spare | bounce@mycompany.com+TOKEN | "Admin" <notifications@mycompany.com> | transactional` + rest},
		{"a customer's answer is", []string{`From: mary@customer.example.com`}, `c: deliver by spare | bounce@mycompany.com+TOKEN | "mary" <notifications@mycompany.com> | transactional` + rest},
		{"a colleague's mail stays", []string{`From: "Anna" <anna@mycompany.com>`}, `c: deliver by postmark | bounce@mycompany.com+TOKEN | "Anna" <anna@mycompany.com> | transactional` + rest},
		{"mass mail has its server", []string{`From: "News" <news@mycompany.com>`, "X-Mail-Purpose: mass"}, `c: deliver by ses | bounce@mycompany.com+TOKEN | "News" <news@mycompany.com> | mass` + rest},
		{"a stranger's mass mail", []string{`From: "Admin" <admin@example.com>`, "X-Mail-Purpose: Mass"}, `c: deliver by ses | bounce@mycompany.com+TOKEN | "Admin" <notifications@mycompany.com> | mass` + rest},
	} {
		tx := leaving(t, company(mailflow.BehaviorDocumented), defaultOutbound, nil, c.fields...)
		if got := left(tx); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}

// TestTraceOfSending looks at what the trace says of a mail.
func TestTraceOfSending(t *testing.T) {
	t.Parallel()
	tx := leaving(t, company(mailflow.BehaviorOdoo), defaultOutbound, nil, `From: "Admin" <admin@example.com>`, "Return-Path: verp@mycompany.com", "X-Mail-Purpose: later")
	want := []string{
		codePurposeUnknown, codePurposeNone, codeDomain,
		string(relay.ReasonStep), string(relay.ReasonPurpose), string(relay.StepFromAddress), codeChosen,
		sender.CodeEncapsulated, sender.CodeReplyTo, sender.CodeEnvelope, sender.FixReturnPath,
		codeLimited, codeSigned,
	}
	if got := codes(tx); !slices.Equal(got, want) {
		t.Errorf("%q, want\n%q", got, want)
	}
	if tx.Sending.Step != string(relay.StepFromAddress) || tx.Sending.Server.Name != "spare" || tx.Sending.Author.String() != "notifications@mycompany.com" {
		t.Errorf("%+v", tx.Sending)
	}
}

// TestStoredSummary looks at what the ledger keeps of the default route: what
// decided or changed something, within half of its size.
func TestStoredSummary(t *testing.T) {
	t.Parallel()
	s := company(mailflow.BehaviorOdoo)
	s.Purposes = []mailflow.PurposeRule{{Purpose: mailflow.PurposeTransactional, Match: []mailflow.Matcher{has("X-Order")}}}
	const encapsulated = "choose_server:server_chosen rewrite_from:from_encapsulated "
	for _, c := range []struct {
		fields []string
		want   string
	}{
		{[]string{"From: anna@mycompany.com"}, "1 choose_server:server_chosen rewrite_from:envelope limit:limited sign:signed"},
		{[]string{"From: a@far.example"}, "1 " + encapsulated + "rewrite_from:reply_to_added rewrite_from:envelope limit:limited sign:signed"},
		{[]string{"From: a@mycompany.com", "X-Mail-Purpose: mass"}, "1 classify:purpose_by_field choose_server:server_chosen rewrite_from:envelope limit:limited sign:signed"},
		{
			[]string{"From: a@far.example", "Sender: b@far.example", "X-Order: 1"},
			"1 classify:purpose_by_rule " + encapsulated + "rewrite_from:sender_removed rewrite_from:reply_to_added rewrite_from:envelope limit:limited sign:signed",
		},
		{[]string{"From: a@mycompany.com, b@mycompany.com"}, "1 choose_server:server_chosen rewrite_from:from_reduced rewrite_from:envelope limit:limited sign:signed"},
	} {
		got := leaving(t, s, defaultOutbound, nil, c.fields...).Trace.Summary()
		if got != c.want || len(got) > mailflow.MaxTraceBytes/2 {
			t.Errorf("%q:\n%s (%d bytes), want\n%s", c.fields, got, len(got), c.want)
		}
	}
	s.Domains[0].Signs = false
	if got := leaving(t, s, defaultOutbound, nil, "From: a@mycompany.com").Trace.Summary(); !strings.HasSuffix(got, " sign:unsigned") {
		t.Error(got)
	}
}

// has is a matcher of mails that have a field.
type has string

func (h has) Match(_ context.Context, tx *mailflow.Transaction, _ mailflow.Recipient) (bool, error) {
	return tx.Message.Header.Has(string(h)), nil
}

// TestPurposeOf says what a mail is for.
func TestPurposeOf(t *testing.T) {
	t.Parallel()
	s := company(mailflow.BehaviorDocumented)
	s.Purposes = []mailflow.PurposeRule{
		{Purpose: mailflow.PurposeTransactional, Match: []mailflow.Matcher{has("X-Order")}},
		{Purpose: mailflow.PurposeMass, Match: []mailflow.Matcher{has("X-None"), has("List-Unsubscribe")}},
	}
	user := func(tx *mailflow.Transaction) { tx.Peer.Purpose = mailflow.PurposeMass }
	stranger := func(tx *mailflow.Transaction) { tx.Peer.Submits = false }
	for _, c := range []struct {
		name   string
		edit   func(*mailflow.Transaction)
		fields []string
		want   string
		code   string
	}{
		{"nothing said", nil, nil, mailflow.PurposeTransactional, codePurposeNone},
		{"by the field", nil, []string{"x-mail-purpose: mass"}, mailflow.PurposeMass, codePurposeField},
		{"the field beats the user", user, []string{"X-Mail-Purpose: transactional"}, mailflow.PurposeTransactional, codePurposeField},
		{"an unknown word says nothing", user, []string{"X-Mail-Purpose: bulk"}, mailflow.PurposeMass, codePurposeUser},
		{"a stranger's field says nothing", stranger, []string{"X-Mail-Purpose: mass"}, mailflow.PurposeTransactional, codePurposeNone},
		{"by the user", user, []string{"X-Order: 1"}, mailflow.PurposeMass, codePurposeUser},
		{"by a rule", nil, []string{"List-Unsubscribe: <mailto:a@b.example>"}, mailflow.PurposeMass, codePurposeRule},
		{"by the first rule", nil, []string{"List-Unsubscribe: <mailto:a@b.example>", "X-Order: 1"}, mailflow.PurposeTransactional, codePurposeRule},
	} {
		tx := leaving(t, s, "classify\n@m purpose mass\ntag @m seen mass\nchoose_server", c.edit, append(c.fields, "From: a@mycompany.com")...)
		if tx.Purpose != c.want || !slices.Contains(codes(tx), c.code) {
			t.Errorf("%s: %s by %q, want %s by %s", c.name, tx.Purpose, codes(tx), c.want, c.code)
		}
		if (tx.Tags()["seen"] != "") != (c.want == mailflow.PurposeMass) {
			t.Errorf("%s: the matcher says otherwise", c.name)
		}
		removed := slices.Contains(tx.HeaderChanges(), mailflow.HeaderChange{Op: mailflow.HeaderRemove, Name: purposeField})
		if removed != tx.Message.Header.Has(purposeField) {
			t.Errorf("%s: the field is removed: %v", c.name, removed)
		}
		for _, h := range tx.HeaderChanges() {
			if strings.HasPrefix(h.Name, "List-") {
				t.Errorf("%s: changes %s", c.name, h.Name)
			}
		}
	}
}

// down is a ServerView in which those servers are down.
type down map[string]string

func (d down) Down(server string) string { return d[server] }

// TestFailOver lets servers go down.
func TestFailOver(t *testing.T) {
	t.Parallel()
	s := company(mailflow.BehaviorDocumented)
	s.Servers = append(s.Servers, mailflow.Server{Name: "foreign", Priority: 1, FromFilter: []string{"far.example"}})
	for _, c := range []struct {
		down down
		from string
		want string
		code string
	}{
		{down{}, "anna@mycompany.com", "c: deliver by postmark", codeChosen},
		{down{"postmark": "no answer for 3 minutes"}, "anna@mycompany.com", "c: deliver by postmark", codeWaits},
		{down{"postmark": "no answer"}, "notifications@mycompany.com", "c: deliver by spare", codeChosen},
		{down{"spare": "no answer for 3 minutes"}, "mary@customer.example", "c: deliver by postmark", string(relay.ReasonDown)},
		{down{"postmark": "no answer", "spare": "no answer"}, "mary@customer.example", "c: deliver by spare", codeWaits},
		{down{"ses": "no answer"}, "anna@mycompany.com", "c: deliver by postmark", codeChosen},
	} {
		tx := leaving(t, s, defaultOutbound, func(tx *mailflow.Transaction) { tx.Servers = c.down }, "From: "+c.from)
		if verdicts(tx) != c.want || !slices.Contains(codes(tx), c.code) {
			t.Errorf("%v: %s with %q, want %s with %s", c.down, verdicts(tx), codes(tx), c.want, c.code)
		}
	}
	// The second of two alike steps in, and the sender stays.
	s.Servers = append(s.Servers, mailflow.Server{Name: "second", Priority: 50, FromFilter: []string{"mycompany.com"}})
	tx := leaving(t, s, defaultOutbound, func(tx *mailflow.Transaction) { tx.Servers = down{"postmark": "no answer"} }, `From: "Anna" <anna@mycompany.com>`)
	if got := left(tx); !strings.HasPrefix(got, `c: deliver by second | bounce@mycompany.com+TOKEN | "Anna" <anna@mycompany.com>`) {
		t.Error(got)
	}
}

// TestNoFrom refuses what nobody sends.
func TestNoFrom(t *testing.T) {
	t.Parallel()
	s := company(mailflow.BehaviorOdoo)
	s.Domains = nil
	tx := leaving(t, s, defaultOutbound, func(tx *mailflow.Transaction) { tx.Domain = "" }, "Subject: x")
	if got := verdicts(tx); got != "c: 550 5.6.0 The message has no From address" {
		t.Error(got)
	}
}

// TestBcc sends a copy that nobody sees.
func TestBcc(t *testing.T) {
	t.Parallel()
	s := company(mailflow.BehaviorDocumented)
	route := "bcc archive@mycompany.com\nbcc Archive@mycompany.com\nbcc c@far.example\n" + defaultOutbound
	tx := leaving(t, s, route, nil, "From: a@mycompany.com", "To: c@far.example")
	if got := verdicts(tx); got != "c: deliver by postmark | archive: deliver by postmark" {
		t.Error(got)
	}
	if r := tx.Verdicts()[1].Recipient; r.Wants(mailflow.NotifyFailure) {
		t.Errorf("failures of the copy are reported: %+v", r)
	}
	if len(tx.Envelope.Recipients) != 1 {
		t.Errorf("the envelope has %v", tx.Envelope.Recipients)
	}
	for _, h := range tx.HeaderChanges() {
		if strings.Contains(h.Value, "archive") {
			t.Errorf("%s shows the copy", h.Name)
		}
	}
	for _, place := range []string{
		defaultOutbound + "\nbcc archive@mycompany.com",
		"handle {\n bcc archive@mycompany.com\n}\n" + defaultOutbound,
		"handle {\n bcc archive@mycompany.com\n choose_server\n}\nchoose_server",
		"@x rcpt c@far.example\nbcc @x archive@mycompany.com\nchoose_server",
	} {
		tx := leaving(t, s, place, nil, "From: a@mycompany.com")
		if got := verdicts(tx); got != "c: deliver by postmark | archive: deliver by postmark" {
			t.Errorf("%s: %s", place, got)
		}
	}
	tx = leaving(t, s, route, func(tx *mailflow.Transaction) { tx.Again = true }, "From: a@mycompany.com")
	if got := verdicts(tx); got != "c: deliver by postmark" {
		t.Errorf("again: %s", got)
	}
}

// TestHoldBehindTheChoice holds what has a server already.
func TestHoldBehindTheChoice(t *testing.T) {
	t.Parallel()
	tx := leaving(t, company(mailflow.BehaviorDocumented), "classify\nchoose_server\nrewrite_from\nhold wait", nil, "From: a@mycompany.com")
	if got := verdicts(tx); got != "c: hold for postmark: wait" {
		t.Error(got)
	}
	tx = leaving(t, company(mailflow.BehaviorDocumented), "rewrite_from\nchoose_server", nil, "From: a@x.example")
	if got := codes(tx); got[0] != codeNoServer || len(tx.HeaderChanges()) > 0 {
		t.Errorf("rewrite_from without a server: %q, %v", got, tx.HeaderChanges())
	}
}

// TestBadLists refuses lists of senders that cannot be read.
func TestBadLists(t *testing.T) {
	t.Parallel()
	s := company(mailflow.BehaviorDocumented)
	s.Domains[0].DefaultFromFilter = []string{"a@b.example;c@d.example"}
	for _, handler := range []string{"choose_server", "rewrite_from"} {
		if _, err := build(t, mailflow.Outbound, s, handler); !errors.Is(err, relay.ErrFilter) {
			t.Errorf("%s: %v", handler, err)
		}
	}
}
