// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/test/peer"
)

// Keys for all tests: making an RSA key takes long.
var (
	rsaKey     = sync.OnceValue(func() string { return mustGenerate(RSA, minBits) })
	ed25519Key = sync.OnceValue(func() string { return mustGenerate(Ed25519, 0) })
)

func mustGenerate(kind Kind, bits int) string {
	text, err := Generate(kind, bits)
	if err != nil {
		panic(err)
	}
	return text
}

// fixed is the text of a key that never changes.
func fixed(text string) func() (string, error) { return func() (string, error) { return text, nil } }

// both returns a signer with an RSA and an Ed25519 key.
func both(tb testing.TB) *Signer {
	tb.Helper()
	return signer(tb, Key{"r1", fixed(rsaKey())}, Key{"e1", fixed(ed25519Key())})
}

func signer(tb testing.TB, keys ...Key) *Signer {
	tb.Helper()
	s, err := New("example.com", keys)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// sign returns message with the signatures of s before it.
func sign(tb testing.TB, s *Signer, message string) string {
	tb.Helper()
	fields, err := s.Sign(context.Background(), strings.NewReader(message))
	if err != nil {
		tb.Fatalf("Sign: %v\n%q", err, message)
	}
	return string(fields) + message
}

// records are the TXT records of [both].
func records(tb testing.TB) map[string]string {
	tb.Helper()
	txt := make(map[string]string)
	for selector, text := range map[string]string{"r1": rsaKey(), "e1": ed25519Key()} {
		value, err := Record(text)
		if err != nil {
			tb.Fatal(err)
		}
		// As a resolver gives it.
		txt[RecordName("example.com", selector)] = strings.Join(Strings(value), "")
	}
	return txt
}

// verify returns which signatures of message hold, in order, by go-msgauth.
func verify(tb testing.TB, message string) []bool {
	tb.Helper()
	txt := records(tb)
	found, err := dkim.VerifyWithOptions(strings.NewReader(message), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return []string{txt[name]}, nil },
	})
	if err != nil {
		tb.Fatalf("verifying: %v\n%q", err, message)
	}
	valid := make([]bool, len(found))
	for i, v := range found {
		if valid[i] = v.Err == nil; !valid[i] {
			tb.Log(v.Err)
		}
		if valid[i] && time.Since(v.Time).Abs() > time.Hour {
			tb.Errorf("signature %d says it was made at %v", i, v.Time)
		}
	}
	return valid
}

// twoValid and noneValid are what verifiers say of messages by [both].
var (
	twoValid  = []bool{true, true}
	noneValid = []bool{false, false}
)

const plain = "From: Anna <anna@example.com>\r\nTo: bob@example.org\r\nSubject: Hello\r\n" +
	"Date: Fri, 20 Nov 2026 09:30:00 +0000\r\nMessage-Id: <1@example.com>\r\n\r\nHello Bob\r\n"

// messages are signed and verified by all verifiers.
var messages = map[string]string{
	"plain": plain,
	"8-bit body": "From: anna@example.com\r\nSubject: Caf\xe9\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nCaf\xe9 \xff\x80\r\n",
	"UTF-8 header":     "From: Zo\u00eb <zo\u00eb@example.com>\r\nSubject: \u00a1Hola!\r\n\r\n\u00a1Hola!\r\n",
	"List-Unsubscribe": "From: news@example.com\r\nTo: bob@example.org\r\nSubject: News\r\nList-Unsubscribe: <https://example.com/u?t=1>,\r\n <mailto:u@example.com>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nList-Id: <news.example.com>\r\nSender: mass@example.com\r\n\r\nNews\r\n",
	"long folded header": "From: anna@example.com\r\nTo: " + strings.Repeat("bob@example.org,\r\n\t  ", 300) + "end@example.org\r\n" +
		"References: " + strings.Repeat("<0123456789@example.com>\r\n ", 100) + "<last@example.com>\r\nSubject:\r\n folded  twice \t \r\n \t at blanks\t\r\n\r\nbody\r\n",
	"long unfolded header": "From: anna@example.com\r\nSubject: " + strings.Repeat("x", 40000) + "\r\n\r\nbody\r\n",
	"empty body":           "From: anna@example.com\r\nSubject: nothing\r\n\r\n",
	"body of blank lines":  "From: anna@example.com\r\nSubject: nothing\r\n\r\n\r\n\r\n",
	"body of blanks":       "From: anna@example.com\r\nSubject: nothing\r\n\r\n  \t\r\n \r\n\t\r\n",
	"trailing blank lines": plain + "\r\n \r\n\t\t\r\n\r\n",
	"inner blank lines":    plain + "\r\n \r\n\r\n  more \t text \r\n",
	"no line end":          plain + "the end",
	"no subject":           "From: anna@example.com\r\n\r\nHello\r\n",
	"only From":            "From: anna@example.com\r\n\r\n",
	"empty fields":         "From: anna@example.com\r\nSubject:\r\nTo: \r\nCc: \t\r\n\r\nHello\r\n",
	"names in any case":    "FROM: anna@example.com\r\nsubject: Hello\r\nmime-VERSION: 1.0\r\n\r\nHello\r\n",
	"several of one name":  "From: anna@example.com\r\nTo: a@example.org\r\nTo: b@example.org\r\nFrom: second@example.com\r\nReceived: by x\r\nReceived: by y\r\n\r\nHello\r\n",
	"dots":                 plain + ".\r\n..\r\n.text\r\n",
	"large":                plain + strings.Repeat("A line with  blanks \r\n\r\n", 20000) + "end",
	"signed before":        "DKIM-Nothing: x\r\nReceived: from a by b;\r\n\tFri, 20 Nov 2026 09:30:00 +0000\r\n" + plain,
}

