// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// leaves reads a message with the standard library and returns the decoded
// content of its leaves, the text between the parts left out.
func leaves(t *testing.T, header textproto.MIMEHeader, body io.Reader) []string {
	t.Helper()
	typ, params, _ := mime.ParseMediaType(header.Get("Content-Type"))
	digest := typ == "multipart/digest"
	switch {
	case strings.HasPrefix(typ, "multipart/"):
		var all []string
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if errors.Is(err, io.EOF) {
				return all
			}
			if err != nil {
				t.Fatalf("reading parts: %v", err)
			}
			if digest && p.Header.Get("Content-Type") == "" {
				p.Header.Set("Content-Type", "message/rfc822")
			}
			all = append(all, leaves(t, p.Header, p)...)
		}
	case typ == "message/rfc822":
		b, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		return leavesOf(t, string(b))
	}
	switch header.Get("Content-Transfer-Encoding") {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("decoding a part: %v", err)
	}
	return []string{string(b)}
}

func leavesOf(t *testing.T, raw string) []string {
	t.Helper()
	h := mailflow.ParseHeader([]byte(raw))
	m := make(textproto.MIMEHeader)
	for _, f := range h.Fields() {
		m.Add(f.Name, f.Value())
	}
	return leaves(t, m, strings.NewReader(raw[h.Size():]))
}

// sevenBit converts raw and checks what holds for every conversion.
func sevenBit(t *testing.T, raw string) string {
	t.Helper()
	content, err := New(Params{Message: mailflowtest.NewMessage(t, raw)})
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, content, mailflow.Encoding7Bit)
	body := got[mailflow.ParseHeader([]byte(got)).Size():]
	if !isASCII(body) {
		t.Errorf("8-bit letters are left: %q", got)
	}
	for line := range strings.SplitSeq(got, "\r\n") {
		if len(line) > maxLine && content.EightBit() {
			t.Errorf("a line of %d: %.80q", len(line), line)
		}
		if strings.ContainsAny(line, "\r\n") {
			t.Errorf("a line end alone: %q", line)
		}
	}
	return got
}

const nested = `MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="outer"
Content-Transfer-Encoding: 8bit

Vörwort
--outer
Content-Type: multipart/alternative; boundary=outer2
Content-Transfer-Encoding: 8bit

--outer2
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Grüße,
trailing blank 

.
--outer2
Content-Type: text/html; charset=us-ascii

<b>plain stays</b>
--outer2--
--outer
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Subject: inner
Content-Type: text/plain; charset=utf-8

Eine Überschrift --outer
--outer
Content-Type: application/x-thing; name="größe.bin"
Content-Disposition: attachment; filename="größe.bin"
Content-Transfer-Encoding: binary

ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ
--outer
Content-Type: text/plain

--outer--
Näch
`

func TestSevenBitKeepsTheContent(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"nested":        nested,
		"plain":         "Subject: x\n\nGrüße\n",
		"no last end":   "Subject: x\n\nGrüße",
		"no header":     "\nGrüße\n",
		"long lines":    "A: b\n\n" + strings.Repeat("Grüße ", 400) + "\n",
		"dense":         "A: b\n\n" + strings.Repeat("äöü", 400) + "\n",
		"nul":           "A: b\n\n\x00ä\n",
		"latin1":        "Content-Type: text/plain; charset=iso-8859-1\n\nGr\xfc\xdfe\n",
		"no boundary":   "Content-Type: multipart/mixed; boundary=x\n\n--x\n\nä",
		"empty part":    "Content-Type: multipart/mixed; boundary=x\n\n--x\n--x\n\nä\n--x--\n",
		"digest":        "Content-Type: multipart/digest; boundary=x\n\n--x\n\nSubject: a\n\nä\n--x--\n",
		"outer ends it": "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nä\n--a--\n",
		"blank at end":  "A: b\n\nä \t\n \n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := sevenBit(t, raw)
			if name == "no boundary" || name == "outer ends it" || name == "empty part" {
				return // the standard library does not read it
			}
			before, after := leavesOf(t, crlf(raw)), leavesOf(t, got)
			if fmt.Sprintf("%q", before) != fmt.Sprintf("%q", after) {
				t.Errorf("%q became %q by %q", before, after, got)
			}
		})
	}
}

