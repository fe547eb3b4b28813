// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// MaxQuoted is the size of a message, in bytes, up to which a report quotes it
// whole, if RET does not forbid it. Beyond, it quotes the header: a report is
// not to cost more than the message did.
const MaxQuoted = 256 << 10

// maxHeader is the size of a header, in bytes, beyond which it is cut at a
// field: real ones stay far below.
const maxHeader = 64 << 10

// Action is what became of a recipient (RFC 3464 section 2.3.3).
type Action string

// The actions that the gateway reports.
const (
	Failed  Action = "failed"
	Delayed Action = "delayed"
	// Relayed: handed on to a server that does not report success itself.
	Relayed Action = "relayed"
)

// Report is what a notification says.
type Report struct {
	// MessageID is the Message-Id of the notification, with its brackets.
	MessageID string
	// Hostname is the gateway's own name.
	Hostname string
	// From is the author; null for MAILER-DAEMON at the host name.
	From mailflow.Address
	// At is when the notification is made.
	At time.Time

	// To is the reverse-path of the message. It must not be null.
	To mailflow.Address
	// Message is the message; its Body must be open.
	Message *mailflow.Message
	// Arrival is when the message was received.
	Arrival time.Time
	// EnvelopeID and Return are of its envelope.
	EnvelopeID string
	Return     mailflow.ReturnType

	// Recipients are those that the notification is about, one at least.
	Recipients []Recipient
}

// Recipient is what became of one recipient.
type Recipient struct {
	mailflow.Recipient

	// Action is what became of it.
	Action Action
	// Reply is the last answer of the next hop; nil if there was none.
	Reply *mailflow.Reply
	// Reason says in plain words what happened where no reply does.
	Reason string
	// RemoteMTA is the host that gave Reply; may be empty.
	RemoteMTA string
	// LastAttempt is when it was tried last; zero if it was not.
	LastAttempt time.Time
	// RetryUntil is when a delayed delivery is given up; zero if unknown.
	RetryUntil time.Time
}

// UTF8 reports whether the notification needs SMTPUTF8 (RFC 6533).
func (r *Report) UTF8() bool {
	if !r.To.IsASCII() {
		return true
	}
	for i := range r.Recipients {
		if !r.Recipients[i].Address.IsASCII() {
			return true
		}
	}
	return false
}

// Build returns the notification, with CRLF line ends. It reads the body of
// the message if it is to be quoted; where that fails the header is quoted.
func Build(r Report) []byte {
	w := &writer{utf8: r.UTF8()}
	quoted := quote(&r)
	bound := boundary(r.MessageID, quoted.bytes)

	w.field("Date", r.At.Format(dateFormat))
	w.field("From", "Mail Delivery System <"+author(&r)+">")
	w.field("To", r.To.Path())
	w.field("Subject", subject(&r))
	w.field("Message-Id", messageID(r.MessageID))
	if id := messageID(r.Message.Header.Get("Message-Id")); id != "" {
		w.field("In-Reply-To", id)
		w.field("References", id)
	}
	w.field("Auto-Submitted", "auto-replied")
	w.field("MIME-Version", "1.0")
	kind := "delivery-status"
	if w.utf8 {
		kind = "global-delivery-status"
	}
	w.line("Content-Type: multipart/report; report-type=" + kind + ";")
	w.line("\tboundary=\"" + bound + "\"")
	if w.utf8 || eightBit(quoted.bytes) {
		w.field("Content-Transfer-Encoding", "8bit")
	}
	w.line("")
	w.line("This is a report in the format of RFC 3464.")
	w.line("")

	w.line("--" + bound)
	explain(w, &r)
	w.line(quoted.says())
	w.line("")
	w.line("--" + bound)
	w.line("Content-Type: message/" + kind)
	if w.utf8 {
		w.line("Content-Transfer-Encoding: 8bit")
	}
	w.line("")
	status(w, &r)
	w.line("--" + bound)
	original(w, quoted)
	w.line("--" + bound + "--")
	return w.b.Bytes()
}

// author returns the address that the notification is from.
func author(r *Report) string {
	if !r.From.IsNull() {
		return r.From.String()
	}
	return "MAILER-DAEMON@" + token(r.Hostname, "localhost")
}

