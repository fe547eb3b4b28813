// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"errors"
	"io"
	"time"
)

// MaxInlineBody is the longest body that a store keeps beside its row; longer
// ones are streamed to a place of their own. Measured: below, one write is
// cheaper; above, the row log would be written twice.
const MaxInlineBody = 32 << 10

// Store errors that callers tell apart.
var (
	// ErrNoRecord is returned for an ID that the store does not hold.
	ErrNoRecord = errors.New("no such record")
	// ErrNoRoom is returned while the store cannot write: disk full or I/O
	// error. It recovers by itself.
	ErrNoRoom = errors.New("store cannot write")
	// ErrState is returned for an action that a record's state forbids.
	ErrState = errors.New("not possible in this state")
	// ErrDuplicate is returned for an ID that is in the ledger already.
	ErrDuplicate = errors.New("already in the ledger")
)

// StoreOpener is a store in the configuration, not opened.
type StoreOpener interface {
	// Identity names what the store holds on to, such as "sqlite" and the
	// canonical path: two openers with one identity are one store, whatever
	// their other options.
	Identity() string
	// Open opens the store for this process alone and brings its schema up to
	// date. It fails if another process has it open.
	Open(ctx context.Context) (Store, error)
}

// Store keeps everything that must survive. Its methods are safe for
// concurrent use. What returned without error survives a crash of the process
// and of the machine, save in the memory store. No method promises more than
// memory, sqlite and postgres can all give.
//
// Times are kept to the microsecond, in UTC.
type Store interface {
	View
	Ledger
	Queue
	Box
	Keeper
	Archive
	io.Closer
}

// Archive keeps what is there beside the mail itself.
type Archive interface {
	Conversations
	Directory
	Audience
	Values
}

// View reads the state that decisions rest on. It is a snapshot only per call;
// what must still hold at commit is named as a [Fact].
type View interface {
	ThreadView
	// Version returns the version of the record under key; 0 = no record.
	Version(ctx context.Context, key string) (int64, error)
	// Count returns how many hits the window under key has since that time:
	// the sum of their counts. It stops counting at limit.
	Count(ctx context.Context, key string, since time.Time, limit int) (int, error)
}

// Ledger takes decisions and gives back what was committed.
type Ledger interface {
	// Spool returns a place for the bytes of a message to come.
	Spool(ctx context.Context) (Spool, error)
	// Commit checks all of the decision's facts, then writes it, in one
	// transaction. A decision that is refused leaves its spool usable.
	// Errors: [ErrStale] (a *[StaleError]), [ErrNoRoom], [ErrDuplicate],
	// [ErrNoRecord] for a post to a thread that is not there.
	Commit(ctx context.Context, d *Decision) error
	// CommitDecided runs decide inside the transaction that commits what it
	// returns, so that its facts hold. decide must be quick and use nothing
	// but the view; other commits wait for it. It may be run again before the
	// commit. If it returns nil nothing is committed.
	CommitDecided(ctx context.Context, decide func(View) (*Decision, error)) error
	// Message returns a message's row. Error: [ErrNoRecord].
	Message(ctx context.Context, id string) (*StoredMessage, error)
	// Body opens the bytes of a message. Error: [ErrNoRecord].
	Body(ctx context.Context, id string) (Body, error)
	// Hits returns the hits of the window under key since that time, oldest
	// first; those at one time are one.
	Hits(ctx context.Context, key string, since time.Time) ([]Hit, error)
	// Received returns the messages received since that time whose IDs sort
	// behind after, by ID, at most limit; 0 = [DefaultListLimit]. What sorts
	// before after costs nothing: whose IDs sort by time begins with one of
	// that time.
	Received(ctx context.Context, since time.Time, after string, limit int) ([]StoredMessage, error)
}

// Hit is something that happened, once or more, at one time: what windows are
// made of.
type Hit struct {
	// Key names the window, as in a [Fact].
	Key string
	// At is when it happened, Count how often; hits of one window at one time
	// are added up.
	At    time.Time
	Count int
	// Expires is when it may be forgotten; zero keeps it. Of hits that are
	// added up the latest counts.
	Expires time.Time
}

// Spool takes the bytes of a message before it is decided. Bytes up to
// [MaxInlineBody] stay in memory, so memory is bounded by the sessions that
// receive.
type Spool interface {
	io.Writer
	// Body ends the writing and returns the bytes for reading. It remains
	// valid until the Body is closed, also after the commit. Close is the
	// caller's.
	Body() (Body, error)
	// Discard frees what was written unless it was committed. It may be called
	// at any time and more than once; every Spool ends with it.
	Discard()
}

