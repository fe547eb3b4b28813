// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

const oneServer = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com
		outgoing far {
			via smtp %s {
				tls off
			}
		}
		queue {
			concurrency %d
		}
		smtp %s
	}
}
`

// submitMany submits n mails over several connections; the recipients are
// 0@example.net and so on. All of them must be taken.
func submitMany(t *testing.T, door string, n int) {
	t.Helper()
	const clients = 10
	work := make(chan int)
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			c, err := dial(door)
			if err != nil {
				t.Error(err)
			} else {
				defer c.quit()
			}
			for i := range work {
				if err != nil {
					continue
				}
				m := mailOf(fmt.Sprint(i))
				if a, err := c.send(m); err != nil || a.code != 250 {
					t.Errorf("sending to %s: %v, %v", m.to, a, err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	group.Wait()
}

// mailOf returns a short mail to name@example.net with name as its subject.
func mailOf(name string) submission {
	return submission{
		from: "anna@mycompany.com", to: name + "@example.net",
		content: "From: anna@mycompany.com\r\nMessage-Id: <" + name + "@client.example>\r\nSubject: " + name + "\r\n\r\nHello.\r\n",
	}
}

// checkOnce reports the mails among n that did not come, or came twice.
func checkOnce(t *testing.T, got []mailflowtest.RelayMessage, n int) {
	t.Helper()
	times := make(map[string]int)
	for _, m := range got {
		for _, rcpt := range m.Rcpt {
			times[rcpt]++
		}
	}
	for i := range n {
		if rcpt := fmt.Sprintf("<%d@example.net>", i); times[rcpt] != 1 {
			t.Errorf("the mail to %s came %d times, want once", rcpt, times[rcpt])
		}
	}
	if len(got) != n {
		t.Errorf("%d mails came, want %d", len(got), n)
	}
}

// TestFarEndDown accepts mail while the server cannot be reached. When it is
// back, all of it goes out soon, once, and with no command.
func TestFarEndDown(t *testing.T) {
	t.Parallel()
	const n = 500
	far := new(mailflowtest.Relay)
	way := newGate(t, far.Start(t))
	door := freeAddress(t)
	g := startGateway(t, fmt.Sprintf(oneServer, way.address, 20, door))

	submitMany(t, door, n)
	await(t, "the server is known to be down", func() bool {
		return slices.Equal(g.health().Down, []string{"far"})
	})
	list := g.queue("--limit", fmt.Sprint(2*n))
	attempts, waiting := 0, 0
	for _, d := range list {
		attempts += d.Attempts
		if slices.Contains([]string{"queued", "deferred", "sending"}, d.State) {
			waiting++
		}
	}
	if waiting != n {
		t.Errorf("%d deliveries wait, want %d", waiting, n)
	}
	if attempts > n/2 {
		t.Errorf("%d attempts were made while the server was down: one of them probes, the others wait", attempts)
	}
	if got := far.Messages(); len(got) > 0 {
		t.Fatalf("%d mails came through a closed gate", len(got))
	}

	way.open()
	opened := time.Now()
	await(t, "all mail has come", func() bool { return len(far.Messages()) >= n })
	t.Logf("%d mails came %v after the server was back; %d attempts before", n, time.Since(opened).Round(time.Millisecond), attempts)
	await(t, "the queue is empty", func() bool { return g.open() == 0 })
	checkOnce(t, far.Messages(), n)
}

const giveUp = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com
		outgoing stubborn {
			from_filter client.example
			via smtp %s {
				tls off
			}
		}
		outgoing other {
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
// gets a report about it, by the server that may carry the report.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, reply, giveUp, state, status string
	}{
		{"deferred", "451 4.2.2 mailbox full", "2s", "expired", "5.4.7"},
		{"refused", "550 5.1.1 no such mailbox", "1h", "failed", "5.1.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stubborn := &mailflowtest.Relay{Script: mailflowtest.RelayAt(mailflowtest.RelayRcpt, mailflowtest.RelaySay(tt.reply))}
			other := new(mailflowtest.Relay)
			door := freeAddress(t)
			g := startGateway(t, fmt.Sprintf(giveUp, stubborn.Start(t), other.Start(t), tt.giveUp, door))

			m := submission{
				from: "anna@client.example", to: "bob@example.net", mailParams: "RET=HDRS ENVID=env1",
				content: "From: Anna <anna@client.example>\r\nSubject: give up\r\nMessage-Id: <g@client.example>\r\n\r\nsecret body\r\n",
			}
			mustDial(t, door).mustSend(t, m)
			await(t, "the report has come", func() bool { return len(other.Messages()) > 0 })
			got := other.Messages()[0]
			if !strings.HasPrefix(got.Mail, "<>") || !slices.Equal(got.Rcpt, []string{"<anna@client.example> NOTIFY=NEVER"}) {
				t.Errorf("the report came with MAIL %s and RCPT %q, want <> and the sender", got.Mail, got.Rcpt)
			}
			checkReport(t, string(got.Content), tt.status, tt.reply)
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

// checkReport parses a report (RFC 3464) about the mail of TestGiveUp, which
// the server answered with reply.
func checkReport(t *testing.T, content, status, reply string) {
	t.Helper()
	msg, err := mail.ReadMessage(strings.NewReader(content))
	if err != nil {
		t.Fatalf("reading the report: %v\n%s", err, content)
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
	if want := []string{"text/plain", "message/delivery-status", "text/rfc822-headers"}; !slices.Equal(kinds, want) {
		t.Fatalf("the parts of the report are %q, want %q", kinds, want)
	}
	if strings.Contains(content, "secret body") {
		t.Error("the report quotes the body although RET=HDRS was said")
	}
	if !strings.Contains(texts[2], "Subject: give up\r\n") {
		t.Errorf("the report quotes %q, want the header of the mail", texts[2])
	}
	forPrograms := textproto.NewReader(bufio.NewReader(strings.NewReader(texts[1])))
	about, err := forPrograms.ReadMIMEHeader()
	if err != nil {
		t.Fatalf("the fields about the message: %v\n%s", err, texts[1])
	}
	rcpt, err := forPrograms.ReadMIMEHeader()
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("the fields about the recipient: %v\n%s", err, texts[1])
	}
	for _, field := range []struct{ got, want string }{
		{about.Get("Reporting-MTA"), "dns; mx.mycompany.com"},
		{about.Get("Original-Envelope-Id"), "env1"},
		{rcpt.Get("Final-Recipient"), "rfc822; bob@example.net"},
		{rcpt.Get("Action"), "failed"},
		{rcpt.Get("Status"), status},
		{rcpt.Get("Diagnostic-Code"), "smtp; " + reply},
	} {
		if !strings.EqualFold(field.got, field.want) {
			t.Errorf("a field of the report is %q, want %q\n%s", field.got, field.want, texts[1])
		}
	}
}
