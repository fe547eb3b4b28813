// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestMatchers(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"from *.bigcustomer.com":                             "abc",
		"from bigcustomer.com":                               "",
		"from *@sub.bigcustomer.com":                         "abc",
		"from anna@sub.bigcustomer.com x.example":            "abc",
		"rcpt mycompany.com":                                 "ab",
		"rcpt *@far.example A@MyCompany.com":                 "ac",
		"header X-Spam":                                      "abc",
		"header x-spam no":                                   "abc",
		"header X-Spam yes":                                  "",
		"header Subject Café":                                "abc",
		"header Subject Caf*":                                "abc",
		"header Subject *é":                                  "abc",
		"header Subject *af*":                                "abc",
		"header Subject *x*":                                 "",
		"header !X-None":                                     "abc",
		"header !X-Spam":                                     "",
		"header X-None *":                                    "",
		"{\n header X-Spam maybe\n header x-spam YES\n}":     "abc",
		"{\n header X-Spam YES\n header Precedence first\n}": "",
		"size >10":                                           "abc",
		"size < 10":                                          "",
		"size >10 <1MiB":                                     "abc",
		"remote_ip 192.0.2.0/24":                             "abc",
		"remote_ip 192.0.2.1":                                "abc",
		"remote_ip private_ranges":                           "",
		"authenticated_as *":                                 "abc",
		"authenticated_as app other":                         "abc",
		"authenticated_as APP":                               "",
		"listener test":                                      "abc",
		"listener smtp25":                                    "",
		"not rcpt mycompany.com":                             "c",
		"not {\n rcpt mycompany.com\n listener other\n}":     "abc",
		"{\n not rcpt a@mycompany.com\n not rcpt b@mycompany.com\n}":                                   "c",
		"{\n rcpt mycompany.com\n not rcpt a@mycompany.com\n}":                                         "b",
		"not not rcpt mycompany.com":                                                                   "ab",
		"expression size > 10 && subject == \"Café\"":                                                  "abc",
		"`rcpt.endsWith(\"far.example\")`":                                                             "c",
		"expression `from == \"anna@sub.bigcustomer.com\" && user == \"app\" && listener == \"test\"`": "abc",
		"expression `remote_ip == \"192.0.2.1\" && hello == \"client.example\" && tls == \"\"`":        "abc",
		"expression `header[\"x-spam\"].exists(v, v == \"no\")`":                                       "abc",
		"expression `header[\"x-none\"][0] == \"no\"`":                                                 "",
		"expression `\"x-none\" in header`":                                                            "",
		"expression `tags.k == \"v\"`":                                                                 "abc",
	} {
		tx := transaction(t)
		tx.Peer.User = "app"
		route := mustBuild(t, mailflow.Inbound, "@x "+set+"\ntag k v\nreject @x 550 no")
		if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
			t.Errorf("%s: %v", set, err)
		}
		got := ""
		for _, v := range tx.Verdicts() {
			if v.Reply != nil {
				got += v.Recipient.Address.Local
			}
		}
		if got != want {
			t.Errorf("%s matches %q, want %q", set, got, want)
		}
	}
}

// TestAtRcpt holds what is answered before there is content.
func TestAtRcpt(t *testing.T) {
	t.Parallel()
	for lines, want := range map[string]string{
		"@x rcpt far.example\nreject @x 550 5.7.1 no":                                "550 5.7.1 no",
		"@x rcpt mycompany.com\nreject @x 550 no":                                    "<nil>",
		"@x header X-Spam *\nreject @x 550 no":                                       "<nil>",
		"@x not header X-Spam *\nreject @x 550 no":                                   "<nil>",
		"@x not from a.example\nreject @x 550 no":                                    "<nil>",
		"@x not size >1MiB\nreject @x 550 no":                                        "<nil>",
		"@x not not from a.example\nreject @x 550 no":                                "<nil>",
		"@x expression `subject == \"\"`\nreject @x 550 no":                          "<nil>",
		"@x expression `header.size() == 0`\nreject @x 550 no":                       "<nil>",
		"@x expression `rcpt == \"c@far.example\"`\nreject @x 550 no":                "550 5.7.1 no",
		"@x not expression `rcpt == \"a@far.example\"`\nreject @x 550 no":            "550 5.7.1 no",
		"@x not rcpt mycompany.com\nreject @x 550 no":                                "550 5.7.1 no",
		"@x not remote_ip private_ranges\nreject @x 550 no":                          "550 5.7.1 no",
		"@x rcpt far.example\ndrop @x\nreject 550 no":                                "<nil>",
		"@x rcpt far.example\nunrouted @x\nreject 550 no":                            "<nil>",
		"@x rcpt mycompany.com\nunrouted @x\nreject 550 no":                          "550 5.7.1 no",
		"@x header X-Spam *\nunrouted @x\nreject 550 no":                             "<nil>",
		"handle {\n unrouted\n}\nreject 550 no":                                      "<nil>",
		"@x {\n header X-Spam *\n rcpt mycompany.com\n}\nunrouted @x\nreject 550 no": "550 5.7.1 no",
		"unrouted":                          "<nil>",
		"handle {\n tag a b\n}\nunrouted":   "<nil>",
		"handle {\n reject 550 no\n}":       "550 5.7.1 no",
		"handle {\n drop\n}\nreject 550 no": "<nil>",
		"handle {\n hold\n}":                "<nil>",
	} {
		tx := transaction(t)
		tx.Message = nil
		err := mustBuild(t, mailflow.Inbound, lines).Rcpt(t.Context(), tx, tx.Envelope.Recipients[2])
		if got := fmt.Sprint(err); got != want {
			t.Errorf("%s\ngives %s, want %s", lines, got, want)
		}
	}
}

func TestExpressionIsBounded(t *testing.T) {
	t.Parallel()
	route := mustBuild(t, mailflow.Inbound, "@x expression `[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, size > 0)))))`\nreject @x 550 no")
	tx := transaction(t)
	if err := route.Run(t.Context(), tx, mailflow.Done); err != nil || !strings.Contains(fmt.Sprint(tx.Trace.Notes()), "expression_error") {
		t.Errorf("%v, %v", err, tx.Trace.Notes())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := route.Run(ctx, transaction(t), mailflow.Done); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context gives %v", err)
	}
}

func TestRemoteIPForms(t *testing.T) {
	t.Parallel()
	route := mustBuild(t, mailflow.Inbound, "@x remote_ip private_ranges 2001:db8::/32\nreject @x 550 no")
	for ip, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "127.0.0.1": true, "::1": true, "fd00::1": true,
		"2001:db8::1": true, "192.0.2.1": false, "2001:db9::1": false, "": false,
	} {
		tx := transaction(t)
		tx.Peer.IP = netip.Addr{}
		if ip != "" {
			tx.Peer.IP = netip.MustParseAddr(ip)
		}
		if err := route.Run(t.Context(), tx, mailflow.Done); err != nil || (len(tx.Pending()) == 0) != want {
			t.Errorf("%q: %v, %s", ip, err, verdicts(tx))
		}
	}
}
