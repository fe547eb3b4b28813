// SPDX-License-Identifier: Apache-2.0

package mailflow

// Action is what a handler claims a recipient for. The set is closed, since
// the store has to know how to commit each: [Deliver], [Capture], [PostTo],
// [Unroute] and [Drop].
type Action interface {
	// Key tells actions apart: recipients whose actions have equal keys share
	// one action.
	Key() string
	// String says in a few words what is done, for traces and logs.
	String() string
}

// Deliver queues the message for an outgoing server.
type Deliver struct {
	// Server is the name of the outgoing server.
	Server string
	// Destination overrides the server's name as the [Delivery] destination.
	Destination string
	// Hold is the reason to hold the delivery; empty to send it.
	Hold string
}

// Key implements [Action].
func (a Deliver) Key() string {
	return "deliver\x00" + a.Server + "\x00" + a.Destination + "\x00" + a.Hold
}

// String implements [Action].
func (a Deliver) String() string {
	if a.Hold != "" && a.Server == "" {
		return "hold: " + a.Hold
	}
	if a.Hold != "" {
		return "hold for " + a.Server + ": " + a.Hold
	}
	return "deliver by " + a.Server
}

// Capture keeps the message and shows it, and never sends it.
type Capture struct {
	// Reason says why it is not sent.
	Reason string
}

// Key implements [Action].
func (a Capture) Key() string { return "capture\x00" + a.Reason }

// String implements [Action].
func (a Capture) String() string { return "capture: " + a.Reason }

// Unroute puts the message into the unrouted box, where an operator decides.
type Unroute struct {
	// Reason says why nothing claimed it.
	Reason string
}

// Key implements [Action].
func (a Unroute) Key() string { return "unroute\x00" + a.Reason }

// String implements [Action].
func (a Unroute) String() string { return "unrouted: " + a.Reason }

// Drop accepts the message and throws it away. The ledger keeps that it was
// dropped, by whom and why.
type Drop struct {
	// Reason says why.
	Reason string
}

// Key implements [Action].
func (a Drop) Key() string { return "drop\x00" + a.Reason }

// String implements [Action].
func (a Drop) String() string { return "drop: " + a.Reason }
