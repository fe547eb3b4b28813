// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// draft is what `mail send` knows of a message beside its text.
type draft struct {
	from    mailflow.Address
	to      []mailflow.Address
	subject string
	now     time.Time
	// id is what the Message-Id is made of.
	id string
}

// draftOf reads the flags of `mail send`.
func draftOf(cmd *cobra.Command) (*draft, error) {
	d := &draft{subject: cmd.Flag("subject").Value.String(), now: time.Now(), id: rand.Text()}
	var err error
	if d.from, err = mailflow.ParseAddress(cmd.Flag("from").Value.String()); err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	texts, err := cmd.Flags().GetStringArray("to")
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		a, err := mailflow.ParseAddress(text)
		if err == nil && a.IsNull() {
			err = mailflow.ErrAddress
		}
		if err != nil {
			return nil, fmt.Errorf("--to %q: %w", text, err)
		}
		d.to = append(d.to, a)
	}
	if strings.ContainsAny(d.subject, "\r\n") {
		return nil, fmt.Errorf("--subject has a line break")
	}
	return d, nil
}

// complete returns text as a message: with CRLF line ends, and with the header
// fields that it lacks.
func (d *draft) complete(text []byte) ([]byte, error) {
	text = crlf(text)
	header := headerOf(text)
	if d.subject != "" && header.Has("Subject") {
		return nil, fmt.Errorf("--subject is given, and the message has a subject: %s", printable(header.Get("Subject")))
	}
	var out bytes.Buffer
	add := func(name, value string) {
		if !header.Has(name) {
			fmt.Fprintf(&out, "%s: %s\r\n", name, value)
		}
	}
	if !d.from.IsNull() {
		add("From", d.from.String())
	}
	add("To", joinAddresses(d.to))
	add("Subject", mime.QEncoding.Encode("utf-8", d.subject))
	add("Date", d.now.Format(time.RFC1123Z))
	add("Message-Id", "<"+d.id+"@"+d.idDomain()+">")
	if len(header.Fields()) == 0 {
		charset := "us-ascii"
		if hasEightBit(text) {
			charset = "utf-8"
			add("Content-Transfer-Encoding", "8bit")
		}
		add("MIME-Version", "1.0")
		add("Content-Type", "text/plain; charset="+charset)
		out.WriteString("\r\n")
	}
	out.Write(text)
	return out.Bytes(), nil
}

// idDomain returns the domain for a Message-Id.
func (d *draft) idDomain() string {
	if d.from.Domain != "" {
		return d.from.Domain
	}
	return d.to[0].Domain
}

// utf8 reports whether msg or its envelope needs SMTPUTF8 (RFC 6531).
func (d *draft) utf8(msg []byte) bool {
	for _, a := range append([]mailflow.Address{d.from}, d.to...) {
		if !a.IsASCII() {
			return true
		}
	}
	return hasEightBit(msg[:mailflow.ParseHeader(msg).Size()])
}

// headerOf returns the header that text begins with. Text whose first block is
// not one of fields only, or has none of those that every mail has, is a body:
// "Note: buy milk" is no header.
func headerOf(text []byte) mailflow.Header {
	h := mailflow.ParseHeader(text)
	lines := 0
	for line := range bytes.Lines(text[:h.Size()]) {
		if len(bytes.Trim(line, "\r\n")) > 0 && line[0] != ' ' && line[0] != '\t' {
			lines++
		}
	}
	if lines != len(h.Fields()) {
		return mailflow.Header{}
	}
	if !slices.ContainsFunc([]string{"From", "To", "Subject", "Date", "Message-Id"}, h.Has) {
		return mailflow.Header{}
	}
	return h
}

// crlf returns text with the line ends of mail, also at its end.
func crlf(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	text = bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
}

// hasEightBit reports whether b has a byte outside ASCII.
func hasEightBit(b []byte) bool {
	return bytes.ContainsFunc(b, func(r rune) bool { return r >= utf8.RuneSelf })
}

func joinAddresses(as []mailflow.Address) string {
	texts := make([]string, len(as))
	for i, a := range as {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}
