// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bytes"
	"testing"
)

// unstuff is what text does to a whole content, said plainly: it returns the
// content, the fault, and how long src is up to its end; -1 if it has none.
func unstuff(src []byte) (content []byte, faulty bool, length int) {
	if bytes.HasPrefix(src, []byte(".\r\n")) {
		return nil, false, 3
	}
	end := bytes.Index(src, []byte("\r\n.\r\n"))
	if end < 0 {
		return nil, false, -1
	}
	for line := range bytes.SplitAfterSeq(src[:end+2], []byte("\r\n")) {
		if len(line) > MaxTextLine {
			faulty = true
		}
		if bytes.ContainsAny(bytes.TrimSuffix(line, []byte("\r\n")), "\r\n\x00") {
			faulty = true
		}
		content = append(content, bytes.TrimPrefix(line, []byte("."))...)
	}
	return content, faulty, end + 5
}

// feedAll runs a text over src, which comes in steps, into room.
func feedAll(tx *text, src []byte, step, room int) (content []byte, length int, end bool) {
	dst := make([]byte, room)
	have := 0
	for taken := 0; ; {
		put, took, end := tx.feed(dst, src[taken:have])
		content = append(content, dst[:put]...)
		if taken += took; end {
			return content, taken, true
		}
		if put > 0 || took > 0 {
			continue
		}
		if have == len(src) {
			return content, taken, false
		}
		have = min(len(src), have+step)
	}
}

func FuzzText(f *testing.F) {
	for _, text := range contents {
		if len(text) < 1000 { // long ones are tested, but slow to mutate
			f.Add([]byte(text), 7, 5)
		}
	}
	f.Add([]byte(".\r\n"), 1, 2)
	f.Add([]byte("a\r\n..b\r\n.\r\n"), 1, 2)
	f.Fuzz(func(t *testing.T, src []byte, step, room int) {
		step, room = 1+max(0, step)%40000, 2+max(0, room)%5000
		want, faulty, length := unstuff(src)
		tx := &text{dots: true}
		got, taken, end := feedAll(tx, src, step, room)
		if end != (length >= 0) || end && taken != length {
			t.Fatalf("end %v at %d, want at %d", end, taken, length)
		}
		if i := bytes.IndexByte(bytes.ReplaceAll(got, []byte("\r\n"), nil), '\n'); i >= 0 || bytes.ContainsAny(bytes.ReplaceAll(got, []byte("\r\n"), nil), "\r\x00") {
			t.Fatalf("gave %q", got)
		}
		if !end {
			return
		}
		if faulty != (tx.fault != faultNone) {
			t.Fatalf("fault %q, want one: %v", tx.fault, faulty)
		}
		if !faulty && !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
