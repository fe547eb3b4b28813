// SPDX-License-Identifier: Apache-2.0

// Package bench measures what the house promises about speed.
package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/sqlstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// writers are the numbers of parallel writers that are measured.
var writers = []int{1, 20, 100}

// content is a message of 4 KiB.
var content = bytes.Repeat([]byte("0123456789 a line of a message, of 64 bytes in all with its end.\r\n"), 63)[:4096]

// BenchmarkStoreAccept measures durable commits of a message with one
// delivery and a fact.
func BenchmarkStoreAccept(b *testing.B) {
	for _, n := range writers {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			s := openStore(b)
			parallel(b, n, func(i int64) error { return accept(b, s, i, false) })
		})
	}
}

// BenchmarkStoreCycle measures the whole life of a message in the store: the
// commit, the claim, the reading of its body, and the outcome.
func BenchmarkStoreCycle(b *testing.B) {
	for _, n := range writers {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			s := openStore(b)
			parallel(b, n, func(i int64) error {
				if err := accept(b, s, i, false); err != nil {
					return err
				}
				return deliver(b, s)
			})
		})
	}
}

// BenchmarkStoreHotCycle is the cycle of a message that is delivered at once:
// its committer claims it from the start.
func BenchmarkStoreHotCycle(b *testing.B) {
	for _, n := range writers {
		b.Run(fmt.Sprintf("writers=%d", n), func(b *testing.B) {
			s := openStore(b)
			parallel(b, n, func(i int64) error {
				if err := accept(b, s, i, true); err != nil {
					return err
				}
				return finish(b, s, delivery(i))
			})
		})
	}
}

// BenchmarkStoreLanes measures a look at what waits, of 100,000 deliveries for
// ten destinations.
func BenchmarkStoreLanes(b *testing.B) {
	s := openStore(b)
	for i := range int64(100) {
		d := decision(b, s, i)
		d.Deliveries = d.Deliveries[:0]
		for k := range int64(1000) {
			waiting := delivery(i)
			waiting.ID = fmt.Sprintf("%016d", i*1000+k)
			waiting.Destination = fmt.Sprintf("server%d", k%10)
			d.Deliveries = append(d.Deliveries, waiting)
		}
		if err := s.Commit(b.Context(), d); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Lanes(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func openStore(b *testing.B) *sqlstore.Store {
	b.Helper()
	s, err := sqlstore.Open(b.Context(), sqlstore.Options{Dir: b.TempDir(), Now: time.Now})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// parallel shares b.N calls of work among n goroutines and reports the rate.
func parallel(b *testing.B, n int, work func(i int64) error) {
	b.Helper()
	b.ReportAllocs()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range n {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := work(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

func delivery(i int64) mailflow.Delivery {
	now := time.Now()
	return mailflow.Delivery{
		ID: fmt.Sprintf("%016d", i), Message: fmt.Sprintf("%016d", i), Route: mailflow.Outbound,
		Server: "server", Destination: "server", Purpose: "transactional", Envelope: envelope,
		State: mailflow.StateQueued, Created: now, Due: now, Expires: now.Add(72 * time.Hour),
	}
}

var envelope = mailflow.Envelope{
	From:       mailflow.MustParseAddress("sender@example.org"),
	Recipients: []mailflow.Recipient{{Address: mailflow.MustParseAddress("someone@example.com")}},
}

func decision(b *testing.B, s *sqlstore.Store, i int64) *mailflow.Decision {
	b.Helper()
	spool, err := s.Spool(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := spool.Write(content); err != nil {
		b.Fatal(err)
	}
	body, err := spool.Body()
	if err != nil {
		b.Fatal(err)
	}
	if err := body.Close(); err != nil {
		b.Fatal(err)
	}
	d := delivery(i)
	return &mailflow.Decision{
		Message: mailflow.StoredMessage{
			ID: d.Message, Received: d.Created, Size: int64(len(content)), Envelope: envelope,
			Peer: mailflow.Peer{Listener: "door", Protocol: "ESMTP", Hello: "client", At: d.Created},
			From: "Sender <sender@example.org>", Subject: "A subject", MessageID: "<" + d.ID + "@example.org>",
		},
		Spool:      spool,
		Deliveries: []mailflow.Delivery{d},
		Facts: []mailflow.Fact{{
			Kind: mailflow.FactAbsent, Key: mailflow.FactKey("seen", d.ID), Expires: d.Expires,
		}},
	}
}

func accept(b *testing.B, s *sqlstore.Store, i int64, claimed bool) error {
	b.Helper()
	d := decision(b, s, i)
	defer d.Spool.Discard()
	if claimed {
		d.Claimed = []string{d.Deliveries[0].ID}
	}
	return s.Commit(b.Context(), d)
}

// deliver claims one delivery, whichever is due, and finishes it.
func deliver(b *testing.B, s *sqlstore.Store) error {
	b.Helper()
	// Others may leave only what was made after this moment.
	by := time.Now().Add(time.Hour)
	ds, err := s.ClaimDue(b.Context(), mailflow.Claim{Destination: "server", DueBy: by, Limit: 1})
	if err != nil {
		return err
	}
	if len(ds) == 0 {
		return errors.New("nothing was due")
	}
	return finish(b, s, ds[0])
}

func finish(b *testing.B, s *sqlstore.Store, d mailflow.Delivery) error {
	b.Helper()
	body, err := s.Body(b.Context(), d.Message)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	d.State, d.Attempts, d.Reply = mailflow.StateSent, 1, mailflow.ReplyAccepted
	return s.Finish(b.Context(), &mailflow.Outcome{Deliveries: []mailflow.Delivery{d}})
}
