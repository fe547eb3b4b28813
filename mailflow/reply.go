// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"errors"
	"fmt"
	"strings"
)

// EnhancedCode is an enhanced mail system status code (RFC 3463).
type EnhancedCode [3]int

// String returns the code with dots, "5.1.1".
func (c EnhancedCode) String() string { return fmt.Sprintf("%d.%d.%d", c[0], c[1], c[2]) }

// Reply is an SMTP reply (RFC 5321 section 4.2): what the gateway answers a
// peer, and what a server answered the gateway. As an error it ends a
// transaction or an attempt with exactly this answer.
//
// Code, Enhanced and Text are public: they are told to the peer and must not
// show how the gateway is built or configured. Err is the cause, which only
// the log and the operator see.
type Reply struct {
	Code     int          `json:"code"`
	Enhanced EnhancedCode `json:"enhanced,omitzero"`
	Text     string       `json:"text,omitempty"`
	// Help is what a refusal by mail says to a human in place of Text: whole
	// sentences, may have several lines.
	Help string `json:"help,omitempty"`
	Err  error  `json:"-"`
}

// Replies that several parts of the gateway give.
var (
	// ReplyAccepted acknowledges a message that is committed.
	ReplyAccepted = &Reply{Code: 250, Enhanced: EnhancedCode{2, 0, 0}, Text: "OK, queued"}
	// ReplyUnknownRecipient refuses an address that nothing can claim.
	ReplyUnknownRecipient = &Reply{Code: 550, Enhanced: EnhancedCode{5, 1, 1}, Text: "No such address here"}
	// ReplyRelayDenied refuses a recipient that is not ours from a peer that
	// may not submit.
	ReplyRelayDenied = &Reply{Code: 550, Enhanced: EnhancedCode{5, 7, 1}, Text: "Relaying denied"}
	// ReplyTryLater defers what failed here for a reason that is not the
	// peer's.
	ReplyTryLater = &Reply{Code: 451, Enhanced: EnhancedCode{4, 3, 0}, Text: "Local error, try again later"}
	// ReplyNoRoom defers while the store cannot write.
	ReplyNoRoom = &Reply{Code: 451, Enhanced: EnhancedCode{4, 3, 1}, Text: "Insufficient system storage, try again later"}
	// ReplyTooBig refuses a message beyond the size limit (RFC 1870).
	ReplyTooBig = &Reply{Code: 552, Enhanced: EnhancedCode{5, 3, 4}, Text: "Message too big"}
	// ReplyShuttingDown ends a session while the gateway drains.
	ReplyShuttingDown = &Reply{Code: 421, Enhanced: EnhancedCode{4, 3, 2}, Text: "Service shutting down, try again later"}
)

// Because returns a copy of r with err as its cause.
func (r *Reply) Because(err error) *Reply {
	c := *r
	c.Err = err
	return &c
}

// AsReply returns the reply that err is or wraps. Any other error is none of
// the peer's business and gives [ReplyTryLater] with err as the cause; nil
// gives nil.
func AsReply(err error) *Reply {
	if err == nil {
		return nil
	}
	if r, ok := errors.AsType[*Reply](err); ok {
		return r
	}
	return ReplyTryLater.Because(err)
}

// Accepted reports whether r is a 2xx.
func (r *Reply) Accepted() bool { return r.Code >= 200 && r.Code < 300 }

// Temporary reports whether r is a 4xx: the same may succeed later.
func (r *Reply) Temporary() bool { return r.Code >= 400 && r.Code < 500 }

// Permanent reports whether r is a 5xx.
func (r *Reply) Permanent() bool { return r.Code >= 500 && r.Code < 600 }

// String returns the reply as one line, without its cause.
func (r *Reply) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", r.Code)
	if r.Enhanced != (EnhancedCode{}) {
		b.WriteString(" " + r.Enhanced.String())
	}
	if r.Text != "" {
		b.WriteString(" " + r.Text)
	}
	return b.String()
}

// Error returns the reply and its cause.
func (r *Reply) Error() string {
	if r.Err == nil {
		return r.String()
	}
	return r.String() + ": " + r.Err.Error()
}

// Unwrap returns the cause.
func (r *Reply) Unwrap() error { return r.Err }
