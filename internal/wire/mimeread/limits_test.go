// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-message/textproto"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// noHeader is a first reader that gives up.
func noHeader(*bufio.Reader) (textproto.Header, error) {
	return textproto.Header{}, errors.New("malformed")
}

const simple = "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nthe text\n" +
	"--b\nContent-Type: text/html\n\n<p>the HTML</p>\n--b\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\nJVBERg==\n--b--\n"

// TestReaders goes through the readers by making the ones before give up.
func TestReaders(t *testing.T) {
	t.Parallel()
	r := standard
	r.header = noHeader
	got := readAll(t, r, crlf(simple))
	if len(got.Passages) != 2 || got.Passages[0].Text != "the text" || got.Passages[1].HTML != "<p>the HTML</p>" {
		t.Errorf("passages %q", got.Passages)
	}
	if len(got.Attachments) != 1 || got.Attachments[0].Name != "a.pdf" || got.Opened[0] != "%PDF" {
		t.Errorf("attachments %+v: %q", got.Attachments, got.Opened)
	}
	if !slices.Equal(got.Flaws, []string{flawSecond}) {
		t.Errorf("flaws %q", got.Flaws)
	}

	r.second = 10 // too long for the second one
	got = readAll(t, r, crlf(simple))
	if len(got.Passages) != 0 || len(got.Attachments) != 1 || got.Attachments[0].Type != "message/rfc822" || got.Opened[0] != string(crlf(simple)) {
		t.Errorf("unreadable: %+v, %q", got.Mail, got.Opened)
	}
	if !slices.Equal(got.Flaws, []string{flawUnreadable}) {
		t.Errorf("flaws %q", got.Flaws)
	}
}

