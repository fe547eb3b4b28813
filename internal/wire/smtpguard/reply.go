// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func reply(code int, e mailflow.EnhancedCode, text string) *mailflow.Reply {
	return &mailflow.Reply{Code: code, Enhanced: e, Text: text}
}

// The guard's own refusals.
var (
	errSyntax         = reply(501, mailflow.EnhancedCode{5, 5, 2}, "Syntax error")
	errUnknown        = reply(500, mailflow.EnhancedCode{5, 5, 2}, "Command not recognized")
	errHTTP           = reply(500, mailflow.EnhancedCode{5, 5, 2}, "This is no web server, closing connection")
	errTooLong        = reply(500, mailflow.EnhancedCode{5, 5, 6}, "Line too long")
	errNotImplemented = reply(502, mailflow.EnhancedCode{5, 5, 1}, "Command not implemented")
	errSequence       = reply(503, mailflow.EnhancedCode{5, 5, 1}, "Bad sequence of commands")
	errArguments      = reply(501, mailflow.EnhancedCode{5, 5, 4}, "Syntax error in arguments")
	errParameters     = reply(501, mailflow.EnhancedCode{5, 5, 4}, "Syntax error in parameters")
	errHello          = reply(501, mailflow.EnhancedCode{5, 5, 4}, "Give the name of your host")
	errSender         = reply(501, mailflow.EnhancedCode{5, 1, 7}, "Malformed sender address")
	errRecipient      = reply(501, mailflow.EnhancedCode{5, 1, 3}, "Malformed recipient address")
	errNeedsUTF8      = reply(553, mailflow.EnhancedCode{5, 6, 7}, "Address needs SMTPUTF8")
	errNoTLS          = reply(502, mailflow.EnhancedCode{5, 5, 1}, "STARTTLS not available")
	errTLSLater       = reply(454, mailflow.EnhancedCode{4, 7, 0}, "TLS not available now, try again later")
	errBase64         = reply(501, mailflow.EnhancedCode{5, 5, 2}, "Malformed login")
	errBadLogin       = reply(535, mailflow.EnhancedCode{5, 7, 8}, "Authentication credentials invalid")
	errNoAuth         = reply(503, mailflow.EnhancedCode{5, 5, 1}, "AUTH not available")
	errMechanism      = reply(504, mailflow.EnhancedCode{5, 5, 4}, "Mechanism not available")
	errTimeout        = reply(421, mailflow.EnhancedCode{4, 4, 2}, "Timeout, closing connection")
	errTooManyErrors  = reply(421, mailflow.EnhancedCode{4, 7, 0}, "Too many errors, closing connection")
	errTooManyGuesses = reply(421, mailflow.EnhancedCode{4, 7, 0}, "Too many failed logins, try again later")
	errTooMuchTalk    = reply(421, mailflow.EnhancedCode{4, 7, 0}, "Too many commands without a mail, closing connection")
	errPanic          = reply(421, mailflow.EnhancedCode{4, 3, 0}, "Local error, closing connection")
	errParamUnknown   = reply(555, mailflow.EnhancedCode{5, 5, 4}, "Parameter not recognized or not implemented")
)

// okay are its replies to what goes well.
var okay = struct{ sender, recipient, reset, nothing, readyTLS, loggedIn *mailflow.Reply }{
	sender:    reply(250, mailflow.EnhancedCode{2, 1, 0}, "Sender OK"),
	recipient: reply(250, mailflow.EnhancedCode{2, 1, 5}, "Recipient OK"),
	reset:     reply(250, mailflow.EnhancedCode{2, 0, 0}, "Reset"),
	nothing:   reply(250, mailflow.EnhancedCode{2, 0, 0}, "OK"),
	readyTLS:  reply(220, mailflow.EnhancedCode{2, 0, 0}, "Ready to start TLS"),
	loggedIn:  reply(235, mailflow.EnhancedCode{2, 7, 0}, "Authentication succeeded"),
}

// replyFault returns the reply to a command with a fault.
func replyFault(f fault) *mailflow.Reply {
	return reply(500, mailflow.EnhancedCode{5, 5, 2}, "Command has "+string(f)+", closing connection")
}

// replyContent returns the reply to content with a fault.
func replyContent(f fault) *mailflow.Reply {
	return reply(550, mailflow.EnhancedCode{5, 6, 0}, "Message has "+string(f)+", see RFC 5321 section 2.3.8")
}

// fromServer takes a piece of what go-smtp writes.
func (c *conn) fromServer(p []byte) {
	c.partial = append(c.partial, p...)
	for {
		line, rest, ok := bytes.Cut(c.partial, []byte("\n"))
		if !ok {
			return
		}
		text := strings.TrimSuffix(string(line), "\r")
		if c.partial = rest; len(rest) == 0 {
			c.partial = nil
		}
		c.lines = append(c.lines, text)
		if len(text) < 4 || text[3] != '-' {
			lines := c.lines
			c.lines = nil
			c.replied(lines)
		}
	}
}

// replied takes a whole reply of go-smtp, and says it or what holds instead.
func (c *conn) replied(lines []string) {
	r := parseReply(lines[len(lines)-1])
	st := &c.state
	answer := st.answer
	st.answer = nil
	st.inAuth = r.Code == 334
	switch {
	case st.silent:
		st.silent = false
	case !st.greeted:
		c.greet()
	case st.hush:
		st.hush = false
	case len(answer) > 0:
		c.answer(answer)
	case r.Code == 354:
		c.goAhead(lines)
	case st.chunk != nil:
		c.refuseChunk(mend("BDAT", r))
	case r.Code == 250 && (st.verb == "EHLO" || st.verb == "HELO"):
		c.welcome(lines)
	case r.Code == 334:
		c.raw(lines[0])
	default:
		c.reply(mend(st.verb, r))
	}
}

