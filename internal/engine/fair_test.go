// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// offerAs hands in a message of an author, of a purpose if it is one of the
// subjects that limited knows.
func (b *bench) offerAs(author, subject string) {
	b.t.Helper()
	content := fmt.Sprintf("From: %s\r\nSubject: %s\r\nFree: yes\r\n\r\nHello\r\n", author, subject)
	if rs, err := b.offer(anyone(), author, content, "bob@example.net"); err != nil || !rs[0].Accepted() {
		b.t.Fatal(rs, err)
	}
}

// slow has each attempt take that long.
func (b *bench) slow(d time.Duration) {
	b.relay.answer = func(_ int, d2 *mailflow.Delivery) ([]mailflow.Result, error) {
		time.Sleep(d)
		return all(d2, 250), nil
	}
}

// arrival returns the place in the order of attempts of the mail that has that
// text in it; 0 if it was not sent.
func (b *bench) arrival(text string) int {
	for i, s := range b.relay.taken() {
		if strings.Contains(s.bytes, text) {
			return i + 1
		}
	}
	return 0
}

// TestSendersShare has a sender with a large backlog, in memory and in the
// store, not delay the single mail of another.
func TestSendersShare(t *testing.T) {
	t.Parallel()
	for name, paused := range map[string]bool{"from memory": false, "from the store": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, limits(t))
				b.slow(time.Second)
				if paused {
					b.gen.store.runner.pause()
				}
				for i := range 3000 {
					b.offerAs("loud@mycompany.com", fmt.Sprintf("bulk %d", i))
				}
				time.Sleep(time.Second) // so that all of it is older
				before := len(b.relay.taken())
				b.offerAs("quiet@mycompany.com", "the single one")
				if paused {
					b.gen.store.runner.start()
					b.gen.store.runner.wakeAll()
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if at := b.arrival("the single one"); at == 0 || at > before+12 {
					t.Errorf("the single mail was attempt %d, after %d", at, before)
				}
				time.Sleep(3001 / 4 * time.Second)
				b.wantSent("at last", 3001)
				b.close()
			})
		})
	}
}

// TestPurposesApart has mass mail that hangs not delay other mail, nor be
// delayed by it.
func TestPurposesApart(t *testing.T) {
	t.Parallel()
	for stuck, free := range map[string]string{"mass": "Hello", "Hello": "mass"} {
		t.Run(stuck+" is stuck", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, limits(t))
				hang := stuck == "mass"
				b.relay.answer = func(_ int, d *mailflow.Delivery) ([]mailflow.Result, error) {
					if (d.Purpose == mailflow.PurposeMass) == hang {
						time.Sleep(20 * time.Minute)
					}
					return all(d, 250), nil
				}
				for range 50 {
					b.offerAs("anna@mycompany.com", stuck)
				}
				synctest.Wait()
				if n := len(b.relay.taken()); n != 4 {
					t.Fatalf("%d attempts at once, want 4", n)
				}
				for range 10 {
					b.offerAs("anna@mycompany.com", free)
				}
				b.wantSent("while the others hang", 14)
				time.Sleep(5 * time.Hour)
				b.wantSent("at last", 60)
				b.close()
			})
		})
	}
}

func TestLabel(t *testing.T) {
	t.Parallel()
	for _, l := range []label{
		{purpose: "mass", domain: "mycompany.com", bucket: "3f", limited: true},
		{purpose: "transactional", domain: "", bucket: "0"},
		{purpose: "transactional", domain: "xn--mller-kva.example", bucket: "ff"},
	} {
		if got := readLabel(l.String()); got != l {
			t.Errorf("%q is read as %+v, want %+v", l.String(), got, l)
		}
	}
	if got := readLabel(""); got.purpose != mailflow.PurposeTransactional || got.limited {
		t.Errorf("the lane without name is read as %+v", got)
	}
	for _, same := range []string{"anna@mycompany.com", "Anna <anna@mycompany.com>", `"A <b>" <ANNA@mycompany.com>`} {
		if bucketOf(same) != bucketOf("anna@mycompany.com") {
			t.Errorf("%q is another sender", same)
		}
	}
	counts := make(map[string]int)
	for i := range 10_000 {
		counts[bucketOf(fmt.Sprintf("s%d@mycompany.com", i))]++
	}
	for bucket, n := range counts {
		if n > 100 {
			t.Errorf("%d of 10000 senders in bucket %s of %d", n, bucket, laneBuckets)
		}
	}
}

// TestOldLane has mail that waits from before there were lanes be sent.
func TestOldLane(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, limits(t, "1/h"))
		b.gen.store.runner.pause()
		store := b.store
		backlogOld(t, store, 10)
		b.gen.store.runner.start()
		b.gen.store.runner.wakeAll()
		time.Sleep(time.Minute)
		b.wantSent("within the limit", 1)
		time.Sleep(12 * time.Hour)
		b.wantSent("at last", 10)
		b.close()
	})
}

// backlogOld commits deliveries without lane that a limit holds for.
func backlogOld(t *testing.T, store mailflow.Store, n int) {
	t.Helper()
	spool, err := store.Spool(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = spool.Write([]byte(mail))
	body, err := spool.Body()
	if err != nil {
		t.Fatal(err)
	}
	_ = body.Close()
	now := time.Now()
	d := &mailflow.Decision{Message: mailflow.StoredMessage{ID: "old", Received: now}, Spool: spool}
	for i := range n {
		d.Deliveries = append(d.Deliveries, mailflow.Delivery{
			ID: fmt.Sprintf("o%d", i), Message: "old", Server: "relay", Destination: "relay", State: mailflow.StateQueued, Limited: true,
			Envelope: mailflow.Envelope{Recipients: []mailflow.Recipient{{Address: mailflow.MustParseAddress("a@example.net")}}},
			Created:  now, Due: now, Expires: now.Add(time.Hour),
		})
	}
	if err := store.Commit(context.Background(), d); err != nil {
		t.Fatal(err)
	}
}
