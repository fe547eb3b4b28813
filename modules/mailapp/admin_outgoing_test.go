// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// TestAdminTestOutlivesRequest: the admin server's read timeout ends a
// request's context long before a slow server has greeted.
func TestAdminTestOutlivesRequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := newFakeOperator()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/mail/outgoing/relay/test?from=a@b.example&rcpt=c@d.example", nil)
	if status, text := call(t, f, r); status != 200 {
		t.Errorf("got %d %s", status, text)
	}
	if diff := cmp.Diff([]string{"a@b.example c@d.example"}, f.tested); diff != "" {
		t.Error(diff)
	}
}

// TestAdminTestDefaults: MAIL and RCPT are tried also when nobody is named.
func TestAdminTestDefaults(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"":                              "tester@relay.example tester@relay.example",
		"?from=a@b.example":             "a@b.example a@b.example",
		"?rcpt=c@d.example":             "tester@relay.example c@d.example",
		"?from=a@b.example&rcpt=c@d.ex": "a@b.example c@d.ex",
	} {
		f := newFakeOperator()
		status, text := call(t, f, httptest.NewRequest(http.MethodPost, "/mail/outgoing/relay/test"+query, nil))
		if diff := cmp.Diff([]string{want}, f.tested); status != 200 || diff != "" {
			t.Errorf("%q: %d %s %s", query, status, text, diff)
		}
	}
}

func TestTestSender(t *testing.T) {
	t.Parallel()
	company := mailflow.Domains{{Name: "a.example", DefaultFrom: mailflow.MustParseAddress("notify@a.example")}}
	for _, tt := range []struct {
		name    string
		domains mailflow.Domains
		filter  []string
		want    string
	}{
		{"nothing", nil, nil, "postmaster@mx.example"},
		{"domain", company, nil, "notify@a.example"},
		{"own domain in the filter", company, []string{"b.example", "A.example"}, "notify@a.example"},
		{"own address in the filter", company, []string{"b.example", "notify@a.example"}, "notify@a.example"},
		{"other domain", company, []string{"b.example"}, "notify@b.example"},
		{"other address", company, []string{"x@b.example", "c.example"}, "x@b.example"},
		{"subdomains", company, []string{"*.b.example", "c.example"}, "notify@c.example"},
		{"subdomains only", company, []string{"*.b.example"}, "notify@a.example"},
		{"without domain", nil, []string{"b.example"}, "postmaster@b.example"},
	} {
		s := &mailflow.Services{
			Hostname: "mx.example", Domains: tt.domains,
			Servers: []mailflow.Server{{Name: "other", FromFilter: []string{"no.example"}}, {Name: "relay", FromFilter: tt.filter}},
		}
		if got := testSender(s, "relay").String(); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	if got := testSender(&mailflow.Services{Hostname: "mx.example"}, "none").String(); got != "postmaster@mx.example" {
		t.Errorf("no such server: got %s", got)
	}
}
