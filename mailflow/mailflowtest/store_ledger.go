// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var ledgerTests = map[string]func(*storeTest){
	"a message comes back as it was committed":          testMessageRoundTrip,
	"a delivery comes back as it was committed":         testDeliveryRoundTrip,
	"bodies are kept byte for byte":                     testBodies,
	"several read a body at once":                       testBodyReaders,
	"reading a closed body is an error":                 testBodyClosed,
	"a spool's body outlives the commit":                testSpoolBody,
	"a discarded spool cannot be committed":             testSpoolDiscard,
	"a spool is committed once":                         testSpoolTwice,
	"a message ID is taken once":                        testDuplicateMessage,
	"a delivery ID is taken once":                       testDuplicateDelivery,
	"an unknown message has no row":                     func(t *storeTest) { t.missing("unknown") },
	"a commit whose context has ended writes nothing":   testCommitCancelled,
	"many commits at once are all kept":                 testParallelCommits,
	"a decision that contradicts itself is refused":     testBrokenDecisions,
	"a message that became nothing is in the ledger":    func(t *storeTest) { t.held(t.add().Message.ID) },
	"what is read may be changed without harm":          testNoSharing,
	"bodies differ though their messages are committed": testManyBodies,
}

func testMessageRoundTrip(t *storeTest) {
	d := t.decision()
	d.Message = t.fullMessage()
	t.commit(d)
	got, err := t.store.Message(t.Context(), d.Message.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.same("message", *got, d.Message)
	if want := d.Message.Received.UTC().Truncate(time.Microsecond); got.Received != want {
		t.Errorf("Received is %v, want it in UTC to the microsecond: %v", got.Received, want)
	}
}

func testDeliveryRoundTrip(t *storeTest) {
	d := t.decision()
	d.Deliveries = []mailflow.Delivery{t.fullDelivery(d.Message.ID)}
	t.commit(d)
	want := d.Deliveries[0]
	t.same("listed", t.stored(want.ID), mailflow.Queued{
		Delivery: want, From: d.Message.From, Subject: d.Message.Subject, Bytes: d.Message.Size,
	})
	claimed := t.claimWith(mailflow.Claim{Destination: want.Destination, Lane: want.Lane, DueBy: t.now, Limit: 1})
	t.same("claimed", claimed, d.Deliveries)
	if due := want.Due.UTC().Truncate(time.Microsecond); len(claimed) == 1 && claimed[0].Due != due {
		t.Errorf("Due is %v, want it in UTC to the microsecond: %v", claimed[0].Due, due)
	}
}

// random returns n bytes that no two calls share.
func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32()) //nolint:gosec // not a secret
	}
	return b
}

func testBodies(t *storeTest) {
	for _, size := range []int{
		0, 1, 4096, mailflow.MaxInlineBody - 1, mailflow.MaxInlineBody, mailflow.MaxInlineBody + 1,
		3 * mailflow.MaxInlineBody, 1<<20 + 7,
	} {
		content := random(size)
		d := t.decision(mailflow.StateQueued)
		d.Message.ID, d.Spool = "size"+strconv.Itoa(size), t.spool(content)
		d.Deliveries[0].Message = d.Message.ID
		t.commit(d)
		t.content(d.Message.ID, content)
	}
}

func testBodyReaders(t *storeTest) {
	for _, size := range []int{4096, 1 << 18} {
		content := random(size)
		d := t.decision()
		d.Spool = t.spool(content)
		t.commit(d)
		body, err := t.store.Body(t.Context(), d.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				part := make([]byte, size/8)
				off := int64(i * len(part))
				if _, err := body.ReadAt(part, off); err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("ReadAt(%d): %v", off, err)
				}
				if !bytes.Equal(part, content[off:off+int64(len(part))]) {
					t.Errorf("ReadAt(%d) returned other bytes", off)
				}
			})
		}
		wg.Wait()
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	}
}

