// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestAuthMatchers(t *testing.T) {
	t.Parallel()
	const vacation = "Auto-Submitted: auto-replied\n"
	for _, c := range []struct {
		set    string
		header string
		want   bool
	}{
		{"auth_result dmarc pass", with("dmarc=pass header.from=bigcustomer.com"), true},
		{"auth_result dmarc pass", with("dmarc=pass header.from=sub.bigcustomer.com"), true},
		{"auth_result dmarc pass", with("dmarc=pass"), true},
		{"auth_result dmarc pass", with("dmarc=fail header.from=bigcustomer.com"), false},
		{"auth_result dmarc pass", with("dmarc=pass header.from=evil.example"), false},
		{"auth_result dmarc none", with("dmarc=pass header.from=evil.example"), true},
		{"auth_result dmarc pass", with("dkim=pass header.d=bigcustomer.com"), false},
		{"auth_result dmarc pass", "", false},
		{"auth_result dmarc none", "", true},
		{"auth_result dmarc none", with("dmarc=none header.from=bigcustomer.com"), true},
		{"auth_result dmarc none fail", with("dmarc=fail"), true},
		{"auth_result dkim pass", with("dkim=fail header.d=a.example; dkim=pass header.d=evil.example"), true},
		{"auth_result dkim pass", with("dkim=fail header.d=a.example"), false},
		{"auth_result dkim none", with("dkim=fail header.d=a.example"), false},
		{"auth_result spf softfail fail", with("spf=softfail smtp.mailfrom=a.example"), true},
		{"{\n auth_result dmarc pass\n auth_result spf pass\n}", with("dmarc=pass; spf=fail"), false},
		{"{\n auth_result dmarc pass\n auth_result spf pass\n}", with("dmarc=pass; spf=pass"), true},
		{"{\n auth_result dmarc pass\n auth_result dmarc none\n}", "", true},
		{"{\n from *@bigcustomer.com\n auth_result dmarc pass\n}", with("dmarc=pass header.from=bigcustomer.com"), true},
		{"not auth_result dmarc pass", with("dmarc=fail"), true},
		{"expression `\"pass\" in auth.dmarc && auth.spf == [\"none\"]`", with("dmarc=pass header.from=bigcustomer.com"), true},
		{"expression `\"pass\" in auth[\"dmarc\"]`", "", false},

		{"automatic", "", false},
		{"automatic", vacation, true},
		{"automatic", "List-Id: <a.example>\n", true},
		{"automatic replied", vacation, true},
		{"automatic bulk generated", vacation, false},
		{"automatic bulk", "Precedence: list\n", true},
		{"automatic report receipt", "Content-Type: multipart/report; report-type=disposition-notification\n", true},
		{"{\n automatic bulk\n automatic replied\n}", vacation, true},
		{"not automatic", "", true},
		{"expression `automatic == \"replied\"`", vacation, true},
		{"expression `automatic == \"\"`", "", true},
	} {
		tx := fetched(t, c.header)
		route := mustBuild(t, mailflow.Inbound, "authenticate\n@x "+c.set+"\nreject @x 550 no")
		if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
			t.Errorf("%s: %v", c.set, err)
		}
		if got := len(tx.Pending()) == 0; got != c.want {
			t.Errorf("%s of %q: %v", c.set, c.header, got)
		}
	}
}

func TestMatchTLS(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"tls": "TLS 1.0,TLS 1.2,TLS 1.3,0x0305", "tls 1.0": "TLS 1.0,TLS 1.2,TLS 1.3", "tls 1.2": "TLS 1.2,TLS 1.3", "tls 1.3": "TLS 1.3",
		"not tls": "", "not tls 1.2": ",TLS 1.0,0x0305",
	} {
		route := mustBuild(t, mailflow.Inbound, "@x "+set+"\nreject @x 550 no")
		var got []string
		for _, version := range []string{"", "TLS 1.0", "TLS 1.2", "TLS 1.3", "0x0305"} {
			tx := transaction(t)
			tx.Peer.TLS = version
			if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
				t.Errorf("%s: %v", set, err)
			}
			atRcpt := transaction(t)
			atRcpt.Peer.TLS, atRcpt.Message = version, nil
			refused := route.Rcpt(t.Context(), atRcpt, atRcpt.Envelope.Recipients[0]) != nil
			matches := len(tx.Pending()) == 0
			if matches != refused {
				t.Errorf("%s of %q: %v at RCPT, %v later", set, version, refused, matches)
			}
			if matches {
				got = append(got, version)
			}
		}
		if got := strings.Join(got, ","); got != want {
			t.Errorf("%s matches %q, want %q", set, got, want)
		}
	}
}

