// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Config is one configuration, as the engine needs it. It must not change
// after [Engine.Prepare].
type Config struct {
	// Hostname is the gateway's name in Received fields and reports.
	Hostname string
	// Grace is how long transactions and attempts may go on when the process
	// ends.
	Grace time.Duration
	// Store is where everything is kept.
	Store mailflow.StoreOpener
	// Domains are our domains, and Aliases the aliases that the configuration
	// has; the store has others.
	Domains mailflow.Domains
	Aliases []mailflow.Alias
	// Behavior is handed to rules.
	Behavior mailflow.Behavior
	// Servers are the outgoing servers by name.
	Servers map[string]*Server
	// Signers sign for our domains (DKIM), by domain. What is signed at an
	// attempt is signed by today's.
	Signers map[string]mailflow.Signer
	// Doors are the listeners.
	Doors []Door
	// Inbound and Outbound are the routes; what they leave pending goes to the
	// unrouted box or is held.
	Inbound, Outbound mailflow.Route
	// Queue says when deliveries are tried.
	Queue QueuePolicy
	// Retention says how long final rows are kept.
	Retention mailflow.Retention
	// Logger takes one line for each mail event, and what an operator must
	// know.
	Logger *zap.Logger
	// Observe is told each mail event after its commit. It is called from many
	// goroutines and must not block.
	Observe func(Event)
}

// Server is an outgoing server.
type Server struct {
	mailflow.Server

	// Transport sends for it. If it implements io.Closer it is closed with its
	// generation.
	Transport mailflow.Transport
}

// Door is a listener with its sockets.
type Door struct {
	// Name is the listener's name in the configuration.
	Name string
	// Listener speaks with the peers.
	Listener mailflow.Listener
	// Sockets are what it listens on.
	Sockets []Socket
}

// Socket is an address to listen on.
type Socket struct {
	// Key is the address in canonical form: two sockets with one key are one.
	Key string
	// Listen binds it.
	Listen func(ctx context.Context) (net.Listener, error)
}

// QueuePolicy says when deliveries are tried.
type QueuePolicy struct {
	// Retry are the pauses after the first, second, … failed attempt; the last
	// one repeats.
	Retry []time.Duration
	// GiveUp is how long after its acceptance a delivery expires.
	GiveUp time.Duration
	// Concurrency is the most attempts at once for one destination.
	Concurrency int
}

// Defaults of the queue and of retention.
const (
	// DefaultGiveUp is within RFC 5321 section 4.5.4.1 (4-5 days) on the
	// impatient side: a person who waits for an answer should learn on the
	// third day that none will come.
	DefaultGiveUp = 72 * time.Hour
	// DefaultConcurrency is how many connections a relay of any size accepts
	// from one client, and as many as Postfix opens.
	DefaultConcurrency = 20
	// DefaultGrace is longer than a large message takes, and shorter than what
	// a service manager waits for.
	DefaultGrace = time.Minute
)

// DefaultRetry are the pauses between attempts: soon after a hiccup or for
// greylisting, then ever more rarely.
var DefaultRetry = []time.Duration{
	time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour,
}

// DefaultRetention is how long final rows are kept.
var DefaultRetention = mailflow.Retention{
	Sent:     7 * 24 * time.Hour,
	Failed:   30 * 24 * time.Hour,
	Captured: 7 * 24 * time.Hour,
	Unrouted: 90 * 24 * time.Hour,
	Seen:     30 * 24 * time.Hour,
}

// Event is one thing that happened to a message, after it was committed, or to
// an outgoing server.
type Event struct {
	Kind EventKind
	// Message and Delivery are IDs; Delivery is empty for received mail.
	Message, Delivery string
	// Listener or Server is where it came in or went out.
	Listener, Server string
	// Domain is our domain, of [EventLimitNear] only.
	Domain string
	// Recipients are those it is about.
	Recipients []string
	// From is the envelope sender.
	From string
	// Reply is the answer given or got, as text; Reason says why otherwise.
	Reply, Reason string
	// Size is the length in bytes, Attempts how many there were.
	Size     int64
	Attempts int
	// Took is how long the transaction or the attempt took.
	Took time.Duration
}

// EventKind is the kind of an [Event].
type EventKind string

// The events.
const (
	EventReceived EventKind = "received"
	EventRefused  EventKind = "refused"
	EventSent     EventKind = "sent"
	EventCaptured EventKind = "captured"
	EventDeferred EventKind = "deferred"
	EventHeld     EventKind = "held"
	EventFailed   EventKind = "failed"
	EventExpired  EventKind = "expired"
	EventDropped  EventKind = "dropped"

	// EventServerDown tells that the Server takes no mail, and in Reason why;
	// EventServerUp that it does again, after Took.
	EventServerDown EventKind = "server_down"
	EventServerUp   EventKind = "server_up"
	// EventLimitNear tells that most of a limit is used up, once in its
	// window. Server or Domain is set, Reason says which limit it is.
	EventLimitNear EventKind = "limit_near"
)
