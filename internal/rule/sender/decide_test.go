// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ours are the domains of the documentation's example.
func ours() mailflow.Domains {
	at := mailflow.MustParseAddress
	return mailflow.Domains{
		{
			Name: "mycompany.com", Default: true, DefaultFrom: at("notifications@mycompany.com"),
			Bounce: []mailflow.Address{at("bounce@mycompany.com")}, Catchall: []mailflow.Address{at("catchall@mycompany.com")},
			Subaddress: true,
		},
		{Name: "mycompany.ro", Bounce: []mailflow.Address{at("bounce@mycompany.ro")}},
	}
}

// policy returns that of mycompany.com, changed by edit.
func policy(tb testing.TB, b mailflow.Behavior, edit func(*mailflow.Domain)) *Policy {
	tb.Helper()
	ds := ours()
	if edit != nil {
		edit(&ds[0])
	}
	p, err := NewPolicy(&ds[0], ds, b)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func filter(tb testing.TB, entries ...string) relay.Filter {
	tb.Helper()
	f, err := relay.ParseFilter(entries)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// decided says what became of a mail: From | reverse-path, and the codes.
func decided(p *Policy, hop Hop, lines ...string) (string, []string) {
	h := header(lines...)
	sent, err := Decide(ReadMail(h, mailflow.MustParseAddress("app@mycompany.com"), p.Behavior), p, hop)
	if err != nil {
		return err.Error(), nil
	}
	from := h.Get("From")
	for _, c := range sent.Header {
		if c.Name == "From" {
			from = c.Value
		}
	}
	path := sent.ReversePath.String()
	if sent.PerRecipient {
		path = strings.Replace(path, "@", "+TOKEN@", 1)
	}
	var codes []string
	for _, n := range sent.Notes {
		codes = append(codes, n.Code)
	}
	return from + " | " + path, codes
}

// TestWhoIsKept goes through the table of the package comment.
func TestWhoIsKept(t *testing.T) {
	t.Parallel()
	const (
		admin = `"Admin" <admin@example.com>`
		put   = `"Admin" <notifications@mycompany.com>`
		own   = `"Anna" <anna@mycompany.com>`
		sub   = " | bounce+TOKEN@mycompany.com"
		bare  = " | bounce@mycompany.com"
	)
	mine, foreign := filter(t, "mycompany.com"), filter(t, "example.com")
	for _, c := range []struct {
		name             string
		hop              Hop
		from             string
		documented, odoo string
	}{
		{"the server allows it", Hop{Step: relay.StepDomain, Filter: foreign}, admin, admin + sub, admin + " | admin@example.com"},
		{"the server allows the address", Hop{Step: relay.StepAddress, Filter: foreign}, admin, admin + sub, admin + " | admin@example.com"},
		{"the documentation's example", Hop{Step: relay.StepFromDomain, Filter: mine}, admin, put + sub, put + bare},
		{"no name", Hop{Step: relay.StepFromDomain, Filter: mine}, "Mary@customer.example", `"Mary" <notifications@mycompany.com>` + sub, `"mary" <notifications@mycompany.com>` + bare},
		{"no filter, a stranger", Hop{Step: relay.StepOpen}, admin, put + sub, put + bare},
		{"no filter, ours", Hop{Step: relay.StepOpen}, own, own + sub, `"Anna" <notifications@mycompany.com>` + bare},
		{"no filter, another of ours", Hop{Step: relay.StepOpen}, "a@mycompany.ro", "a@mycompany.ro" + sub, `"a" <notifications@mycompany.com>` + bare},
		{"the last one, a stranger", Hop{Step: relay.StepLast, Filter: filter(t, "x.example")}, admin, put + sub, put + " | notifications@mycompany.com"},
		{"the last one, ours", Hop{Step: relay.StepLast, Filter: filter(t, "x.example")}, own, own + sub, `"Anna" <notifications@mycompany.com>` + " | notifications@mycompany.com"},
		{"the purpose, allowed", Hop{Step: relay.StepPurpose, Filter: foreign}, admin, admin + sub, admin + " | admin@example.com"},
		{"the purpose, refused", Hop{Step: relay.StepPurpose, Filter: mine}, admin, put + sub, admin + bare},
		{"the purpose, no filter", Hop{Step: relay.StepPurpose}, admin, put + sub, admin + bare},
		{"the default, allowed", Hop{Step: relay.StepDefault, Filter: foreign}, admin, admin + sub, admin + " | admin@example.com"},
		{"the default, refused", Hop{Step: relay.StepDefault, Filter: mine}, admin, put + sub, put + bare},
		{"the default, no filter", Hop{Step: relay.StepDefault}, admin, put + sub, admin + bare},
		{"already the default_from", Hop{Step: relay.StepOpen}, `"News" <Notifications@mycompany.com>`, `"News" <Notifications@mycompany.com>` + sub, `"News" <notifications@mycompany.com>` + bare},
		{"two addresses", Hop{Step: relay.StepDomain, Filter: mine}, "a@mycompany.com, b@x.example", "a@mycompany.com" + sub, "a@mycompany.com" + bare},
		{"not well formed", Hop{Step: relay.StepDomain, Filter: mine}, "Anna a@mycompany.com", `"Anna" <a@mycompany.com>` + sub, `"Anna" <a@mycompany.com>` + bare},
		{"a name alone", Hop{Step: relay.StepOpen}, "Anna", `"Anna" <app@mycompany.com>` + sub, `"Anna" <notifications@mycompany.com>` + bare},
	} {
		for b, want := range map[mailflow.Behavior]string{mailflow.BehaviorDocumented: c.documented, mailflow.BehaviorOdoo: c.odoo} {
			p := policy(t, b, nil)
			if got, _ := decided(p, c.hop, "From: "+c.from); got != want {
				t.Errorf("%s, %s: %s, want %s", c.name, b, got, want)
			}
		}
	}
}

// TestDefaultFromFilter goes through the documentation's section "Use a
// default From email address".
func TestDefaultFromFilter(t *testing.T) {
	t.Parallel()
	const admin, put = `"Admin" <admin@example.com>`, `"Admin" <notifications@mycompany.com>`
	for _, c := range []struct {
		entries []string
		hop     Hop
		from    string
		want    string
		odoo    string
	}{
		{nil, Hop{Step: relay.StepDefault}, admin, put, admin},
		{[]string{"mycompany.com"}, Hop{Step: relay.StepDefault}, admin, put, put},
		{[]string{"example.com"}, Hop{Step: relay.StepDefault}, admin, admin, admin},
		{[]string{"example.com"}, Hop{Step: relay.StepDefault, Filter: filter(t, "mycompany.com")}, admin, admin, admin},
		{[]string{"*"}, Hop{Step: relay.StepDefault, Filter: filter(t, "mycompany.com")}, admin, admin, admin},
		{[]string{"notifications@mycompany.com"}, Hop{Step: relay.StepDefault}, "Anna <anna@mycompany.com>", `"Anna" <notifications@mycompany.com>`, `"Anna" <notifications@mycompany.com>`},
		{[]string{"*"}, Hop{Step: relay.StepOpen}, admin, admin, put},
		{[]string{"example.com"}, Hop{Step: relay.StepOpen}, "Anna <anna@mycompany.com>", `"Anna" <notifications@mycompany.com>`, `"Anna" <notifications@mycompany.com>`},
	} {
		for b, want := range map[mailflow.Behavior]string{mailflow.BehaviorDocumented: c.want, mailflow.BehaviorOdoo: c.odoo} {
			p := policy(t, b, func(d *mailflow.Domain) { d.DefaultFromFilter = c.entries })
			if got, _ := decided(p, c.hop, "From: "+c.from); !strings.HasPrefix(got, want+" | ") {
				t.Errorf("%q by %s, %s: %s, want %s", c.entries, c.hop.Step, b, got, want)
			}
		}
	}
	if _, err := NewPolicy(&mailflow.Domain{DefaultFromFilter: []string{"a;b"}}, nil, ""); !errors.Is(err, relay.ErrFilter) {
		t.Errorf("a bad filter gives %v", err)
	}
}

// TestFieldsBesideFrom looks at what goes with an encapsulated From.
func TestFieldsBesideFrom(t *testing.T) {
	t.Parallel()
	hop := Hop{Step: relay.StepFromDomain, Filter: filter(t, "mycompany.com")}
	for _, c := range []struct {
		b     mailflow.Behavior
		lines []string
		want  []string
	}{
		{mailflow.BehaviorDocumented, []string{`From: "Mary" <mary@customer.example>`, "Sender: mary@customer.example"}, []string{
			`set From "Mary" <notifications@mycompany.com>`, `set X-Original-From "Mary" <mary@customer.example>`, "remove Sender ", `set Reply-To "Mary" <mary@customer.example>`,
		}},
		{mailflow.BehaviorOdoo, []string{`From: "Mary" <mary@customer.example>`}, []string{
			`set From "Mary" <notifications@mycompany.com>`, `set X-Original-From "Mary" <mary@customer.example>`, `set Reply-To catchall@mycompany.com`,
		}},
		{mailflow.BehaviorDocumented, []string{"From: mary@customer.example", "Reply-To: desk@customer.example"}, []string{
			`set From "mary" <notifications@mycompany.com>`, `set X-Original-From mary@customer.example`,
		}},
		{mailflow.BehaviorDocumented, []string{"From: mary@customer.example", "Reply-To: "}, []string{
			`set From "mary" <notifications@mycompany.com>`, `set X-Original-From mary@customer.example`, "set Reply-To mary@customer.example",
		}},
		{mailflow.BehaviorDocumented, []string{"From: Zo\xc3\xa9 <z@customer.example>"}, []string{
			"set From =?utf-8?q?Zo=C3=A9?= <notifications@mycompany.com>", "set X-Original-From Zo\xc3\xa9 <z@customer.example>", "set Reply-To =?utf-8?q?Zo=C3=A9?= <z@customer.example>",
		}},
	} {
		sent, err := Decide(ReadMail(header(c.lines...), mailflow.Address{}, c.b), policy(t, c.b, nil), hop)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range sent.Header {
			got = append(got, string(h.Op)+" "+h.Name+" "+h.Value)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q, %s:\n%q, want\n%q", c.lines, c.b, got, c.want)
		}
	}
	sent, err := Decide(ReadMail(header("From: a@mycompany.com", "Sender: s@x.example"), mailflow.Address{}, ""), policy(t, mailflow.BehaviorDocumented, nil), Hop{Step: relay.StepDomain})
	if err != nil || len(sent.Header) > 0 {
		t.Errorf("a From that is kept: %v, %v", sent.Header, err)
	}
}

// TestReversePath goes through the rules of the reverse-path.
func TestReversePath(t *testing.T) {
	t.Parallel()
	at := mailflow.MustParseAddress
	const app = "app@mycompany.com"
	own, other := filter(t, "mycompany.com"), filter(t, "anna@mycompany.com")
	noBounce := func(d *mailflow.Domain) { d.Bounce = nil }
	emailFrom := func(d *mailflow.Domain) { d.Bounce, d.EmailFrom = nil, at("odoo@cli.example") }
	off := func(d *mailflow.Domain) { d.Subaddress = false }
	for _, c := range []struct {
		name             string
		hop              Hop
		path             string
		edit             func(*mailflow.Domain)
		returnPath       string
		documented, odoo string
	}{
		{"bounce address", Hop{Filter: own}, app, nil, "", "bounce@mycompany.com+", "bounce@mycompany.com"},
		{"without a token", Hop{Filter: own}, app, off, "", "bounce@mycompany.com", "bounce@mycompany.com"},
		{"the filter refuses it", Hop{Filter: other}, app, nil, "", "bounce@mycompany.com+", "anna@mycompany.com"},
		{"a Return-Path field", Hop{Filter: own}, app, nil, "verp-1@mycompany.com", "bounce@mycompany.com+", "verp-1@mycompany.com"},
		{"one that the filter refuses", Hop{Filter: own}, app, nil, "verp-1@track.example", "bounce@mycompany.com+", "anna@mycompany.com"},
		{"no filter", Hop{}, app, nil, "verp-1@track.example", "bounce@mycompany.com+", "verp-1@track.example"},
		{"no bounce address", Hop{Filter: own}, app, noBounce, "", app, "anna@mycompany.com"},
		{"email_from", Hop{}, app, emailFrom, "", "odoo@cli.example", "odoo@cli.example"},
		{"envelope from", Hop{Filter: own, Envelope: mailflow.EnvelopeFrom}, app, nil, "", "anna@mycompany.com", "anna@mycompany.com"},
		{"envelope login", Hop{Filter: own, Envelope: mailflow.EnvelopeLogin, Login: at("me@gmail.example")}, app, nil, "", "me@gmail.example", "me@gmail.example"},
		{"a login that is no address", Hop{Filter: own, Envelope: mailflow.EnvelopeLogin}, app, nil, "", "anna@mycompany.com", "anna@mycompany.com"},
		{"the null sender", Hop{Filter: own, Envelope: mailflow.EnvelopeLogin, Login: at("me@gmail.example")}, "", nil, "", "", ""},
		{"refused", Hop{Filter: own, NoNullSender: true}, "", nil, "", "bounce@mycompany.com", "bounce@mycompany.com"},
		{"refused, no bounce address", Hop{Filter: own, NoNullSender: true}, "", noBounce, "", "anna@mycompany.com", "anna@mycompany.com"},
	} {
		lines := []string{"From: Anna <anna@mycompany.com>"}
		if c.returnPath != "" {
			lines = append(lines, "Return-Path: <"+c.returnPath+">")
		}
		for b, want := range map[mailflow.Behavior]string{mailflow.BehaviorDocumented: c.documented, mailflow.BehaviorOdoo: c.odoo} {
			hop := c.hop
			hop.Step = relay.StepDomain
			sent, err := Decide(ReadMail(header(lines...), at(c.path), b), policy(t, b, c.edit), hop)
			if err != nil {
				t.Fatal(err)
			}
			got := sent.ReversePath.String()
			if sent.PerRecipient {
				got += "+"
			}
			if got != want {
				t.Errorf("%s, %s: %q, want %q", c.name, b, got, want)
			}
		}
	}
}

// TestNobody has mails without an author.
func TestNobody(t *testing.T) {
	t.Parallel()
	for _, b := range []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo} {
		sent, err := Decide(ReadMail(header("Subject: x"), mailflow.Address{}, b), policy(t, b, nil), Hop{Step: relay.StepOpen})
		if err != nil || sent.From.String() != "notifications@mycompany.com" || sent.Header[0].Value != "notifications@mycompany.com" {
			t.Errorf("%s: %+v, %v", b, sent, err)
		}
		none, err := NewPolicy(nil, nil, b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decide(ReadMail(header("Subject: x"), mailflow.Address{}, b), none, Hop{}); !errors.Is(err, ErrNoFrom) {
			t.Errorf("%s, no default_from: %v", b, err)
		}
	}
	// Without any domain nothing changes.
	none, err := NewPolicy(nil, nil, mailflow.BehaviorDocumented)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := decided(none, Hop{Step: relay.StepOpen}, "From: x@far.example"); got != "x@far.example | app@mycompany.com" {
		t.Error(got)
	}
}

// TestFixes finds the codes of deliberate differences, where they differ.
func TestFixes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		lines []string
		hop   Hop
		want  string
	}{
		{[]string{`From: "Acme" <notifications@mycompany.com>`}, Hop{Step: relay.StepOpen}, FixName},
		{[]string{`From: notifications@mycompany.com`}, Hop{Step: relay.StepOpen}, ""},
		{[]string{`From: "Acme" <notifications@mycompany.com>`}, Hop{Step: relay.StepAddress}, ""},
		{[]string{`From: not an address`}, Hop{Step: relay.StepOpen}, FixName + FixFrom},
		{[]string{`From: a@bücher.example`}, Hop{Step: relay.StepDomain}, FixIDN},
		{[]string{`From: a@mycompany.com`, "Return-Path: x@mycompany.com"}, Hop{Step: relay.StepDomain}, FixReturnPath},
	} {
		for _, b := range []mailflow.Behavior{mailflow.BehaviorDocumented, mailflow.BehaviorOdoo} {
			_, codes := decided(policy(t, b, nil), c.hop, c.lines...)
			got := ""
			for _, code := range codes {
				if strings.HasPrefix(code, "fix:") {
					got += code
				}
			}
			if want := c.want; b == mailflow.BehaviorOdoo && got != want || b == mailflow.BehaviorDocumented && got != "" {
				t.Errorf("%q, %s: %q, want %q", c.lines, b, got, want)
			}
		}
	}
}

