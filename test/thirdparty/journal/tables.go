// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"maps"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// tables are all rows.
type tables struct {
	messages   map[string]*message
	deliveries map[string]*delivery
	unrouted   map[string]*mailflow.Unrouted
	records    map[string]record
	hits       map[string][]hit
	values     map[string]value
	threads    map[string]*mailflow.Thread
	posts      map[string]*mailflow.DigestedPost
	contacts   []mailflow.Contact              // oldest first
	followers  map[[2]string]mailflow.Follower // by thread and contact
	aliases    map[string]mailflow.Alias       // by key
	// version is the last that an alias got; none gets one twice, so that one
	// that is dropped and written again is not taken for the old one.
	version int64
}

// message is a row of the ledger.
type message struct {
	mailflow.StoredMessage

	// File is the name of the file with its bytes, Length their number.
	File   string `json:"file"`
	Length int64  `json:"length"`
	// Alone is since when nothing but the ledger needs the row: from the
	// commit of a message that became nothing. Zero if something else does.
	Alone time.Time `json:"alone,omitzero"`
}

// delivery is a row of the queue.
type delivery struct {
	mailflow.Delivery

	// Rests is since when it is held or final; zero while it waits.
	Rests time.Time `json:"rests,omitzero"`
}

// waits reports whether a delivery in state s is queued or deferred.
func waits(s mailflow.State) bool {
	return s == mailflow.StateQueued || s == mailflow.StateDeferred
}

// record is a version under a key, hit one dated hit of a window. Keys are
// bytes, which JSON keeps as they are; text that is no UTF-8 it would mend.
type record struct {
	Key     []byte    `json:"key"`
	Version int64     `json:"version"`
	Expires time.Time `json:"expires,omitzero"`
}

type hit struct {
	Key     []byte    `json:"key"`
	At      time.Time `json:"at"`
	Count   int       `json:"count"`
	Expires time.Time `json:"expires,omitzero"`
}

// value is a value of the gateway's own.
type value struct {
	Key     []byte `json:"key"`
	Version int64  `json:"version"`
	Bytes   []byte `json:"bytes"`
}

// change is one row that is written or, if Gone is set, deleted. One of the
// others is not nil.
type change struct {
	Message  *message           `json:"message,omitempty"`
	Delivery *delivery          `json:"delivery,omitempty"`
	Unrouted *mailflow.Unrouted `json:"unrouted,omitempty"`
	Record   *record            `json:"record,omitempty"`
	Hit      *hit               `json:"hit,omitempty"`
	Value    *value             `json:"value,omitempty"`

	Thread   *mailflow.Thread       `json:"thread,omitempty"`
	Post     *mailflow.DigestedPost `json:"post,omitempty"`
	Contact  *mailflow.Contact      `json:"contact,omitempty"`
	Follower *mailflow.Follower     `json:"follower,omitempty"`
	Alias    *mailflow.Alias        `json:"alias,omitempty"`
	// Version is the last that an alias got.
	Version int64 `json:"version,omitempty"`

	Gone bool `json:"gone,omitempty"`
}

func newTables() tables {
	return tables{
		messages: make(map[string]*message), deliveries: make(map[string]*delivery),
		unrouted: make(map[string]*mailflow.Unrouted), records: make(map[string]record), hits: make(map[string][]hit),
		values: make(map[string]value), threads: make(map[string]*mailflow.Thread), posts: make(map[string]*mailflow.DigestedPost),
		followers: make(map[[2]string]mailflow.Follower), aliases: make(map[string]mailflow.Alias),
	}
}

// apply makes a change. It keeps the rows of c.
func (t *tables) apply(c *change) {
	switch {
	case c.Message != nil:
		set(t.messages, c.Message.ID, c.Message, c.Gone)
	case c.Delivery != nil:
		set(t.deliveries, c.Delivery.ID, c.Delivery, c.Gone)
	case c.Unrouted != nil:
		set(t.unrouted, c.Unrouted.Message, c.Unrouted, c.Gone)
	case c.Record != nil:
		set(t.records, string(c.Record.Key), *c.Record, c.Gone)
	case c.Hit != nil && c.Gone:
		t.forgetHit(c.Hit)
	case c.Hit != nil:
		t.addHit(c.Hit)
	case c.Value != nil:
		set(t.values, string(c.Value.Key), *c.Value, c.Gone)
	case c.Thread != nil:
		t.threads[c.Thread.ID] = c.Thread
	case c.Post != nil:
		t.applyPost(c.Post)
	case c.Contact != nil:
		t.applyContact(c.Contact, c.Gone)
	case c.Follower != nil:
		set(t.followers, [2]string{c.Follower.Thread, c.Follower.Contact}, *c.Follower, c.Gone)
	case c.Alias != nil:
		t.applyAlias(c.Alias, c.Gone)
	default:
		t.version = max(t.version, c.Version)
	}
}

