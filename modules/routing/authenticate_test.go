// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// fetched is a mail from a mailbox whose provider is trusted.
func fetched(tb testing.TB, header string) *mailflow.Transaction {
	tb.Helper()
	tx := mailflowtest.NewTransaction(tb, header+"From: Anna <anna@bigcustomer.com>\n\nHello.\n",
		mailflowtest.NewEnvelope("anna@bigcustomer.com", "sales@mycompany.com"))
	tx.Peer.Fetched, tx.Peer.TrustAuth = true, []string{"mx.provider.example"}
	return tx
}

// with is the field of the provider below one of its hops.
func with(results string) string {
	return "Received: by store.provider.example\nAuthentication-Results: mx.provider.example; " + results + "\nReceived: from x\n"
}

const forgedOurs = "Authentication-Results: mx.mycompany.com; dmarc=pass header.from=bigcustomer.com\n"

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	route := mustBuild(t, mailflow.Inbound, "authenticate\nunrouted")
	for _, c := range []struct {
		name   string
		header string
		change func(*mailflow.Transaction)
		auth   string
		codes  string
	}{
		{
			"believed", with("dmarc=pass header.from=bigcustomer.com; spf=fail smtp.mailfrom=x.example"), nil,
			"[{dmarc pass bigcustomer.com mx.provider.example} {spf fail x.example mx.provider.example}]", "auth_believed",
		},
		{
			"nobody is trusted", with("dmarc=pass header.from=bigcustomer.com"), func(tx *mailflow.Transaction) { tx.Peer.TrustAuth = nil },
			"[]", "auth_not_trusted",
		},
		{
			"another is trusted", with("dmarc=pass"), func(tx *mailflow.Transaction) { tx.Peer.TrustAuth = []string{"x.example"} },
			"[]", "auth_not_trusted auth_none",
		},
		{"nothing is said", "", nil, "[]", "auth_none"},
		{
			"below", with("dmarc=fail header.from=bigcustomer.com") + with("dmarc=pass header.from=bigcustomer.com"), nil,
			"[{dmarc fail bigcustomer.com mx.provider.example}]", "auth_believed auth_below",
		},
		{
			"in our name", forgedOurs + with("dkim=pass header.d=a.example"), nil,
			"[{dkim pass a.example mx.provider.example}]", "auth_forged auth_believed",
		},
		{
			"in our name, which is trusted", forgedOurs, func(tx *mailflow.Transaction) { tx.Peer.TrustAuth = []string{"mx.mycompany.com"} },
			"[]", "auth_forged auth_none",
		},
		{
			"a user", "", func(tx *mailflow.Transaction) {
				*tx.Peer = mailflow.Peer{User: "app", Domain: "mycompany.com", Submits: true}
			},
			"[{auth pass mycompany.com mx.mycompany.com}]", "auth_user",
		},
		{
			"a user of the only domain", "", func(tx *mailflow.Transaction) { *tx.Peer = mailflow.Peer{User: "app", Submits: true} },
			"[{auth pass mycompany.eu mx.mycompany.com}]", "auth_user",
		},
		{"a user of all domains", "", func(tx *mailflow.Transaction) {
			*tx.Peer = mailflow.Peer{User: "app", Submits: true, FromFilter: []string{"*"}}
		}, "[{auth pass  mx.mycompany.com}]", "auth_user"},
		{
			"a user who forges", forgedOurs, func(tx *mailflow.Transaction) { *tx.Peer = mailflow.Peer{User: "app", Domain: "mycompany.com"} },
			"[{auth pass mycompany.com mx.mycompany.com}]", "auth_user auth_forged",
		},
		{"a trusted network", "", func(tx *mailflow.Transaction) { *tx.Peer = mailflow.Peer{Submits: true} }, "[]", ""},
		{"known before", with("dkim=pass header.d=a.example"), func(tx *mailflow.Transaction) {
			tx.Auth = []mailflow.AuthResult{{Method: "dkim", Result: "pass", Domain: "a.example", By: "mx.provider.example"}}
		}, "[{dkim pass a.example mx.provider.example}]", "auth_believed"},
		{"no content", "", func(tx *mailflow.Transaction) { tx.Message = nil }, "[]", ""},
	} {
		tx := fetched(t, c.header)
		if c.change != nil {
			c.change(tx)
		}
		r := route
		if c.name == "a user of the only domain" || c.name == "a user of all domains" {
			s := services()
			s.Domains = mailflow.Domains{{Name: "mycompany.eu"}}
			var err error
			if r, err = build(t, mailflow.Inbound, s, "authenticate\nunrouted"); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Run(t.Context(), tx, mailflow.Done); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var codes []string
		for _, n := range tx.Trace.Notes() {
			if n.Handler == "authenticate" {
				codes = append(codes, n.Code)
			}
		}
		if got := fmt.Sprint(tx.Auth); got != c.auth {
			t.Errorf("%s: proven is %s, want %s", c.name, got, c.auth)
		}
		if got := strings.Join(codes, " "); got != c.codes {
			t.Errorf("%s: the trace has %s, want %s", c.name, got, c.codes)
		}
	}
}

// TestAuthenticateTells holds the words of the trace, with what a stranger
// brings into them.
func TestAuthenticateTells(t *testing.T) {
	t.Parallel()
	tx := fetched(t, forgedOurs+with("dmarc=pass header.from=bigcustomer.com; auth=pass"+strings.Repeat("; dkim=fail header.d=a.example", 20))+
		"Authentication-Results: mx.provider.example; none\nAuthentication-Results: other.example; none\n"+
		"Authentication-Results: \"\u202ehidden; none\"; none\nAuthentication-Results: spf=pass\n")
	if err := mustBuild(t, mailflow.Inbound, "authenticate\nunrouted").Run(t.Context(), tx, mailflow.Done); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range tx.Trace.Notes()[:4] {
		got = append(got, n.Code+": "+n.Text)
	}
	want := []string{
		"auth_forged: 1 Authentication-Results field in our own name, mx.mycompany.com: not believed",
		"auth_believed: mx.provider.example says dmarc=pass (bigcustomer.com), auth=pass" + strings.Repeat(", dkim=fail (a.example)", 6) + ", 14 more",
		"auth_below: 1 more Authentication-Results field of whom we trust, where a sender can write: not believed",
		"auth_not_trusted: not believed, since trust_auth_results does not name them: other.example, one whose name is no domain, one without a name",
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

// TestAuthenticateTakesOut holds what is not sent on.
func TestAuthenticateTakesOut(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		with("dmarc=pass"):                       "[]",
		forgedOurs + with("dmarc=pass"):          "[{remove Authentication-Results mx.mycompany.com}]",
		forgedOurs + strings.ToUpper(forgedOurs): "[{remove Authentication-Results mx.mycompany.com}]",
		forgedOurs + "Authentication-Results: \"mx.my\\company.com\"; dmarc=pass\n": "[{remove Authentication-Results }]",
	} {
		tx := fetched(t, header)
		if err := mustBuild(t, mailflow.Inbound, "authenticate\nunrouted").Run(t.Context(), tx, mailflow.Done); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(tx.HeaderChanges()); got != want {
			t.Errorf("%q\ngives %s\nwant  %s", header, got, want)
		}
	}
}