func TestSevenBitGolden(t *testing.T) {
	t.Parallel()
	got := sevenBit(t, nested)
	for _, want := range []string{
		"boundary=\"outer\"\r\nContent-Transfer-Encoding: 7bit\r\n",
		"V??rwort\r\n--outer\r\n",
		"charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe,\r\ntrailing blank=20\r\n\r\n.\r\n--outer2\r\n",
		"charset=us-ascii\r\n\r\n<b>plain stays</b>\r\n--outer2--\r\n",
		"MIME-Version: 1.0\r\n\r\nEine =C3=9Cberschrift --outer\r\n--outer\r\n",
		"filename*=utf-8''gr%C3%B6%C3%9Fe.bin",
		"Content-Transfer-Encoding: base64\r\n\r\nw4TDhMOEw4TDhMOEw4TDhMOEw4TDhMOEw4TDhMOEw4TDhMOEw4TDhMOEw4TDhMOEw4TDhMOEw4TD\r\n",
		"Content-Type: text/plain\r\n\r\n--outer--\r\nN??ch\r\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in %s", want, got)
		}
	}
	if got := sevenBit(t, "Subject: x\n\nä and much more\n"); !strings.Contains(got, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n") {
		t.Errorf("a mail without MIME became %q", got)
	}
	if got := sevenBit(t, "Subject: x\n\n\xe4 and more\n"); !strings.Contains(got, "charset=unknown-8bit\r\n\r\n=E4") {
		t.Errorf("a mail without MIME and UTF-8 became %q", got)
	}
}

func TestSevenBitSealed(t *testing.T) {
	t.Parallel()
	signed := "Content-Type: multipart/signed; boundary=s\n\n--s\n%s\n\n%s\n--s\nContent-Type: application/pgp-signature\n\nsig\n--s--\n"
	for name, c := range map[string]struct {
		raw    string
		sealed bool
	}{
		"signed 8-bit":               {fmt.Sprintf(signed, "A: b", "ä"), true},
		"signed 8-bit header":        {fmt.Sprintf(signed, "A: ä", "a"), true},
		"signed 7-bit, 8-bit beside": {"Content-Type: multipart/mixed; boundary=m\n\n--m\n" + fmt.Sprintf(signed, "Content-Transfer-Encoding: 8bit", "a") + "--m\n\nä\n--m--\n", false},
		"attached 8-bit header":      {"Content-Type: message/rfc822\n\nSubject: ä\n\na\n", true},
		"8-bit boundary":             {"A: b\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=\"ä\"\n\n--ä\n\nä\n", true},
		"too deep":                   {strings.Repeat("Content-Type: message/rfc822\n\n", maxDepth+2) + "\nä\n", true},
		"multipart in base64":        {"Content-Type: multipart/mixed; boundary=x\nContent-Transfer-Encoding: base64\n\nYWJä\nYWJj\n", false},
		"multipart without boundary": {"Content-Type: multipart/mixed\n\nä\n", true},
		"header too large":           {"Content-Type: multipart/mixed; boundary=x\n\n--x\n" + strings.Repeat("A: b\n", maxPartHeader/5+1) + "\nä\n", true},
		"quoted-printable with ä":    {"Content-Transfer-Encoding: quoted-printable\n\n=C3=A4 ä" + strings.Repeat("ü", 600) + "\n", false},
	} {
		content, err := New(Params{Message: mailflowtest.NewMessage(t, c.raw)})
		if err != nil {
			t.Fatal(err)
		}
		if c.sealed {
			if r, err := content.Open(t.Context(), mailflow.Encoding7Bit); !errors.Is(err, ErrSealed) {
				t.Errorf("%s: opened as %v with %v", name, r, err)
			}
			continue
		}
		got := sevenBit(t, c.raw)
		if name == "signed 7-bit, 8-bit beside" && !strings.Contains(got, crlf(fmt.Sprintf(signed, "Content-Transfer-Encoding: 8bit", "a"))) {
			t.Errorf("%s: the signed part was changed: %q", name, got)
		}
	}
}