// addHit adds h to its window. Hits at one time are one.
func (t *tables) addHit(h *hit) {
	key := string(h.Key)
	window := t.hits[key]
	i := slices.IndexFunc(window, func(o hit) bool { return o.At.Equal(h.At) })
	if i < 0 {
		t.hits[key] = append(window, *h)
		return
	}
	window[i].Count += h.Count
	if old := window[i].Expires; h.Expires.IsZero() || !old.IsZero() && h.Expires.After(old) {
		window[i].Expires = h.Expires
	}
}

func set[K comparable, V any](rows map[K]V, key K, row V, gone bool) {
	if gone {
		delete(rows, key)
	} else {
		rows[key] = row
	}
}

// forgetHit deletes the hit at the time of h.
func (t *tables) forgetHit(h *hit) {
	key := string(h.Key)
	i := slices.IndexFunc(t.hits[key], func(o hit) bool { return o.At.Equal(h.At) })
	if i < 0 {
		return
	}
	if t.hits[key] = slices.Delete(t.hits[key], i, i+1); len(t.hits[key]) == 0 {
		delete(t.hits, key)
	}
}

// all yields the changes that make these tables out of empty ones.
func (t *tables) all(yield func(change) bool) {
	for _, m := range t.messages {
		if !yield(change{Message: m}) {
			return
		}
	}
	for _, d := range t.deliveries {
		if !yield(change{Delivery: d}) {
			return
		}
	}
	for _, u := range t.unrouted {
		if !yield(change{Unrouted: u}) {
			return
		}
	}
	for _, r := range t.records {
		if !yield(change{Record: &r}) {
			return
		}
	}
	for _, hits := range t.hits {
		for _, h := range hits {
			if !yield(change{Hit: &h}) {
				return
			}
		}
	}
	for _, v := range t.values {
		if !yield(change{Value: &v}) {
			return
		}
	}
	t.allTalk(yield)
}

// allTalk yields what is known of threads and people. A thread stands behind
// its posts, which would update it.
func (t *tables) allTalk(yield func(change) bool) {
	for _, p := range t.posts {
		if !yield(change{Post: p}) {
			return
		}
	}
	for _, th := range t.threads {
		if !yield(change{Thread: th}) {
			return
		}
	}
	for _, c := range t.contacts {
		if !yield(change{Contact: &c}) {
			return
		}
	}
	for _, f := range t.followers {
		if !yield(change{Follower: &f}) {
			return
		}
	}
	for _, a := range t.aliases {
		if !yield(change{Alias: &a}) {
			return
		}
	}
	yield(change{Version: t.version})
}

// micro returns t as it is kept.
func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// Rows are given out and taken in as copies that share nothing that changes.

func copyOfDelivery(d *mailflow.Delivery) *mailflow.Delivery {
	c := d.Clone()
	c.Created, c.Due, c.Expires = micro(d.Created), micro(d.Due), micro(d.Expires)
	if d.Reply != nil {
		r := *d.Reply
		c.Reply = &r
	}
	return c
}

func copyOfMessage(m *mailflow.StoredMessage) *mailflow.StoredMessage {
	c := *m
	c.Received, c.Peer.At = micro(m.Received), micro(m.Peer.At)
	c.Envelope.Recipients = slices.Clone(m.Envelope.Recipients)
	c.Tags = maps.Clone(m.Tags)
	return &c
}

func copyOfUnrouted(u *mailflow.Unrouted) *mailflow.Unrouted {
	c := *u
	c.At, c.Dropped, c.Routed = micro(u.At), micro(u.Dropped), micro(u.Routed)
	c.Recipients = slices.Clone(u.Recipients)
	return &c
}
