// SPDX-License-Identifier: Apache-2.0

package alias

import (
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var address = mailflow.MustParseAddress

// services has two domains with the alias sales, and one alias each besides.
func services(b mailflow.Behavior, allowed, allowedSecond string) *mailflow.Services {
	return &mailflow.Services{
		Behavior: b,
		Domains: mailflow.Domains{
			{Name: "one.example", AllowedDomains: strings.Fields(allowed)},
			{Name: "two.example", AllowedDomains: strings.Fields(allowedSecond)},
		},
		Aliases: []mailflow.Alias{
			{Address: address("sales@one.example"), Model: "lead"},
			{Address: address("sales@two.example"), Model: "ticket"},
			{Address: address("first@one.example"), Model: "lead"},
			{Address: address("any@one.example"), Model: "lead", AnyDomain: true},
		},
	}
}

// stored are what a store has; it hands out more than was asked for.
var stored = []mailflow.Alias{
	{Address: address("kept@one.example"), Model: "lead", Version: 3},
	{Address: address("wide@two.example"), Model: "lead", AnyDomain: true, Version: 1},
	{Address: address("sales@one.example"), Model: "hidden", Version: 1},
}

func TestMatch(t *testing.T) {
	t.Parallel()
	const documented, odoo = mailflow.BehaviorDocumented, mailflow.BehaviorOdoo
	for _, c := range []struct {
		behavior mailflow.Behavior
		allowed  string
		rcpt     string
		want     string
	}{
		{documented, "", "sales@one.example", "sales@one.example"},
		{documented, "", "SALES@ONE.example", "sales@one.example"},
		{documented, "", "sales@two.example", "sales@two.example"},
		{documented, "", "first@two.example", ""},
		{documented, "", "sales@gmail.example", ""},
		{documented, "", "sales+tag@one.example", ""},
		{documented, "", "kept@one.example", "kept@one.example"},
		{documented, "", "any@gmail.example", "any@one.example"},
		{documented, "", "ANY@two.example", "any@one.example"},
		{documented, "", "wide@gmail.example", "wide@two.example"},
		{documented, "one.de one.ro", "sales@one.de", "sales@one.example"},
		{documented, "one.de one.ro", "kept@one.ro", "kept@one.example"},
		{documented, "one.de one.ro", "sales@gmail.example", ""},
		{documented, "one.de one.ro", "sales@two.example", "sales@two.example"},
		{documented, "one.de one.ro", "any@gmail.example", ""},
		{documented, "one.de one.ro", "any@two.example", "any@one.example"},
		{documented, "one.de one.ro", "wide@gmail.example", "wide@two.example"},
		{documented, "*", "sales@gmail.example", "sales@one.example"},
		{documented, "*", "sales@two.example", "sales@two.example"},
		{documented, "*", "first@two.example", "first@one.example"},
		{documented, "two.example", "first@two.example", "first@one.example"},
		{odoo, "", "sales@one.example", "sales@one.example"},
		{odoo, "", "sales@gmail.example", ""},
		{odoo, "", "any@gmail.example", "any@one.example"},
		{odoo, "", "wide@one.example", "wide@two.example"},
		{odoo, "one.de", "any@gmail.example", ""},
		{odoo, "one.de", "any@one.de", "any@one.example"},
		{odoo, "one.de", "wide@one.de", "wide@two.example"},
		{odoo, "one.de", "any@two.example", "any@one.example"},
		{odoo, "one.de", "sales@one.de", ""},
		{odoo, "*", "sales@gmail.example", ""},
		{odoo, "*", "any@gmail.example", "any@one.example"},
	} {
		b, err := NewBook(services(c.behavior, c.allowed, ""))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range b.Match(address(c.rcpt), stored) {
			if a.Model == "hidden" {
				t.Error("the stored alias hides the configured one")
			}
			got = append(got, a.Address.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: with %q allowed %s means %q, want %q", c.behavior, c.allowed, c.rcpt, got, c.want)
		}
	}
}

// TestMatchSeveral finds in odoo every alias of an address.
func TestMatchSeveral(t *testing.T) {
	t.Parallel()
	also := mailflow.Alias{Address: address("sales@three.example"), Model: "x", AnyDomain: true}
	for behavior, want := range map[mailflow.Behavior]int{mailflow.BehaviorDocumented: 1, mailflow.BehaviorOdoo: 2} {
		b, err := NewBook(services(behavior, "", ""))
		if err != nil {
			t.Fatal(err)
		}
		got := b.Match(address("sales@one.example"), []mailflow.Alias{also})
		if len(got) != want || got[0].Address.Domain != "one.example" {
			t.Errorf("%s: %v", behavior, got)
		}
	}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	b, err := NewBook(services(mailflow.BehaviorDocumented, "one.de", ""))
	if err != nil {
		t.Fatal(err)
	}
	for rcpt, want := range map[string][]mailflow.Address{
		"x@gmail.example": {address("x@gmail.example")},
		"x@one.de":        {address("x@one.de"), address("x@one.example")},
	} {
		if got := b.Candidates(address(rcpt)); !slices.Equal(got, want) {
			t.Errorf("%s may be %v, want %v", rcpt, got, want)
		}
	}
}

func TestNewBookRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		first, second string
		want          string
	}{
		{"a.de", "b.de", ""},
		{"a.de a.de", "", ""},
		{"one.example", "", ""},
		{"a.de b.de", "b.de", "b.de is allowed by one.example and by two.example"},
		{"*", "b.de", "b.de is allowed by one.example and by two.example"},
		{"a.de", "*", "* is allowed by one.example and by two.example"},
		{"*", "*", "* is allowed by one.example and by two.example"},
		{"*  b.de", "", ""},
	} {
		_, err := NewBook(services(mailflow.BehaviorDocumented, c.first, c.second))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q and %q: %v, want %q", c.first, c.second, err, c.want)
		}
		if _, err := NewBook(services(mailflow.BehaviorOdoo, c.first, c.second)); err != nil {
			t.Errorf("odoo has one list: %v", err)
		}
	}
	twice := services(mailflow.BehaviorDocumented, "", "")
	twice.Aliases = append(twice.Aliases, mailflow.Alias{Address: address("Sales@one.example")})
	if _, err := NewBook(twice); err == nil {
		t.Error("an alias may stand twice")
	}
}
