// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// server makes a candidate; each filter is one entry.
func server(tb testing.TB, name string, priority int, filter ...string) Candidate {
	tb.Helper()
	f, err := ParseFilter(filter)
	if err != nil {
		tb.Fatal(err)
	}
	return Candidate{Name: name, Priority: priority, Filter: f}
}

func asDefault(c Candidate) Candidate {
	c.Default = true
	return c
}

func dedicated(c Candidate, purpose string) Candidate {
	c.Purpose = purpose
	return c
}

// chosen says by which server and step the mail leaves.
func chosen(servers []Candidate, mail Mail) string {
	c := Choose(servers, mail)
	if c.Waits != "" {
		return c.Server + " by " + string(c.Step) + ", waits"
	}
	return c.Server + " by " + string(c.Step)
}

// TestOrder goes through the section "Utilizing the From filter on an outgoing
// email server" of the documentation, and says where Odoo differs.
func TestOrder(t *testing.T) {
	t.Parallel()
	exact := server(t, "exact", 30, "test@example.com")
	domain := server(t, "domain", 20, "example.com")
	open := server(t, "open", 10)
	other := server(t, "other", 5, "elsewhere.example")
	from := server(t, "from", 40, "notifications@mycompany.com")
	fromDomain := server(t, "from-domain", 35, "mycompany.com")
	all := []Candidate{open, domain, exact, other, from, fromDomain}
	for _, c := range []struct {
		name     string
		servers  []Candidate
		from, by string // by is the default_from
		want     string
		odoo     string // empty: the same
	}{
		{"the address comes before the domain, whatever the priority", all, "test@example.com", "notifications@mycompany.com", "exact by filter_address", ""},
		{"the domain comes before no filter", all, "info@example.com", "notifications@mycompany.com", "domain by filter_domain", ""},
		{"no filter comes before default_from", all, "info@third.example", "notifications@mycompany.com", "open by no_filter", "from by default_from_address"},
		{"its address before its domain", []Candidate{other, fromDomain, from}, "info@third.example", "notifications@mycompany.com", "from by default_from_address", ""},
		{"its domain before the first", []Candidate{other, fromDomain, exact}, "info@third.example", "notifications@mycompany.com", "from-domain by default_from_domain", ""},
		{"its domain before no filter", []Candidate{open, fromDomain}, "info@third.example", "notifications@mycompany.com", "open by no_filter", "from-domain by default_from_domain"},
		{"no default_from", []Candidate{open, fromDomain, from}, "info@third.example", "", "open by no_filter", ""},
		{"else the first by priority", []Candidate{domain, exact, other}, "info@third.example", "x@nowhere.example", "other by first_by_priority", ""},
		{"priority 10 before 20", []Candidate{server(t, "b", 20), server(t, "a", 10)}, "test@example.com", "", "a by no_filter", ""},
		{"priority 10 before 20 within a step", []Candidate{server(t, "late", 20, "example.com"), server(t, "early", 10, "example.com")}, "test@example.com", "", "early by filter_domain", ""},
		{"ties by name", []Candidate{server(t, "b", 10), server(t, "a", 10)}, "test@example.com", "", "a by no_filter", ""},
		{"case makes no difference", []Candidate{open, exact}, "Test@EXAMPLE.com", "", "exact by filter_address", ""},
		{"sub-domains with a star", []Candidate{open, server(t, "sub", 90, "*.example.com")}, "a@x.example.com", "", "sub by filter_domain", ""},
		{"an address of the domain is not the domain", []Candidate{open, exact}, "info@example.com", "", "open by no_filter", ""},
		{"no author is in no filter", []Candidate{domain, open}, "", "", "open by no_filter", ""},
		{"no author, filters only", []Candidate{domain, other}, "", "", "other by first_by_priority", ""},
		{"no author, default_from", []Candidate{other, fromDomain}, "", "notifications@mycompany.com", "from-domain by default_from_domain", ""},
		{"the default stands back", []Candidate{asDefault(server(t, "d", 1, "test@example.com")), open}, "test@example.com", "", "open by no_filter", ""},
		{"the default stands back behind the last resort", []Candidate{asDefault(server(t, "d", 1)), other}, "test@example.com", "", "other by first_by_priority", ""},
		{"the default alone", []Candidate{asDefault(server(t, "d", 1, "elsewhere.example"))}, "test@example.com", "", "d by default_server", ""},
		{"no server", nil, "test@example.com", "", " by no_server", ""},
	} {
		for behavior, want := range map[mailflow.Behavior]string{mailflow.BehaviorDocumented: c.want, mailflow.BehaviorOdoo: c.odoo} {
			if want == "" {
				want = c.want
			}
			mail := Mail{Behavior: behavior, Author: mailflow.MustParseAddress(c.from), DefaultFrom: mailflow.MustParseAddress(c.by)}
			if got := chosen(c.servers, mail); got != want {
				t.Errorf("%s, %s: %s, want %s", c.name, behavior, got, want)
			}
			if got := Choose(c.servers, mail); len(c.servers) > 0 && len(got.Losers) != len(c.servers)-1 {
				t.Errorf("%s: %d losers of %d servers", c.name, len(got.Losers), len(c.servers))
			}
		}
	}
}

