// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
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

// TestDocumentedOrder goes through the section "Utilizing the From filter on
// an outgoing email server" of the documentation.
func TestDocumentedOrder(t *testing.T) {
	t.Parallel()
	exact := server(t, "exact", 30, "test@example.com")
	domain := server(t, "domain", 20, "example.com")
	open := server(t, "open", 10)
	other := server(t, "other", 5, "elsewhere.example")
	for _, c := range []struct {
		name    string
		servers []Candidate
		from    string
		want    string
		step    Step
	}{
		{"the address comes before the domain, whatever the priority", []Candidate{open, domain, exact, other}, "test@example.com", "exact", StepAddress},
		{"the domain comes before no filter", []Candidate{open, domain, exact, other}, "info@example.com", "domain", StepDomain},
		{"no filter comes before a filter that refuses", []Candidate{open, domain, exact, other}, "info@third.example", "open", StepOpen},
		{"else the first by priority", []Candidate{domain, exact, other}, "info@third.example", "other", StepLast},
		{"priority 10 before 20", []Candidate{server(t, "b", 20), server(t, "a", 10)}, "test@example.com", "a", StepOpen},
		{"priority 10 before 20 within a step", []Candidate{server(t, "late", 20, "example.com"), server(t, "early", 10, "example.com")}, "test@example.com", "early", StepDomain},
		{"ties by name", []Candidate{server(t, "b", 10), server(t, "a", 10)}, "test@example.com", "a", StepOpen},
		{"case makes no difference", []Candidate{open, exact}, "Test@EXAMPLE.com", "exact", StepAddress},
		{"sub-domains with a star", []Candidate{open, server(t, "sub", 90, "*.example.com")}, "a@x.example.com", "sub", StepDomain},
		{"an address of the domain is not the domain", []Candidate{open, exact}, "info@example.com", "open", StepOpen},
		{"no author is in no filter", []Candidate{domain, open}, "", "open", StepOpen},
		{"no author, filters only", []Candidate{domain, other}, "", "other", StepLast},
		{"the default stands back", []Candidate{asDefault(server(t, "d", 1, "test@example.com")), open}, "test@example.com", "open", StepOpen},
		{"the default stands back behind the last resort", []Candidate{asDefault(server(t, "d", 1)), other}, "test@example.com", "other", StepLast},
		{"the default alone", []Candidate{asDefault(server(t, "d", 1, "elsewhere.example"))}, "test@example.com", "d", StepDefault},
		{"no server", nil, "test@example.com", "", StepNone},
	} {
		got := Choose(c.servers, mailflow.MustParseAddress(c.from))
		if got.Server != c.want || got.Step != c.step {
			t.Errorf("%s: %s by %s, want %s by %s", c.name, got.Server, got.Step, c.want, c.step)
		}
		if len(c.servers) > 0 && len(got.Losers) != len(c.servers)-1 {
			t.Errorf("%s: %d losers of %d servers", c.name, len(got.Losers), len(c.servers))
		}
	}
}

func TestLosersHaveReasons(t *testing.T) {
	t.Parallel()
	got := Choose([]Candidate{
		server(t, "open", 1), server(t, "second", 11, "example.com"), server(t, "first", 10, "example.com"),
		server(t, "other", 1, "elsewhere.example"), asDefault(server(t, "d", 1)),
	}, mailflow.MustParseAddress("a@example.com"))
	want := []Loser{
		{"open", ReasonStep}, {"second", ReasonPriority}, {"other", ReasonFilter}, {"d", ReasonDefault},
	}
	if got.Server != "first" || fmt.Sprint(got.Losers) != fmt.Sprint(want) {
		t.Errorf("%s won against %v, want first against %v", got.Server, got.Losers, want)
	}
}

// TestWordsAreComplete finds a code that has no words.
func TestWordsAreComplete(t *testing.T) {
	t.Parallel()
	for _, s := range append(steps[:], StepNone) {
		if s.String() == string(s) {
			t.Errorf("step %q has no words", string(s))
		}
	}
	for _, r := range []Reason{ReasonFilter, ReasonStep, ReasonPriority, ReasonDefault} {
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
	from := mailflow.MustParseAddress("someone@d77.example")
	b.ReportAllocs()
	for b.Loop() {
		if Choose(servers, from).Server != "s77" {
			b.Fatal("another server")
		}
	}
}
