// SPDX-License-Identifier: Apache-2.0

package dsn

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	at      = time.Date(2026, time.March, 5, 10, 30, 0, 0, time.UTC)
	arrival = time.Date(2026, time.March, 2, 10, 30, 0, 0, time.UTC)
)

const message = "From: app@mycompany.com\nTo: bob@far.example\nSubject: Invoice 12\nMessage-Id: <12@mycompany.com>\n\nThe invoice.\n"

// report makes a report about raw with those recipients.
func report(tb testing.TB, raw string, rcpts ...Recipient) Report {
	tb.Helper()
	return Report{
		MessageID: "<report.1@mx.mycompany.com>", Hostname: "mx.mycompany.com", At: at,
		To: mailflow.MustParseAddress("app@mycompany.com"), Message: mailflowtest.NewMessage(tb, raw), Arrival: arrival,
		Recipients: rcpts,
	}
}

func recipient(address string, action Action, reply *mailflow.Reply) Recipient {
	return Recipient{
		Recipient: mailflow.Recipient{Address: mailflow.MustParseAddress(address)},
		Action:    action, Reply: reply, RemoteMTA: "mx.far.example", LastAttempt: at.Add(-time.Hour),
	}
}

// cases are the golden reports by file name.
func cases(tb testing.TB) map[string]Report {
	tb.Helper()
	unknown := &mailflow.Reply{Code: 550, Enhanced: mailflow.EnhancedCode{5, 1, 1}, Text: "No such user"}
	busy := &mailflow.Reply{Code: 451, Enhanced: mailflow.EnhancedCode{4, 7, 1}, Text: "Greylisted"}
	ok := &mailflow.Reply{Code: 250, Enhanced: mailflow.EnhancedCode{2, 1, 5}, Text: "OK"}

	failed := report(tb, message, recipient("bob@far.example", Failed, unknown))
	failed.EnvelopeID = "ENV+1"
	failed.Recipients[0].OriginalType, failed.Recipients[0].Original = "rfc822", "bob@old.example"

	several := report(tb, message, recipient("bob@far.example", Failed, unknown), recipient("eve@far.example", Delayed, busy), recipient("kim@far.example", Relayed, ok))
	several.Return = mailflow.ReturnHeaders
	several.Recipients[1].RetryUntil = at.Add(48 * time.Hour)

	expired := report(tb, message, recipient("bob@far.example", Failed, busy))
	never := report(tb, message, Recipient{
		Recipient: mailflow.Recipient{Address: mailflow.MustParseAddress("bob@far.example")},
		Action:    Failed, Reason: "no outgoing server could be reached",
	})
	delayed := report(tb, message, recipient("bob@far.example", Delayed, busy))
	global := report(tb, strings.Replace(message, "Invoice", "Größe", 1), recipient("jörg@far.example", Failed, unknown))
	eight := report(tb, strings.Replace(message, "The", "Größe", 1), recipient("bob@far.example", Failed, unknown))
	hostile := report(tb, message, recipient("bob@far.example", Failed, &mailflow.Reply{
		Code: 550, Text: "no\r\nStatus: 2.0.0\r\n\r\n--x\x00" + strings.Repeat(" long", 400) + " ü",
	}))
	hostile.Recipients[0].RemoteMTA = "x\r\nAction: relayed"
	hostile.EnvelopeID = "a\r\nb"
	return map[string]Report{
		"failed": failed, "several": several, "expired": expired, "never": never,
		"delayed": delayed, "global": global, "eightbit": eight, "hostile": hostile,
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, r := range cases(t) {
		got := Build(r)
		file := filepath.Join("testdata", name+".eml")
		if *update {
			if err := os.WriteFile(file, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
}

// parts reads a notification back.
func parts(t *testing.T, raw []byte) (*mail.Message, [][]byte) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	typ, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || typ != "multipart/report" {
		t.Fatalf("content type %s, %v", typ, err)
	}
	var all [][]byte
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return m, all
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
}

// statusBlocks reads the fields of the machine's part, block by block.
func statusBlocks(t *testing.T, part []byte) []mailflow.Header {
	t.Helper()
	var all []mailflow.Header
	for len(part) > 0 {
		h := mailflow.ParseHeader(part)
		if len(h.Fields()) > 0 {
			all = append(all, h)
		}
		part = part[h.Size():]
	}
	return all
}

func TestReadBack(t *testing.T) {
	t.Parallel()
	for name, r := range cases(t) {
		raw := Build(r)
		for line := range bytes.SplitSeq(raw, []byte("\r\n")) {
			if len(line) > 998 || bytes.ContainsAny(line, "\r\n") {
				t.Errorf("%s: line %q", name, line)
			}
		}
		m, all := parts(t, raw)
		if len(all) != 3 {
			t.Fatalf("%s: %d parts", name, len(all))
		}
		if got := m.Header.Get("Auto-Submitted"); got != "auto-replied" {
			t.Errorf("%s: Auto-Submitted: %s", name, got)
		}
		if got := m.Header.Get("In-Reply-To") + m.Header.Get("References"); got != "<12@mycompany.com><12@mycompany.com>" {
			t.Errorf("%s: refers to %s", name, got)
		}
		blocks := statusBlocks(t, all[1])
		if len(blocks) != 1+len(r.Recipients) {
			t.Fatalf("%s: %d blocks in %s", name, len(blocks), all[1])
		}
		for i, rcpt := range r.Recipients {
			b := blocks[i+1]
			if b.Get("Action") != string(rcpt.Action) || !strings.HasSuffix(b.Get("Final-Recipient"), "; "+rcpt.Address.String()) {
				t.Errorf("%s: %s for %s", name, b.Get("Action"), b.Get("Final-Recipient"))
			}
			class := map[Action]string{Failed: "5.", Delayed: "4.", Relayed: "2."}[rcpt.Action]
			if got := b.Values("Status"); len(got) != 1 || !strings.HasPrefix(got[0], class) {
				t.Errorf("%s: status %s of %s", name, got, rcpt.Action)
			}
		}
		if ascii := bytes.IndexFunc(raw, func(c rune) bool { return c >= 0x80 }) < 0; !ascii && m.Header.Get("Content-Transfer-Encoding") != "8bit" {
			t.Errorf("%s: 8-bit letters without saying so", name)
		}
	}
}

func TestQuotes(t *testing.T) {
	t.Parallel()
	whole := strings.ReplaceAll(message, "\n", "\r\n")
	header, _, _ := strings.Cut(whole, "\r\n\r\n")
	failed := recipient("bob@far.example", Failed, nil)
	for _, c := range []struct {
		name   string
		change func(*Report)
		want   string
	}{
		{"all of a failure", func(*Report) {}, whole},
		{"RET=HDRS", func(r *Report) { r.Return = mailflow.ReturnHeaders }, header},
		{"no failure", func(r *Report) { r.Recipients[0].Action = Delayed }, header},
		{"too large", func(r *Report) {
			r.Message = mailflowtest.NewMessage(t, message+strings.Repeat("more\n", MaxQuoted/6+1))
		}, header},
		{"body gone", func(r *Report) {
			gone := mailflowtest.NewBody([]byte(whole))
			gone.Fail = io.ErrUnexpectedEOF
			r.Message.Body = gone
		}, ""},
		{"huge header", func(r *Report) {
			r.Return = mailflow.ReturnHeaders
			r.Message = mailflowtest.NewMessage(t, "A: b\n"+strings.Repeat("X: y\n", maxHeader))
		}, ""},
	} {
		r := report(t, message, failed)
		c.change(&r)
		_, all := parts(t, Build(r))
		if got := string(all[2]); c.name != "huge header" && got != c.want || len(got) > maxHeader && c.want != whole {
			t.Errorf("%s: quotes %q", c.name, got)
		}
	}
}

// FuzzBuild lets peers and senders say what they want: the structure stays.
func FuzzBuild(f *testing.F) {
	f.Add("Message-Id: <a@b>\r\n\r\nx", "no\r\nStatus: 2.0.0", "x\r\ny", "a\r\n\r\nb", "mx")
	f.Add("\r\n", "--=_report_", "", "", "\x00")
	f.Fuzz(func(t *testing.T, raw, text, envid, original, remote string) {
		rcpt := recipient("bob@far.example", Failed, &mailflow.Reply{Code: 550, Text: text})
		rcpt.Original, rcpt.OriginalType, rcpt.RemoteMTA, rcpt.Reason = original, envid, remote, text
		r := report(t, "", rcpt)
		r.Message = &mailflow.Message{Header: mailflow.ParseHeader([]byte(raw)), Body: mailflowtest.NewBody([]byte(raw))}
		r.EnvelopeID = envid
		_, all := parts(t, Build(r))
		if len(all) != 3 {
			t.Fatalf("%d parts", len(all))
		}
		blocks := statusBlocks(t, all[1])
		if len(blocks) != 2 || len(blocks[1].Values("Status")) != 1 || blocks[1].Get("Action") != "failed" {
			t.Fatalf("blocks %q", all[1])
		}
	})
}