// Decision is what one transaction commits: a new message with what became of
// its recipients, and the facts that this rests on.
type Decision struct {
	// Message is the row of the message.
	Message StoredMessage
	// Spool holds its bytes; its Body was called. It commits once.
	Spool Spool
	// Deliveries go to the queue; those in Claimed are claimed by the caller
	// from the start, as by [Queue.ClaimDue].
	Deliveries []Delivery
	Claimed    []string
	// Unrouted goes to the unrouted box; nil if nothing does.
	Unrouted *Unrouted
	Postings
	// Made are messages made because of this one, such as refusal mails, each
	// with its own spool and deliveries. They are committed with it or not at
	// all; their facts are checked after those of this one, before anything is
	// written.
	Made []Decision
	// Facts are checked in order before anything is written.
	Facts []Fact
}

// Postings are what is committed about threads, in this order.
type Postings struct {
	// Threads are opened, each with its record under [ThreadKey] in version 1.
	// An ID, or a model and foreign ID, that is there is an [ErrDuplicate].
	Threads []Thread
	// Posts are added to threads, which are updated at their time. A post to a
	// thread that is not there is an [ErrNoRecord], one whose ID is taken an
	// [ErrDuplicate].
	Posts []Post
	// Follows are added to the followers of threads, where they are none yet
	// and the contact is still known.
	Follows []Follower
}

// StoredMessage is the row of a message in the ledger.
type StoredMessage struct {
	ID       string    `json:"id"`
	Received time.Time `json:"received"`
	// Peer is who sent it and Envelope with what.
	Peer     Peer     `json:"peer"`
	Envelope Envelope `json:"envelope"`
	Size     int64    `json:"size"`
	// From, Subject and MessageID are of the header, decoded, and cut to
	// [MaxStoredText].
	From      string `json:"from,omitempty"`
	Subject   string `json:"subject,omitempty"`
	MessageID string `json:"message_id,omitempty"`
	// EightBit and UTF8Header are as in [Message].
	EightBit   bool `json:"eight_bit,omitempty"`
	UTF8Header bool `json:"utf8_header,omitempty"`
	// Tags are the marks that handlers put on it.
	Tags map[string]string `json:"tags,omitempty"`
	// Trace is the summary of why, of each route that ran.
	Trace string `json:"trace,omitempty"`
	// Dropped says who dropped it and why, when nothing else became of it.
	Dropped string `json:"dropped,omitempty"`
}

// MaxStoredText bounds each header text in a [StoredMessage], in bytes: enough
// to show and search, too little to store a mail in a subject.
const MaxStoredText = 1024

// Unrouted is a message in the unrouted box.
type Unrouted struct {
	// Message is the ID of the message, and names the entry.
	Message string `json:"message"`
	// Recipients are those that nothing claimed.
	Recipients []Recipient `json:"recipients"`
	Reason     string      `json:"reason"`
	At         time.Time   `json:"at"`
	// Dropped is when an operator threw it away, Routed when one put it into a
	// thread; both are zero while it waits.
	Dropped time.Time `json:"dropped,omitzero"`
	Routed  time.Time `json:"routed,omitzero"`
}

// Queue keeps deliveries and lets one runner at a time have each.
type Queue interface {
	// ClaimDue returns deliveries that are queued or deferred and due, oldest
	// due first, and claims them: nobody else gets them until Finish or
	// Unclaim, or until the claimer's process is gone.
	ClaimDue(ctx context.Context, c Claim) ([]Delivery, error)
	// Lanes returns the lanes that have queued or deferred deliveries that are
	// not claimed.
	Lanes(ctx context.Context) ([]Lane, error)
	// Finish commits what became of claimed deliveries, all or none, and ends
	// the claims. Errors: [ErrState] for a delivery that is not claimed or is
	// final already, [ErrNoRecord], [ErrNoRoom].
	Finish(ctx context.Context, o *Outcome) error
	// Unclaim gives claimed deliveries back as they were.
	Unclaim(ctx context.Context, ids ...string) error
	// Deliveries lists deliveries, newest first by ID, with their messages.
	Deliveries(ctx context.Context, q QueueQuery) ([]Queued, error)
	// Act does what an operator ordered with an open delivery. Errors:
	// [ErrNoRecord], [ErrState] (final already, or claimed just now).
	Act(ctx context.Context, id string, act QueueAct) error
	// Depth counts the deliveries in each state.
	Depth(ctx context.Context) (map[State]int, error)
}