// TestAuthAtRcpt holds what needs the content to be silent before it is there.
func TestAuthAtRcpt(t *testing.T) {
	t.Parallel()
	for _, set := range []string{
		"auth_result dmarc none", "not auth_result dmarc pass", "automatic", "not automatic",
		"expression `automatic == \"\"`", "expression `auth.dmarc == [\"none\"]`",
	} {
		tx := transaction(t)
		tx.Message = nil
		if err := mustBuild(t, mailflow.Inbound, "authenticate\n@x "+set+"\nreject @x 550 no").Rcpt(t.Context(), tx, tx.Envelope.Recipients[0]); err != nil {
			t.Errorf("%s: %v", set, err)
		}
	}
}

func TestAuthContracts(t *testing.T) {
	t.Parallel()
	transactions := []func(testing.TB) *mailflow.Transaction{
		func(tb testing.TB) *mailflow.Transaction {
			tb.Helper()
			return fetched(tb, forgedOurs+with("dmarc=pass header.from=bigcustomer.com")+"Auto-Submitted: auto-replied\n")
		},
		transaction,
		func(tb testing.TB) *mailflow.Transaction {
			tb.Helper()
			tx := fetched(tb, "")
			tx.Auth = []mailflow.AuthResult{{Method: "dmarc", Result: "pass", Domain: "bigcustomer.com", By: "x"}}
			*tx.Peer = mailflow.Peer{User: "app", TLS: "TLS 1.3"}
			return tx
		},
	}
	route := mustBuild(t, mailflow.Inbound, "authenticate")
	t.Run("authenticate", func(t *testing.T) {
		t.Parallel()
		mailflowtest.RunHandlerSuite(t, route[0].Handler)
		mailflowtest.RunHandlerSuite(t, route[0].Handler, transactions...)
	})
	for _, set := range []string{"auth_result dmarc pass", "auth_result dkim none", "automatic", "automatic bulk", "tls", "tls 1.2"} {
		route := mustBuild(t, mailflow.Inbound, "@x "+set+"\ndrop @x")
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			mailflowtest.RunMatcherSuite(t, route[0].Match[0])
			mailflowtest.RunMatcherSuite(t, route[0].Match[0], transactions...)
		})
	}
}

func TestRefusedAuth(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"authenticate x":                              "wrong argument count",
		"authenticate {\n x\n}":                       "unexpected block",
		"@x auth_result dmrc pass\ndrop @x":           `"dmrc" is no method; did you mean "dmarc"?`,
		"@x auth_result x pass\ndrop @x":              `"x" is no method; write one of arc, auth, dkim, dmarc, spf`,
		"@x auth_result dmarc pas\ndrop @x":           `"pas" is no result; did you mean "pass"?`,
		"@x auth_result dmarc PASS\ndrop @x":          `did you mean "pass"?`,
		"@x auth_result dmarc\ndrop @x":               "wrong argument count",
		"@x auth_result\ndrop @x":                     "wrong argument count",
		"@x auth_result dmarc {env.NOPE_X}!\ndrop @x": `{env.NOPE_X} is empty`,
		"@x automatic repled\ndrop @x":                `"repled" is no kind of automatic mail; did you mean "replied"?`,
		"@x automatic x\ndrop @x":                     "write one of replied, receipt, report, generated, bulk",
		"@x automatic {\n x\n}\ndrop @x":              "unexpected block",
		"@x tls 1.4\ndrop @x":                         `"1.4" is no version of TLS; `,
		"@x tls 1.2 1.3\ndrop @x":                     "wrong argument count",
		"@x {\n tls\n tls 1.3\n}\ndrop @x":            "tls stands twice",
		"@x expression `auth == \"pass\"`":            "no matching overload",
		"@x auth_reslt dmarc pass\ndrop @x":           `did you mean "auth_result"?`,
		"autenticate":                                 `did you mean "authenticate"?`,
	} {
		if _, err := build(t, mailflow.Inbound, services(), lines); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %v\nwant  %s", lines, err, want)
		}
	}
	if _, err := build(t, mailflow.Outbound, services(), "authenticate"); err == nil || !strings.Contains(err.Error(), "belongs into the inbound route") {
		t.Errorf("in the outbound route: %v", err)
	}
}

// TestAuthJSON holds the JSON of the matchers, and what is refused only there.
func TestAuthJSON(t *testing.T) {
	t.Parallel()
	m := make(MatchAuthResult)
	if err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser("auth_result dmarc pass\nauth_result dmarc none\nauth_result spf pass")); err != nil {
		t.Fatal(err)
	}
	if got, err := json.Marshal(m); err != nil || string(got) != `{"dmarc":["pass","none"],"spf":["pass"]}` {
		t.Errorf("%s, %v", got, err)
	}
	for want, v := range map[string]interface{ Validate() error }{
		"there is no method":   &MatchAuthResult{},
		"has no result":        &MatchAuthResult{"dmarc": nil},
		"is no method":         &MatchAuthResult{"": {"pass"}},
		"is no result":         &MatchAuthResult{"dmarc": {""}},
		"is no kind":           &MatchAutomatic{list{[]string{""}}},
		"is no version of TLS": &MatchTLS{Min: "TLS 1.3"},
	} {
		if err := v.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
