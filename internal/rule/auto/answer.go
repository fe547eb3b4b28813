// SPDX-License-Identifier: Apache-2.0

package auto

import (
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// daemons are local parts that no person writes from.
var daemons = [...]string{"mailer-daemon", "postmaster"}

// MayAnswer reports whether the gateway may answer a mail by itself, and why
// not: no machine's mail is answered, none that asks not to be, and none
// without a sender (RFC 3834 section 2). reversePath is null where the mail
// came with the null one.
func MayAnswer(h mailflow.Header, reversePath mailflow.Address) (ok bool, why string) {
	if kind, why := Of(h); kind.Automatic() {
		return false, "it is automatic: " + why
	}
	if reversePath.IsNull() {
		return false, "it has the null sender"
	}
	for _, a := range [...]mailflow.Address{reversePath, h.From()} {
		for _, name := range daemons {
			if strings.EqualFold(a.Local, name) {
				return false, "it is from " + name
			}
		}
	}
	for suppressed := range strings.FieldsFuncSeq(strings.ToLower(h.Get("X-Auto-Response-Suppress")), notLetter) {
		if suppressed == "all" || suppressed == "autoreply" {
			return false, "X-Auto-Response-Suppress asks for no answer"
		}
	}
	return true, ""
}

func notLetter(r rune) bool { return r < 'a' || r > 'z' }
