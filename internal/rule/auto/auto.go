// SPDX-License-Identifier: Apache-2.0

// Package auto tells mail that a machine wrote from mail that a person wrote
// (RFC 3834), and says what may be answered.
//
// It goes by what the mail says of itself, never by its words: a subject such
// as "Out of office" is written by people too.
package auto

import (
	"mime"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Kind is what kind of automatic mail a mail is.
type Kind string

// The kinds.
const (
	// Personal is mail that nothing says a machine wrote.
	Personal Kind = ""
	// Replied answers a mail by itself: vacation notices, read receipts.
	Replied Kind = "auto-replied"
	// Generated is written by a machine, or for many: notifications, lists.
	Generated Kind = "auto-generated"
	// Report is about the delivery of a mail, or a complaint about it (RFC
	// 3464, RFC 5965).
	Report Kind = "report"
)

// Finding is what a mail is, and by which of its fields.
type Finding struct {
	Kind Kind
	// Why says so to a human; empty for [Personal].
	Why string
}

// Of returns what the mail with that header is.
func Of(h mailflow.Header) Finding {
	for _, look := range [...]func(mailflow.Header) Finding{ofReport, ofAutoSubmitted, ofHabit, ofPrecedence, ofList} {
		if f := look(h); f.Kind != Personal {
			return f
		}
	}
	return Finding{}
}

// ofReport looks for a report (RFC 6522): a read receipt is an answer.
func ofReport(h mailflow.Header) Finding {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && kind == "" || !strings.EqualFold(kind, "multipart/report") {
		return Finding{}
	}
	if strings.EqualFold(params["report-type"], "disposition-notification") {
		return Finding{Replied, "it is a read receipt"}
	}
	return Finding{Report, "it is a report"}
}

// ofAutoSubmitted reads the field of RFC 3834 section 5.
func ofAutoSubmitted(h mailflow.Header) Finding {
	value, _, _ := strings.Cut(h.Get("Auto-Submitted"), ";")
	value, _, _ = strings.Cut(value, "(")
	value = strings.ToLower(strings.TrimSpace(value))
	switch value {
	case "", "no":
		return Finding{}
	case "auto-replied":
		return Finding{Replied, "Auto-Submitted is auto-replied"}
	}
	return Finding{Generated, "Auto-Submitted is " + clip(value)}
}

// ofHabit looks for fields that systems from before RFC 3834 write.
func ofHabit(h mailflow.Header) Finding {
	for _, name := range [...]string{"X-Autoreply", "X-Auto-Reply", "X-Autorespond", "X-Vacation"} {
		if v := strings.TrimSpace(h.Get(name)); h.Has(name) && !strings.EqualFold(v, "no") && !strings.EqualFold(v, "false") {
			return Finding{Replied, "it has the field " + name}
		}
	}
	return Finding{}
}

// ofPrecedence reads a field that is no standard and in wide use (RFC 3834
// section 3.1.8).
func ofPrecedence(h mailflow.Header) Finding {
	switch v := strings.ToLower(strings.TrimSpace(h.Get("Precedence"))); v {
	case "auto_reply", "auto-reply":
		return Finding{Replied, "Precedence is " + v}
	case "bulk", "junk", "list":
		return Finding{Generated, "Precedence is " + v}
	}
	return Finding{}
}

// ofList looks for the fields of lists and mailings (RFC 2919, RFC 2369).
func ofList(h mailflow.Header) Finding {
	for _, name := range [...]string{"List-Id", "List-Unsubscribe", "Feedback-ID"} {
		if h.Has(name) {
			return Finding{Generated, "it has the field " + name}
		}
	}
	return Finding{}
}

// daemons are local parts that no person writes from.
var daemons = []string{"mailer-daemon", "postmaster"}

// MayAnswer reports whether the gateway may answer a mail by itself, and why
// not: no machine's mail is answered, none that asks not to be, and none
// without a sender (RFC 3834 section 2). reversePath is null where the mail
// came with the null one.
func MayAnswer(h mailflow.Header, reversePath mailflow.Address) (ok bool, why string) {
	if f := Of(h); f.Kind != Personal {
		return false, f.Why
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
	for word := range strings.FieldsFuncSeq(strings.ToLower(h.Get("X-Auto-Response-Suppress")), notLetter) {
		if word == "all" || word == "autoreply" {
			return false, "X-Auto-Response-Suppress asks for no answer"
		}
	}
	return true, ""
}

func notLetter(r rune) bool { return r < 'a' || r > 'z' }

// clip bounds what is shown of a stranger's text.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "")
	}
	return s
}
