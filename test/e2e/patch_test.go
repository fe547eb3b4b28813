// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// sending is a gateway that says everything about sending that can be said.
const sending = `{
	mail {
		behavior documented
		hostname mx.mycompany.com
		store memory
		domain mycompany.com {
			default
			default_from notifications
			default_from_filter mycompany.com
			email_from info@mycompany.com
			subaddress auto
			limit 1000/day
		}
		domain mycompany.ro
		outgoing relay {
			priority 10
			from_filter mycompany.com
			purpose transactional
			envelope bounce
			null_sender yes
			limit 200/day
			preset amazon_ses eu-west-1
			via smtp 127.0.0.1:9 {
				tls off
			}
		}
		smtp %s {
			domain mycompany.com
		}
		smtp %s {
			name submission
			submit
			user app $2a$10$GIqeZcmii2uOXw5ZXoyQ8.dfFdSaXM.vCV5vqsv4eVLqNKMJxR5Hu {
				domain mycompany.com
				from_filter mycompany.ro
				purpose transactional
			}
		}
		@campaign header List-Unsubscribe *
		purpose mass @campaign
	}
}
`

// TestPatchSending changes each option about sending by its name, while the
// gateway runs: a good value holds, a bad one is refused and nothing changes.
func TestPatchSending(t *testing.T) {
	t.Parallel()
	g := startGateway(t, fmt.Sprintf(sending, freeAddress(t), freeAddress(t)))
	const user = "listeners/submission/users/app/"
	for _, tt := range []struct{ path, good, bad, refusal string }{
		{"behavior", `"odoo"`, `"odo"`, "did you mean"},
		{"domains/mycompany.com/default_from", `"info@mycompany.eu"`, `"two words"`, "not a mail address"},
		{"domains/mycompany.com/default_from_filter", `["*"]`, `["*","mycompany.ro"]`, "allows every sender"},
		{"domains/mycompany.com/email_from", `"sales@mycompany.com"`, `"sales"`, "no full address"},
		{"domains/mycompany.com/subaddress", `"on"`, `"yes"`, "none of"},
		{"domains/mycompany.com/limit", `["500/day","14/s"]`, `["500"]`, "no limit"},
		{"outgoing/relay/priority", `20`, `-1`, "not between"},
		{"outgoing/relay/from_filter", `["mycompany.ro"]`, `["*"]`, "leave the filter out"},
		{"outgoing/relay/purpose", `"mass"`, `"mas"`, "did you mean"},
		{"outgoing/relay/envelope", `"from"`, `"login"`, "it has no login"},
		{"outgoing/relay/null_sender", `false`, `"no"`, "null_sender"},
		{"outgoing/relay/limit", `["50/h"]`, `["50/h","60/h"]`, "the same period"},
		{"outgoing/relay/preset_args", `["us-east-1"]`, `["us-east-1","eu"]`, "takes one argument"},
		{"purpose/0/purpose", `"transactional"`, `"bulk"`, "none of"},
		{"purpose/0/match", `["campaign"]`, `["news"]`, "not defined"},
		{user + "domain", `"mycompany.ro"`, `"mycompany.bg"`, "none of ours"},
		{user + "from_filter", `["*"]`, `["@mycompany.bg"]`, "for all addresses of the domain"},
		{user + "purpose", `"mass"`, `"mas"`, "none of"},
	} {
		if code, answer := g.patch(tt.path, tt.bad); code == http.StatusOK || !strings.Contains(answer, tt.refusal) {
			t.Errorf("%s = %s: %d %s", tt.path, tt.bad, code, answer)
		}
		if code, answer := g.patch(tt.path, tt.good); code != http.StatusOK {
			t.Errorf("%s = %s: %d %s", tt.path, tt.good, code, answer)
		}
		if got := g.configured(tt.path); got != tt.good {
			t.Errorf("%s is %s, want %s", tt.path, got, tt.good)
		}
	}
}

// patch changes a value of the mail app and returns what the endpoint says.
func (g *gateway) patch(path, value string) (status int, answer string) {
	g.t.Helper()
	return g.askConfig(http.MethodPatch, path, value)
}

// configured returns a value of the mail app as JSON.
func (g *gateway) configured(path string) string {
	g.t.Helper()
	_, text := g.askConfig(http.MethodGet, path, "")
	return strings.TrimSpace(text)
}

// askConfig asks about the configuration of the mail app until it is answered:
// while a load replaces the endpoint the old one may lose a question.
func (g *gateway) askConfig(method, path, body string) (status int, answer string) {
	g.t.Helper()
	await(g.t, "the admin endpoint answers", func() bool {
		req, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.admin+"/config/apps/mail/"+path, strings.NewReader(body))
		if err != nil {
			g.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		text, err := io.ReadAll(res.Body)
		status, answer = res.StatusCode, string(text)
		return errors.Join(err, res.Body.Close()) == nil
	})
	return status, answer
}