// answer says what holds instead of a reply of go-smtp: one reply, or after LMTP
// content one for each recipient, which count as one.
func (c *conn) answer(replies []*mailflow.Reply) {
	c.reply(replies[0])
	for _, r := range replies[1:] {
		if c.closing {
			return // a 421 answers for all
		}
		c.emit(r)
	}
}

// protocol returns the name of the protocol in the greeting.
func (c *conn) protocol() string {
	if c.server.options.LMTP {
		return "LMTP"
	}
	return "ESMTP"
}

// goAhead lets the content come. go-smtp is told that it is empty.
func (c *conn) goAhead(lines []string) {
	if c.state.chunk == nil {
		c.raw(lines[0])
	}
	c.pending = []byte(".\r\n")
}

// refuseChunk reads away a chunk that is not wanted, then says why; it ends the
// session before one that is larger than [MaxDiscarded].
func (c *conn) refuseChunk(r *mailflow.Reply) {
	ch := c.state.chunk
	c.state.chunk = nil
	if ch.left > MaxDiscarded {
		c.lastWord(r)
		return
	}
	c.stage(c.timeouts().Content)
	if err := c.skip(ch.left); err != nil {
		c.readFailed(err)
		return
	}
	c.reply(r)
}

// greet opens the session: TLS first where it is implicit, then the greeting.
func (c *conn) greet() {
	c.state.greeted = true
	if c.server.options.Implicit {
		if err := c.handshake(); err != nil {
			c.closing = true
			return
		}
	}
	if c.ctx.Err() != nil {
		c.reply(mailflow.ReplyShuttingDown)
		return
	}
	c.raw("220 " + c.server.options.Hostname + " " + c.protocol() + " ready")
	// The greeting leaves at once, not with the first read: go-smtp may be slow
	// to begin, and the peer waits.
	_ = c.flush() // an error ends the session at the next read
}

// welcome is the reply to EHLO and HELO. go-smtp greets with the peer's name
// where its own belongs (RFC 5321 section 4.1.1.1).
func (c *conn) welcome(lines []string) {
	hello := c.server.options.Hostname + " greets you"
	if c.state.verb == "HELO" {
		c.raw("250 " + hello)
		return
	}
	words := []string{hello}
	for _, l := range lines[1:] {
		word := l[4:]
		if word == "SIZE" {
			word += " " + strconv.FormatInt(c.maxSize(), 10)
		}
		words = append(words, word)
	}
	if c.client.TLS == nil && !c.server.options.Implicit && c.server.options.TLS() != nil {
		words, c.offered = append(words, "STARTTLS"), true
	}
	for i, w := range words {
		sep := "-"
		if i == len(words)-1 {
			sep = " "
		}
		c.raw("250" + sep + w)
	}
}

// mend gives a reply of go-smtp the code that RFC 5321 has for it.
func mend(verb string, r *mailflow.Reply) *mailflow.Reply {
	seq := mailflow.EnhancedCode{5, 5, 1}
	switch {
	case r.Code == 502 && r.Enhanced == seq:
		return errSequence
	case verb == "RSET" && r.Code == 250:
		return okay.reset
	case verb == "NOOP" && r.Code == 250:
		return okay.nothing
	case verb == "MAIL" && r.Code == 250:
		return okay.sender
	case verb == "RCPT" && r.Code == 250:
		return okay.recipient
	case (verb == "MAIL" || verb == "RCPT") && (r.Code == 500 || r.Code == 504) && r.Enhanced[1] == 5:
		return errParamUnknown
	case verb == "AUTH" && r.Code == 235:
		return okay.loggedIn
	case verb == "AUTH" && r.Code == 502:
		return errArguments
	case verb == "AUTH" && r.Text == "Invalid base64 data":
		return errBase64
	case r.Code == 421 && r.Text == "Internal server error":
		return errPanic
	}
	return r
}

// parseReply reads a line of go-smtp's.
func parseReply(line string) *mailflow.Reply {
	r := &mailflow.Reply{}
	if len(line) < 4 {
		return mailflow.ReplyTryLater
	}
	r.Code, _ = strconv.Atoi(line[:3]) // go-smtp writes numbers
	r.Text = line[4:]
	word, rest, _ := strings.Cut(r.Text, " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return r
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil {
			return r
		}
		r.Enhanced[i] = n
	}
	r.Text = rest
	return r
}

// raw queues a line of a reply as it stands.
func (c *conn) raw(line string) {
	c.out = append(append(c.out, line...), '\r', '\n')
	if len(c.out) >= maxOut {
		_ = c.flush() // an error ends the session at the next read
	}
}

// emit queues a reply, uncounted; a 421 ends the session.
func (c *conn) emit(r *mailflow.Reply) {
	c.raw(format(r))
	if r.Code == 421 {
		c.closing, c.lingering = true, true
	}
}

// format returns r as one line of printable ASCII.
func format(r *mailflow.Reply) string {
	shown := *r
	shown.Text = strings.Map(func(ch rune) rune {
		if ch < ' ' {
			return ' '
		}
		if ch >= 0x7f {
			return '?'
		}
		return ch
	}, shown.Text)
	if len(shown.Text) > maxReplyText {
		shown.Text = shown.Text[:maxReplyText]
	}
	if shown.Text == "" {
		shown.Text = "-"
	}
	return shown.String()
}