// TestPurposes goes through the section about dedicated servers.
func TestPurposes(t *testing.T) {
	t.Parallel()
	postmark := server(t, "postmark", 10, "mycompany.com")
	ses := dedicated(server(t, "ses", 20), mailflow.PurposeMass)
	mailjet := dedicated(server(t, "mailjet", 30, "mycompany.com"), mailflow.PurposeMass)
	letters := dedicated(server(t, "letters", 10), mailflow.PurposeTransactional)
	cli := asDefault(server(t, "cli", 1))
	for _, c := range []struct {
		name       string
		servers    []Candidate
		mass, mail string
	}{
		{"one for each", []Candidate{postmark, ses}, "ses by purpose", "postmark by filter_domain"},
		{"priority makes no difference between purposes", []Candidate{dedicated(server(t, "first", 1), mailflow.PurposeMass), postmark}, "first by purpose", "postmark by filter_domain"},
		{"several by the order", []Candidate{postmark, ses, mailjet}, "mailjet by purpose", "postmark by filter_domain"},
		{"none for mass mail", []Candidate{postmark}, "postmark by filter_domain", "postmark by filter_domain"},
		{"mass mail avoids the transactional server", []Candidate{letters, postmark}, "postmark by filter_domain", "postmark by filter_domain"},
		{"only the wrong one", []Candidate{letters}, "letters by no_filter", "letters by no_filter"},
		{"only a mass server", []Candidate{ses}, "ses by purpose", "ses by no_filter"},
		{"the default is nearer than the wrong purpose", []Candidate{ses, cli}, "ses by purpose", "cli by default_server"},
	} {
		from := mailflow.MustParseAddress("a@mycompany.com")
		if got := chosen(c.servers, Mail{Author: from, Purpose: mailflow.PurposeMass}); got != c.mass {
			t.Errorf("%s: mass mail by %s, want %s", c.name, got, c.mass)
		}
		for _, purpose := range []string{"", mailflow.PurposeTransactional} {
			if got := chosen(c.servers, Mail{Author: from, Purpose: purpose}); got != c.mail {
				t.Errorf("%s: transactional mail by %s, want %s", c.name, got, c.mail)
			}
		}
	}
}

