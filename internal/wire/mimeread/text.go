// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	htmlcharset "golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/charmap"
)

// readText reads a text part as UTF-8, at most room bytes. Line ends become LF,
// NUL goes. Cut says that there was more. Errors are those of the body.
func (p *part) readText(room int, f *flaws) (text string, cut bool, err error) {
	raw := &watched{r: p.decoded(f)}
	label := p.media.token("charset")
	in, ok := convert(label, raw)
	b, err := io.ReadAll(io.LimitReader(in, int64(room)+1))
	if raw.err != nil {
		return "", false, raw.err
	}
	if err != nil {
		f.add(flawCharset)
	}
	if cut = len(b) > room; cut {
		b = trimRune(b[:room])
	}
	if !ok {
		b = guess(label, p.media.value, b, f)
	}
	text = lines.Replace(strings.ToValidUTF8(string(b), "\uFFFD"))
	text = strings.TrimPrefix(text, "\uFEFF")
	if p.media.value == "text/plain" && p.media.token("format") == "flowed" {
		text = unflow(text, p.media.token("delsp") == "yes")
	}
	if len(text) > room { // it grows with letters that are converted, and quotes
		text, cut = string(trimRune([]byte(text[:room]))), true
	}
	return text, cut, nil
}

// watched remembers that reading the part failed, which is not that its letters
// could not be converted.
type watched struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

var lines = strings.NewReplacer("\r\r\n", "\n", "\r\n", "\n", "\r", "\n", "\x00", "")

// trimRune takes a letter off the end that was cut in two.
func trimRune(b []byte) []byte {
	for i := 1; i <= utf8.UTFMax && i <= len(b); i++ {
		if c := b[len(b)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

// convert returns the text as UTF-8. Ok is false, and r returned, where the
// letters must be seen to know.
func convert(label string, r io.Reader) (_ io.Reader, ok bool) {
	switch label {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return r, false
	case "iso-8859-1", "latin1", "iso_8859-1":
		// Mail that says so means Windows-1252, as on the web.
		return charmap.Windows1252.NewDecoder().Reader(r), true
	case "iso-2022-kr", "iso-2022-cn", "iso-2022-cn-ext", "replacement":
		return r, false // the web's decoder of these gives one U+FFFD for all
	}
	in, err := charset.Reader(label, r)
	if err != nil {
		return r, false
	}
	return in, true
}

// guess makes UTF-8 of text without a charset, with one that is unknown or not
// the right one. No letter is lost: what is no UTF-8 is read as what HTML says,
// else as Windows-1252, where each byte is a letter.
func guess(label, media string, b []byte, f *flaws) []byte {
	switch label {
	case "utf-8", "utf8":
		if !utf8.Valid(b) && hasMultibyte(b) {
			f.add(flawCharset)
			return b // what is broken becomes U+FFFD
		}
	case "", "us-ascii", "ascii":
	default:
		f.add(flawCharset)
	}
	if utf8.Valid(b) {
		return b
	}
	f.add(flawCharset)
	if media == "text/html" {
		enc, _, _ := htmlcharset.DetermineEncoding(b[:min(len(b), 1024)], "")
		if out, err := enc.NewDecoder().Bytes(b); err == nil {
			return out
		}
	}
	out, err := charmap.Windows1252.NewDecoder().Bytes(b)
	if err != nil {
		return bytes.ToValidUTF8(b, []byte("\uFFFD"))
	}
	return out
}

// hasMultibyte reports whether a letter of UTF-8 beyond ASCII stands in b.
func hasMultibyte(b []byte) bool {
	for len(b) > 0 {
		_, n := utf8.DecodeRune(b)
		if n > 1 {
			return true
		}
		b = b[n:]
	}
	return false
}

// unflow puts the lines of format=flowed together (RFC 3676 section 4). With
// delsp the blank at which a line was broken goes.
func unflow(text string, delsp bool) string { //nolint:revive // a parameter of the format
	var b strings.Builder
	soft := false // the line before goes on
	depth := 0    // its quotes
	for line := range strings.Lines(text) {
		line, ended := strings.CutSuffix(line, "\n")
		rest := strings.TrimLeft(line, ">")
		quotes := len(line) - len(rest)
		rest = strings.TrimPrefix(rest, " ") // stuffed
		signature := rest == "-- "
		if soft && (quotes != depth || signature) {
			b.WriteByte('\n')
			soft = false
		}
		if !soft && quotes > 0 {
			b.WriteString(line[:quotes])
			b.WriteByte(' ')
		}
		soft, depth = ended && !signature && strings.HasSuffix(rest, " "), quotes
		if soft && delsp {
			rest = rest[:len(rest)-1]
		}
		b.WriteString(rest)
		if ended && !soft {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
