// SPDX-License-Identifier: Apache-2.0

// Package refusal writes the mail that tells a sender why a mail of theirs was
// not taken, where there is no session to say it in. It says so to a human, in
// one part of plain text, and quotes the header of what was sent.
//
// It is machine mail: it is sent with the null reverse-path, says
// Auto-Submitted (RFC 3834 section 5), and its References carry a loop tag by
// which an automatic answer to it is known. It is no delivery report (RFC
// 3464), since what it answers may have been delivered somewhere already.
package refusal

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-message/mail"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Limits on what is quoted of a stranger's mail.
const (
	// maxQuoted is how much of the header is quoted, in bytes: enough to
	// recognise the mail, too little to carry one.
	maxQuoted = 4 << 10
	// maxReferences is how many ids of the mail's References are kept.
	maxReferences = 10
)

// LoopTag is the local part's end of the id that marks machine mail of ours in
// References; Odoo's is the same.
const LoopTag = "-loop-detection-bounce-email"

// Refusal is what is to be told.
type Refusal struct {
	// MessageID is that of the refusal mail, with angle brackets, and Tag the
	// loop tag, an id too.
	MessageID, Tag string
	// Hostname is the gateway's name; At the time.
	Hostname string
	At       time.Time
	// From is who tells it, with the display name "MAILER-DAEMON"; To is who
	// sent the mail. ReplyTo is for humans; null if there is nobody.
	From, To, ReplyTo mailflow.Address
	// Recipients are those that the mail did not reach.
	Recipients []mailflow.Address
	// Help is why, in whole sentences.
	Help string
	// Header is the header of the mail; Answers is its Message-Id and
	// References its own.
	Header     mailflow.Header
	Answers    string
	References []string
}

// Build returns the mail, with CRLF line ends. What strangers wrote can break
// neither its header nor its form.
func Build(r Refusal) ([]byte, error) {
	var h mail.Header
	h.SetDate(r.At)
	h.SetAddressList("From", []*mail.Address{{Name: "MAILER-DAEMON", Address: r.From.String()}})
	h.SetAddressList("To", []*mail.Address{{Address: r.To.String()}})
	if !r.ReplyTo.IsNull() {
		h.SetAddressList("Reply-To", []*mail.Address{{Address: r.ReplyTo.String()}})
	}
	h.SetSubject(subject(oneLine(r.Header.Get("Subject"))))
	h.Set("Message-Id", r.MessageID)
	refs := r.References[max(0, len(r.References)-maxReferences):]
	if r.Answers != "" {
		h.Set("In-Reply-To", r.Answers)
		refs = append(slices.Clip(refs), r.Answers)
	}
	h.Set("References", strings.Join(append(refs, r.Tag), " "))
	h.Set("Auto-Submitted", "auto-replied")
	h.Set("X-Auto-Response-Suppress", "All")
	h.Set("Content-Type", `text/plain; charset=utf-8`)
	var b bytes.Buffer
	w, err := mail.CreateSingleInlineWriter(&b, h)
	if err != nil {
		return nil, fmt.Errorf("writing a refusal: %w", err)
	}
	if _, err := io.WriteString(w, strings.ReplaceAll(text(&r), "\n", "\r\n")); err != nil {
		return nil, fmt.Errorf("writing a refusal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing a refusal: %w", err)
	}
	return b.Bytes(), nil
}

// subject returns the subject of an answer to a mail with the subject s.
func subject(s string) string {
	switch {
	case s == "":
		return "Re: your message"
	case len(s) >= 3 && strings.EqualFold(s[:3], "re:"):
		return s
	}
	return "Re: " + s
}

// text returns what the mail says.
func text(r *Refusal) string {
	var b strings.Builder
	b.WriteString("Hello,\n\nyour message could not be taken")
	if len(r.Recipients) > 0 {
		b.WriteString(" for ")
		for i, a := range r.Recipients {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(a.String())
		}
	}
	b.WriteString(".\n\n" + strings.TrimSpace(strings.ReplaceAll(r.Help, "\r", "")) + "\n\n-- \n")
	b.WriteString("This is an automatic answer of the mail system at " + r.Hostname + ".\n\nThe header of your message:\n\n")
	n := 0
	for _, f := range r.Header.Fields() {
		for line := range strings.SplitSeq(strings.TrimRight(string(f.Raw), "\r\n"), "\n") {
			line = "> " + oneLine(line) + "\n"
			if n += len(line); n > maxQuoted {
				return b.String()
			}
			b.WriteString(line)
		}
	}
	return b.String()
}

// oneLine returns s as valid UTF-8 without control characters.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(strings.Trim(s, "\r\n"), "?"))
}
