// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// dialogue is where the conversation stands.
type dialogue struct {
	greeted bool // the greeting was sent
	hush    bool // go-smtp's greeting is not for the peer
	verb    string
	inAuth  bool // the next line belongs to a login
	user    bool // the peer has logged in

	envelope *mailflow.Envelope // of the MAIL that go-smtp looks at
	size     int64              // its SIZE
	rcpt     mailflow.Recipient // of the RCPT that go-smtp looks at
	open     bool               // a transaction is open
	taken    []int              // for each accepted RCPT the number of its mailbox
	boxes    map[string]int     // the number of each accepted mailbox, by its key
	utf8     bool               // it is one with SMTPUTF8

	chunk  *chunk            // the BDAT that go-smtp takes for DATA
	pushed []byte            // a command that was read already
	answer []*mailflow.Reply // what to say in place of go-smtp's reply
	silent bool              // say nothing in its place
}

// chunk is what a BDAT command announces (RFC 3030).
type chunk struct {
	left int64
	last bool
}

// next reads commands until one is for go-smtp, and puts it into c.pending.
func (c *conn) next() error {
	for !c.closing && !c.restart {
		line, err := c.nextLine()
		var f faultError
		switch {
		case errors.Is(err, errLineLong):
			c.answerNow(errTooLong)
		case errors.As(err, &f):
			c.emit(replyFault(fault(f)))
			c.closing, c.lingering = true, true
		case err != nil:
			c.readFailed(err)
		case c.state.inAuth:
			c.forward(string(line))
			return nil
		case c.command(line):
			return nil
		}
	}
	return io.EOF
}

// nextLine returns the next command.
func (c *conn) nextLine() ([]byte, error) {
	if line := c.state.pushed; line != nil {
		c.state.pushed = nil
		return line, nil
	}
	if len(c.in.waiting()) == 0 {
		c.in.release()
	}
	c.stage(c.timeouts().Command)
	return c.readLine()
}

// forward gives a line to go-smtp.
func (c *conn) forward(line string) { c.pending = append(c.pending[:0:0], line+"\r\n"...) }

// pass gives the command to go-smtp as it stands.
func (c *conn) pass(arg string) bool {
	line := c.state.verb
	if arg != "" {
		line += " " + arg
	}
	c.forward(line)
	return true
}

// answerNow answers a command that go-smtp does not see.
func (c *conn) answerNow(r *mailflow.Reply) bool {
	c.reply(r)
	return false
}

// lastWord answers a command that go-smtp does not see, and ends the session.
func (c *conn) lastWord(r *mailflow.Reply) bool {
	c.emit(r)
	c.closing, c.lingering = true, true
	return false
}

// command looks at a command. It reports whether there is something for go-smtp.
func (c *conn) command(line []byte) bool {
	word, rest, _ := bytes.Cut(line, []byte(" "))
	verb, arg := strings.ToUpper(string(word)), strings.TrimSpace(string(rest))
	c.state.verb = verb
	if bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return c.answerNow(errSyntax)
	}
	if verb != "MAIL" && verb != "RCPT" && verb != "DATA" && verb != "BDAT" {
		if c.counts.idle++; c.counts.idle > MaxIdleCommands {
			return c.answerNow(errTooMuchTalk)
		}
	}
	if c.server.options.LMTP {
		verb = lmtpVerb(verb)
		c.state.verb = verb
	}
	switch verb {
	case "EHLO", "HELO":
		return c.hello(arg)
	case "MAIL":
		return c.mail(arg)
	case "RCPT":
		return c.recipient(arg)
	case "DATA", "RSET", "QUIT":
		if arg != "" {
			return c.answerNow(errArguments)
		}
		return c.pass("")
	case "BDAT":
		return c.bdat(arg)
	case "NOOP", "VRFY":
		return c.pass(arg)
	case "AUTH":
		if c.state.open {
			return c.answerNow(errSequence)
		}
		return c.pass(arg)
	case "STARTTLS":
		return c.startTLS(arg)
	case "HELP", "EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN", "LHLO":
		return c.answerNow(errNotImplemented)
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PRI":
		// A web page can have a browser post what looks like mail, behind the
		// head of its request, to a door that trusts the browser's machine.
		return c.lastWord(errHTTP)
	}
	return c.answerNow(errUnknown)
}

// lmtpVerb returns the SMTP command that an LMTP command stands for; EHLO and
// HELO are unknown there (RFC 2033 section 4.1).
func lmtpVerb(verb string) string {
	switch verb {
	case "LHLO":
		return "EHLO"
	case "EHLO", "HELO":
		return ""
	}
	return verb
}

// hello looks at EHLO and HELO.
func (c *conn) hello(arg string) bool {
	name, _, _ := strings.Cut(arg, " ")
	outside := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	if name == "" || len(name) > MaxHello || strings.ContainsFunc(name, outside) {
		return c.answerNow(errHello)
	}
	c.client.Hello, c.client.Extended = name, c.state.verb == "EHLO"
	return c.pass(name)
}

// bdat looks at BDAT, which go-smtp takes for DATA.
func (c *conn) bdat(arg string) bool {
	ch, ok := parseChunk(arg)
	if !ok {
		// Where the chunk ends is unknown, so nothing behind it is a command.
		return c.lastWord(errArguments)
	}
	c.state.chunk = ch
	c.forward("DATA")
	return true
}

// parseChunk reads the arguments of BDAT.
func parseChunk(arg string) (*chunk, bool) {
	fields := strings.Fields(arg)
	if len(fields) != 1 && (len(fields) != 2 || !strings.EqualFold(fields[1], "LAST")) {
		return nil, false
	}
	size, err := strconv.ParseUint(fields[0], 10, 62)
	if err != nil {
		return nil, false
	}
	return &chunk{left: int64(size), last: len(fields) == 2}, true
}
