// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// StoreSuite holds a store to the contract of [mailflow.Store]: each sentence
// of it is a subtest. Run it under the race detector.
type StoreSuite struct {
	// Opener returns the opener of a new, empty store. What it needs is
	// cleaned up with t. The opened store dates by the real clock.
	Opener func(t *testing.T) mailflow.StoreOpener
	// Volatile is set for a store that keeps nothing when it is closed.
	Volatile bool
}

// RunStoreSuite runs the suite for a store that survives closing.
func RunStoreSuite(t *testing.T, opener func(t *testing.T) mailflow.StoreOpener) {
	t.Helper()
	StoreSuite{Opener: opener}.Run(t)
}

// Run runs the suite.
func (s StoreSuite) Run(t *testing.T) {
	t.Helper()
	groups := []struct {
		name  string
		tests map[string]func(*storeTest)
	}{
		{"ledger", ledgerTests},
		{"facts", factTests},
		{"decided", decidedTests},
		{"claim", claimTests},
		{"finish", finishTests},
		{"act", actTests},
		{"list", listTests},
		{"box", boxTests},
		{"hits", hitTests},
		{"values", valueTests},
		{"threads", threadTests},
		{"posts", postTests},
		{"search", searchTests},
		{"directory", directoryTests},
		{"made", madeTests},
		{"received", receivedTests},
		{"sweep", sweepTests},
		{"life", lifeTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			for name, test := range g.tests {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(s.start(t))
				})
			}
		})
	}
	if !s.Volatile {
		t.Run("reopen", func(t *testing.T) {
			t.Parallel()
			s.reopen(t)
		})
	}
}

// storeTest is one test with a store of its own.
type storeTest struct {
	*testing.T

	store mailflow.Store
	now   time.Time
	next  int
}

// start opens a store for one test.
func (s StoreSuite) start(t *testing.T) *storeTest {
	t.Helper()
	return startWith(t, s.Opener(t))
}

func startWith(t *testing.T, opener mailflow.StoreOpener) *storeTest {
	t.Helper()
	store, err := opener.Open(t.Context())
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil && !closedAlready(err) {
			t.Errorf("closing the store: %v", err)
		}
	})
	return &storeTest{T: t, store: store, now: clock()}
}

// clock returns the time as stores keep it. The stores of the suite date by the
// real clock, so it does, too.
func clock() time.Time {
	return time.Now().UTC().Truncate(time.Microsecond) //nolint:forbidigo // a test
}

// id returns an ID that sorts after those before.
func (t *storeTest) id() string {
	t.next++
	return fmt.Sprintf("id%06d", t.next)
}

// spool returns a spool that holds content.
func (t *storeTest) spool(content []byte) mailflow.Spool {
	t.Helper()
	sp, err := t.store.Spool(t.Context())
	if err != nil {
		t.Fatalf("spool: %v", err)
	}
	t.Cleanup(sp.Discard)
	for part := range bytesChunks(content) {
		if n, err := sp.Write(part); err != nil || n != len(part) {
			t.Fatalf("writing to the spool: %d of %d bytes: %v", n, len(part), err)
		}
	}
	body, err := sp.Body()
	if err != nil {
		t.Fatalf("body of the spool: %v", err)
	}
	if err := body.Close(); err != nil {
		t.Fatalf("closing the body of the spool: %v", err)
	}
	return sp
}