// Claim says which deliveries [Queue.ClaimDue] is to return.
type Claim struct {
	// Destination and Lane are those of the deliveries.
	Destination string
	Lane        string
	// DueBy is the time by which they must be due.
	DueBy time.Time
	// ExpiredOnly asks for those that are given up by DueBy, due or not, and
	// for no others, of all lanes of the destination. A zero Expires is never.
	ExpiredOnly bool
	// Limit is the most to return.
	Limit int
}

// Lane is what waits in one lane of a destination.
type Lane struct {
	Destination string
	// Name is the deliveries' Lane.
	Name string
	// NextDue is when the first delivery is due.
	NextDue time.Time
	// NextExpiry is when the first delivery of the destination is given up,
	// whatever its lane.
	NextExpiry time.Time
	Count      int
}

// Outcome is what one attempt led to: the claimed deliveries in their new
// states, those that parted from them, and reports that are now to be sent.
type Outcome struct {
	// Deliveries are rows to replace; their claims end. The RelayedID of one
	// whose message is that of a post becomes one of the post's Refs; so does
	// that of a parted one.
	Deliveries []Delivery
	// Parted are new rows.
	Parted []Delivery
	// Unrouted are new entries of the unrouted box, of deliveries that were
	// decided again; an entry that is there gets the recipients added.
	Unrouted []Unrouted
	// Postings are of deliveries that were decided again.
	Postings
	// Reports are new messages with their own deliveries, committed with the
	// rest.
	Reports []Decision
	// Hits are added to their windows.
	Hits []Hit
}

// Queued is a delivery with what the ledger knows of its message.
type Queued struct {
	Delivery
	From    string
	Subject string
	Bytes   int64
	// Claimed is set while a runner has it: its state shows as sending.
	Claimed bool
}

// QueueQuery narrows [Queue.Deliveries]; empty fields do not.
type QueueQuery struct {
	ID      string
	Message string
	Server  string
	States  []State
	// Limit is the most to return; 0 = DefaultListLimit.
	Limit int
	// Before returns only deliveries that sort after that ID: the next page.
	Before string
}

// DefaultListLimit is how many rows a list has when nobody says.
const DefaultListLimit = 1000

// QueueAct is an operator's order for one delivery.
type QueueAct struct {
	// Kind is what to do.
	Kind ActKind
	// Reason is kept with the delivery.
	Reason string
	// At is the time of the order.
	At time.Time
	// Server gives the delivery another server and destination, for
	// [ActRelease] only; empty keeps them.
	Server string
}

// ActKind is the kind of a [QueueAct].
type ActKind string

// The orders.
const (
	ActRetry   ActKind = "retry"   // due now; of queued and deferred
	ActHold    ActKind = "hold"    // waits for release; of queued and deferred
	ActRelease ActKind = "release" // due now, as queued, or deferred if it was tried; of held
	ActDrop    ActKind = "drop"    // final; of queued, deferred and held
)

// Box keeps what nothing claimed.
type Box interface {
	// Unrouted lists what waits in the box, newest first; with an ID just that
	// entry, also a dropped or routed one.
	Unrouted(ctx context.Context, id string, limit int) ([]Unrouted, error)
	// DropUnrouted throws an entry away. Errors: [ErrNoRecord], [ErrState].
	DropUnrouted(ctx context.Context, id string, at time.Time) error
}

// Keeper keeps the store in order.
type Keeper interface {
	// Sweep deletes what retention no longer keeps, in small transactions, and
	// returns how many rows went. A message goes with the last row that needs
	// it; threads and their posts are kept, and the messages of posts.
	Sweep(ctx context.Context, r Retention, now time.Time) (int, error)
	// Ready returns nil when the store takes commits, else why not.
	Ready(ctx context.Context) error
}

// Retention is how long rows are kept from the time they became final; zero is
// for good.
type Retention struct {
	// Sent and Captured are for deliveries in these states, Failed for failed,
	// expired and dropped ones.
	Sent, Failed, Captured time.Duration
	// Unrouted is for entries of the unrouted box, also those that wait.
	Unrouted time.Duration
	// Seen is for messages that became nothing else.
	Seen time.Duration
}

// Of returns how long a delivery in state s is kept; zero is for good.
func (r Retention) Of(s State) time.Duration {
	switch s {
	case StateSent:
		return r.Sent
	case StateCaptured:
		return r.Captured
	case StateFailed, StateExpired, StateDropped:
		return r.Failed
	case StateQueued, StateSending, StateDeferred, StateHeld:
	}
	return 0
}
