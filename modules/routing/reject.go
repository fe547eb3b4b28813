// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Reject)) }

// maxReplyText is the longest text of a reply, in bytes: a reply line has 512
// octets with its codes and CRLF (RFC 5321 section 4.5.3.1.5), and room is
// left for what a server puts before it.
const maxReplyText = 400

// Reject refuses recipients with an SMTP reply.
//
// It is asked at RCPT already: a recipient that it takes whatever the content
// is, and that no handler before it may claim, is refused there.
type Reject struct {
	// The reply code: 4xx for "try again later", 5xx for "never". 421 and 521
	// are not possible, since they would end the session.
	Code int `json:"code"`

	// The enhanced status code (RFC 3463), of the same class as the code.
	// Default: 4.7.1 or 5.7.1.
	Enhanced string `json:"enhanced,omitempty"`

	// The text, which the sender sees. It is ASCII on one line.
	Text string `json:"text"`

	reply *mailflow.Reply
}

// CaddyModule returns the Caddy module information.
func (*Reject) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.handlers.reject", New: func() caddy.Module { return new(Reject) }}
}

// Provision makes the reply.
func (h *Reject) Provision(caddy.Context) error {
	if err := expand(&h.Text); err != nil {
		return err
	}
	h.reply = &mailflow.Reply{Code: h.Code, Text: h.Text}
	enhanced := h.Enhanced
	if enhanced == "" {
		enhanced = fmt.Sprintf("%d.7.1", h.Code/100)
	}
	c := &h.reply.Enhanced
	if !enhancedCode.MatchString(enhanced) {
		return fmt.Errorf("%q is no enhanced status code such as 5.7.1", enhanced)
	}
	if _, err := fmt.Sscanf(enhanced, "%d.%d.%d", &c[0], &c[1], &c[2]); err != nil {
		return fmt.Errorf("%q is no enhanced status code such as 5.7.1: %w", enhanced, err)
	}
	return nil
}

// enhancedCode is the form of RFC 3463 section 2.
var enhancedCode = regexp.MustCompile(`^[245]\.[0-9]{1,3}\.[0-9]{1,3}$`)

// Validate checks the codes and the text.
func (h *Reject) Validate() error {
	printable := func(r rune) bool { return r >= ' ' && r < 0x7f }
	switch {
	case h.Code < 400 || h.Code > 599:
		return fmt.Errorf("code %d refuses nothing; write 4xx or 5xx", h.Code)
	case h.Code == 421 || h.Code == 521:
		return fmt.Errorf("code %d ends the session; write 451 or 550", h.Code)
	case h.reply.Enhanced[0] != h.Code/100:
		return fmt.Errorf("enhanced code %s is not of the class of %d", h.reply.Enhanced, h.Code)
	case strings.TrimSpace(h.Text) == "":
		return errors.New("a refusal needs a text that tells the sender why")
	case len(h.Text) > maxReplyText:
		return fmt.Errorf("the text has more than %d bytes", maxReplyText)
	case strings.IndexFunc(h.Text, func(r rune) bool { return !printable(r) }) >= 0:
		return errors.New("the text of an SMTP reply is plain ASCII on one line")
	}
	return nil
}

// Handle implements mailflow.Handler.
func (h *Reject) Handle(_ context.Context, tx *mailflow.Transaction, _ mailflow.Next) error {
	if len(tx.Pending()) > 0 {
		tx.Trace.Won("rejected", h.reply.String())
		tx.RefuseAll(h.reply)
	}
	return nil
}

// HandleRcpt implements mailflow.RcptHandler.
func (h *Reject) HandleRcpt(context.Context, *mailflow.Transaction, mailflow.Recipient) (mailflow.Prospect, error) {
	return mailflow.ProspectNone, h.reply
}

// UnmarshalCaddyfile reads the handler. Syntax:
//
//	reject <code> [<enhanced code>] <text...>
func (h *Reject) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	var args []string
	for i, arg := range d.RemainingArgs() {
		if i == 0 {
			args = append(args, strings.Fields(arg)...) // "550 5.7.1" in quotes
			continue
		}
		args = append(args, arg)
	}
	if len(args) < 2 {
		return d.ArgErr()
	}
	code, err := strconv.Atoi(args[0])
	if err != nil {
		return d.Errf("%q is no reply code such as 550", args[0])
	}
	h.Code, args = code, args[1:]
	if enhancedCode.MatchString(args[0]) {
		h.Enhanced, args = args[0], args[1:]
	}
	h.Text = strings.Join(args, " ")
	if h.Text == "" {
		return d.ArgErr()
	}
	return noBlock(d)
}

var (
	_ caddy.Provisioner     = (*Reject)(nil)
	_ caddy.Validator       = (*Reject)(nil)
	_ mailflow.RcptHandler  = (*Reject)(nil)
	_ caddyfile.Unmarshaler = (*Reject)(nil)
)
