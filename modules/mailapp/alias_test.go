// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestAliases(t *testing.T) {
	t.Setenv("MAIL_TEST_MODEL", "crm.lead")
	app := provisioned(t, `{
		"behavior": "odoo",
		"domains": {
			"a.example": {"company": "A Inc.", "company_address": "Info", "allowed_domains": ["b.example, A.fr", "b.example"]},
			"c.example": {"company_address": "info@a.example", "allowed_domains": ["*"]}
		},
		"aliases": {
			"Support@A.example": {
				"model": "helpdesk.ticket", "contact": "known", "owner": "Anna@a.example", "refuse": "No {env.MAIL_TEST_MODEL}",
				"accept_automatic": true, "any_domain": true
			},
			"sales@a.example": {"model": "{env.MAIL_TEST_MODEL}", "set": {"team": "x {env.MAIL_TEST_MODEL}"}},
			"one@a.example": {"thread": "t1", "parent": "t2"}
		}
	}`)
	at := mailflow.MustParseAddress
	want := []mailflow.Alias{
		{Address: at("one@a.example"), Contact: mailflow.ContactEveryone, Thread: "t1", Parent: "t2"},
		{Address: at("sales@a.example"), Model: "crm.lead", Contact: mailflow.ContactEveryone, Set: map[string]string{"team": "x crm.lead"}},
		{
			Address: at("support@a.example"), Model: "helpdesk.ticket", Contact: mailflow.ContactKnown, Owner: "Anna@a.example",
			Refuse: "No crm.lead", AcceptAutomatic: true, AnyDomain: true,
		},
	}
	if diff := cmp.Diff(want, app.services.Aliases); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, app.config.Aliases); diff != "" || app.config.Behavior != mailflow.BehaviorOdoo {
		t.Errorf("%s, aliases of the engine (-want +got):\n%s", app.config.Behavior, diff)
	}
	a, c := app.services.Domains.Find("a.example"), app.services.Domains.Find("c.example")
	if a.Company != "A Inc." || a.CompanyAddress != at("info@a.example") || c.CompanyAddress != a.CompanyAddress ||
		strings.Join(a.AllowedDomains, " ") != "b.example a.fr" || strings.Join(c.AllowedDomains, " ") != "*" {
		t.Errorf("domains %+v and %+v", a, c)
	}
}

// TestAliasesRefused loads JSON, which no Caddyfile has checked.
func TestAliasesRefused(t *testing.T) {
	for name, tt := range map[string]struct{ mail, want string }{
		"null":          {`{"aliases": {"a@a.example": null}}`, "alias a@a.example: it does not say what it opens"},
		"spellings":     {`{"aliases": {"a@a.example": {"model": "m"}, "A@A.example": {"model": "m"}}}`, "alias a@a.example is configured twice"},
		"no domain":     {`{"aliases": {"postmaster": {"model": "m"}}}`, "no full address"},
		"slash":         {`{"aliases": {"a/b@a.example": {"model": "m"}}}`, "a slash cannot stand"},
		"contact":       {`{"aliases": {"a@a.example": {"model": "m", "contact": "followers "}}}`, `did you mean "followers"?`},
		"model":         {`{"aliases": {"a@a.example": {"model": "a b"}}}`, "is no model"},
		"owner":         {`{"aliases": {"a@a.example": {"model": "m", "owner": "anna"}}}`, `owner: "anna"`},
		"postmaster":    {`{"aliases": {"a@a.example": {"model": "m", "owner": "postmaster"}}}`, "is no full address"},
		"thread":        {`{"aliases": {"a@a.example": {"thread": "A"}}}`, "thread: \"A\" is no ID"},
		"parent":        {`{"aliases": {"a@a.example": {"model": "m", "parent": "a/b"}}}`, "parent: \"a/b\" is no ID"},
		"field":         {`{"aliases": {"a@a.example": {"model": "m", "set": {"": "x"}}}}`, "is no name of a field"},
		"value":         {`{"aliases": {"a@a.example": {"model": "m", "set": {"x": "` + strings.Repeat("y", maxField+1) + `"}}}}`, "set x: the value is longer"},
		"text":          {`{"aliases": {"a@a.example": {"model": "m", "refuse": "` + strings.Repeat("y", maxRefuse+1) + `"}}}`, "refuse: the text is longer"},
		"unset":         {`{"aliases": {"a@a.example": {"model": "m", "set": {"x": "{env.MAIL_TEST_NONE}"}}}}`, "set x: "},
		"company":       {`{"domains": {"a.example": {"company": "a\nb"}}}`, "company: "},
		"address":       {`{"domains": {"a.example": {"company_address": "@"}}}`, "company_address: "},
		"allowed":       {`{"domains": {"a.example": {"allowed_domains": ["*.b.example"]}}}`, "allowed_domains: "},
		"every, others": {`{"domains": {"a.example": {"allowed_domains": ["b.example,*"]}}}`, `"*" allows every domain`},
		"overlap":       {`{"domains": {"a.example": {"allowed_domains": ["c.example"]}, "b.example": {"allowed_domains": ["*"]}}}`, "* is allowed by a.example and by b.example"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := provision(t, tt.mail)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
