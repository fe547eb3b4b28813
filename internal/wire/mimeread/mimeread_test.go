// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden is what a file beside a message holds.
type golden struct {
	*Mail

	// Opened are the attachments' contents.
	Opened []string
}

// readAll reads a message and opens all its attachments; it holds that their
// sizes are told right.
func readAll(tb testing.TB, r reader, raw []byte) golden {
	tb.Helper()
	body := mailflowtest.NewBody(raw)
	m, err := r.read(tb.Context(), body)
	if err != nil {
		tb.Fatal(err)
	}
	g := golden{Mail: m}
	for n, a := range m.Attachments {
		in, err := r.open(tb.Context(), body, n)
		if err != nil {
			tb.Fatalf("opening attachment %d of %d: %v", n, len(m.Attachments), err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			tb.Fatalf("reading attachment %d: %v", n, err)
		}
		if int64(len(b)) != a.Size {
			tb.Errorf("attachment %d has %d bytes, told were %d", n, len(b), a.Size)
		}
		g.Opened = append(g.Opened, string(b))
	}
	for _, n := range []int{-1, len(m.Attachments)} {
		if _, err := r.open(tb.Context(), body, n); !errors.Is(err, ErrNoAttachment) {
			tb.Errorf("attachment %d of %d opened: %v", n, len(m.Attachments), err)
		}
	}
	return g
}

func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".eml"), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "\t")
			if err := enc.Encode(readAll(t, standard, raw)); err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(file, ".eml") + ".json"
			if *update {
				if err := os.WriteFile(name, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != string(want) {
				t.Errorf("got %s\nwant %s", got.String(), want)
			}
		})
	}
}

// TestContentsAreKept holds that the bytes of a part come out as they went in,
// however lines, bare line ends and the buffers fall.
func TestContentsAreKept(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"\r", "\n", "\r\n", "\r\r\n", "\x00", "text", "--", "--b", strings.Repeat("x", 1000), strings.Repeat("y", bufferBytes-1) + "\r", "text\n"}
	for range 200 {
		var content strings.Builder
		for range rnd.IntN(12) {
			content.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		want := content.String()
		for line := range strings.SplitSeq(want, "\n") {
			if rest := strings.TrimRight(line, "\r"); rest == "--b" || rest == "--b--" {
				want = ""
			}
		}
		for _, end := range []string{"\r\n--b--\r\n", "\r\n--b--", "\r\n--b\r\n\r\ntext\r\n--b--\r\n"} {
			raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: a/b\r\n\r\n" + want + end
			if got := readAll(t, standard, []byte(raw)); len(got.Opened) != 1 || got.Opened[0] != want {
				t.Fatalf("%.200q became %.200q", want, got.Opened)
			}
		}
		raw := "Content-Type: a/b\r\n\r\n" + want
		if got := readAll(t, standard, []byte(raw)); len(got.Opened) != 1 || got.Opened[0] != want {
			t.Fatalf("alone %.200q became %.200q", want, got.Opened)
		}
	}
}
