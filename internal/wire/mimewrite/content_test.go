// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// read opens c in that encoding and reads it.
func read(tb testing.TB, c *Content, enc mailflow.Encoding) string {
	tb.Helper()
	r, err := c.Open(tb.Context(), enc)
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.Close(); err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func TestHeaderChanges(t *testing.T) {
	t.Parallel()
	const mail = "Received: from a\n\tby b; date\nReturn-Path: <x@y.example>\nX-A: 1\nx-a: 2\nBCC: secret@y.example,\n also@y.example\n" +
		"this is no field\nSubject: Hi\nResent-Bcc: s@y.example\n\nbody\n.\n"
	const kept = "Received: from a\n\tby b; date\nX-A: 1\nx-a: 2\nthis is no field\nSubject: Hi\n\nbody\n.\n"
	change := func(op mailflow.HeaderOp, name, value string) mailflow.HeaderChange {
		return mailflow.HeaderChange{Op: op, Name: name, Value: value}
	}
	for _, c := range []struct {
		name     string
		received string
		changes  []mailflow.HeaderChange
		want     string
	}{
		{"none", "", nil, kept},
		{"received", "Received: by me\r\n", nil, "Received: by me\n" + kept},
		{"set", "", []mailflow.HeaderChange{change("set", "X-a", "new")}, strings.Replace(kept, "X-A: 1\nx-a: 2\n", "X-a: new\n", 1)},
		{"set a new one", "R: 1\r\n", []mailflow.HeaderChange{change("set", "X-B", "new")}, "R: 1\nX-B: new\n" + kept},
		{"add", "", []mailflow.HeaderChange{change("add", "X-A", "0")}, "X-A: 0\n" + kept},
		{"ensure, there", "", []mailflow.HeaderChange{change("ensure", "subject", "0")}, kept},
		{"ensure, not there", "", []mailflow.HeaderChange{change("ensure", "Date", "now")}, "Date: now\n" + kept},
		{"remove a part", "", []mailflow.HeaderChange{change("remove", "X-A", "1")}, strings.Replace(kept, "X-A: 1\n", "", 1)},
		{"remove no part", "", []mailflow.HeaderChange{change("remove", "X-A", "none")}, kept},
		{"remove", "", []mailflow.HeaderChange{change("remove", "X-A", "")}, strings.Replace(kept, "X-A: 1\nx-a: 2\n", "", 1)},
		{
			"in order", "",
			[]mailflow.HeaderChange{change("remove", "X-A", ""), change("ensure", "X-A", "3"), change("ensure", "X-A", "4")},
			"X-A: 3\n" + strings.Replace(kept, "X-A: 1\nx-a: 2\n", "", 1),
		},
		{"bcc is never sent", "", []mailflow.HeaderChange{change("set", "Bcc", "a@b.example")}, kept},
	} {
		m := mailflowtest.NewMessage(t, mail)
		content, err := New(Params{Message: m, Received: c.received, Changes: c.changes})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got := read(t, content, mailflow.EncodingAsIs)
		if got != crlf(c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, crlf(c.want))
		}
		if int64(len(got)) != content.Size() {
			t.Errorf("%s: size %d of %d", c.name, content.Size(), len(got))
		}
		if again := read(t, content, mailflow.EncodingAsIs); again != got {
			t.Errorf("%s: opened again it differs", c.name)
		}
	}
}

func TestRefusedChanges(t *testing.T) {
	t.Parallel()
	for _, c := range []mailflow.HeaderChange{
		{Op: "set", Name: "X-A", Value: "a\r\nBcc: b"},
		{Op: "add", Name: "X-A", Value: "a\nb"},
		{Op: "add", Name: "X-A", Value: "a\x00b"},
		{Op: "add", Name: "X A", Value: "a"},
		{Op: "add", Name: "X:A", Value: "a"},
		{Op: "remove", Name: "", Value: ""},
		{Op: "replace", Name: "X-A", Value: "a"},
	} {
		if _, err := New(Params{Message: mailflowtest.NewMessage(t, "A: b\n\n"), Changes: []mailflow.HeaderChange{c}}); err == nil {
			t.Errorf("%+v was made", c)
		}
	}
}

func TestOddMessages(t *testing.T) {
	t.Parallel()
	for _, mail := range []string{"\n", "\nbody\n", "A: b\n", "no field\n", "A: b\n\n", "A: b\nno field\n folded\n", " folded first\nA: b\n\nx", "From x y\nA: b\n\n"} {
		content, err := New(Params{Message: mailflowtest.NewMessage(t, mail), Received: "R: x\r\n"})
		if err != nil {
			t.Errorf("%q: %v", mail, err)
			continue
		}
		if got := read(t, content, mailflow.EncodingAsIs); got != "R: x\r\n"+crlf(mail) {
			t.Errorf("%q became %q", mail, got)
		}
	}
	_, err := New(Params{Message: mailflowtest.NewMessage(t, strings.Repeat("A: b\n", 1<<18))})
	if !errors.Is(err, ErrHeaderSize) {
		t.Errorf("a huge header gives %v", err)
	}
	m := mailflowtest.NewMessage(t, "A: b\n\n")
	broken := mailflowtest.NewBody([]byte("A: b\r\n\r\n"))
	broken.Fail = io.ErrUnexpectedEOF
	m.Body = broken
	if _, err := New(Params{Message: m}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that cannot be read gives %v", err)
	}
}

