// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestSignedNames(t *testing.T) {
	t.Parallel()
	const sealed = "From:From:Reply-To:To:Cc:Subject:Subject:Date:"
	tests := []struct{ name, header, want string }{
		{"least", "", sealed + "List-Unsubscribe:List-Unsubscribe-Post"},
		{
			"most", "Sender: a\r\nMessage-ID: a\r\nIn-Reply-To: a\r\nReferences: a\r\nMime-Version: 1.0\r\n" +
				"Content-Type: a\r\nContent-Transfer-Encoding: 8bit\r\nList-Id: a\r\nList-Unsubscribe: a\r\nReceived: a\r\nX-Other: a\r\n",
			"From:From:Sender:Reply-To:To:Cc:Subject:Subject:Date:Message-Id:In-Reply-To:References:MIME-Version:MIME-Version:" +
				"Content-Type:Content-Type:Content-Transfer-Encoding:Content-Transfer-Encoding:List-Id:" +
				"List-Unsubscribe:List-Unsubscribe:List-Unsubscribe-Post",
		},
		{
			"twice", "to: a\r\nTo: b\r\nReferences: a\r\nReferences: b\r\n",
			"From:From:Reply-To:To:To:To:Cc:Subject:Subject:Date:References:References:List-Unsubscribe:List-Unsubscribe-Post",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			signed := sign(t, both(t), "From: anna@example.com\r\nSubject: a\r\n"+tt.header+"\r\nbody\r\n")
			txt := records(t)
			found, err := dkim.VerifyWithOptions(strings.NewReader(signed), &dkim.VerifyOptions{
				LookupTXT: func(name string) ([]string, error) { return []string{txt[name]}, nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range found {
				if diff := cmp.Diff(tt.want, strings.Join(v.HeaderKeys, ":")); diff != "" || v.Err != nil {
					t.Errorf("%v, -want +got\n%s", v.Err, diff)
				}
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, message, want string }{
		{"empty", "", "the message has no From field"},
		{"no From", "Subject: x\r\n\r\nFrom: a@example.com\r\n", "the message has no From field"},
		{"LF in the header", "From: a@example.com\nTo: b\r\n\r\n", "a CR or LF alone"},
		{"CR in the header", "From: a@example.com\r\nTo: b\rc\r\n\r\n", "a CR or LF alone"},
		{"LF in the body", plain + "a\nb\r\n", "a CR or LF alone"},
		{"LF first in the body", plain + "\n", "a CR or LF alone"},
		{"CR in the body", plain + "a\rb\r\n", "a CR or LF alone"},
		{"CR twice", plain + "a\r\r\n", "a CR or LF alone"},
		{"CR at the end", plain + "a\r", "a CR or LF alone"},
		{"a blank first", " From: b@example.com\r\n" + plain, "begins with a blank"},
		{"no colon", "Subject\r\n" + plain, "no field and looks like Subject"},
		{"a control in a name", "From\v: b@example.com\r\n" + plain, "no field and looks like From"},
		{"a long s", "\u017fubject: x\r\n" + plain, "no field and looks like"},
		{"a hidden signature", "DKIM-Signature\r\n" + plain, "no field and looks like DKIM-Signature"},
		{"many fields", strings.Repeat("To: a@example.com\r\n", maxNames/len("To:")) + plain, "too many To fields"},
		{"empty lines", plain + strings.Repeat(" \r\n", maxEmptyLines) + "text\r\n", "more than 262144 empty lines"},
		{"long header", "Subject: " + strings.Repeat("x", mailflow.MaxHeaderBytes) + "\r\n" + plain, "longer than 1048576 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, r := range []io.Reader{strings.NewReader(tt.message), iotest.HalfReader(strings.NewReader(tt.message))} {
				fields, err := both(t).Sign(t.Context(), r)
				if err == nil || fields != nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %q, %v; want an error with %q", fields, err, tt.want)
				}
			}
		})
	}
}

func TestSignEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	for name, message := range map[string]string{"in the header": "From: a@example.com\r\nTo: ", "in the body": plain} {
		_, err := both(t).Sign(t.Context(), io.MultiReader(strings.NewReader(message), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := both(t).Sign(ctx, strings.NewReader(plain)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

// TestLayout holds the field to its length and its place: it ends with CRLF,
// and no line is longer than what a mail may have (RFC 5322 section 2.1.1).
func TestLayout(t *testing.T) {
	t.Parallel()
	fields, err := both(t).Sign(t.Context(), strings.NewReader(strings.Repeat("To: a@example.com\r\n", 250)+plain))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(fields), "DKIM-Signature: ") || !strings.HasSuffix(string(fields), "\r\n") {
		t.Errorf("got %q", fields)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(fields), "\r\n"), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") || strings.TrimSpace(line) == "" {
			t.Errorf("line %q", line)
		}
	}
}

// TestPieces gives the message byte by byte: no block end may change a
// signature. Ed25519 signs the same text always alike.
func TestPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := signer(t, Key{"e1", fixed(ed25519Key())})
		message := messages["inner blank lines"] + "a \r\n \t b\r\n\r\n"
		whole, err := s.Sign(t.Context(), strings.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		pieces, err := s.Sign(t.Context(), iotest.OneByteReader(strings.NewReader(message)))
		if diff := cmp.Diff(string(whole), string(pieces)); diff != "" || err != nil {
			t.Errorf("%v, -whole +pieces\n%s", err, diff)
		}
	})
}

