// SPDX-License-Identifier: Apache-2.0

package domainauth

import (
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Proven reports whether one of the results proves that mail is from the
// domain of a: a DMARC pass for it, or an SPF or DKIM pass of a domain that
// aligns with it.
func Proven(results []mailflow.AuthResult, a mailflow.Address) bool {
	for _, r := range results {
		if !strings.EqualFold(r.Result, "pass") {
			continue
		}
		switch strings.ToLower(r.Method) {
		case "dmarc", "dkim", "spf":
			if Aligned(r.Domain, a.Domain) {
				return true
			}
		}
	}
	return false
}