// TestSecondNested holds that the second reader is spared what takes it for
// ever: multiparts in each other without an end.
func TestSecondNested(t *testing.T) {
	t.Parallel()
	mail := "Subject: deep\n"
	for i := range 64 {
		mail += fmt.Sprintf("Content-Type: MultiPart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	r := standard
	r.header = noHeader
	if got := readAll(t, r, crlf(mail+"\ntext\n")); !slices.Equal(got.Flaws, []string{flawUnreadable}) {
		t.Errorf("flaws %q", got.Flaws)
	}
}

// TestGivingUpMidway holds that what was read stays, and that the original is
// the last attachment then.
func TestGivingUpMidway(t *testing.T) {
	t.Parallel()
	w := &walker{nested: MaxNested, flaws: new(flaws), header: textproto.ReadHeader, in: strings.NewReader("Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\n\r\ntext\r\n--b\r\nContent-Type: image/png\r\n\r\npng\r\n--b-unsound\r\n")}
	c := &collector{limits: standard.limits}
	if err := c.collect(w); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("collected an unsound message: %v", err)
	}
	if m := c.mail(); len(m.Passages) != 1 || len(m.Attachments) != 1 || m.Attachments[0].Size != 3 {
		t.Errorf("got %+v", m)
	}
	body := mailflowtest.NewBody([]byte("original"))
	in, err := standard.openOther(t.Context(), body, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(in); string(b) != "original" || err != nil {
		t.Errorf("the original is %q, %v", b, err)
	}
}

func TestErrorsOfTheBody(t *testing.T) {
	t.Parallel()
	for _, r := range []reader{standard, {limits: standard.limits, header: noHeader}} {
		body := mailflowtest.NewBody(crlf(simple))
		body.Fail = io.ErrClosedPipe
		if _, err := r.read(t.Context(), body); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("reading gives %v", err)
		}
		if _, err := r.open(t.Context(), body, 0); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("opening gives %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.read(ctx, mailflowtest.NewBody(crlf(simple))); !errors.Is(err, context.Canceled) {
			t.Errorf("reading with a dead context gives %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	in, err := Open(ctx, mailflowtest.NewBody(crlf(strings.Replace(simple, "JVBERg==", strings.Repeat("JVBE", 1<<16), 1))), 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(in); !errors.Is(err, context.Canceled) {
		t.Errorf("reading an attachment with a dead context gives %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	part := "--b\nContent-Type: text/plain; name=%d.txt\n\nattached %d\n"
	var many strings.Builder
	many.WriteString("Content-Type: multipart/mixed; boundary=b\n\n")
	for i := range 10 {
		fmt.Fprintf(&many, part, i, i)
	}
	many.WriteString("--b--\n")
	nested := "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\nx\n--c--\n--b--\n--a\n\nlast\n--a--\n"
	for _, c := range []struct {
		name  string
		set   func(*limits)
		mail  string
		check func(golden) bool
		flaw  string
	}{
		{"attachments", func(l *limits) { l.attachments = 3 }, many.String(), func(g golden) bool { return len(g.Attachments) == 3 && g.Opened[2] == "attached 2" }, flawAttachments},
		{"parts", func(l *limits) { l.parts = 4 }, many.String(), func(g golden) bool { return len(g.Attachments) == 3 && len(g.Passages) == 0 }, flawParts},
		{"attachment", func(l *limits) { l.attachmentBytes = 4 }, simple + "--b\nContent-Type: a/b\n\n12345678\n--b--\n", func(g golden) bool {
			return g.Attachments[0].Size == 4 && g.Opened[0] == "%PDF" && g.Opened[1] == "1234"
		}, flawLongPart},
		{"text", func(l *limits) { l.text = 10 }, "X: y\n\n123456789\u00fc23", func(g golden) bool {
			return g.Passages[0].Text == "123456789" && len(g.Flaws) == 1
		}, flawLongText},
		{"text of several parts", func(l *limits) { l.text = 10 }, "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n12345678\n--b\n\n12345678\n--b--\n", func(g golden) bool {
			return g.Passages[0].Text == "12345678" && g.Passages[1].Text == "12"
		}, flawLongText},
		{"text that grows", func(l *limits) { l.text = 10 }, "X: y\n\n\xfc\xfc\xfc\xfc\xfc\xfc\xfc\xfc", func(g golden) bool { return g.Passages[0].Text == "üüüüü" }, flawLongText},
		{"quotes that grow", func(l *limits) { l.text = 10 }, "Content-Type: text/plain; format=flowed\n\n>a\n>b\n>c\n>d", func(g golden) bool {
			return g.Passages[0].Text == "> a\n> b\n> "
		}, flawLongText},
		{"depth", func(l *limits) { l.depth, l.nested = 2, 2 }, nested, func(g golden) bool {
			return len(g.Attachments) == 1 && g.Opened[0] == "--c\r\n\r\nx\r\n--c--" && g.Attachments[0].Type == "multipart/alternative" && g.Passages[0].Text == "last"
		}, flawDeep},
		{"nested", func(l *limits) { l.nested = 1 }, nested, func(g golden) bool {
			return len(g.Attachments) == 0 && len(g.Passages) == 2 && g.Passages[0].Text == "x" && g.Passages[1].Text == "last"
		}, ""},
		{"header", func(l *limits) { l.header = 50 }, "A: 1\n" + strings.Repeat("X: 12345678\n", 10) + "\ntext\n", func(g golden) bool {
			return strings.HasPrefix(g.Passages[0].Text, "X: 1") && strings.HasSuffix(g.Passages[0].Text, "\n\ntext\n")
		}, flawLongHeader},
		{"field", func(*limits) {}, "Content-Type: text/html; charset=utf-8; x=\"" + strings.Repeat("x", maxFieldBytes) + "\"\n\nGr\u00fc\u00dfe", func(g golden) bool {
			return g.Passages[0].HTML == "Grüße"
		}, flawLongField},
		{"text before a header that never comes", func(*limits) {}, strings.Repeat("no field at all\n", maxDropped/8), func(g golden) bool {
			return len(g.Passages[0].Text) == 2*maxDropped
		}, flawNoHeader},
	} {
		r := standard
		c.set(&r.limits)
		got := readAll(t, r, crlf(c.mail))
		if !c.check(got) || c.flaw != "" && !slices.Contains(got.Flaws, c.flaw) {
			t.Errorf("%s: %q, %+v, %.200q, flaws %q", c.name, got.Passages, got.Attachments, got.Opened, got.Flaws)
		}
	}
}

// TestFlawLimit holds that the list of flaws has an end.
func TestFlawLimit(t *testing.T) {
	t.Parallel()
	var f flaws
	for i := range 3 * MaxFlaws {
		f.add(fmt.Sprint(i / 2))
	}
	if len(f.list) != MaxFlaws || f.list[1] != "1" {
		t.Errorf("flaws %q", f.list)
	}
}

// pattern is a body that repeats a piece between two others, without holding
// it.
type pattern struct {
	before, piece, after string
	times                int
}

func (p pattern) Size() int64 { return int64(len(p.before) + p.times*len(p.piece) + len(p.after)) }

func (pattern) Close() error { return nil }

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	end := len(p.before) + p.times*len(p.piece)
	for n := 0; n < len(b); {
		at := int(off) + n
		switch {
		case at >= end+len(p.after):
			return n, io.EOF
		case at >= end:
			n += copy(b[n:], p.after[at-end:])
		case at >= len(p.before):
			n += copy(b[n:], p.piece[(at-len(p.before))%len(p.piece):])
		default:
			n += copy(b[n:], p.before[at:])
		}
	}
	return len(b), nil
}

// TestStreaming reads and opens an attachment of 50 MiB in little memory. It is
// alone while it measures.
func TestStreaming(t *testing.T) { //nolint:paralleltest // it measures memory
	line := strings.Repeat("A", 76) + "\r\n"
	body := pattern{
		before: string(crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nthe text\n--b\nContent-Type: a/b\nContent-Transfer-Encoding: base64\n\n")),
		piece:  line, times: 50 << 20 / 57, after: "\r\n--b--\r\n",
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := Read(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	in, err := Open(t.Context(), body, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, in)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if want := int64(body.times * 57); n != want || m.Attachments[0].Size != want || m.Passages[0].Text != "the text" {
		t.Errorf("%d bytes of %d, %+v", n, want, m)
	}
	// All that is ever allocated, so no peak can be higher.
	if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
		t.Errorf("%d bytes were allocated", got)
	}
}

// TestHostileSize holds that hostile messages of some megabytes take memory of
// their length at most.
func TestHostileSize(t *testing.T) { //nolint:paralleltest // it measures memory
	const size = 4 << 20
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	head := "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
	for name, mail := range map[string]string{
		"one line":             repeat("x"),
		"one header line":      "Subject: " + repeat("x"),
		"one field":            "Content-Type: " + repeat("x;y=z "),
		"empty parts":          head + repeat("--b\r\n\r\n"),
		"parts without end":    head + repeat("--b\r\n"),
		"multiparts in others": "X: y\r\n" + repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"),
		"dashes":               head + repeat("--\r\n"),
		"closed parts":         head + repeat("--b\r\n--b--\r\n"),
		"carriage returns":     "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + repeat("\r"),
		"equal signs":          "Content-Transfer-Encoding: quoted-printable\r\n\r\n" + repeat("="),
		"encoded equal signs":  "Content-Transfer-Encoding: base64\r\n\r\n" + repeat("="),
		"quotes":               "Content-Type: text/plain; format=flowed\r\n\r\n" + repeat("> x \r\n"),
		"no boundary":          "Content-Type: multipart/mixed\r\n\r\n" + repeat("--x\r\n"),
		"base64 of nothing":    "Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(make([]byte, size)),
		"attached messages":    head + repeat("--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n"),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Read(t.Context(), mailflowtest.NewBody([]byte(mail))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 16*size {
			t.Errorf("%s: %d bytes were allocated for %d", name, got, len(mail))
		}
	}
}
