// SPDX-License-Identifier: Apache-2.0

// Package auto tells mail that a machine sent by itself from mail that a
// person wrote (RFC 3834).
//
// Two things hang on it. An answer that a machine gives to each mail, such as
// a vacation notice or a read receipt, must open nothing and must not be told
// to anybody outside, or two machines talk for ever. And whatever a machine
// sends is never answered by us.
//
// Only what the header says counts: a subject such as "Out of office" is
// words of a person too.
package auto

import (
	"mime"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Kind is the kind of an automatic mail.
type Kind string

// The kinds.
const (
	// Human is mail that nothing says a machine has sent by itself.
	Human Kind = ""
	// Replied answers a mail without a person: a vacation notice.
	Replied Kind = "replied"
	// Receipt says that a mail was read, or deleted unread (RFC 8098).
	Receipt Kind = "receipt"
	// Report says what became of a mail on its way (RFC 3464), or complains
	// about one (RFC 5965).
	Report Kind = "report"
	// Generated is sent by a machine, but as no answer: a bill, an alarm.
	Generated Kind = "generated"
	// Bulk goes to many: a newsletter, a list.
	Bulk Kind = "bulk"
)

// Automatic reports whether a machine has sent mail of kind k by itself: it is
// never answered.
func (k Kind) Automatic() bool { return k != Human }

// Answers reports whether mail of kind k answers another without a person: it
// opens no thread and is relayed to nobody outside.
func (k Kind) Answers() bool { return k == Replied || k == Receipt }

// Of returns the kind of a mail with that header, and what says so; "" for
// mail of a person. The surest sign counts.
func Of(h mailflow.Header) (kind Kind, why string) {
	if kind := report(h.Get("Content-Type")); kind != Human {
		return kind, "Content-Type is multipart/report"
	}
	if v := word(h.Get("Auto-Submitted")); v != "" && v != "no" {
		why = "Auto-Submitted: " + v
		if v == "auto-replied" || answersItself(h) {
			return Replied, why
		}
		kind = Generated
	}
	for _, name := range replyFields {
		if v := word(h.Get(name)); v != "" && v != "no" && v != "false" {
			return Replied, name + ": " + v
		}
	}
	precedence := word(h.Get("Precedence"))
	switch {
	case precedence == "auto_reply" || precedence == "auto-reply":
		return Replied, "Precedence: " + precedence
	case kind != Human:
		return kind, why
	case precedence == "bulk" || precedence == "list" || precedence == "junk":
		return Bulk, "Precedence: " + precedence
	case h.Has("List-Id"):
		return Bulk, "List-Id"
	case h.Has("List-Unsubscribe"):
		return Bulk, "List-Unsubscribe"
	}
	return Human, ""
}

// replyFields are what answering machines wrote before there was a standard,
// and some write still.
var replyFields = [...]string{
	"X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Autoreply-From", "X-Mail-Autoreply", "X-AutoReply-Message",
}

// answersItself reports whether a mail that a machine made answers another:
// Exchange says "auto-generated" also in its vacation notices.
func answersItself(h mailflow.Header) bool {
	suppress := strings.ToLower(h.Get("X-Auto-Response-Suppress"))
	return h.Has("In-Reply-To") && (strings.Contains(suppress, "oof") || strings.Contains(suppress, "all"))
}

// report returns the kind of a multipart/report (RFC 6522).
func report(contentType string) Kind {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil && media == "" || media != "multipart/report" {
		return Human
	}
	if strings.EqualFold(params["report-type"], "disposition-notification") {
		return Receipt
	}
	return Report
}

// word returns the first word of a field's value in lower case, without its
// parameters.
func word(v string) string {
	v, _, _ = strings.Cut(v, ";")
	if fields := strings.Fields(strings.ToLower(v)); len(fields) > 0 {
		return fields[0]
	}
	return ""
}