// TestLeavesNothing signs in a bubble, which no goroutine may outlive.
func TestLeavesNothing(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]error{plain: nil, plain + "a\nb\r\n": errLineEnd} {
		synctest.Test(t, func(t *testing.T) {
			if _, err := both(t).Sign(t.Context(), strings.NewReader(message)); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// TestFolds signs a field of many folded lines. Joined one by one they would
// take minutes.
func TestFolds(t *testing.T) {
	t.Parallel()
	began := time.Now()
	sign(t, both(t), "Subject: a"+strings.Repeat("\r\n b", 250_000)+"\r\n"+plain)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAtOnce(t *testing.T) {
	t.Parallel()
	s := both(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if diff := cmp.Diff(twoValid, verify(t, sign(t, s, plain))); diff != "" {
				t.Error(diff)
			}
		})
	}
	wg.Wait()
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", maxLabel)
	tests := []struct {
		name      string
		selectors []string
		want      string
	}{
		{"none", nil, "no DKIM key for example.com"},
		{"three", []string{"a", "b", "c"}, "3 DKIM keys for example.com: "},
		{"alike", []string{"s1", "S1"}, "two DKIM keys of example.com have the selector s1"},
		{"empty", []string{""}, `"" is no DKIM selector`},
		{"empty label", []string{"a..b"}, "is no DKIM selector"},
		{"a hyphen first", []string{"-a"}, "is no DKIM selector"},
		{"underscore", []string{"a_b"}, "is no DKIM selector"},
		{"injection", []string{"a; x=y"}, "is no DKIM selector"},
		{"line break", []string{"a\r\nb"}, "is no DKIM selector"},
		{"long label", []string{long + "a"}, "is no DKIM selector"},
		{"long name", []string{strings.Join([]string{long, long, long, long}, ".")}, "too long for the DNS"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var keys []Key
			for _, selector := range tt.selectors {
				keys = append(keys, Key{selector, fixed("")})
			}
			if _, err := New("example.com", keys); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func FuzzSign(f *testing.F) {
	for _, message := range messages {
		if len(message) < 5000 {
			f.Add(message)
		}
	}
	f.Add("From\r\nFrom : a\r\n :\r\n\r\n\r\n \r\n")
	s := both(f)
	f.Fuzz(func(t *testing.T, message string) {
		fields, err := s.Sign(t.Context(), strings.NewReader(message))
		if err != nil {
			return
		}
		signed := string(fields) + message
		if !strings.Contains(signed, "\r\n\r\n") {
			signed += "\r\n\r\n" // go-msgauth reads no message without an empty line
		}
		if diff := cmp.Diff(twoValid, verify(t, signed)[:2]); diff != "" {
			t.Errorf("-want +got\n%s\n%q", diff, signed)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for _, key := range []struct {
		name string
		text string
	}{{"rsa2048", rsaKey()}, {"ed25519", ed25519Key()}} {
		for _, size := range []struct {
			name string
			body int
		}{{"4KiB", 4 << 10}, {"100KiB", 100 << 10}} {
			b.Run(key.name+"/"+size.name, func(b *testing.B) {
				s := signer(b, Key{"s1", fixed(key.text)})
				message := plain + strings.Repeat("A line of text as mail has them, with some words in it.\r\n", size.body/57)
				b.SetBytes(int64(len(message)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Sign(b.Context(), strings.NewReader(message)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
