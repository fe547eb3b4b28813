// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// aliased is a gateway that says everything about aliases that can be said.
const aliased = `{
	mail {
		hostname mx.mycompany.com
		store memory
		domain mycompany.com {
			default
			company "My Company" info@mycompany.com
			allowed_domains mycompany.eu
		}
		domain mycompany.ro {
			allowed_domains mycompany.bg
		}
		alias sales@mycompany.com {
			model crm.lead
			contact everyone
			owner anna@mycompany.com
			set team direct
			refuse "Not you"
			thread t1
			parent t2
			accept_automatic
			any_domain
		}
		smtp %s
	}
}
`

// TestPatchAlias changes each option about aliases by its name, while the
// gateway runs: a good value holds, a bad one is refused and nothing changes.
func TestPatchAlias(t *testing.T) {
	t.Parallel()
	g := startGateway(t, fmt.Sprintf(aliased, freeAddress(t)))
	const alias = "aliases/sales@mycompany.com/"
	for _, tt := range []struct{ path, good, bad, refusal string }{
		{"domains/mycompany.com/company", `"We"`, `"a\nb"`, "is no name"},
		{"domains/mycompany.com/company_address", `"hello"`, `"two words"`, "not a mail address"},
		{"domains/mycompany.com/allowed_domains", `["mycompany.fr"]`, `["mycompany.bg"]`, "mycompany.bg is allowed by mycompany.com and by mycompany.ro"},
		{alias + "model", `"helpdesk.ticket"`, `"a b"`, "is no model"},
		{alias + "contact", `"followers"`, `"follower"`, "did you mean"},
		{alias + "owner", `"bob@mycompany.com"`, `"bob"`, "owner"},
		{alias + "set", `{"a":"b"}`, `{"":"b"}`, "is no name of a field"},
		{alias + "set/a", `"c"`, `1`, "cannot unmarshal"},
		{alias + "refuse", `"Nor you"`, `"` + strings.Repeat("x", 2001) + `"`, "longer than 2000 bytes"},
		{alias + "thread", `"t3"`, `"T 3"`, "is no ID"},
		{alias + "parent", `"t4"`, `"T/4"`, "is no ID"},
		{alias + "accept_automatic", `false`, `"no"`, "accept_automatic"},
		{alias + "any_domain", `false`, `"no"`, "any_domain"},
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