// TestFailOver takes servers away.
func TestFailOver(t *testing.T) {
	t.Parallel()
	own := server(t, "own", 10, "mycompany.com")
	second := server(t, "second", 20, "mycompany.com")
	open := server(t, "open", 30)
	foreign := server(t, "foreign", 5, "elsewhere.example")
	bulk := dedicated(server(t, "bulk", 1, "elsewhere.example"), mailflow.PurposeMass)
	spare := dedicated(server(t, "spare", 2, "mycompany.com"), mailflow.PurposeMass)
	cli := asDefault(server(t, "cli", 1))
	for _, c := range []struct {
		name     string
		servers  []Candidate
		down     string
		behavior mailflow.Behavior
		purpose  string
		want     string
	}{
		{"all work", []Candidate{own, second, open}, "", "", "", "own by filter_domain"},
		{"the next one", []Candidate{own, second, open}, "own", "", "", "second by filter_domain"},
		{"the one after", []Candidate{own, second, open}, "own second", "", "", "open by no_filter"},
		{"all down", []Candidate{own, second, open}, "own second open", "", "", "own by filter_domain, waits"},
		{"never one whose filter refuses", []Candidate{own, foreign}, "own", "", "", "own by filter_domain, waits"},
		{"nor one that would change a sender that stays", []Candidate{own, server(t, "from", 20, "n@mycompany.com")}, "own", "", "", "own by filter_domain, waits"},
		{"nor the default", []Candidate{own, cli}, "own", "", "", "own by filter_domain, waits"},
		{"nor one of another purpose", []Candidate{own, bulk}, "own", "", "", "own by filter_domain, waits"},
		{"encapsulated, it may", []Candidate{bulk, spare}, "bulk", "", mailflow.PurposeMass, "spare by purpose"},
		{"mass mail waits for its own", []Candidate{bulk, own}, "bulk", "", mailflow.PurposeMass, "bulk by purpose, waits"},
		{"a loser that is down makes no difference", []Candidate{own, second}, "second", "", "", "own by filter_domain"},
	} {
		got := chosen(c.servers, Mail{
			Behavior: c.behavior, Purpose: c.purpose,
			Author: mailflow.MustParseAddress("a@mycompany.com"), DefaultFrom: mailflow.MustParseAddress("n@mycompany.com"),
			Down: func(name string) string {
				if strings.Contains(" "+c.down+" ", " "+name+" ") {
					return "refused all"
				}
				return ""
			},
		})
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	// Who is encapsulated anyway may leave by a server of the default_from.
	fallback := []Candidate{open, server(t, "from", 40, "n@mycompany.com")}
	for keeps, want := range map[bool]string{true: "open by no_filter, waits", false: "from by default_from_address"} {
		got := chosen(fallback, Mail{
			Author: mailflow.MustParseAddress("a@third.example"), DefaultFrom: mailflow.MustParseAddress("n@mycompany.com"), Keeps: keeps,
			Down: func(name string) string { return map[string]string{"open": "refused all"}[name] },
		})
		if got != want {
			t.Errorf("keeps %v: %s, want %s", keeps, got, want)
		}
	}
	// A sender that a forced server does not rewrite must stand in the filter.
	mail := Mail{
		Behavior: mailflow.BehaviorOdoo, Purpose: mailflow.PurposeMass,
		Author: mailflow.MustParseAddress("a@third.example"), DefaultFrom: mailflow.MustParseAddress("n@mycompany.com"),
		Down: func(name string) string { return map[string]string{"spare": "refused all"}[name] },
	}
	if got := chosen([]Candidate{spare, dedicated(server(t, "third", 9, "mycompany.com"), mailflow.PurposeMass)}, mail); got != "spare by purpose, waits" {
		t.Errorf("a forced sender goes over to %s", got)
	}
}

func TestLosersHaveReasons(t *testing.T) {
	t.Parallel()
	servers := []Candidate{
		server(t, "open", 1), server(t, "second", 11, "example.com"), server(t, "first", 10, "example.com"),
		server(t, "other", 1, "elsewhere.example"), asDefault(server(t, "d", 1)),
		dedicated(server(t, "bulk", 1), mailflow.PurposeMass),
	}
	mail := Mail{Author: mailflow.MustParseAddress("a@example.com")}
	got := Choose(servers, mail)
	want := []Loser{
		{"open", ReasonStep, ""}, {"second", ReasonPriority, ""}, {"other", ReasonFilter, ""}, {"d", ReasonDefault, ""}, {"bulk", ReasonPurpose, ""},
	}
	if got.Server != "first" || fmt.Sprint(got.Losers) != fmt.Sprint(want) {
		t.Errorf("%s won against %v, want first against %v", got.Server, got.Losers, want)
	}
	mail.Down = func(name string) string { return map[string]string{"first": "no answer"}[name] }
	got = Choose(servers, mail)
	want[1] = Loser{"first", ReasonDown, "no answer"}
	if got.Server != "second" || fmt.Sprint(got.Losers) != fmt.Sprint(want) {
		t.Errorf("%s won against %v, want second against %v", got.Server, got.Losers, want)
	}
}

// TestWordsAreComplete finds a code that has no words.
func TestWordsAreComplete(t *testing.T) {
	t.Parallel()
	for _, s := range append(steps[:], StepPurpose, StepNone) {
		if s.String() == string(s) {
			t.Errorf("step %q has no words", string(s))
		}
	}
	for _, r := range []Reason{ReasonFilter, ReasonStep, ReasonPriority, ReasonDefault, ReasonPurpose, ReasonDown} {
		if r.String() == string(r) {
			t.Errorf("reason %q has no words", string(r))
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	var servers []Candidate
	for i := range 100 {
		servers = append(servers, server(b, fmt.Sprintf("s%02d", i), i%7,
			fmt.Sprintf("d%d.example", i), fmt.Sprintf("*.w%d.example", i), fmt.Sprintf("a%d@x.example", i)))
	}
	mail := Mail{
		Author: mailflow.MustParseAddress("someone@d77.example"), DefaultFrom: mailflow.MustParseAddress("n@d3.example"),
		Down: func(string) string { return "" },
	}
	b.ReportAllocs()
	for b.Loop() {
		if Choose(servers, mail).Server != "s77" {
			b.Fatal("another server")
		}
	}
}
