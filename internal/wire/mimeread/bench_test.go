// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bytes"
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"github.com/jhillyerd/enmime/v2"

	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// BenchmarkRead reads a small mail with two forms and one with an attachment of
// 4 MiB, by this package and by enmime alone, side by side.
func BenchmarkRead(b *testing.B) {
	small, err := os.ReadFile("testdata/alternative.eml")
	if err != nil {
		b.Fatal(err)
	}
	large := string(crlf("Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nthe text\n" +
		"--b\nContent-Type: application/pdf; name=a.pdf\nContent-Transfer-Encoding: base64\n\n"))
	line := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("\x00\x01\xfe"), 19)) + "\r\n"
	large += strings.Repeat(line, 4<<20/57) + "--b--\r\n"
	for name, raw := range map[string][]byte{"alternative": small, "4MiB": []byte(large)} {
		b.Run(name+"/mimeread", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				m, err := Read(b.Context(), mailflowtest.NewBody(raw))
				if err != nil || len(m.Passages) != 1 || len(m.Flaws) > 0 {
					b.Fatal(m, err)
				}
			}
		})
		b.Run(name+"/enmime", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if e, err := enmime.ReadEnvelope(bytes.NewReader(raw)); err != nil || e.Text == "" {
					b.Fatal(e, err)
				}
			}
		})
	}
}