// TestMay asks who may send as whom.
func TestMay(t *testing.T) {
	t.Parallel()
	peer := func(domain string, filter ...string) *mailflow.Peer {
		return &mailflow.Peer{Submits: true, Domain: domain, FromFilter: filter}
	}
	for _, c := range []struct {
		name string
		peer *mailflow.Peer
		as   string
		may  bool
	}{
		{"its own domain", peer("mycompany.ro"), "a@mycompany.ro", true},
		{"another of ours", peer("mycompany.ro"), "a@mycompany.com", false},
		{"any of ours, if it names none", peer(""), "a@mycompany.com", true},
		{"any of ours, if it names none", peer(""), "a@mycompany.ro", true},
		{"a foreign one", peer("mycompany.ro"), "a@far.example", true},
		{"its from_filter", peer("mycompany.ro", "a@mycompany.com"), "A@mycompany.com", true},
		{"not others of the filter's domain", peer("mycompany.ro", "a@mycompany.com"), "b@mycompany.com", false},
		{"any", peer("mycompany.ro", "*"), "b@mycompany.com", true},
		{"nobody", peer("mycompany.ro"), "", true},
		{"not the first alone", peer("mycompany.ro"), "a@mycompany.ro b@mycompany.com", false},
		{"who does not submit is not asked", &mailflow.Peer{}, "a@mycompany.ro", true},
	} {
		var as []mailflow.Address
		for a := range strings.FieldsSeq(c.as) {
			as = append(as, mailflow.MustParseAddress(a))
		}
		reply := May(as, c.peer, ours())
		if (reply == nil) != c.may || reply != nil && (reply.Code != 550 || reply.Enhanced.String() != "5.7.1") {
			t.Errorf("%s: %v", c.name, reply)
		}
	}
	if May([]mailflow.Address{mailflow.MustParseAddress("a@mycompany.com")}, peer("mycompany.ro"), ours()[1:]) != nil {
		t.Error("with one domain of ours, any other is foreign")
	}
}

func BenchmarkDecide(b *testing.B) {
	p := policy(b, mailflow.BehaviorDocumented, nil)
	h := header(`From: "Mary" <mary@customer.example>`, "To: a@b.example", "Subject: x", "Message-Id: <1@x.example>")
	hop := Hop{Step: relay.StepOpen}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decide(ReadMail(h, mailflow.Address{}, mailflow.BehaviorDocumented), p, hop); err != nil {
			b.Fatal(err)
		}
	}
}
