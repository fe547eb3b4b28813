// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// harmless is the path that go-smtp sees in place of the one that the guard has
// read itself.
const harmless = "<a@b>"

// maxSizeDigits is the longest SIZE value (RFC 1870 section 4).
const maxSizeDigits = 20

// mail looks at MAIL (RFC 5321 section 4.1.1.2).
func (c *conn) mail(arg string) bool {
	if c.state.open {
		return c.answerNow(errSequence)
	}
	path, params, err := cutPath(arg, "FROM:")
	if err != nil {
		return c.answerNow(errSyntax)
	}
	fields, err := splitParams(params)
	if err != nil {
		return c.answerNow(errParameters)
	}
	env := &mailflow.Envelope{}
	kept := make([]string, 0, len(fields))
	size := int64(0)
	for _, f := range fields {
		switch f.key {
		case "SIZE":
			if size, err = parseSize(f.value); err != nil {
				return c.answerNow(errParameters)
			}
			continue
		case "SMTPUTF8":
			env.SMTPUTF8 = true
		}
		kept = append(kept, f.text)
	}
	from, reply := readPath(path, env.SMTPUTF8, errSender)
	if reply == nil && !from.IsNull() && from.Domain == "" {
		reply = errSender
	}
	if reply != nil {
		return c.answerNow(reply)
	}
	env.From = from
	c.state.envelope, c.state.size = env, size
	c.forward(strings.Join(append([]string{"MAIL FROM:" + harmless}, kept...), " "))
	return true
}

// recipient looks at RCPT (RFC 5321 section 4.1.1.3).
func (c *conn) recipient(arg string) bool {
	path, params, err := cutPath(arg, "TO:")
	if err != nil {
		return c.answerNow(errSyntax)
	}
	fields, err := splitParams(params)
	if err != nil {
		return c.answerNow(errParameters)
	}
	to, reply := readPath(path, c.state.utf8, errRecipient)
	if reply == nil && to.IsNull() {
		reply = errRecipient
	}
	if reply != nil {
		return c.answerNow(reply)
	}
	c.state.rcpt = mailflow.Recipient{Address: to}
	line := []string{"RCPT TO:" + harmless}
	for _, f := range fields {
		line = append(line, f.text)
	}
	c.forward(strings.Join(line, " "))
	return true
}

// readPath makes an address of the text of a path. malformed is the reply to
// one that is none.
func readPath(path string, smtputf8 bool, malformed *mailflow.Reply) (mailflow.Address, *mailflow.Reply) { //nolint:revive // smtputf8 is what MAIL said
	ascii := strings.IndexFunc(path, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
	if !ascii && !utf8.ValidString(path) {
		return mailflow.Address{}, malformed
	}
	if !ascii && !smtputf8 {
		return mailflow.Address{}, errNeedsUTF8
	}
	a, err := mailflow.ParseAddress(path)
	if err != nil {
		return mailflow.Address{}, malformed.Because(err)
	}
	return a, nil
}

var errPath = errors.New("malformed path")

// cutPath splits the argument of MAIL or RCPT into the path, without brackets
// and source route, and the parameters. Brackets may be missing, as old devices
// leave them out.
func cutPath(arg, keyword string) (path, params string, err error) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", "", errPath
	}
	s := strings.TrimLeft(arg[len(keyword):], " ")
	bracket := strings.HasPrefix(s, "<")
	stop := byte(' ')
	if bracket {
		s, stop = s[1:], '>'
	}
	end := endOfPath(s, stop)
	if end < 0 && bracket || s == "" {
		return "", "", errPath
	}
	if end < 0 {
		end = len(s)
	}
	path, params = s[:end], s[end:]
	if bracket {
		params = params[1:]
		if params != "" && params[0] != ' ' {
			return "", "", errPath
		}
	}
	if strings.HasPrefix(path, "@") {
		// A source route is ignored (RFC 5321 section 4.1.1.3, appendix C).
		_, last, ok := strings.Cut(path, ":")
		if !ok {
			return "", "", errPath
		}
		path = last
	}
	return path, params, nil
}

// endOfPath returns the index of the first stop in s that is not quoted, or -1.
func endOfPath(s string, stop byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == stop:
			return i
		}
	}
	return -1
}

// param is an ESMTP parameter.
type param struct{ key, value, text string }

var errParams = errors.New("malformed parameters")

// splitParams splits ESMTP parameters (RFC 5321 section 4.1.2). One that stands
// twice is refused: programs do not agree which of the two holds.
func splitParams(s string) ([]param, error) {
	var ps []param
	for text := range strings.FieldsSeq(s) {
		key, value, _ := strings.Cut(text, "=")
		p := param{key: strings.ToUpper(key), value: value, text: text}
		if p.key == "" || strings.IndexFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0 {
			return nil, errParams
		}
		for _, q := range ps {
			if q.key == p.key {
				return nil, errParams
			}
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// parseSize reads a SIZE value; one beyond what fits is as large as fits.
func parseSize(s string) (int64, error) {
	if s == "" || len(s) > maxSizeDigits || strings.Trim(s, "0123456789") != "" {
		return 0, errParams
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return math.MaxInt64, nil //nolint:nilerr // digits only, so it is out of range
	}
	return n, nil
}
