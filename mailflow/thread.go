// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"strings"
	"time"
)

// Thread is one conversation about one thing: a ticket, a lead, an order. In
// Odoo's words it is a record with its chatter.
type Thread struct {
	// ID names the thread: lower-case letters, digits, "-", "_" and ".". Those
	// made here sort by the time of their making.
	ID string `json:"id"`
	// Model is the kind of thing, an opaque word such as "crm.lead".
	Model string `json:"model"`
	// Foreign is the ID that the application has for it; may be empty. Model
	// and Foreign name one thread.
	Foreign string `json:"foreign,omitempty"`
	// Name is its title: the subject that it was opened with.
	Name string `json:"name,omitempty"`
	// From is who opened it, as the From field had it.
	From string `json:"from,omitempty"`
	// Domain is our domain that it belongs to.
	Domain string `json:"domain,omitempty"`
	// Fields are what the alias set, by name.
	Fields map[string]string `json:"fields,omitempty"`
	// Responsible is the contact who looks after it; may be empty.
	Responsible string `json:"responsible,omitempty"`
	// State is [ThreadOpen], [ThreadGone] or what the operator calls it.
	State string `json:"state,omitempty"`
	// Created is when it was opened, Updated when it last got a post.
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

// States of a thread that the gateway knows; an operator may use others.
const (
	// ThreadOpen is the state of a new thread.
	ThreadOpen = "open"
	// ThreadGone says that the application has deleted its record: an answer
	// opens a new thread of the model.
	ThreadGone = "gone"
)

// Post is one message in a thread, as the thread shows it. Its raw bytes are
// in the ledger; text, sanitised body and attachments are derived from them
// after the commit, see [Digest].
type Post struct {
	// ID names the post; IDs sort by the time of their making.
	ID string `json:"id"`
	// Thread is the thread's ID.
	Thread string `json:"thread"`
	// Message is the ID of its message in the ledger; empty if it has none.
	Message string `json:"message,omitempty"`
	// MessageID is its Message-Id with angle brackets, as it is compared.
	MessageID string `json:"message_id,omitempty"`
	// Refs are further names that answers may quote: the Message-Id that a
	// relay put in its place, the root of its Thread-Index.
	Refs []string `json:"refs,omitempty"`
	// Parent is the post that it answers; empty if none.
	Parent string `json:"parent,omitempty"`
	// Author is the contact who wrote it; empty if unknown. From is the From
	// field, decoded.
	Author string `json:"author,omitempty"`
	From   string `json:"from,omitempty"`
	// Kind says who is meant to read it.
	Kind PostKind `json:"kind"`
	// Subject is decoded.
	Subject string `json:"subject,omitempty"`
	// Weak says why its place in this thread is not proven; empty if it is.
	Weak string `json:"weak,omitempty"`
	// At is when it was written by its Date field, within reason; else when it
	// came.
	At time.Time `json:"at"`
}

// PostKind says who is meant to read a post.
type PostKind string

// The kinds of posts.
const (
	// PostComment is for all followers.
	PostComment PostKind = "comment"
	// PostNote is internal.
	PostNote PostKind = "note"
)

// Contact is somebody we know.
type Contact struct {
	// ID names the contact; lower-case letters, digits, "-", "_" and ".".
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
	// Addresses are the mailboxes that are theirs, the first for mail to them.
	Addresses []Address `json:"addresses"`
	// User is set for somebody who works with the application, Employee for
	// somebody of the company. Everybody else is a customer.
	User     bool `json:"user,omitempty"`
	Employee bool `json:"employee,omitempty"`
	// Inbox is set for a user who reads posts in the application instead of
	// getting them by mail.
	Inbox bool `json:"inbox,omitempty"`
	// Language is a tag such as "ro"; empty if unknown.
	Language string `json:"language,omitempty"`
}

// Follower is a contact who is told of what is posted in a thread.
type Follower struct {
	Thread  string `json:"thread"`
	Contact string `json:"contact"`
	// Notes is set if internal notes are told too.
	Notes bool `json:"notes,omitempty"`
}

// Alias is an address of ours that opens threads.
type Alias struct {
	// Address is the alias, normalised, in lower case.
	Address Address `json:"address"`
	// Model is the kind of the threads it opens.
	Model string `json:"model"`
	// Contact says from whom.
	Contact ContactRule `json:"contact,omitempty"`
	// Owner is the address of the contact who becomes responsible.
	Owner string `json:"owner,omitempty"`
	// Set are the fields of new threads; "name" takes the subject's place.
	Set map[string]string `json:"set,omitempty"`
	// Thread is the thread that always gets the mail; empty to open new ones.
	Thread string `json:"thread,omitempty"`
	// Parent is the thread whose followers count for [ContactFollowers].
	Parent string `json:"parent,omitempty"`
	// Refuse is the text for those whom Contact refuses; empty = the default.
	Refuse string `json:"refuse,omitempty"`
	// AcceptAutomatic lets automatic mail (RFC 3834) open threads.
	AcceptAutomatic bool `json:"accept_automatic,omitempty"`
	// AnyDomain matches the local part alone, in every allowed domain.
	AnyDomain bool `json:"any_domain,omitempty"`
	// Version is that of the alias's record under [AliasKey]; 0 for one that
	// the configuration has.
	Version int64 `json:"version,omitempty"`
}

// ContactRule says from whom an alias takes mail.
type ContactRule string

// The contact rules.
const (
	ContactEveryone  ContactRule = "everyone"
	ContactKnown     ContactRule = "known"
	ContactFollowers ContactRule = "followers"
	ContactEmployees ContactRule = "employees"
)

// Keys of the records that facts about threads and aliases are checked on.

// ThreadKey returns the key of a thread's record: it exists with the thread.
func ThreadKey(id string) string { return FactKey("thread", id) }

// AliasKey returns the key of an alias's record: its version grows with each
// change, and it is gone with the alias.
func AliasKey(a Address) string { return FactKey("alias", a.Key()) }

// ThreadView reads what decisions about incoming mail rest on. What must still
// hold at commit is named as a [Fact] on [ThreadKey] and [AliasKey].
type ThreadView interface {
	// Thread returns the thread of that ID. Error: [ErrNoRecord].
	Thread(ctx context.Context, id string) (*Thread, error)
	// ThreadOf returns the thread that the application knows by that ID.
	// Error: [ErrNoRecord].
	ThreadOf(ctx context.Context, model, foreign string) (*Thread, error)
	// Posts returns the posts whose MessageID or Refs hold one of refs, the
	// newest first, at most limit.
	Posts(ctx context.Context, refs []string, limit int) ([]Post, error)
	// Contacts returns the contacts with that mailbox, oldest first.
	Contacts(ctx context.Context, a Address) ([]Contact, error)
	// Followers returns the followers of a thread.
	Followers(ctx context.Context, thread string) ([]Follower, error)
	// Aliases returns the aliases that one of the addresses is, and those with
	// AnyDomain that have the local part of one. What the configuration has is
	// not among them.
	Aliases(ctx context.Context, as []Address) ([]Alias, error)
}

// Conversations keeps threads and posts for people to look at and change.
type Conversations interface {
	// Threads lists threads, the last updated first.
	Threads(ctx context.Context, q ThreadQuery) ([]Thread, error)
	// PostsOf lists the posts of a thread with what is derived of them, the
	// oldest first.
	PostsOf(ctx context.Context, thread string) ([]DigestedPost, error)
	// PutThread writes a thread, new or changed.
	PutThread(ctx context.Context, t *Thread) error
	// PutPost adds a post to a thread that exists. Errors: [ErrNoRecord],
	// [ErrDuplicate].
	PutPost(ctx context.Context, p *Post) error
	// Undigested returns posts with a message whose digest is missing, oldest
	// first.
	Undigested(ctx context.Context, limit int) ([]Post, error)
	// RouteUnrouted ends an entry of the unrouted box by putting its message
	// into threads. Errors: [ErrNoRecord] (the thread's too), [ErrState].
	RouteUnrouted(ctx context.Context, id string, at time.Time, p Postings) error
	// PutDigest writes what is derived of a post, and what is searched.
	PutDigest(ctx context.Context, post string, d *Digest) error
}

// ThreadQuery narrows [Conversations.Threads]; empty fields do not.
type ThreadQuery struct {
	Model string
	State string
	// Text are words that all stand in one post of the thread, or in its name.
	Text string
	// Limit is the most to return; 0 = [DefaultListLimit].
	Limit int
	// Before returns only threads that sort after that ID: the next page.
	Before string
}

// Digest is what is derived from a post's message for people: it can be made
// again from the raw bytes at any time.
type Digest struct {
	// Text is the readable text, HTML the sanitised body; either may be empty.
	Text string `json:"text,omitempty"`
	HTML string `json:"html,omitempty"`
	// Attachments are in the order of the message.
	Attachments []Attachment `json:"attachments,omitempty"`
	// Flaws says what was wrong with the message.
	Flaws []string `json:"flaws,omitempty"`
}

// Attachment is a part of a message that is no text of it.
type Attachment struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Size int64  `json:"size"`
	// ContentID is set for one that the body shows.
	ContentID string `json:"content_id,omitempty"`
}

