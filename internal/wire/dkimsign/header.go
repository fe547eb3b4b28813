// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// maxNames bounds h= in bytes, since it stands on one line, which has at most
// 998 (RFC 5322 section 2.1.1). With all fields that real mail has it stays
// below 400; with hundreds of one name a header is made to be read in several
// ways.
const maxNames = 900

// sealing says how often a field is listed beyond how often it occurs.
type sealing int

const (
	asIs      sealing = iota // as often as it occurs
	ifPresent                // once more, if it occurs
	always                   // once more, also if it does not occur
)

// signedFields are the fields that are signed, in the order of h=.
var signedFields = []struct {
	name string
	seal sealing
}{
	{"From", always},
	{"Sender", asIs},
	{"Reply-To", always},
	{"To", always},
	{"Cc", always},
	{"Subject", always},
	{"Date", always},
	{"Message-Id", asIs},
	{"In-Reply-To", asIs},
	{"References", asIs},
	{"MIME-Version", ifPresent},
	{"Content-Type", ifPresent},
	{"Content-Transfer-Encoding", ifPresent},
	{"List-Id", asIs},
	{"List-Unsubscribe", always},
	{"List-Unsubscribe-Post", always},
}

// readHeader reads the header block, up to and with the empty line. A message
// may end with its header.
func readHeader(r *bufio.Reader, g *guard) ([]byte, error) {
	var head []byte
	line := 0 // where the present line begins
	for {
		part, err := r.ReadSlice('\n')
		head = append(head, part...)
		if len(head) > mailflow.MaxHeaderBytes {
			return nil, fmt.Errorf("the header is longer than %d bytes", mailflow.MaxHeaderBytes)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("reading the header: %w", err)
		case err != nil || string(head[line:]) == "\r\n":
			_, err := g.Write(head)
			return head, err
		}
		line = len(head)
	}
}

// pick returns the names of h=, and those fields of the header block that have
// one of them: each unfolded, which its relaxed form is too, and all with the
// empty line that ends a header. What is signed is thus what we read, and no
// header can keep the signing busy.
func pick(head []byte) (names []string, fields []byte, err error) {
	header := mailflow.ParseHeader(head)
	if err := checkLines(head, header); err != nil {
		return nil, nil, err
	}
	if !header.Has("From") {
		return nil, nil, errors.New("the message has no From field")
	}
	size := 0
	for _, signed := range signedFields {
		count := 0
		for _, f := range header.Fields() {
			if strings.EqualFold(f.Name, signed.name) {
				fields = append(fields, bytes.ReplaceAll(f.Raw, []byte("\r\n"), nil)...)
				fields = append(fields, "\r\n"...)
				count++
			}
		}
		if signed.seal == always || signed.seal == ifPresent && count > 0 {
			count++
		}
		if size += count * len(signed.name+":"); size > maxNames {
			return nil, nil, fmt.Errorf("the header has too many %s fields", signed.name)
		}
		names = append(names, slices.Repeat([]string{signed.name}, count)...)
	}
	return names, append(fields, "\r\n"...), nil
}

// checkLines refuses a line that is no field by our reading and a signed one by
// that of others, and a header that begins with a folded line: with the
// signature before it, it would become part of that.
func checkLines(head []byte, header mailflow.Header) error {
	if len(head) > 0 && (head[0] == ' ' || head[0] == '\t') {
		return errors.New("the message begins with a blank")
	}
	fields := header.Fields()
	for line := range bytes.Lines(head[:header.Size()]) {
		if line[0] == ' ' || line[0] == '\t' {
			continue
		}
		if len(fields) > 0 && bytes.HasPrefix(fields[0].Raw, line) {
			fields = fields[1:]
			continue
		}
		name, _, _ := bytes.Cut(line, []byte(":"))
		if looksSigned(string(name)) {
			return fmt.Errorf("the header has a line that is no field and looks like %s", bytes.TrimSpace(name))
		}
	}
	return nil
}

// looksSigned reports whether a lenient reader takes name for that of a field
// that is signed, or for that of a signature.
func looksSigned(name string) bool {
	name = strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) && !unicode.IsSpace(r) {
			return r
		}
		return -1
	}, name)
	for _, signed := range signedFields {
		if strings.EqualFold(name, signed.name) {
			return true
		}
	}
	return strings.EqualFold(name, "DKIM-Signature")
}