// explain writes the part for people.
func explain(w *writer, r *Report) {
	charset := "us-ascii"
	if w.utf8 {
		charset = "utf-8"
	}
	w.line("Content-Type: text/plain; charset=" + charset)
	if w.utf8 {
		w.line("Content-Transfer-Encoding: 8bit")
	}
	w.line("")
	w.line("This is the mail server " + token(r.Hostname, "localhost") + ".")
	if s := r.Message.Header.Get("Subject"); s != "" {
		w.line("It is about your message of " + r.Arrival.Format(dateFormat) + ":")
		w.line("  " + w.clean(s, 200))
	} else {
		w.line("It is about your message of " + r.Arrival.Format(dateFormat) + ".")
	}
	for _, part := range [...]struct {
		action Action
		says   string
	}{
		{Failed, "It could not be delivered to these recipients. It is not tried again."},
		{Delayed, "It could not be delivered to these recipients yet. It is tried again; you need not send it again."},
		{Relayed, "It was handed on for these recipients to a server that does not report whether it arrives."},
	} {
		title := part.says
		for i := range r.Recipients {
			rcpt := &r.Recipients[i]
			if rcpt.Action != part.action {
				continue
			}
			if title != "" {
				w.line("")
				w.line(title)
				title = ""
			}
			w.line("")
			w.line("  " + rcpt.Address.Path())
			if what := w.clean(said(rcpt), maxDiagnostic); what != "" {
				w.line("    " + what)
			}
			if !rcpt.RetryUntil.IsZero() && rcpt.Action == Delayed {
				w.line("    It is tried until " + rcpt.RetryUntil.Format(dateFormat) + ".")
			}
		}
	}
	w.line("")
}

// said returns what the next hop said, else the reason.
func said(r *Recipient) string {
	switch {
	case r.Reply != nil && r.RemoteMTA != "":
		return r.RemoteMTA + " said: " + r.Reply.String()
	case r.Reply != nil:
		return r.Reply.String()
	}
	return r.Reason
}

// subject says what the notification is about in a few words.
func subject(r *Report) string {
	s := "Your message was handed on"
	for i := range r.Recipients {
		switch r.Recipients[i].Action {
		case Failed:
			return "Your message could not be delivered"
		case Delayed:
			s = "Your message is delayed"
		case Relayed:
		}
	}
	return s
}

// status writes the part for programs (RFC 3464 section 2).
func status(w *writer, r *Report) {
	w.field("Reporting-MTA", "dns; "+token(r.Hostname, "localhost"))
	if id := w.clean(r.EnvelopeID, maxDiagnostic); id != "" {
		w.field("Original-Envelope-Id", id)
	}
	w.field("Arrival-Date", r.Arrival.Format(dateFormat))
	for i := range r.Recipients {
		w.line("")
		w.recipient(&r.Recipients[i])
	}
	w.line("")
}

// recipient writes the fields of one recipient (RFC 3464 section 2.3).
func (w *writer) recipient(r *Recipient) {
	if orig := w.clean(r.Original, maxDiagnostic); orig != "" {
		w.field("Original-Recipient", token(r.OriginalType, "rfc822")+"; "+orig)
	}
	kind := "rfc822"
	if !r.Address.IsASCII() {
		kind = "utf-8"
	}
	w.field("Final-Recipient", kind+"; "+r.Address.String())
	w.field("Action", string(r.Action))
	w.field("Status", statusOf(r).String())
	if r.RemoteMTA != "" {
		w.field("Remote-MTA", "dns; "+token(r.RemoteMTA, "unknown"))
	}
	if r.Reply != nil {
		w.field("Diagnostic-Code", "smtp; "+w.clean(r.Reply.String(), maxDiagnostic))
	}
	if !r.LastAttempt.IsZero() {
		w.field("Last-Attempt-Date", r.LastAttempt.Format(dateFormat))
	}
	if !r.RetryUntil.IsZero() && r.Action == Delayed {
		w.field("Will-Retry-Until", r.RetryUntil.Format(dateFormat))
	}
}

// statusOf returns the status code of r (RFC 3463), whose class fits the
// action: a delivery that was given up after temporary failures has expired.
func statusOf(r *Recipient) mailflow.EnhancedCode {
	class := map[Action]int{Failed: 5, Delayed: 4, Relayed: 2}[r.Action]
	switch {
	case r.Reply == nil:
		return mailflow.EnhancedCode{class, 0, 0}
	case r.Action == Failed && !r.Reply.Permanent():
		return mailflow.EnhancedCode{5, 4, 7}
	case r.Reply.Enhanced[0] == class && valid(r.Reply.Enhanced):
		return r.Reply.Enhanced
	}
	return mailflow.EnhancedCode{class, 0, 0}
}

func valid(c mailflow.EnhancedCode) bool {
	return c[1] >= 0 && c[1] <= 999 && c[2] >= 0 && c[2] <= 999
}

// messageID returns s if it is a message ID that can be quoted, else "".
func messageID(s string) string {
	s = strings.TrimSpace(s)
	if len(s) < 3 || len(s) > maxMessageID || s[0] != '<' || s[len(s)-1] != '>' {
		return ""
	}
	if strings.IndexFunc(s[1:len(s)-1], func(r rune) bool { return r <= ' ' || r >= utf8.RuneSelf || r == 0x7f || r == '<' || r == '>' }) >= 0 {
		return ""
	}
	return s
}

// maxMessageID is the longest message ID that is quoted, in bytes, so that
// References stays within a line.
const maxMessageID = 900

// boundary returns a boundary that does not stand in the quoted bytes. It
// depends on nothing else than its arguments.
func boundary(id string, quoted []byte) string {
	for n := 0; ; n++ {
		if b := fmt.Sprintf("=_report_%016x", hash(id, n)); !contains(quoted, b) {
			return b
		}
	}
}
