// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bufio"
	"bytes"
	"io"
	"strings"
)

// decodeTransfer undoes a Content-Transfer-Encoding (RFC 2045 section 6). It
// decodes what makes sense and notes the rest; it fails only where r fails.
func decodeTransfer(encoding string, r io.Reader, f *flaws) io.Reader {
	encoding, _, _ = strings.Cut(strings.TrimSpace(encoding), ";")
	encoding, _, _ = strings.Cut(encoding, " ")
	switch strings.ToLower(encoding) {
	case "", "7bit", "8bit", "binary", "7-bit", "8-bit":
		return r
	case "base64":
		return &base64Reader{r: r, flaws: f}
	case "quoted-printable":
		return &quotedReader{r: bufio.NewReader(r), flaws: f}
	}
	f.add(flawEncoding)
	return r
}

// base64Reader decodes base64 without a demand: other letters are skipped, the
// padding may be missing. What follows the padding is no data, most often the
// footer of a mailing list.
type base64Reader struct {
	r      io.Reader
	flaws  *flaws
	in     [chunkBytes]byte
	group  uint32 // the letters of the group that is not full
	n      int    // how many they are
	padded bool
	ready  []byte // decoded and not given
	out    [chunkBytes]byte
	err    error
}

// chunkBytes is how much is decoded at once.
const chunkBytes = 4096

// What a byte means in base64, beside its value below 64.
const (
	sextetSkip = 0x40 + iota
	sextetPad
	sextetBad
)

var sextets = func() (t [256]byte) {
	for i := range t {
		t[i] = sextetBad
	}
	for _, c := range "\r\n \t" {
		t[c] = sextetSkip
	}
	t['='] = sextetPad
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		t[c] = byte(i & 0x3f)
	}
	return t
}()

// Read implements io.Reader.
func (d *base64Reader) Read(p []byte) (int, error) {
	for len(d.ready) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		n, err := d.r.Read(d.in[:])
		d.ready = d.decode(d.out[:0], d.in[:n])
		if d.err = err; err == io.EOF {
			d.ready = d.end(d.ready)
		}
	}
	n := copy(p, d.ready)
	d.ready = d.ready[n:]
	return n, nil
}

func (d *base64Reader) decode(out, in []byte) []byte {
	for _, c := range in {
		s := sextets[c]
		switch {
		case s == sextetSkip:
		case s == sextetBad || d.padded && s != sextetPad:
			d.flaws.add(flawBase64)
		case s == sextetPad:
			if !d.padded {
				d.padded = true
				out = d.rest(out)
			}
		default:
			d.group = d.group<<6 | uint32(s)
			if d.n++; d.n == 4 {
				out = append(out, byte(d.group>>16&0xff), byte(d.group>>8&0xff), byte(d.group&0xff))
				d.group, d.n = 0, 0
			}
		}
	}
	return out
}

// end closes the data.
func (d *base64Reader) end(out []byte) []byte {
	if d.n > 0 {
		d.flaws.add(flawBase64)
	}
	return d.rest(out)
}

// rest decodes a group that is not full.
func (d *base64Reader) rest(out []byte) []byte {
	switch d.n {
	case 1:
		d.flaws.add(flawBase64)
	case 2:
		out = append(out, byte(d.group>>4&0xff))
	case 3:
		out = append(out, byte(d.group>>10&0xff), byte(d.group>>2&0xff))
	}
	d.group, d.n = 0, 0
	return out
}

// quotedReader decodes quoted-printable. An "=" that begins no escape stays.
type quotedReader struct {
	r     *bufio.Reader
	flaws *flaws
	held  []byte // the begin of an escape at the end of a piece
	ready []byte
	buf   []byte
	err   error
}

// Read implements io.Reader.
func (d *quotedReader) Read(p []byte) (int, error) {
	for len(d.ready) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		var line []byte
		line, d.err = d.r.ReadSlice('\n')
		if d.err == bufio.ErrBufferFull { //nolint:errorlint // bufio gives it unwrapped
			d.err = nil
		}
		d.buf = append(append(d.buf[:0], d.held...), line...)
		d.held = d.held[:0]
		d.ready = d.decode(d.buf)
	}
	n := copy(p, d.ready)
	d.ready = d.ready[n:]
	return n, nil
}

// decode decodes a line, or a piece of one, in its place.
func (d *quotedReader) decode(line []byte) []byte {
	text := bytes.TrimRight(line, "\r\n")
	end := line[len(text):]
	whole := bytes.HasSuffix(end, []byte("\n")) || d.err != nil
	if whole {
		text = bytes.TrimRight(text, " \t")
		if soft := bytes.TrimSuffix(text, []byte("=")); len(soft) < len(text) {
			text, end = soft, nil
		}
	} else if i := bytes.LastIndexByte(text, '='); i >= 0 && i >= len(line)-2 {
		d.held = append(d.held, line[i:]...)
		text, end = text[:i], nil
	}
	// What is decoded is never longer than what it stands for.
	out := line[:0]
	for i := 0; i < len(text); i++ {
		if text[i] != '=' {
			out = append(out, text[i])
			continue
		}
		if i+2 < len(text) && hex[text[i+1]] != notHex && hex[text[i+2]] != notHex {
			out = append(out, hex[text[i+1]]<<4|hex[text[i+2]])
			i += 2
			continue
		}
		d.flaws.add(flawQuoted)
		out = append(out, '=')
	}
	return append(out, end...)
}

// notHex marks what is no digit.
const notHex = 0xff

// hex is the value of a digit.
var hex = func() (t [256]byte) {
	for i := range t {
		t[i] = notHex
	}
	for i, c := range "0123456789ABCDEF" {
		t[c] = byte(i & 0xf)
	}
	for i, c := range "abcdef" {
		t[c] = byte(10 + i&0xf)
	}
	return t
}()
