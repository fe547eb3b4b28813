// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"net/netip"
	"slices"
	"time"
)

// Envelope is what SMTP says about a message beside its content (RFC 5321
// section 2.3.1). Addresses are normalised by whoever reads them from outside.
type Envelope struct {
	// From is the reverse-path; the null address for reports.
	From Address `json:"from"`
	// Recipients are the forward-paths, each mailbox once.
	Recipients []Recipient `json:"recipients,omitempty"`
	// Body is what MAIL said of the content (RFC 6152, RFC 3030).
	Body BodyType `json:"body,omitempty"`
	// SMTPUTF8 is set when MAIL asked for it (RFC 6531).
	SMTPUTF8 bool `json:"smtputf8,omitempty"`
	// RequireTLS is set when MAIL asked for it (RFC 8689).
	RequireTLS bool `json:"requiretls,omitempty"`
	// Return is the RET parameter (RFC 3461): how much a report quotes.
	Return ReturnType `json:"return,omitempty"`
	// EnvelopeID is the ENVID parameter, decoded from xtext.
	EnvelopeID string `json:"envelope_id,omitempty"`
}

// Recipient is one forward-path with its DSN parameters (RFC 3461).
type Recipient struct {
	Address Address `json:"address"`
	// Notify is the NOTIFY parameter; empty means that the sender said
	// nothing, which asks for reports of failure.
	Notify []Notify `json:"notify,omitempty"`
	// OriginalType and Original are the ORCPT parameter, decoded from xtext.
	OriginalType string `json:"original_type,omitempty"`
	Original     string `json:"original,omitempty"`
}

// Wants reports whether the sender wants a report of kind n on r.
func (r Recipient) Wants(n Notify) bool {
	if len(r.Notify) == 0 {
		return n == NotifyFailure || n == NotifyDelay
	}
	return slices.Contains(r.Notify, n)
}

// BodyType is the BODY parameter of MAIL.
type BodyType string

// The body types; the empty one means that MAIL said nothing.
const (
	Body7Bit     BodyType = "7BIT"
	Body8BitMIME BodyType = "8BITMIME"
)

// ReturnType is the RET parameter of MAIL.
type ReturnType string

// What a report returns.
const (
	ReturnFull    ReturnType = "FULL"
	ReturnHeaders ReturnType = "HDRS"
)

// Notify is one value of the NOTIFY parameter of RCPT.
type Notify string

// When a report is wanted.
const (
	NotifyNever   Notify = "NEVER"
	NotifySuccess Notify = "SUCCESS"
	NotifyFailure Notify = "FAILURE"
	NotifyDelay   Notify = "DELAY"
)

// Peer is what is known of the sender's side of a transaction: by which
// listener or fetcher it came, from whom, and how far that is proven. It does
// not change within a transaction.
type Peer struct {
	// Listener is the name of the listener or fetcher in the configuration.
	Listener string `json:"listener"`
	// Protocol is the "with" word of the Received field (RFC 3848): SMTP,
	// ESMTP, ESMTPS, ESMTPA, ESMTPSA, LMTP, …; "local" for mail made here.
	Protocol string `json:"protocol"`
	// IP is the peer's address after PROXY protocol; invalid on unix sockets.
	IP netip.Addr `json:"ip,omitzero"`
	// Hello is what the peer called itself in EHLO.
	Hello string `json:"hello,omitempty"`
	// TLS is the version in use, such as "TLS 1.3"; empty in clear.
	TLS string `json:"tls,omitempty"`
	// User is the authenticated user's name; empty without AUTH.
	User string `json:"user,omitempty"`
	// Domain is the domain that the user's or the listener's configuration
	// names; empty if none does.
	Domain string `json:"domain,omitempty"`
	// FromFilter lists the addresses and domains that the user may send as
	// besides those of its own domain; "*" = any.
	FromFilter []string `json:"from_filter,omitempty"`
	// Purpose is the purpose of the user's mail; empty if not said.
	Purpose string `json:"purpose,omitempty"`
	// Submits is set when the peer may send mail to the world: by AUTH or from
	// a trusted network. Without it only our own domains take its mail.
	Submits bool `json:"submits,omitempty"`
	// Fetched is set for mail from a mailbox: it has no envelope, no session to
	// refuse in, and its recipients are read from its header. Mailbox is the
	// address of that mailbox, if known: the recipient of a mail that names
	// none of our addresses.
	Fetched bool    `json:"fetched,omitempty"`
	Mailbox Address `json:"mailbox,omitzero"`
	// Fallback is the model of the threads that mail opens which nothing else
	// claims; empty = none.
	Fallback string `json:"fallback,omitempty"`
	// TrustAuth are the authserv-ids whose Authentication-Results are believed
	// (RFC 8601 section 2.5).
	TrustAuth []string `json:"trust_auth,omitempty"`
	// At is when the transaction began.
	At time.Time `json:"at"`
}