func TestSevenBitStops(t *testing.T) {
	t.Parallel()
	content, err := New(Params{Message: mailflowtest.NewMessage(t, "A: b\n\n"+strings.Repeat("ä long line\n", 1<<16))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, err := content.Open(ctx, mailflow.Encoding7Bit)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("reading goes on: %v", err)
	}
	if _, err := content.Open(ctx, mailflow.Encoding7Bit); !errors.Is(err, context.Canceled) {
		t.Errorf("opening goes on: %v", err)
	}
	r, err = content.Open(t.Context(), mailflow.Encoding7Bit)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSevenBitProperty converts generated messages of any structure.
func TestSevenBitProperty(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		raw := "Subject: s\n" + generated(rnd, 0)
		before, after := leavesOf(t, crlf(raw)), leavesOf(t, sevenBit(t, raw))
		if fmt.Sprintf("%q", before) != fmt.Sprintf("%q", after) {
			t.Fatalf("seed %d: %q became %q", seed, before, after)
		}
	}
}

// generated returns the header fields and the body of an entity.
func generated(rnd *rand.Rand, depth int) string {
	switch kind := rnd.IntN(4); {
	case kind == 0 && depth < 4:
		bound := fmt.Sprintf("b%d", rnd.IntN(1000))
		var b bytes.Buffer
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s\n\n", bound)
		for range 1 + rnd.IntN(3) {
			fmt.Fprintf(&b, "--%s\n%s\n", bound, generated(rnd, depth+1))
		}
		return b.String() + "--" + bound + "--\n"
	case kind == 1 && depth < 4:
		return "Content-Type: message/rfc822\n\nSubject: x\n" + generated(rnd, depth+1)
	}
	var b strings.Builder
	b.WriteString("Content-Type: text/plain; charset=utf-8\nX: y\n\n")
	words := []string{"ä", "word", " ", "\n", "--b1", "=", "=C3", ".", strings.Repeat("x", 500), "\t", "日本語", "--"}
	for range rnd.IntN(60) {
		b.WriteString(words[rnd.IntN(len(words))])
	}
	return b.String()
}

func FuzzSevenBit(f *testing.F) {
	f.Add([]byte(crlf(nested)))
	f.Add([]byte("A: b\r\n\r\n\xe4"))
	f.Add([]byte("Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\n\xe4\r\n--x--\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := &mailflow.Message{Header: mailflow.ParseHeader(raw), Body: mailflowtest.NewBody(raw), EightBit: true}
		content, err := New(Params{Message: m})
		if err != nil {
			return
		}
		r, err := content.Open(t.Context(), mailflow.Encoding7Bit)
		if err != nil {
			if !errors.Is(err, ErrSealed) {
				t.Fatal(err)
			}
			return
		}
		defer func() { _ = r.Close() }()
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if body := got[mailflow.ParseHeader(got).Size():]; !content.UTF8Header() && !isASCII(string(body)) {
			t.Fatalf("8-bit letters are left of %q: %q", raw, got)
		}
	})
}

func BenchmarkSevenBit(b *testing.B) {
	raw := "Content-Type: text/plain; charset=utf-8\n\n" + strings.Repeat("Schöne Grüße und noch ein wenig Text dazu\n", 20_000)
	content, err := New(Params{Message: mailflowtest.NewMessage(b, raw)})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := content.Open(b.Context(), mailflow.Encoding7Bit)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		_ = r.Close()
	}
}
