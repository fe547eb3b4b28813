// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzReply reads arbitrary bytes as replies: each is refused, or is bounded
// and printable.
func FuzzReply(f *testing.F) {
	f.Add([]byte("250 2.1.0 ok\r\n"))
	f.Add([]byte("250-relay.example\r\n250-SIZE 10\r\n250-AUTH PLAIN LOGIN\r\n250-LIMITS RCPTMAX=5 MAILMAX=x\r\n250 \xff\x00\r\n"))
	f.Add([]byte("550-5.1.1 no\r\n550-5.1.1 such\r\n550 5.1.1 user\n"))
	f.Add([]byte("421\r\n250"))
	f.Add([]byte("250-a\r\n251 b\r\n"))
	f.Add([]byte("999 x\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(b), maxReplyLine)
		for {
			rep, err := readReply(r, func() error { return nil })
			if err != nil {
				return
			}
			if rep.code < 200 || rep.code > 599 || len(rep.lines) == 0 || len(rep.lines) > maxReplyLines {
				t.Fatalf("reply %d of %d lines", rep.code, len(rep.lines))
			}
			p := rep.public()
			if len(p.Text) > maxReplyText || !utf8.ValidString(p.Text) || strings.ContainsAny(p.Text, "\r\n\x00") {
				t.Fatalf("text %q", p.Text)
			}
			if e := p.Enhanced; e[0] != 0 && e[0] != rep.code/100 || e[1] > 999 || e[2] > 999 {
				t.Fatalf("enhanced code %v of %d", e, rep.code)
			}
			ext := parseExtensions(rep)
			if ext.Size < 0 || ext.MaxRecipients < 0 || ext.MaxMessages < 0 {
				t.Fatalf("extensions %+v", ext)
			}
		}
	})
}

func TestReply(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("ü", maxReplyText)
	tests := []struct{ in, want, err string }{
		{"250 2.1.0 ok\r\n", "250 2.1.0 ok", ""},
		{"250 ok\n", "250 ok", ""},
		{"250\r\n", "250", ""},
		{"550-5.1.1 no such\r\n550 5.1.1 user\r\n", "550 5.1.1 no such user", ""},
		{"550-no such\r\n550 5.1.1 user\r\n", "550 no such 5.1.1 user", ""},
		{"550 4.1.1 other class\r\n", "550 4.1.1 other class", ""},
		{"550 5.1.1111 no code\r\n", "550 5.1.1111 no code", ""},
		{"550 5.1.1\r\n", "550 5.1.1", ""},
		{"250 a\tb\x01\xff\r\n", "250 a b??", ""},
		{"250 " + long + "\r\n", "250 " + long[:maxReplyText], ""},
		{"150 no\r\n", "", `not an SMTP reply: "150 no"`},
		{"25\r\n", "", `not an SMTP reply: "25"`},
		{"250_x\r\n", "", `not an SMTP reply: "250_x"`},
		{"250-a\r\n550 b\r\n", "", "not an SMTP reply: code 550 after 250"},
		{"\r\n", "", `not an SMTP reply: ""`},
		{"250 half", "", "unexpected EOF"},
		{"250-a\r\n", "", "unexpected EOF"},
		{"", "", "EOF"},
	}
	for _, tt := range tests {
		rep, err := readReply(bufio.NewReaderSize(strings.NewReader(tt.in), maxReplyLine), func() error { return nil })
		if got := errorText(err); got != tt.err {
			t.Errorf("%q: error %q, want %q", tt.in, got, tt.err)
		} else if err == nil && rep.public().String() != tt.want {
			t.Errorf("%q: %q, want %q", tt.in, rep.public(), tt.want)
		}
	}
}

// FuzzDots writes content in blocks of any size: it comes out as it went in,
// in lines that no server takes for the end, or is refused for its line ends.
func FuzzDots(f *testing.F) {
	f.Add([]byte("a\r\n.b\r\n..\r\n"), uint8(1), uint8(3))
	f.Add([]byte(".\r\n.\r\n"), uint8(2), uint8(1))
	f.Add([]byte("no end"), uint8(0), uint8(9))
	f.Add([]byte("a\n.\r\nb\r"), uint8(1), uint8(1))
	f.Add([]byte("a\r.\r\nb\r\n"), uint8(1), uint8(1))
	f.Add([]byte(""), uint8(0), uint8(0))
	f.Add([]byte("\x00"), uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, in []byte, first, second uint8) {
		var out bytes.Buffer
		w := bufio.NewWriterSize(&out, 16)
		d := newDotWriter(w)
		rest, sizes := in, []int{int(first) + 1, int(second) + 1}
		var err error
		for i := 0; len(rest) > 0 && err == nil; i++ {
			n := min(len(rest), sizes[i%2])
			_, err = d.Write(rest[:n])
			rest = rest[n:]
		}
		if err == nil {
			err = d.Close()
		}
		whole := strings.ReplaceAll(string(in), "\r\n", "")
		if clean := !strings.ContainsAny(whole, "\r\n"); clean != (err == nil) {
			t.Fatalf("clean %v, error %v", clean, err)
		}
		if err != nil {
			return
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		want := string(in)
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		if got, rest := unstuff(out.String()); got != want || rest != "" {
			t.Fatalf("%q came out as %q, and %q behind the end", in, got, rest)
		}
	})
}