func testBodyClosed(t *storeTest) {
	for _, size := range []int{10, 1 << 17} {
		d := t.decision()
		d.Spool = t.spool(random(size))
		t.commit(d)
		body, err := t.store.Body(t.Context(), d.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := body.ReadAt(make([]byte, 1), 0); err == nil {
			t.Errorf("reading a closed body of %d bytes is no error", size)
		}
	}
}

func testSpoolBody(t *storeTest) {
	for _, size := range []int{10, 1 << 17} {
		content := random(size)
		d := t.decision()
		d.Spool = t.spool(content)
		body, err := d.Spool.Body()
		if err != nil {
			t.Fatal(err)
		}
		t.commit(d)
		d.Spool.Discard()
		got := make([]byte, size)
		if n, err := body.ReadAt(got, 0); n != size || (err != nil && !errors.Is(err, io.EOF)) {
			t.Errorf("ReadAt after the commit: %d bytes: %v", n, err)
		}
		if !bytes.Equal(got, content) || body.Size() != int64(size) {
			t.Error("the spool's body has other bytes after the commit")
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		t.content(d.Message.ID, content)
	}
}

func testSpoolDiscard(t *storeTest) {
	for _, size := range []int{10, 1 << 17} {
		d := t.decision()
		d.Spool = t.spool(random(size))
		d.Spool.Discard()
		d.Spool.Discard()
		if err := t.store.Commit(t.Context(), d); err == nil {
			t.Error("a discarded spool was committed")
		}
		if _, err := d.Spool.Write([]byte("x")); err == nil {
			t.Error("a discarded spool takes bytes")
		}
		t.missing(d.Message.ID)
	}
}

func testSpoolTwice(t *storeTest) {
	first := t.add()
	second := t.decision()
	second.Spool = first.Spool
	if err := t.store.Commit(t.Context(), second); err == nil {
		t.Error("a spool was committed twice")
	}
	t.missing(second.Message.ID)
}

func testDuplicateMessage(t *storeTest) {
	first := t.add(mailflow.StateQueued)
	second := t.decision(mailflow.StateQueued)
	second.Message.ID = first.Message.ID
	second.Deliveries[0].Message = first.Message.ID
	t.wantErr("second commit", t.store.Commit(t.Context(), second), mailflow.ErrDuplicate)
	t.depth(map[mailflow.State]int{mailflow.StateQueued: 1})
	// The same bytes may be committed under another ID.
	second.Message.ID = t.id()
	second.Deliveries[0].Message = second.Message.ID
	t.commit(second)
}

func testDuplicateDelivery(t *storeTest) {
	first := t.add(mailflow.StateQueued)
	second := t.decision(mailflow.StateQueued, mailflow.StateQueued)
	second.Deliveries[1].ID = first.Deliveries[0].ID
	t.wantErr("second commit", t.store.Commit(t.Context(), second), mailflow.ErrDuplicate)
	t.missing(second.Message.ID)
	t.depth(map[mailflow.State]int{mailflow.StateQueued: 1})
}

func testCommitCancelled(t *storeTest) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := t.decision(mailflow.StateQueued)
	t.wantErr("commit", t.store.Commit(ctx, d), context.Canceled)
	t.missing(d.Message.ID)
	t.commit(d)
}

func testParallelCommits(t *storeTest) {
	const n = 50
	decisions := make([]*mailflow.Decision, n)
	for i := range decisions {
		decisions[i] = t.decision(mailflow.StateQueued)
	}
	var wg sync.WaitGroup
	for _, d := range decisions {
		wg.Go(func() {
			if err := t.store.Commit(t.Context(), d); err != nil {
				t.Errorf("commit: %v", err)
				return
			}
			t.held(d.Message.ID) // at once, not just later
		})
	}
	wg.Wait()
	t.depth(map[mailflow.State]int{mailflow.StateQueued: n})
}

func testBrokenDecisions(t *storeTest) {
	for name, spoil := range map[string]func(*mailflow.Decision){
		"no ID":                       func(d *mailflow.Decision) { d.Message.ID = "" },
		"no spool":                    func(d *mailflow.Decision) { d.Spool = nil },
		"a delivery of another":       func(d *mailflow.Decision) { d.Deliveries[0].Message = "other" },
		"a delivery that is sending":  func(d *mailflow.Decision) { d.Deliveries[0].State = mailflow.StateSending },
		"a delivery without ID":       func(d *mailflow.Decision) { d.Deliveries[0].ID = "" },
		"a claim on nothing":          func(d *mailflow.Decision) { d.Claimed = []string{"unknown"} },
		"an unrouted entry of others": func(d *mailflow.Decision) { d.Unrouted = &mailflow.Unrouted{Message: "other"} },
		"an unknown fact":             func(d *mailflow.Decision) { d.Facts = []mailflow.Fact{{Kind: "other", Key: "k"}} },
	} {
		d := t.decision(mailflow.StateQueued)
		id := d.Message.ID
		spoil(d)
		if err := t.store.Commit(t.Context(), d); err == nil {
			t.Errorf("a decision with %s was committed", name)
		}
		t.missing(id)
	}
	t.depth(nil)
}

func testNoSharing(t *storeTest) {
	d := t.decision()
	d.Message = t.fullMessage()
	d.Deliveries = []mailflow.Delivery{t.fullDelivery(d.Message.ID)}
	t.commit(d)
	for range 2 {
		m, err := t.store.Message(t.Context(), d.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		q := t.stored(d.Deliveries[0].ID)
		if m.Tags["key"] != "value" || m.Envelope.Recipients[0].Original != "other@example.org" ||
			q.Envelope.Recipients[0].Original != "other@example.org" || q.Header[0].Name != "From" || q.Reply.Code != 451 {
			t.Fatal("a change to what was read reached the store")
		}
		m.Tags["key"], m.Envelope.Recipients[0].Original = "x", "x"
		q.Envelope.Recipients[0].Original, q.Header[0].Name, q.Reply.Code = "x", "x", 0
	}
}

func testManyBodies(t *storeTest) {
	contents := make(map[string][]byte)
	for i := range 10 {
		d := t.decision()
		content := random(10 + i*10000)
		d.Spool = t.spool(content)
		contents[t.commit(d).Message.ID] = content
	}
	for id, content := range contents {
		t.content(id, content)
	}
}
