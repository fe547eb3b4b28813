// SPDX-License-Identifier: Apache-2.0

package mailflow

// Behavior says whose answer is given where the documentation and Odoo's code
// differ. Rules take it as an argument; nothing else asks for it.
type Behavior string

// The behaviors.
const (
	// BehaviorDocumented is what the documentation says, save where that would
	// lose or misdirect mail.
	BehaviorDocumented Behavior = "documented"
	// BehaviorOdoo is what Odoo 17.0 does.
	BehaviorOdoo Behavior = "odoo"
)

// The purposes of mail. Each has its own servers, where configured, and queues
// that never delay each other.
const (
	// PurposeTransactional is mail that one person waits for.
	PurposeTransactional = "transactional"
	// PurposeMass is one mail to many.
	PurposeMass = "mass"
)

// Sending is how a message leaves: what the handlers of the outbound route
// agree on before the recipients are claimed. [Transaction.Sending] begins as
// its zero value.
type Sending struct {
	// Server is the server that was chosen; nil before that.
	Server *Server
	// Step is the code of the step of the order that found it, or "purpose"
	// where the purpose demanded it.
	Step string
	// Author is the address that the mail is sent as: the author's own, or the
	// default_from that it is encapsulated in. Null before it is known.
	Author Address
	// PerRecipient is set when each recipient gets a reverse-path of its own,
	// which names the delivery: the local part of [Transaction.Sender], "+",
	// and a signed token.
	PerRecipient bool
	// Limited is set when the limits of the server and of the domain hold.
	Limited bool
	// SignAs is the domain that the message is signed for (DKIM); empty to
	// leave it unsigned.
	SignAs string
}

// EnvelopeRule says what reverse-path a server is given.
type EnvelopeRule string

// The envelope rules.
const (
	// EnvelopeBounce is the bounce address of the message's domain.
	EnvelopeBounce EnvelopeRule = "bounce"
	// EnvelopeFrom is the address of the From field as it is sent.
	EnvelopeFrom EnvelopeRule = "from"
	// EnvelopeLogin is the address that the gateway logs in with.
	EnvelopeLogin EnvelopeRule = "login"
)

// ServerView tells decisions how the outgoing servers do.
type ServerView interface {
	// Down says in words why mail should not wait for the server of that name
	// if another one may carry it; empty while it works.
	Down(server string) string
}
