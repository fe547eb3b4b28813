// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// twoServers is a gateway with a server for billing@mycompany.com and all of
// mycompany.ro, and one for everybody else. It leaves senders as they are.
const twoServers = `{
	mail {
		hostname mx.mycompany.com
		store sqlite data
		domain mycompany.com {
			default
		}
		domain mycompany.ro
		outgoing billing {
			from_filter billing@mycompany.com mycompany.ro
			via smtp %s {
				tls off
			}
		}
		outgoing everything {
			via smtp %s {
				tls off
			}
		}
		smtp %s
		outbound {
			choose_server
		}
	}
}
`

// contents are messages as an application may submit them, by what is special
// about them. None needs an extension of the next hop that smtp-sink lacks.
var contents = map[string]string{
	"plain":          "Date: Sat, 21 Nov 2026 16:00:00 +0000\nMessage-Id: <plain@client.example>\nFrom: x\nSubject: plain\n\nHello.\n",
	"no-date":        "Message-Id: <no-date@client.example>\nSubject: s\n\nx\n",
	"no-id":          "Date: Sat, 21 Nov 2026 16:00:00 +0000\nSubject: s\n\nx\n",
	"neither":        "Subject: s\n\nx\n",
	"empty-body":     "Subject: s\n\n",
	"header-only":    "Subject: s\n",
	"dots":           "Subject: dots\n\n.\n..\n.x\n...\nx.\n.\n",
	"long-lines":     "Subject: long\n\n" + strings.Repeat("y", 998) + "\n." + strings.Repeat("z", 997) + "\n",
	"bcc":            "Subject: s\nReturn-Path: <old@client.example>\nTo: a@b.example\nBCC: secret@b.example,\n\tmore@b.example\nX-After: 1\nResent-Bcc: c@d.example\n\nBcc: this is text\n",
	"folded":         "Subject: one\n two\n\tthree \nX-Empty:\nX-Odd : name\nReceived: from elsewhere by here; Sat, 21 Nov 2026 15:00:00 +0000\n\nx\n",
	"trailing-lines": "Subject: s\n\nx\n\n\n\n",
	"blanks":         "Subject: s\n\n trailing \t \n\t\n",
	"eight-bit":      "Subject: s\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße \x80\xff\n",
	"large":          "Subject: large\n\n" + strings.Repeat(strings.Repeat("L", 76)+"\n", 3000),
}

// TestTwoSinks sends through two smtp-sinks: each gets the mail that is its
// own, with all bytes but those of the headers that may change.
func TestTwoSinks(t *testing.T) {
	t.Parallel()
	billing, everything := startSink(t), startSink(t)
	door := freeAddress(t)
	startGateway(t, fmt.Sprintf(twoServers, billing.address, everything.address, door))

	sent := make(map[string]string) // content by recipient
	c := mustDial(t, door)
	for name, content := range contents {
		for _, from := range []string{"billing@mycompany.com", "anna@mycompany.com"} {
			m := submission{from: from, to: name + "." + from[:4] + "@example.net", content: "From: " + from + "\r\n" + crlf(content)}
			if strings.ContainsFunc(content, func(r rune) bool { return r > 0x7f }) {
				m.mailParams = "BODY=8BITMIME"
			}
			c.mustSend(t, m)
			sent["<"+m.to+">"] = m.content
		}
	}
	c.quit()
	for _, from := range []string{"bob@mycompany.ro", "carol@elsewhere.example"} {
		to := strings.ReplaceAll(from, "@", "-at-") + "@example.net"
		body := "Date: Sat, 21 Nov 2026 16:00:00 +0000\nMessage-Id: <" + to + ">\nFrom: " + from + "\nSubject: by swaks\n\n.dot\nHello.\n"
		if transcript, code := swaks(t, door, "--from", from, "--to", to, "--data", body); code != 0 {
			t.Fatalf("swaks: exit %d\n%s", code, transcript)
		}
		sent["<"+to+">"] = ""
	}

	for name, want := range map[string]struct {
		sink *sink
		from []string
	}{
		"billing":    {billing, []string{"billing@mycompany.com", "bob@mycompany.ro"}},
		"everything": {everything, []string{"anna@mycompany.com", "carol@elsewhere.example"}},
	} {
		for _, m := range want.sink.await(len(contents) + 1) {
			sender, _, _ := strings.Cut(strings.TrimPrefix(m.mail, "<"), ">")
			if !slices.Contains(want.from, sender) {
				t.Errorf("%s got the mail from %s to %s, which is not its own", name, m.mail, m.rcpts)
			}
			content, ok := sent[strings.Join(m.rcpts, "+")]
			if !ok {
				t.Errorf("%s got a mail to %s, which nobody sent", name, m.rcpts)
			}
			if content == "" {
				continue // swaks chose its bytes
			}
			if err := compare(content, crlf(m.content)); err != nil {
				t.Errorf("%s, mail to %s: %v", name, m.rcpts, err)
			}
		}
	}
}

