// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"errors"
	"io"
	"time"
)

// Transport hands messages to a next hop. One Transport serves one outgoing
// server of one configuration; it may keep connections for reuse. If it
// implements io.Closer it is closed when its configuration is retired and its
// last attempt has ended.
//
// Deliver is called by many attempts at once, up to the server's concurrency.
type Transport interface {
	// Deliver makes one attempt. It returns one result for each recipient of
	// the delivery, in their order, or an error that stands for all of them:
	// one that is or wraps a [Reply] is the next hop's answer, any other is
	// temporary. An error that wraps [ErrUnreachable] says that the next hop
	// as a whole did not answer, so that other deliveries need not try.
	//
	// The attempt ends when ctx does. Deliver never reports success before the
	// next hop took responsibility (RFC 5321 section 4.2.5).
	Deliver(ctx context.Context, a *Attempt) ([]Result, error)
}

// Capturer is a [Transport] that may keep mail instead of sending it. Captures
// is asked once, after the configuration is loaded.
type Capturer interface {
	Transport

	Captures() bool
}

// DomainTransport is a [Transport] that may find the next hop by the
// recipients' domain. If PerDomain says so a delivery has recipients of one
// domain, and each domain is a destination of its own. It is asked once, after
// the configuration is loaded.
type DomainTransport interface {
	Transport

	PerDomain() bool
}

// AccountTransport is a [Transport] that logs in. Account returns the name it
// does so with, its placeholders resolved; empty without a login. It is asked
// once, when the configuration is loaded, for `envelope login`.
type AccountTransport interface {
	Transport

	Account() (string, error)
}

// Signer signs messages (DKIM, RFC 6376). It is safe for concurrent use.
type Signer interface {
	// Sign reads a whole message as it is to be sent, with CRLF line ends, and
	// returns the fields to put before it, each with its final CRLF. An error
	// says that the key cannot be used: the message must not leave unsigned.
	Sign(ctx context.Context, message io.Reader) (fields []byte, err error)
}

// ErrUnreachable is wrapped by an error that says that the next hop could not
// be reached or greeted: no connection, no TLS, no login.
var ErrUnreachable = errors.New("server cannot be reached")

// Attempt is one try to deliver.
type Attempt struct {
	// Delivery says what goes where. The transport must not change it.
	Delivery *Delivery
	// Content is the message as it is to be sent.
	Content Content
}

// Content is a message with the header changes of its delivery made.
type Content interface {
	// Size returns the length in bytes for SIZE (RFC 1870), exact unless the
	// content is re-encoded.
	Size() int64
	// EightBit reports whether the content needs 8BITMIME, UTF8Header whether
	// its header block needs SMTPUTF8.
	EightBit() bool
	UTF8Header() bool
	// Open returns the bytes, with CRLF line ends and not dot-stuffed, from
	// their beginning; it may be called again. The caller closes them.
	Open(ctx context.Context, enc Encoding) (io.ReadCloser, error)
}

// Encoding says how [Content.Open] gives 8-bit parts.
type Encoding int

// The encodings.
const (
	// EncodingAsIs gives the bytes unchanged.
	EncodingAsIs Encoding = iota
	// Encoding7Bit re-encodes 8-bit parts, for a next hop without 8BITMIME
	// (RFC 6152 section 3).
	Encoding7Bit
)

// Result is what became of one recipient of an attempt.
type Result struct {
	// Recipient is the recipient as the delivery has it.
	Recipient Recipient
	// State is sent, captured, deferred or failed.
	State State
	// Reply is the next hop's answer.
	Reply *Reply
	// MessageID is the Message-Id, with angle brackets, that the next hop gave
	// the message in place of its own; empty if it keeps that.
	MessageID string
	// Relayed is set on a sent recipient whose next hop does not report
	// further, so that a wanted report of success is ours to make (RFC 3461
	// section 5.2.2).
	Relayed bool
}

// ResultOf returns the result that the next hop's reply r means for rcpt:
// sent for 2xx, failed for 5xx, else deferred.
func ResultOf(rcpt Recipient, r *Reply) Result {
	res := Result{Recipient: rcpt, State: StateDeferred, Reply: r}
	switch {
	case r.Accepted():
		res.State = StateSent
	case r.Permanent():
		res.State = StateFailed
	}
	return res
}

// Tester is a [Transport] that can be tried without sending anything.
type Tester interface {
	Transport

	// Test goes through everything that comes before DATA, as from would send
	// to rcpt, and returns what it did, the failed step last. It sends no
	// message. Steps that it could not try say so in what they did not prove.
	Test(ctx context.Context, from, rcpt Address) TestReport
}

// TestReport is the outcome of [Tester.Test].
type TestReport struct {
	// Steps are what was tried, in order.
	Steps []TestStep `json:"steps"`
	// OK is set when all steps went well.
	OK bool `json:"ok"`
	// Unproven says what the test did not show, each in a sentence.
	Unproven []string `json:"unproven,omitempty"`
}

// TestStep is one step of a [TestReport].
type TestStep struct {
	// Name is what was tried: resolve, connect, tls, ehlo, auth, mail, rcpt.
	Name string `json:"name"`
	// Took is how long it took.
	Took time.Duration `json:"took"`
	// Detail is what came back: addresses, the TLS version, the reply.
	Detail string `json:"detail,omitempty"`
	// Error says why it failed; empty if it did not. Hint is the next step for
	// the operator.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}