// DigestedPost is a post with its digest; nil while that is not made.
type DigestedPost struct {
	Post
	Digest *Digest `json:"digest,omitempty"`
}

// Directory keeps who is known and what addresses open, changeable at run time.
type Directory interface {
	// PutContact writes a contact, new or changed.
	PutContact(ctx context.Context, c *Contact) error
	// DropContact removes a contact from the directory and from all threads
	// that it follows. Error: [ErrNoRecord].
	DropContact(ctx context.Context, id string) error
	// ContactList lists contacts by ID.
	ContactList(ctx context.Context, limit int) ([]Contact, error)
	// PutAlias writes an alias, new or changed, and raises its version.
	PutAlias(ctx context.Context, a *Alias) error
	// DropAlias removes an alias. Error: [ErrNoRecord].
	DropAlias(ctx context.Context, a Address) error
	// AliasList lists aliases by address.
	AliasList(ctx context.Context) ([]Alias, error)
}

// Audience keeps who is told of what is posted.
type Audience interface {
	// Follow adds a follower or changes it. Error: [ErrNoRecord] for a thread
	// or contact that is not there.
	Follow(ctx context.Context, f Follower) error
	// Unfollow removes a follower. Error: [ErrNoRecord].
	Unfollow(ctx context.Context, thread, contact string) error
}

// PostTo is the action that puts the message into a thread, an existing or a
// new one.
type PostTo struct {
	// Thread is the ID of an existing thread; empty to open one.
	Thread string
	// Open is the thread to open; its ID and times are given at commit.
	Open *Thread
	// Alias is the alias that opens it: a message opens one thread for each.
	Alias Address
	// Parent, Author, Kind and Weak are those of the post.
	Parent string
	Author string
	Kind   PostKind
	Weak   string
	// Follow is the contact who follows the thread from now on; may be empty.
	Follow string
}

// Key implements [Action].
func (a PostTo) Key() string {
	if a.Thread != "" {
		return "post\x00" + a.Thread
	}
	return "open\x00" + a.Alias.Key() + "\x00" + a.Open.Model
}

// String implements [Action].
func (a PostTo) String() string {
	if a.Thread != "" {
		return "post to thread " + a.Thread
	}
	return strings.TrimSpace("open a thread of " + a.Open.Model + " " + a.Alias.String())
}
