// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// The fields that are taken out of a message while it is sent, and those that
// are added where they are missing.
var (
	removed = []string{"Return-Path", "Bcc", "Resent-Bcc"}
	added   = []string{"Date", "Message-Id"}
)

// received is the Received field that begins every message that goes out.
var received = regexp.MustCompile(`^Received: from [^\r\n]*\r\n(\t[^\r\n]*\r\n)*\t[A-Z][a-z]{2}, [^\r\n]* [-+]\d{4}\r\n`)

// compare reports how a delivered message differs from the submitted one other
// than it may: a Received field is put before it, Return-Path and Bcc are taken
// out, Date and Message-Id are added if they are missing. All that remains is
// the same byte for byte, in the same order.
func compare(submitted, delivered string) error {
	at := received.FindStringIndex(delivered)
	if at == nil {
		return fmt.Errorf("it does not begin with our Received field: %.200q", delivered)
	}
	wantHead, wantBody := splitMessage(submitted)
	gotHead, gotBody := splitMessage(delivered[at[1]:])
	if gotBody != wantBody {
		return fmt.Errorf("body %.300q, want %.300q", gotBody, wantBody)
	}
	wantFields, gotFields := fields(wantHead), fields(gotHead)
	var want []string
	for _, f := range wantFields {
		if !isNamed(f, removed...) {
			want = append(want, f)
		}
	}
	for _, name := range added {
		if count(wantFields, name) > 0 {
			continue
		}
		if n := count(gotFields, name); n != 1 {
			return fmt.Errorf("%d fields %s were added, want 1: %q", n, name, gotHead)
		}
		gotFields = without(gotFields, name)
	}
	if got, want := strings.Join(gotFields, ""), strings.Join(want, ""); got != want {
		return fmt.Errorf("header %.500q, want %.500q", got, want)
	}
	return nil
}

// splitMessage returns the header of a message, and the rest from the empty
// line on.
func splitMessage(m string) (head, rest string) {
	if strings.HasPrefix(m, "\r\n") {
		return "", m
	}
	if i := strings.Index(m, "\r\n\r\n"); i >= 0 {
		return m[:i+2], m[i+2:]
	}
	return m, ""
}

// fields splits a header into its fields, folded lines with theirs.
func fields(head string) []string {
	var all []string
	for line := range strings.SplitAfterSeq(head, "\r\n") {
		switch {
		case line == "":
		case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			if len(all) == 0 {
				all = append(all, "")
			}
			all[len(all)-1] += line
		default:
			all = append(all, line)
		}
	}
	return all
}

// isNamed reports whether a field has one of the names.
func isNamed(field string, names ...string) bool {
	name, _, _ := strings.Cut(field, ":")
	for _, n := range names {
		if strings.EqualFold(strings.TrimRight(name, " \t"), n) {
			return true
		}
	}
	return false
}

func count(all []string, name string) (n int) {
	for _, f := range all {
		if isNamed(f, name) {
			n++
		}
	}
	return n
}

func without(all []string, name string) []string {
	var kept []string
	for _, f := range all {
		if !isNamed(f, name) {
			kept = append(kept, f)
		}
	}
	return kept
}

// crlf returns text with CRLF line ends.
func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

func TestCompare(t *testing.T) {
	t.Parallel()
	const stamp = "Received: from client.example ([127.0.0.1])\n\tby mx.example with ESMTP id x\n\tfor <b@b.example>;\n\tSat, 21 Nov 2026 16:00:00 +0000\n"
	for name, tt := range map[string]struct{ submitted, delivered string }{
		"same":      {"Date: d\nMessage-Id: m\nSubject: s\n\nb\n", stamp + "Date: d\nMessage-Id: m\nSubject: s\n\nb\n"},
		"removed":   {"Date: d\nBcc: a,\n b\nMessage-Id: m\nReturn-Path: <>\n\nb\n", stamp + "Date: d\nMessage-Id: m\n\nb\n"},
		"added":     {"Subject: s\n\nb\n", stamp + "Date: d\nMessage-Id: m\nSubject: s\n\nb\n"},
		"no header": {"\nb\n", stamp + "Date: d\nMessage-Id: m\n\nb\n"},
	} {
		if err := compare(crlf(tt.submitted), crlf(tt.delivered)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tt := range map[string]struct{ submitted, delivered string }{
		"no Received":    {"Date: d\nMessage-Id: m\n\nb\n", "Date: d\nMessage-Id: m\n\nb\n"},
		"order":          {"Date: d\nMessage-Id: m\n\nb\n", stamp + "Message-Id: m\nDate: d\n\nb\n"},
		"replaced":       {"Date: d\nMessage-Id: m\n\nb\n", stamp + "Date: e\nMessage-Id: m\n\nb\n"},
		"Bcc stays":      {"Date: d\nMessage-Id: m\nBcc: b\n\nb\n", stamp + "Date: d\nMessage-Id: m\nBcc: b\n\nb\n"},
		"nothing added":  {"Message-Id: m\n\nb\n", stamp + "Message-Id: m\n\nb\n"},
		"body":           {"Date: d\nMessage-Id: m\n\n.b\n", stamp + "Date: d\nMessage-Id: m\n\nb\n"},
		"further fields": {"Date: d\nMessage-Id: m\n\nb\n", stamp + "X-A: b\nDate: d\nMessage-Id: m\n\nb\n"},
	} {
		if err := compare(crlf(tt.submitted), crlf(tt.delivered)); err == nil {
			t.Errorf("%s: the difference is not seen", name)
		}
	}
}
