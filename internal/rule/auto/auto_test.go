// SPDX-License-Identifier: Apache-2.0

package auto

import (
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func header(text string) mailflow.Header {
	return mailflow.ParseHeader([]byte(strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n"))
}

func TestOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Kind{
		"Subject: Out of office":                            Human,
		"Auto-Submitted: no":                                Human,
		"Auto-Submitted:":                                   Human,
		"Auto-Submitted: auto-replied":                      Replied,
		"Auto-Submitted: Auto-Replied; owner-email=\"a@x\"": Replied,
		"Auto-Submitted: auto-replied (vacation)":           Replied,
		"Auto-Submitted: auto-generated":                    Generated,
		"Auto-Submitted: auto-notified":                     Generated,
		"Auto-Submitted: auto-generated\nX-Auto-Response-Suppress: All\nIn-Reply-To: <a@x>": Replied,
		"Auto-Submitted: auto-generated\nX-Auto-Response-Suppress: All":                     Generated,
		"Auto-Submitted: auto-generated\nPrecedence: bulk":                                  Generated,
		"Auto-Submitted: auto-generated\nX-Autoreply: yes":                                  Replied,
		"X-Auto-Response-Suppress: OOF":                                                     Human,
		"X-Autoreply: yes":                                                                  Replied,
		"X-Autoreply: no":                                                                   Human,
		"X-Autorespond: Away":                                                               Replied,
		"Precedence: auto_reply":                                                            Replied,
		"Precedence: BULK":                                                                  Bulk,
		"Precedence: first-class":                                                           Human,
		"List-Id: <a.x>":                                                                    Bulk,
		"List-Unsubscribe: <https://x>":                                                     Bulk,
		"Content-Type: multipart/report; report-type=disposition-notification; boundary=b": Receipt,
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b":          Report,
		"Content-Type: multipart/report; report-type=feedback-report; boundary=b":          Report,
		"Content-Type: Multipart/Report; boundary=b":                                       Report,
		"Content-Type: multipart/mixed; boundary=b":                                        Human,
		"Content-Type: multipart/report; ???":                                              Report,
	} {
		got, why := Of(header(text))
		if got != want {
			t.Errorf("%q is %q because of %q, want %q", text, got, why, want)
		}
		if (why == "") != (got == Human) || got.Automatic() != (got != Human) {
			t.Errorf("%q is %q because of %q", text, got, why)
		}
	}
	if !Replied.Answers() || !Receipt.Answers() || Generated.Answers() || Bulk.Answers() || Report.Answers() || Human.Answers() {
		t.Error("only notices and receipts answer")
	}
}