func TestVerifies(t *testing.T) {
	t.Parallel()
	s := both(t)
	for name, message := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed := sign(t, s, message)
			if diff := cmp.Diff(twoValid, verify(t, signed)); diff != "" {
				t.Errorf("-want +got\n%s\n%s", diff, signed[:min(len(signed), 3000)])
			}
		})
	}
}

// changes are made to a signed message on its way. Those that are harmless
// leave the signatures valid.
var changes = []struct {
	name     string
	change   func(signed string) string
	harmless bool
}{
	{"second From", onTop("From: evil@example.net\r\n"), false},
	{"second From below", below("From: evil@example.net\r\n"), false},
	{"second Subject", onTop("Subject: another\r\n"), false},
	{"second Subject below", below("Subject: another\r\n"), false},
	{"second Date", onTop("Date: Sat, 21 Nov 2026 09:30:00 +0000\r\n"), false},
	{"second To", onTop("To: eve@example.net\r\n"), false},
	{"first Cc", onTop("Cc: eve@example.net\r\n"), false},
	{"first Reply-To", onTop("Reply-To: eve@example.net\r\n"), false},
	{"first List-Unsubscribe", onTop("List-Unsubscribe: <https://example.net/>\r\n"), false},
	{"first List-Unsubscribe-Post", onTop("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"), false},
	{"second Content-Type", onTop("Content-Type: text/html\r\n"), false},
	{"second From in another case", onTop("from : evil@example.net\r\n"), false},
	{"other Subject", replace("Subject: Hello", "Subject: Hullo"), false},
	{"other Message-Id", replace("<1@example.com>", "<2@example.com>"), false},
	{"other body", replace("Hello Bob", "Hello Rob"), false},
	{"more body", func(signed string) string { return signed + "more\r\n" }, false},
	{"subject taken away", replace("Subject: Hello\r\n", ""), false},
	{"other time", replace(" t=1", " t=0"), false},
	{"a relay's field", onTop("Received: from a by b\r\n"), true},
	{"a list's field", onTop("List-Id: <list.example.net>\r\n"), true},
	{"folded again", replace("To: bob@example.org", "To:\r\n bob@example.org"), true},
	{"blanks at line ends", replace("Hello Bob\r\n", "Hello  Bob \r\n"), true},
	{"lines at the end", func(signed string) string { return signed + "\r\n\r\n" }, true},
}

// changed is the message that changes are made to.
var changed = strings.Replace(plain, "\r\n\r\n", "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n", 1)

func onTop(field string) func(string) string {
	return func(signed string) string { return field + signed }
}

func below(field string) func(string) string { return replace("\r\n\r\n", "\r\n"+field+"\r\n") }

func replace(old, with string) func(string) string {
	return func(signed string) string { return strings.ReplaceAll(signed, old, with) }
}

func TestChanges(t *testing.T) {
	t.Parallel()
	signed := sign(t, both(t), changed)
	for _, tt := range changes {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := tt.change(signed)
			if got == signed {
				t.Fatal("nothing was changed")
			}
			want := noneValid
			if tt.harmless {
				want = twoValid
			}
			if diff := cmp.Diff(want, verify(t, got)); diff != "" {
				t.Errorf("-want +got\n%s\n%s", diff, got)
			}
		})
	}
}

// TestPeer has dkimpy, which shares no line with us or with go-msgauth, verify
// the same messages and changes.
func TestPeer(t *testing.T) {
	t.Parallel()
	type verification struct {
		name, message string
		want          []bool
	}
	s := both(t)
	var cases []verification
	for name, message := range messages {
		cases = append(cases, verification{name, sign(t, s, message), twoValid})
	}
	signed := sign(t, s, changed)
	for _, tt := range changes {
		want := noneValid
		if tt.harmless {
			want = twoValid
		}
		cases = append(cases, verification{tt.name, tt.change(signed), want})
	}
	var in bytes.Buffer
	for _, c := range cases {
		if err := json.NewEncoder(&in).Encode(map[string]any{
			"message": []byte(c.message), "records": records(t),
		}); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), interpreter(t), "testdata/verify.py")
	cmd.Stdin, cmd.Stderr = &in, t.Output()
	answers, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := json.NewDecoder(bytes.NewReader(answers))
	for _, c := range cases {
		var valid []bool
		if err := got.Decode(&valid); err != nil {
			t.Fatal(err)
		}
		// It reads no signature at all in a header that it finds malformed.
		if !slices.Equal(valid, c.want) && (len(valid) > 0 || slices.Contains(c.want, true)) {
			t.Errorf("%s: valid are %v, want %v\n%s", c.name, valid, c.want, c.message[:min(len(c.message), 3000)])
		}
	}
}

// interpreter returns the Python that dkimpy is installed for: that of its
// program dkimverify.
func interpreter(tb testing.TB) string {
	tb.Helper()
	program, err := os.Open(peer.Require(tb, "dkimverify"))
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = program.Close() }() // only read
	first, err := bufio.NewReader(program).ReadString('\n')
	words := strings.Fields(strings.TrimPrefix(first, "#!"))
	if err != nil || len(words) == 0 {
		tb.Fatalf("dkimverify is no script: %q, %v", first, err)
	}
	return words[len(words)-1]
}
