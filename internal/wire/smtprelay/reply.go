// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Limits on what a server says. RFC 5321 section 4.5.3.1.5 lets a reply line
// have 512 octets; real servers write longer ones.
const (
	// maxReplyLine is the longest line of a reply, in bytes with its end.
	maxReplyLine = 4096
	// maxReplyLines is the most lines of one reply. EHLO gives some 20.
	maxReplyLines = 128
	// maxReplyText is the most text of a reply that is kept, in bytes: it is
	// stored with every delivery.
	maxReplyText = 512
)

// errGarbage is wrapped by the error on bytes that are no SMTP reply.
var errGarbage = errors.New("not an SMTP reply")

// A reply is an SMTP reply as it came, its lines without code and line end.
type reply struct {
	code  int
	lines []string
}

// readReply reads one reply. It calls rearm before each line, to move the
// deadline on. r must have a buffer of maxReplyLine bytes.
func readReply(r *bufio.Reader, rearm func() error) (reply, error) {
	var rep reply
	for len(rep.lines) < maxReplyLines {
		if err := rearm(); err != nil {
			return reply{}, err
		}
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return reply{}, fmt.Errorf("%w: line longer than %d bytes", errGarbage, maxReplyLine)
		case errors.Is(err, io.EOF) && len(line)+len(rep.lines) > 0:
			return reply{}, io.ErrUnexpectedEOF
		case err != nil:
			return reply{}, err
		}
		l, err := parseReplyLine(line)
		switch {
		case err != nil:
			return reply{}, err
		case rep.code != 0 && l.code != rep.code:
			return reply{}, fmt.Errorf("%w: code %d after %d", errGarbage, l.code, rep.code)
		}
		rep.code = l.code
		rep.lines = append(rep.lines, l.text)
		if !l.more {
			return rep, nil
		}
	}
	return reply{}, fmt.Errorf("%w: more than %d lines", errGarbage, maxReplyLines)
}

// A replyLine is one line of a reply.
type replyLine struct {
	code int
	text string
	more bool // another line follows
}

// parseReplyLine reads one line of a reply (RFC 5321 section 4.2).
func parseReplyLine(line []byte) (replyLine, error) {
	s := strings.TrimRight(string(line), "\r\n")
	if len(s) < 3 || s[0] < '2' || s[0] > '5' || !isDigit(s[1]) || !isDigit(s[2]) {
		return replyLine{}, fmt.Errorf("%w: %q", errGarbage, cut(s, 64))
	}
	l := replyLine{code: int(s[0]-'0')*100 + int(s[1]-'0')*10 + int(s[2]-'0')}
	switch {
	case len(s) == 3:
	case s[3] == ' ' || s[3] == '-':
		l.text, l.more = s[4:], s[3] == '-'
	default:
		return replyLine{}, fmt.Errorf("%w: %q", errGarbage, cut(s, 64))
	}
	return l, nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// public returns rep in the words of the house: enhanced code apart, lines
// joined by blanks, printable and bounded.
func (rep reply) public() *mailflow.Reply {
	out := &mailflow.Reply{Code: rep.code}
	var b strings.Builder
	for i, line := range rep.lines {
		code, rest, ok := cutEnhanced(line, rep.code)
		if ok && (i == 0 || code == out.Enhanced) {
			out.Enhanced, line = code, rest
		}
		if line = strings.TrimSpace(line); line != "" && b.Len() <= maxReplyText {
			if b.Len() > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(line)
		}
	}
	out.Text = cut(printable(b.String()), maxReplyText)
	return out
}

// cutEnhanced cuts the enhanced code off that line begins with (RFC 2034). One
// of another class than the code is text.
func cutEnhanced(line string, code int) (mailflow.EnhancedCode, string, bool) {
	word, rest, _ := strings.Cut(line, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return mailflow.EnhancedCode{}, line, false
	}
	var enhanced mailflow.EnhancedCode
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil || len(part) > 3 {
			return mailflow.EnhancedCode{}, line, false
		}
		enhanced[i] = int(n)
	}
	if enhanced[0] != code/100 {
		return mailflow.EnhancedCode{}, line, false
	}
	return enhanced, rest, true
}

// printable returns s as UTF-8 without control characters.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ', r >= 0x7f && r < 0xa0, r == utf8.RuneError:
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// cut returns the first n bytes of s, without half a character at the end.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
