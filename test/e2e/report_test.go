// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

const giveUp = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com {
			default_from off
		}
		outgoing stubborn {
			from_filter client.example
			via smtp %s {
				tls off
			}
		}
		outgoing other {
			from_filter mycompany.com
			via smtp %s {
				tls off
			}
		}
		queue {
			retry 200ms
			give_up %s
		}
		smtp %s
	}
}
`

// TestGiveUp has a server that never takes a mail: after give_up the sender
// gets a report about it, by the server that may carry the report but not the
// mail.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reply, giveUp, state, status, diagnosis string
	}{
		{"deferred", "451 4.2.2 mailbox full", "2s", "expired", "5.4.7", "smtp; 451 4.2.2 mailbox full"},
		{"refused", "550 5.1.1 no such mailbox", "1h", "failed", "5.1.1", "smtp; 550 5.1.1 no such mailbox"},
		{"unreachable", "", "2s", "expired", "5.4.7", "smtp; 451 4.4."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stubborn := &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayRcpt, mailflowtest.RelaySay(tt.reply))}
			address := stubborn.Start(t)
			if tt.reply == "" {
				address = freeAddress(t)
			}
			other, door := new(mailflowtest.Relay), freeAddress(t)
			g := startGateway(t, fmt.Sprintf(giveUp, address, other.Start(t), tt.giveUp, door))

			mustDial(t, door).mustSend(t, submission{
				from: "anna@client.example", to: "bob@example.net", mailParams: "RET=HDRS ENVID=env1",
				content: "From: Anna <anna@client.example>\r\nSubject: give up\r\nMessage-Id: <g@client.example>\r\n\r\nsecret body\r\n",
			})
			await(t, "the report has come", func() bool { return len(other.Messages()) > 0 })
			r := readReport(t, other.Messages()[0])
			r.expect("about", r.about, map[string]string{
				"Reporting-Mta": "dns; mx.mycompany.com", "Original-Envelope-Id": "env1",
			})
			if len(r.rcpts) != 1 {
				t.Fatalf("the report is about %d recipients, want 1: %v", len(r.rcpts), r.rcpts)
			}
			r.expect("recipient", r.rcpts[0], map[string]string{
				"Final-Recipient": "rfc822; bob@example.net", "Action": "failed",
				"Status": tt.status, "Diagnostic-Code": tt.diagnosis,
			})
			if r.quoted != "text/rfc822-headers" || !strings.Contains(r.quote, "Subject: give up\r\n") || strings.Contains(r.quote, "secret") {
				t.Errorf("the report quotes as %s %q, want the header alone", r.quoted, r.quote)
			}
			await(t, "the queue is empty", func() bool { return g.open() == 0 })
			for _, d := range g.queue() {
				if want := map[string]string{"stubborn": tt.state, "other": "sent"}[d.Server]; d.State != want {
					t.Errorf("the delivery by %s is %s, want %s", d.Server, d.State, want)
				}
			}
			if got := stubborn.Messages(); len(got) > 0 {
				t.Errorf("the stubborn server took %d mails", len(got))
			}
		})
	}
}

// TestParts sends one mail to recipients that the server answers differently:
// each gets it once, and the report is about the refused one alone.
func TestParts(t *testing.T) {
	t.Parallel()
	var later atomic.Int32
	far := &mailflowtest.Relay{Script: func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
		switch {
		case e.Stage != mailflowtest.RelayRcpt:
		case strings.Contains(e.Line, "bad@"):
			return mailflowtest.RelaySay("550 5.1.1 no such mailbox")
		case strings.Contains(e.Line, "later@") && later.Add(1) < 3:
			return mailflowtest.RelaySay("451 4.7.1 greylisted")
		}
		return nil
	}}
	other, door := new(mailflowtest.Relay), freeAddress(t)
	g := startGateway(t, fmt.Sprintf(giveUp, far.Start(t), other.Start(t), "1h", door))
	c := mustDial(t, door)
	m := submission{from: "anna@client.example", to: "good@example.net", content: "From: anna@client.example\r\nSubject: parts\r\n\r\nx\r\n"}
	m.rcptParams = "\r\nRCPT TO:<bad@example.net>\r\nRCPT TO:<later@example.net>\r\nRCPT TO:<fine@example.net>"
	if err := c.write([]byte(m.envelope() + "DATA\r\n")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{250, 250, 250, 250, 250, 354} {
		if a, err := c.read(); err != nil || a.code != want {
			t.Fatalf("%v, %v, want %d", a, err, want)
		}
	}
	if a, err := c.finish(m, 0); err != nil || a.code != 250 {
		t.Fatalf("%v, %v", a, err)
	}
	await(t, "the queue is empty", func() bool { return g.open() == 0 && len(other.Messages()) > 0 })

	var got []string
	for _, m := range far.Messages() {
		got = append(got, m.Rcpt...)
	}
	slices.Sort(got)
	if want := []string{"<fine@example.net>", "<good@example.net>", "<later@example.net>"}; !slices.Equal(got, want) {
		t.Errorf("the mail came for %q, want %q", got, want)
	}
	if n := len(other.Messages()); n != 1 {
		t.Fatalf("%d reports came, want 1", n)
	}
	r := readReport(t, other.Messages()[0])
	if len(r.rcpts) != 1 || !strings.Contains(r.rcpts[0].Get("Final-Recipient"), "bad@example.net") {
		t.Errorf("the report is about %v, want bad@example.net alone", r.rcpts)
	}
}

// TestNotify sends mail with what RFC 3461 lets a sender ask for, by a server
// that knows nothing of it and refuses some of the recipients.
func TestNotify(t *testing.T) {
	t.Parallel()
	far := &mailflowtest.Relay{
		Offers: []string{"PIPELINING"},
		Script: func(e mailflowtest.RelayEvent) mailflowtest.RelayAct {
			if e.Stage == mailflowtest.RelayRcpt && strings.Contains(e.Line, "bad@") {
				return mailflowtest.RelaySay("550 5.1.1 no such mailbox")
			}
			return nil
		},
	}
	other, door := new(mailflowtest.Relay), freeAddress(t)
	g := startGateway(t, fmt.Sprintf(giveUp, far.Start(t), other.Start(t), "1h", door))
	c := mustDial(t, door)
	for _, m := range []submission{
		{from: "never@client.example", to: "bad@example.net", rcptParams: "NOTIFY=NEVER"},
		{from: "success@client.example", to: "good@example.net", rcptParams: "NOTIFY=SUCCESS"},
		{from: "success@client.example", to: "bad@example.net", rcptParams: "NOTIFY=SUCCESS"},
		{from: "", to: "bad@example.net"},
		{from: "plain@client.example", to: "good@example.net"},
	} {
		m.content = "From: anna@client.example\r\nSubject: notify\r\n\r\nx\r\n"
		c.mustSend(t, m)
	}
	await(t, "the queue is empty", func() bool { return g.open() == 0 && len(other.Messages()) > 0 })
	if got := other.Messages(); len(got) != 1 || !strings.HasPrefix(got[0].Rcpt[0], "<success@client.example>") {
		t.Fatalf("%d reports came, want one to success@client.example: %+v", len(got), got)
	}
	r := readReport(t, other.Messages()[0])
	if len(r.rcpts) != 1 {
		t.Fatalf("the report is about %d recipients, want 1: %v", len(r.rcpts), r.rcpts)
	}
	r.expect("recipient", r.rcpts[0], map[string]string{"Final-Recipient": "rfc822; good@example.net", "Action": "relayed"})
}

// report is a delivery status notification (RFC 3464).
type report struct {
	t      *testing.T
	about  textproto.MIMEHeader   // the fields about the message
	rcpts  []textproto.MIMEHeader // those about each recipient
	quoted string                 // the media type of the third part
	quote  string                 // and its text
}

// readReport reads a report, which has to come with the null sender.
func readReport(t *testing.T, m mailflowtest.RelayMessage) *report {
	t.Helper()
	if !strings.HasPrefix(m.Mail, "<>") || len(m.Rcpt) != 1 {
		t.Errorf("the report came with MAIL %s and RCPT %q, want <> and one recipient", m.Mail, m.Rcpt)
	}
	msg, err := mail.ReadMessage(bytes.NewReader(m.Content))
	if err != nil {
		t.Fatalf("reading the report: %v\n%s", err, m.Content)
	}
	if auto := msg.Header.Get("Auto-Submitted"); auto != "auto-replied" {
		t.Errorf("Auto-Submitted is %q, want auto-replied", auto)
	}
	for _, name := range []string{"From", "To", "Date", "Message-Id", "Subject"} {
		if msg.Header.Get(name) == "" {
			t.Errorf("the report has no field %s", name)
		}
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("the report is a %s with %v (%v), want multipart/report; report-type=delivery-status", kind, params, err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	var kinds, texts []string
	for {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		kinds, texts = append(kinds, kind), append(texts, string(text))
	}
	if len(kinds) != 3 || kinds[0] != "text/plain" || kinds[1] != "message/delivery-status" {
		t.Fatalf("the parts of the report are %q, want text/plain, message/delivery-status, and the mail", kinds)
	}
	r := &report{t: t, quoted: kinds[2], quote: texts[2]}
	fields := textproto.NewReader(bufio.NewReader(strings.NewReader(texts[1])))
	if r.about, err = fields.ReadMIMEHeader(); err != nil {
		t.Fatalf("the fields about the message: %v\n%s", err, texts[1])
	}
	for {
		rcpt, err := fields.ReadMIMEHeader()
		if len(rcpt) > 0 {
			r.rcpts = append(r.rcpts, rcpt)
		}
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatalf("the fields about a recipient: %v\n%s", err, texts[1])
		}
	}
}

// expect compares fields with the beginnings that they must have.
func (r *report) expect(what string, fields textproto.MIMEHeader, want map[string]string) {
	r.t.Helper()
	for name, begin := range want {
		if got := fields.Get(name); !strings.HasPrefix(got, begin) {
			r.t.Errorf("%s of the %s is %q, want %q", name, what, got, begin)
		}
	}
}