// TestBytes sends what smtp-sink cannot tell: the exact line ends, what comes
// in by BDAT, and the parameters of MAIL and RCPT.
func TestBytes(t *testing.T) {
	t.Parallel()
	far := new(mailflowtest.Relay)
	door := freeAddress(t)
	address := far.Start(t)
	startGateway(t, fmt.Sprintf(twoServers, address, address, door))

	sent := make(map[string]submission)
	submit := func(m submission, send func(submission) (answer, error)) {
		t.Helper()
		if a, err := send(m); err != nil || a.code != 250 {
			t.Errorf("sending to %s: %v, %v", m.to, a, err)
			return
		}
		sent["<"+m.to+">"] = m
	}
	c := mustDial(t, door)
	for name, content := range contents {
		m := submission{from: "anna@mycompany.com", to: name + "@example.net", mailParams: "BODY=8BITMIME", content: crlf(content)}
		submit(m, c.send)
		m.to = "bdat-" + m.to
		submit(m, func(m submission) (answer, error) { return c.sendChunks(m, 1000) })
		m.to = "one-" + m.to
		submit(m, func(m submission) (answer, error) { return c.sendChunks(m, 1<<20) })
	}
	submit(submission{
		from: "anna@mycompany.com", to: "no-final-newline@example.net",
		content: "Subject: s\r\n\r\nno newline",
	}, func(m submission) (answer, error) { return c.sendChunks(m, 7) })
	submit(submission{
		from: "anna@mycompany.com", to: "grüße@example.net", mailParams: "SMTPUTF8 BODY=8BITMIME",
		content: "From: anna@mycompany.com\r\nSubject: Grüße\r\n\r\nGrüße\r\n",
	}, c.send)
	submit(submission{
		from: "anna@mycompany.com", to: "dsn@example.net", mailParams: "RET=HDRS ENVID=env+2Bid",
		rcptParams: "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;other+2B@example.net", content: "Subject: s\r\n\r\nx\r\n",
	}, c.send)
	c.quit()

	await(t, "the far end has every mail", func() bool { return len(far.Messages()) >= len(sent) })
	for _, got := range far.Messages() {
		if len(got.Rcpt) != 1 {
			t.Errorf("a mail came with the recipients %q", got.Rcpt)
			continue
		}
		path, params, _ := strings.Cut(got.Rcpt[0], " ")
		m, ok := sent[path]
		if !ok {
			t.Errorf("a mail to %s came, which nobody sent, or twice", path)
			continue
		}
		delete(sent, path)
		content := m.content
		if !strings.HasSuffix(content, "\r\n") {
			content += "\r\n" // DATA cannot say otherwise
		}
		if err := compare(content, string(got.Content)); err != nil {
			t.Errorf("mail to %s: %v", path, err)
		}
		for param := range strings.FieldsSeq(m.mailParams) {
			if param == "BODY=8BITMIME" && !strings.ContainsFunc(content, func(r rune) bool { return r > 0x7f }) {
				continue // it needs none
			}
			if !hasParam(got.Mail, param) {
				t.Errorf("mail to %s: MAIL %s, want %s", path, got.Mail, param)
			}
		}
		for param := range strings.FieldsSeq(m.rcptParams) {
			if !hasParam(params, param) {
				t.Errorf("mail to %s: RCPT %s, want %s", path, params, param)
			}
		}
	}
	for path := range sent {
		t.Errorf("the mail to %s did not come", path)
	}
}

// hasParam reports whether param is among the parameters of a command.
func hasParam(args, param string) bool {
	return slices.ContainsFunc(strings.Fields(args), func(p string) bool { return strings.EqualFold(p, param) })
}
