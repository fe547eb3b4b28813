// SPDX-License-Identifier: Apache-2.0

package mailmodules

import (
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func TestTicket(t *testing.T) {
	for subject, want := range map[string]string{
		"[#4711] Printer":               "4711",
		"Re: [#1] and [#2]":             "1",
		"=?utf-8?q?B=C3=BCro_[#12]?=":   "12",
		"Printer":                       "",
		"[#4711 Printer":                "",
		"[#123456789012345678901234]":   "",
		"=?utf-8?q?[#1=0D=0ABcc:_x]?=":  "",
		"[#" + strings.Repeat("1", 999): "",
	} {
		h, err := newTicket("ticket")
		if err != nil {
			t.Fatal(err)
		}
		tx := mailflowtest.NewTransaction(t, "Subject: "+subject+"\nX-Ticket: 666\n\n",
			mailflowtest.NewEnvelope("anna@example.com", "help@acme.example"))
		if err := h.Handle(t.Context(), tx, mailflow.Done); err != nil {
			t.Fatal(err)
		}
		change := mailflow.HeaderChange{Op: mailflow.HeaderSet, Name: "X-Ticket", Value: want}
		if want == "" {
			change.Op = mailflow.HeaderRemove
		}
		if got := tx.HeaderChanges(); len(got) != 1 || got[0] != change {
			t.Errorf("%q: header changes %+v, want %+v", subject, got, change)
		}
		if got := tx.Tags()["ticket"]; got != want {
			t.Errorf("%q: tag %q, want %q", subject, got, want)
		}
	}
}

func TestTicketPattern(t *testing.T) {
	h, err := newTicket("ticket \"case (.*)$\" {\n\theader X-Case\n}")
	if err != nil {
		t.Fatal(err)
	}
	for subject, want := range map[string]string{
		"my case AB-12":                      "AB-12",
		"my case B\u00fcro":                  "",
		"my case " + strings.Repeat("1", 65): "",
		"my case a\rb":                       "",
	} {
		if got := h.number(subject); got != want {
			t.Errorf("%q: number %q, want %q", subject, got, want)
		}
	}
	if h.Header != "X-Case" {
		t.Errorf("header %q", h.Header)
	}
}

func TestTicketRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"ticket a b":                              "wrong argument count",
		"ticket {\n\tcolour red\n}":               "unrecognized ticket option",
		"ticket {\n\theader\n}":                   "wrong argument count",
		"ticket {\n\theader X-A\n\theader X-B\n}": "named already",
		"ticket {\n\theader \"X A\"\n}":           "no name for a header field",
		"ticket [":                                "reading the pattern",
		"ticket \"#\\d+\"":                        "has no group",
	} {
		if _, err := newTicket(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
