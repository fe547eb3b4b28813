// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// prints are fingerprints of a message. Blanks and line ends of the body do
// not count: servers on the way change them.
type prints struct {
	// whole is of author, date, subject and body, words of all but the date.
	whole, words string
}

// printSize is how many bytes of a hash are kept: two mails of one Message-Id
// or one author are told apart, against nobody who has a reason to try.
const printSize = 16

// takePrint reads the message m.
func takePrint(m *mailflow.Message) (prints, error) {
	body := sha256.New()
	if err := hashBody(m, body); err != nil {
		return prints{}, err
	}
	sum := body.Sum(nil)
	of := func(fields ...string) string {
		h := sha256.New()
		for _, name := range fields {
			h.Write([]byte(m.Header.Get(name)))
			h.Write([]byte{0})
		}
		h.Write(sum)
		return hex.EncodeToString(h.Sum(nil)[:printSize])
	}
	return prints{whole: of("From", "Date", "Subject"), words: of("From", "Subject")}, nil
}

// hashBody writes what is no blank of the body of m to h.
func hashBody(m *mailflow.Message, h hash.Hash) error {
	start := int64(m.Header.Size())
	r := bufio.NewReader(io.NewSectionReader(m.Body, start, m.Size()-start))
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		kept := buf[:0]
		for _, c := range buf[:n] {
			if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
				kept = append(kept, c)
			}
		}
		h.Write(kept)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
