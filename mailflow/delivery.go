// SPDX-License-Identifier: Apache-2.0

package mailflow

import "time"

// State is the state of a delivery.
type State string

// The states. The first four are open, the others final: a delivery ends in
// exactly one of them and never leaves it.
const (
	StateQueued   State = "queued"   // waits for its first attempt
	StateSending  State = "sending"  // an attempt is under way; never stored
	StateDeferred State = "deferred" // waits for the next attempt after a temporary failure
	StateHeld     State = "held"     // waits for an operator; Reason says why

	StateSent     State = "sent"     // the next hop answered 2xx
	StateCaptured State = "captured" // kept and shown, never sent
	StateFailed   State = "failed"   // the next hop answered 5xx, or nothing fits
	StateDropped  State = "dropped"  // an operator or a handler threw it away
	StateExpired  State = "expired"  // given up after the queue's give_up
)

// States are all states that are stored, open ones first.
var States = []State{
	StateQueued, StateDeferred, StateHeld,
	StateSent, StateCaptured, StateFailed, StateDropped, StateExpired,
}

// Final reports whether a delivery in state s is over.
func (s State) Final() bool {
	switch s {
	case StateSent, StateCaptured, StateFailed, StateDropped, StateExpired:
		return true
	case StateQueued, StateSending, StateDeferred, StateHeld:
	}
	return false
}

// RouteName names one of the two routes.
type RouteName string

// The routes.
const (
	Inbound  RouteName = "inbound"
	Outbound RouteName = "outbound"
)

// Delivery is one message on its way to one destination: what was decided, as
// data, and how far it got. It never points into a generation: a server is a
// name, and the newest configuration of that name is used when it is due.
//
// Recipients of one message that share a destination share a delivery. When an
// attempt ends differently for some of them, they part: each part is a
// delivery of its own, so that a delivery has one state.
type Delivery struct {
	// ID names the delivery. The store's callers make it, so that IDs sort by
	// the time of their making.
	ID string `json:"id"`
	// Message is the ID of the message.
	Message string `json:"message"`
	// Route is the route that decided it, and decides again if it must.
	Route RouteName `json:"route"`
	// Server is the name of the outgoing server; empty while undecided.
	Server string `json:"server,omitempty"`
	// Destination is what connections and back-off are counted by: the server,
	// for a transport that looks up hosts the server and the host.
	Destination string `json:"destination,omitempty"`
	// Lane is the queue of the destination that it waits in; the engine gives
	// it, so that mail of different kinds does not wait for each other.
	Lane string `json:"lane,omitempty"`
	// Purpose is the kind of mail, "transactional" or "mass".
	Purpose string `json:"purpose,omitempty"`
	// Domain is our domain that the message belongs to; may be empty.
	Domain string `json:"domain,omitempty"`
	// Envelope is the envelope to send with, this delivery's recipients in it.
	Envelope Envelope `json:"envelope"`
	// Header are the changes to make while sending, in order.
	Header []HeaderChange `json:"header,omitempty"`
	// Limited is set when the limits of the server and the domain hold for it.
	Limited bool `json:"limited,omitempty"`
	// SignAs is the domain that it is signed for at each attempt (DKIM); empty
	// to leave it unsigned.
	SignAs string `json:"sign_as,omitempty"`
	// RelayedID is the Message-Id that the next hop gave the message in place
	// of its own; empty if it kept that.
	RelayedID string `json:"relayed_id,omitempty"`

	State State `json:"state"`
	// Reason says why it is held, dropped, expired or waits.
	Reason string `json:"reason,omitempty"`
	// Created is when it was committed first, Due when the next attempt is.
	Created time.Time `json:"created"`
	Due     time.Time `json:"due"`
	// Expires is when it is given up.
	Expires time.Time `json:"expires"`
	// Attempts counts those that reached an answer or failed to.
	Attempts int `json:"attempts"`
	// Reply is the last answer of the next hop; nil before the first.
	Reply *Reply `json:"reply,omitempty"`
}

// Clone returns a copy of d that shares nothing that changes.
func (d *Delivery) Clone() *Delivery {
	c := *d
	c.Envelope.Recipients = append([]Recipient(nil), d.Envelope.Recipients...)
	c.Header = append([]HeaderChange(nil), d.Header...)
	return &c
}