func TestAddedFields(t *testing.T) {
	t.Parallel()
	long := strings.TrimSpace(strings.Repeat("word ", 60))
	for _, c := range []struct{ header, name, value, want string }{
		{"A: b", "Subject", "Grüße", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"},
		{"A: ü", "Subject", "Grüße", "Subject: Grüße\r\n"},
		{"A: b", "From", "Jörg Müller <j@bücher.example>", "From: =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <j@xn--bcher-kva.example>\r\n"},
		{"A: b", "Reply-To", `"Anna" <a@b.example>`, "Reply-To: \"Anna\" <a@b.example>\r\n"},
		{"A: b", "From", "jörg@b.example", "From: <jörg@b.example>\r\n"},
		{"A: b", "X-A", "  blanks  within  ", "X-A: blanks  within\r\n"},
		{"A: b", "X-Long", long, ""},
		{"A: b", "X-Word", strings.Repeat("x", 300), "X-Word: " + strings.Repeat("x", 300) + "\r\n"},
		{"A: b", "X-Huge", strings.Repeat("x", 3000), ""},
		{"A: b", "Subject", strings.Repeat("ü", 400), ""},
	} {
		m := mailflowtest.NewMessage(t, c.header+"\n\n")
		content, err := New(Params{Message: m, Changes: []mailflow.HeaderChange{{Op: "add", Name: c.name, Value: c.value}}})
		if err != nil {
			t.Fatal(err)
		}
		h := mailflow.ParseHeader(content.Header())
		f := h.Fields()[0]
		if c.want != "" && string(f.Raw) != c.want {
			t.Errorf("%s: %q became %q", c.name, c.value, f.Raw)
		}
		if c.want == "" && h.Get(c.name) != c.value {
			t.Errorf("%s: %q reads as %q", c.name, c.value, h.Get(c.name))
		}
		for line := range bytes.SplitSeq(f.Raw, []byte("\r\n")) {
			if c.want == "" && len(line) > foldAt {
				t.Errorf("%s: line of %d", c.name, len(line))
			}
		}
		if content.UTF8Header() != !isASCII(string(content.Header())) {
			t.Errorf("%s: UTF8Header is %v", c.name, content.UTF8Header())
		}
	}
}

func TestReceived(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.March, 2, 10, 30, 0, 0, time.FixedZone("", 7200))
	one := mailflowtest.NewEnvelope("", "bob@example.com").Recipients
	peer := mailflow.Peer{Protocol: "ESMTPS", IP: netip.MustParseAddr("192.0.2.1"), Hello: "client.example", User: "secret"}
	for _, c := range []struct {
		name  string
		stamp Stamp
		want  string
	}{
		{
			"one recipient",
			Stamp{&peer, "mx.example", "01ID", one, at},
			"Received: from client.example ([192.0.2.1])\r\n\tby mx.example with ESMTPS id 01ID\r\n\tfor <bob@example.com>;\r\n\tMon, 02 Mar 2026 10:30:00 +0200\r\n",
		},
		{
			"two recipients",
			Stamp{&peer, "mx.example", "01ID", append(one, one...), at},
			"Received: from client.example ([192.0.2.1])\r\n\tby mx.example with ESMTPS id 01ID;\r\n\tMon, 02 Mar 2026 10:30:00 +0200\r\n",
		},
		{
			"local",
			Stamp{&mailflow.Peer{Protocol: "local"}, "mx.example", "01ID", nil, at},
			"Received: by mx.example id 01ID;\r\n\tMon, 02 Mar 2026 10:30:00 +0200\r\n",
		},
		{
			"v6 and a bad hello",
			Stamp{&mailflow.Peer{Protocol: "SMTP", IP: netip.MustParseAddr("2001:db8::1"), Hello: "x\r\nBcc: y"}, "mx.example", "01ID", nil, at},
			"Received: from [IPv6:2001:db8::1]\r\n\tby mx.example with SMTP id 01ID;\r\n\tMon, 02 Mar 2026 10:30:00 +0200\r\n",
		},
	} {
		if got := Received(c.stamp); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzContent holds the promise that nothing changes but what is named.
func FuzzContent(f *testing.F) {
	for _, s := range []string{"A: b\r\n\r\nbody", "Bcc: x\r\n y\r\nA: b\r\n", "x\r\n\r\n", " a\r\nBcc:\r\n\r\n", "\r\n\r\n", "A: b\nBcc: c\n\nd\n"} {
		f.Add([]byte(s), "X-New", "välue")
	}
	f.Fuzz(func(t *testing.T, raw []byte, name, value string) {
		m := &mailflow.Message{Header: mailflow.ParseHeader(raw), Body: mailflowtest.NewBody(raw)}
		content, err := New(Params{Message: m})
		if err != nil {
			return
		}
		plain := read(t, content, mailflow.EncodingAsIs)
		want := string(raw)
		for _, field := range m.Header.Fields() {
			for _, never := range neverSent {
				if strings.EqualFold(field.Name, never) {
					want = strings.Replace(want, string(field.Raw), "", 1)
				}
			}
		}
		if len(plain) != len(want) {
			t.Fatalf("%q became %q", raw, plain)
		}
		if len(want) == len(raw) && plain != want {
			t.Fatalf("%q became %q", raw, plain)
		}
		changed, err := New(Params{Message: m, Changes: []mailflow.HeaderChange{{Op: mailflow.HeaderAdd, Name: name, Value: value}}})
		if err != nil {
			return
		}
		got := read(t, changed, mailflow.EncodingAsIs)
		if int64(len(got)) != changed.Size() || !strings.HasSuffix(got, plain) {
			t.Fatalf("adding %q: %q to %q gives %q", name, value, raw, got)
		}
		if added := got[:len(got)-len(plain)]; added != "" {
			if h := mailflow.ParseHeader([]byte(added + "\r\n")); len(h.Fields()) != 1 || h.Size() != len(added)+2 {
				t.Fatalf("adding %q: %q gives %q", name, value, added)
			}
		}
	})
}
