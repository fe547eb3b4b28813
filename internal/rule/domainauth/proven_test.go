// SPDX-License-Identifier: Apache-2.0

package domainauth

import (
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestProven(t *testing.T) {
	t.Parallel()
	anna := mailflow.MustParseAddress("anna@sender.example")
	for _, c := range []struct {
		result mailflow.AuthResult
		want   bool
	}{
		{mailflow.AuthResult{Method: "dmarc", Result: "pass", Domain: "sender.example"}, true},
		{mailflow.AuthResult{Method: "dkim", Result: "pass", Domain: "mail.sender.example"}, true},
		{mailflow.AuthResult{Method: "SPF", Result: "Pass", Domain: "sender.example"}, true},
		{mailflow.AuthResult{Method: "dkim", Result: "fail", Domain: "sender.example"}, false},
		{mailflow.AuthResult{Method: "dkim", Result: "pass", Domain: "relay.example"}, false},
		{mailflow.AuthResult{Method: "dkim", Result: "pass"}, false},
		{mailflow.AuthResult{Method: "arc", Result: "pass", Domain: "sender.example"}, false},
	} {
		if got := Proven([]mailflow.AuthResult{c.result}, anna); got != c.want {
			t.Errorf("%+v: %v", c.result, got)
		}
	}
	if Proven(nil, anna) {
		t.Error("proven by nothing")
	}
}
