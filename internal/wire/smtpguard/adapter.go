// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// adapter is the session as go-smtp sees it.
type adapter struct {
	conn    *conn
	session Session
}

// NewSession implements [smtp.Backend].
func (a *adapter) NewSession(*smtp.Conn) (smtp.Session, error) {
	err := a.conn.safely(func() error {
		a.session = a.conn.server.backend.Open(&a.conn.client)
		a.conn.session = a.session
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// AuthMechanisms implements [smtp.AuthSession].
func (a *adapter) AuthMechanisms() []string {
	if a.conn.state.user {
		return nil
	}
	return a.session.Mechanisms()
}

// Auth implements [smtp.AuthSession].
func (a *adapter) Auth(mech string) (sasl.Server, error) {
	offered := a.session.Mechanisms()
	switch {
	case len(offered) == 0:
		return nil, a.conn.instead(errNoAuth)
	case a.conn.shutOut():
		return nil, a.conn.instead(errTooManyGuesses)
	case !slices.Contains(offered, mech):
		return nil, a.conn.instead(errMechanism)
	}
	return newLogin(a, mech), nil
}

// Mail implements [smtp.Session].
func (a *adapter) Mail(_ string, opts *smtp.MailOptions) error {
	st := &a.conn.state
	env := st.envelope
	env.Body = mailflow.BodyType(opts.Body)
	env.Return = mailflow.ReturnType(opts.Return)
	env.EnvelopeID = opts.EnvelopeID
	err := a.conn.safely(func() error { return a.session.Mail(a.conn.ctx, env, st.size) })
	if err == nil {
		st.open, st.utf8 = true, env.SMTPUTF8
		st.taken, st.boxes = nil, nil
	}
	return err
}

// Rcpt implements [smtp.Session].
func (a *adapter) Rcpt(_ string, opts *smtp.RcptOptions) error {
	rcpt := a.conn.state.rcpt
	for _, n := range opts.Notify {
		rcpt.Notify = append(rcpt.Notify, mailflow.Notify(n))
	}
	rcpt.OriginalType = strings.ToLower(string(opts.OriginalRecipientType))
	rcpt.Original = opts.OriginalRecipient
	err := a.conn.safely(func() error { return a.session.Rcpt(a.conn.ctx, rcpt) })
	if err == nil && a.conn.server.options.LMTP {
		a.conn.state.take(rcpt.Address)
	}
	return err
}

// Data implements [smtp.Session]. r has nothing: the content is read beside
// go-smtp.
func (a *adapter) Data(r io.Reader) error {
	_, _ = io.Copy(io.Discard, r) // the end that the guard made up
	c := a.conn
	k := c.newContent(a.session.MaxSize())
	each := c.server.options.LMTP
	var replies []*mailflow.Reply
	err := c.safely(func() (err error) {
		replies, err = a.session.Data(c.ctx, k)
		return err
	})
	k.finish()
	switch {
	case k.err != nil:
		// Whatever the session says, it has not seen the whole message.
		replies = []*mailflow.Reply{mailflow.AsReply(k.err)}
		each = each && k.ends()
	case err != nil:
		replies = c.state.answer
	case len(replies) == 0:
		replies = []*mailflow.Reply{mailflow.ReplyTryLater}
	}
	one := mailflow.OneReply(replies)
	if one.Accepted() {
		c.counts.accepted()
	}
	err = c.instead(one)
	if each {
		c.state.answer = c.state.spread(replies)
	}
	return err
}

// Reset implements [smtp.Session].
func (a *adapter) Reset() {
	st := &a.conn.state
	if st.open {
		st.open, st.utf8 = false, false
		_ = a.conn.safely(func() error { a.session.Reset(); return nil }) // reported there
	}
}

// Logout implements [smtp.Session].
func (a *adapter) Logout() error {
	a.Reset()
	return nil
}

// instead has the peer told r, and returns it as go-smtp's error.
func (c *conn) instead(r *mailflow.Reply) error {
	c.state.answer = []*mailflow.Reply{r}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.EnhancedCode(r.Enhanced), Message: r.Text}
}

// safely runs a method of the session. Its error becomes what the peer is told;
// a panic ends the connection.
func (c *conn) safely(call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.server.options.Report(Incident{Kind: Panicked, IP: c.client.IP, Err: fmt.Errorf("%v\n%s", p, debug.Stack())})
			c.closing, c.lingering = true, true
			err = c.instead(errPanic)
		}
	}()
	if err := call(); err != nil {
		return c.instead(mailflow.AsReply(err))
	}
	return nil
}

// maxSize returns the session's size limit.
func (c *conn) maxSize() int64 {
	if c.session == nil {
		return 0
	}
	return c.session.MaxSize()
}

// debugLog is go-smtp's log.
type debugLog struct{ say func(string) }

// Printf implements [smtp.Logger].
func (l debugLog) Printf(format string, v ...any) { l.say(fmt.Sprintf(format, v...)) }

// Println implements [smtp.Logger].
func (l debugLog) Println(v ...any) { l.say(fmt.Sprint(v...)) }

// Interface guards
var (
	_ smtp.Backend     = (*adapter)(nil)
	_ smtp.AuthSession = (*adapter)(nil)
	_ smtp.Logger      = debugLog{}
)