// bytesChunks yields b in pieces of odd sizes.
func bytesChunks(b []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for size := 7; len(b) > 0; size = size*3 + 1 {
			n := min(size, len(b))
			if !yield(b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// decision returns a decision about a small message and deliveries in those
// states, due now for the lane "lane".
func (t *storeTest) decision(states ...mailflow.State) *mailflow.Decision {
	t.Helper()
	id := t.id()
	content := []byte("Subject: " + id + "\r\n\r\nHello\r\n")
	d := &mailflow.Decision{
		Message: mailflow.StoredMessage{ID: id, Received: t.now, Size: int64(len(content)), From: "From " + id, Subject: id},
		Spool:   t.spool(content),
	}
	for _, st := range states {
		d.Deliveries = append(d.Deliveries, t.delivery(id, st))
	}
	return d
}

// delivery returns a delivery of a message.
func (t *storeTest) delivery(message string, st mailflow.State) mailflow.Delivery {
	return mailflow.Delivery{
		ID: t.id(), Message: message, Route: mailflow.Outbound, Server: "server", Destination: "lane",
		Envelope: mailflow.Envelope{Recipients: []mailflow.Recipient{rcpt("someone@example.org")}},
		State:    st, Created: t.now, Due: t.now, Expires: t.now.Add(72 * time.Hour),
	}
}

// fullMessage returns a row with every field set.
func (t *storeTest) fullMessage() mailflow.StoredMessage {
	odd := t.now.Add(1234567 * time.Nanosecond).In(time.FixedZone("east", 7200))
	return mailflow.StoredMessage{
		ID: t.id(), Received: odd,
		Peer: mailflow.Peer{
			Listener: "door", Protocol: "ESMTPSA", IP: netip.MustParseAddr("2001:db8::1"), Hello: "client",
			TLS: "TLS 1.3", User: "user", Domain: "example.org", Submits: true, At: odd,
		},
		Envelope: fullEnvelope(), Size: 99, From: `"Jörg" <joerg@example.org>`, Subject: "Grüße \u2028 'quoted'",
		MessageID: "<1@example.org>", EightBit: true, UTF8Header: true,
		Tags: map[string]string{"key": "value", "": "empty"}, Trace: "1 a:b", Dropped: "because",
	}
}

// fullDelivery returns a delivery with every field set.
func (t *storeTest) fullDelivery(message string) mailflow.Delivery {
	odd := t.now.Add(-7654321 * time.Nanosecond).In(time.FixedZone("west", -3600))
	return mailflow.Delivery{
		ID: t.id(), Message: message, Route: mailflow.Inbound, Server: "server", Destination: "server host", Lane: "mass/example.org",
		Purpose: "mass", Domain: "example.org", Envelope: fullEnvelope(), Limited: true, SignAs: "example.org", RelayedID: "<2@example.org>",
		Header: []mailflow.HeaderChange{{Op: mailflow.HeaderSet, Name: "From", Value: "x"}, {Op: mailflow.HeaderRemove, Name: "Bcc"}},
		State:  mailflow.StateDeferred, Reason: "reason", Created: odd, Due: odd, Expires: odd.Add(time.Hour), Attempts: 3,
		Reply: &mailflow.Reply{Code: 451, Enhanced: mailflow.EnhancedCode{4, 7, 1}, Text: "later"},
	}
}

func fullEnvelope() mailflow.Envelope {
	return mailflow.Envelope{
		From: mailflow.MustParseAddress("sender@example.org"),
		Recipients: []mailflow.Recipient{
			{
				Address: mailflow.MustParseAddress(`"a b"@example.org`), Notify: []mailflow.Notify{mailflow.NotifyNever},
				OriginalType: "rfc822", Original: "other@example.org",
			},
			rcpt("ü@example.org"),
		},
		Body: mailflow.Body8BitMIME, SMTPUTF8: true, RequireTLS: true, Return: mailflow.ReturnHeaders, EnvelopeID: "e",
	}
}

func rcpt(address string) mailflow.Recipient {
	return mailflow.Recipient{Address: mailflow.MustParseAddress(address)}
}

// commit commits a decision that must not be refused.
func (t *storeTest) commit(d *mailflow.Decision) *mailflow.Decision {
	t.Helper()
	if err := t.store.Commit(t.Context(), d); err != nil {
		t.Fatalf("commit of %s: %v", d.Message.ID, err)
	}
	return d
}

// add commits a message with deliveries in those states.
func (t *storeTest) add(states ...mailflow.State) *mailflow.Decision {
	t.Helper()
	return t.commit(t.decision(states...))
}

// claim claims what is due now in the lane "lane".
func (t *storeTest) claim(limit int) []mailflow.Delivery {
	t.Helper()
	return t.claimWith(mailflow.Claim{Destination: "lane", DueBy: t.now, Limit: limit})
}

func (t *storeTest) claimWith(c mailflow.Claim) []mailflow.Delivery {
	t.Helper()
	ds, err := t.store.ClaimDue(t.Context(), c)
	if err != nil {
		t.Fatalf("ClaimDue(%+v): %v", c, err)
	}
	return ds
}

// finish finishes claimed deliveries, which must not be refused.
func (t *storeTest) finish(o *mailflow.Outcome) {
	t.Helper()
	if err := t.store.Finish(t.Context(), o); err != nil {
		t.Fatalf("Finish: %v", err)
	}
}

// list lists deliveries.
func (t *storeTest) list(q mailflow.QueueQuery) []mailflow.Queued {
	t.Helper()
	list, err := t.store.Deliveries(t.Context(), q)
	if err != nil {
		t.Fatalf("Deliveries(%+v): %v", q, err)
	}
	return list
}

// stored returns a delivery as it is stored.
func (t *storeTest) stored(id string) mailflow.Queued {
	t.Helper()
	list := t.list(mailflow.QueueQuery{ID: id})
	if len(list) != 1 {
		t.Fatalf("delivery %s: %d rows", id, len(list))
	}
	return list[0]
}

// depth checks the counts of all states.
func (t *storeTest) depth(want map[mailflow.State]int) {
	t.Helper()
	got, err := t.store.Depth(t.Context())
	if err != nil {
		t.Fatalf("Depth: %v", err)
	}
	for _, st := range mailflow.States {
		if got[st] != want[st] {
			t.Errorf("Depth: %d %s, want %d", got[st], st, want[st])
		}
	}
}

// content checks the bytes of a message.
func (t *storeTest) content(id string, want []byte) {
	t.Helper()
	body, err := t.store.Body(t.Context(), id)
	if err != nil {
		t.Fatalf("Body(%s): %v", id, err)
	}
	got, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("body of %s: %d bytes, want %d, equal %v: %v", id, len(got), len(want), bytes.Equal(got, want), err)
	}
	if err := body.Close(); err != nil {
		t.Errorf("closing the body of %s: %v", id, err)
	}
}

// missing checks that the ledger does not hold a message.
func (t *storeTest) missing(id string) {
	t.Helper()
	if m, err := t.store.Message(t.Context(), id); !errors.Is(err, mailflow.ErrNoRecord) {
		t.Errorf("Message(%s) = %v, %v, want ErrNoRecord", id, m, err)
	}
	if b, err := t.store.Body(t.Context(), id); !errors.Is(err, mailflow.ErrNoRecord) {
		t.Errorf("Body(%s) = %v, %v, want ErrNoRecord", id, b, err)
	}
}

// held checks that the ledger holds a message.
func (t *storeTest) held(id string) {
	t.Helper()
	if _, err := t.store.Message(t.Context(), id); err != nil {
		t.Errorf("Message(%s): %v", id, err)
	}
}

// wantErr checks that err is want.
func (t *storeTest) wantErr(what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// same checks that got is want, save for what a store may change: times to the
// microsecond in UTC, nil for empty.
func (t *storeTest) same(what string, got, want any) {
	t.Helper()
	options := cmp.Options{
		cmpopts.EquateEmpty(),
		cmpopts.EquateComparable(netip.Addr{}),
		cmp.Transformer("micro", func(t time.Time) int64 { return t.UnixMicro() }),
	}
	if diff := cmp.Diff(want, got, options); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// ids returns the IDs of deliveries in their order.
func ids(ds []mailflow.Delivery) []string {
	list := []string{}
	for _, d := range ds {
		list = append(list, d.ID)
	}
	return list
}

// queuedIDs returns the IDs of listed deliveries in their order.
func queuedIDs(qs []mailflow.Queued) []string {
	list := []string{}
	for _, q := range qs {
		list = append(list, q.ID)
	}
	return list
}