// unstuff reads content up to the final dot, as a server does.
func unstuff(s string) (content, rest string) {
	var b strings.Builder
	for {
		line, after, ok := strings.Cut(s, "\r\n")
		if !ok {
			return b.String(), "no final dot"
		}
		s = after
		if line == "." {
			return b.String(), s
		}
		b.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
	}
}

// FuzzXtext encodes any text: what comes out is one word of ASCII, and decodes
// to what went in.
func FuzzXtext(f *testing.F) {
	f.Add("a+b=c d")
	f.Add("ü\x00\xff\\x{41}")
	f.Fuzz(func(t *testing.T, in string) {
		if len(in) > maxOriginal {
			t.Skip()
		}
		for name, code := range map[string]struct {
			text   string
			decode func(string) (string, bool)
			want   string
		}{
			"xtext":             {xtext(in), decodeXtext, in},
			"utf-8-addr-xtext":  {utf8xtext(in), decodeUTF8xtext, strings.ToValidUTF8(in, "\ufffd")},
			"xtext of an xtext": {xtext(xtext(in)), decodeXtext, xtext(in)},
		} {
			if strings.IndexFunc(code.text, func(r rune) bool { return r <= ' ' || r > '~' || r == '=' }) >= 0 {
				t.Errorf("%s of %q is %q", name, in, code.text)
			}
			got, ok := code.decode(code.text)
			if name == "utf-8-addr-xtext" && !utf8.ValidString(in) {
				continue // each invalid byte becomes a replacement character
			}
			if !ok || got != code.want {
				t.Errorf("%s of %q is %q, which is %q", name, in, code.text, got)
			}
		}
	})
}

func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '+' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil || strings.ToUpper(s[i+1:i+3]) != s[i+1:i+3] {
			return "", false
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), true
}

func decodeUTF8xtext(s string) (string, bool) {
	var b strings.Builder
	for s != "" {
		before, after, ok := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !ok {
			break
		}
		hex, rest, ok := strings.Cut(after, "}")
		n, err := strconv.ParseUint(hex, 16, 32)
		if !ok || err != nil {
			return "", false
		}
		b.WriteRune(rune(n))
		s = rest
	}
	return b.String(), true
}

// newSink is a server that answers as fast as it can, for measuring.
func newSink(tb testing.TB) string {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go sink(nc)
		}
	}()
	return ln.Addr().String()
}

// sink takes mails in blocks: it looks only for the ends of commands and of
// content.
func sink(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	_, _ = io.WriteString(nc, "220 sink\r\n")
	b, have := make([]byte, 256<<10), 0
	for {
		n, err := nc.Read(b[have:])
		if err != nil {
			return
		}
		have += n
		var reply string
		switch s := b[:have]; {
		case bytes.HasSuffix(s, []byte("DATA\r\n")):
			reply = strings.Repeat("250 ok\r\n", bytes.Count(s, []byte("\r\n"))-1) + "354 go\r\n"
		case bytes.HasPrefix(s, []byte("EHLO")):
			reply = "250-sink\r\n250 PIPELINING\r\n"
		case bytes.HasPrefix(s, []byte("QUIT")):
			return
		case bytes.HasSuffix(s, []byte("\r\n.\r\n")):
			reply = "250 ok\r\n"
		case have < len(b)/2:
			continue
		default: // keep what may be the beginning of an end
			have = copy(b, b[have-4:have])
			continue
		}
		have = 0
		if _, err := io.WriteString(nc, reply); err != nil {
			return
		}
	}
}

// lines is content of that many bytes.
func lines(size int) string {
	return strings.Repeat(strings.Repeat("x", 78)+"\r\n", size/80+1)[:size/80*80]
}
