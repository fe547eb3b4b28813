// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Bounds of the lanes of one destination.
const (
	// laneBuckets is among how many lanes the senders of one domain are spread:
	// two senders share one, and may wait for each other, with a chance of one
	// in so many.
	laneBuckets = 256
	// manyLanes is how many lanes claim whole portions; minPortion is what each
	// of many more claims.
	manyLanes  = 4
	minPortion = 16
	// fairPick is how often the lane that was not served longest comes before
	// the oldest mail: each time costs the store a page, so not always.
	fairPick = 4
)

// label is what the name of a lane says of the mail in it:
// "purpose/domain/bucket", and "/free" behind it if no limits hold.
type label struct {
	purpose, domain, bucket string
	limited                 bool
}

// freeSuffix marks lanes of mail that no limits hold for.
const freeSuffix = "free"

// readLabel reads the name of a lane. Mail from before there were lanes is in
// one without name.
func readLabel(name string) label {
	parts := append(strings.Split(name, "/"), "", "", "")
	return label{purpose: purposeIn(name), domain: parts[1], bucket: parts[2], limited: name != "" && parts[3] != freeSuffix}
}

// purposeIn returns the purpose of the mail in a lane.
func purposeIn(name string) string {
	if name == "" {
		return mailflow.PurposeTransactional
	}
	purpose, _, _ := strings.Cut(name, "/")
	return purpose
}

// String returns the name of the lane.
func (l label) String() string {
	name := l.purpose + "/" + l.domain + "/" + l.bucket
	if !l.limited {
		name += "/" + freeSuffix
	}
	return name
}

// bucketOf spreads senders by the text of their From field.
func bucketOf(author string) string {
	if i := strings.LastIndexByte(author, '<'); i >= 0 {
		author = author[i+1:]
	}
	author = strings.ToLower(strings.TrimRight(author, "> "))
	h := fnv.New32a()
	_, _ = h.Write([]byte(author)) // never fails
	return strconv.FormatUint(uint64(h.Sum32()%laneBuckets), 16)
}

// assign gives the deliveries of a decision, and of what was made because of
// it, their lanes, if they have none.
func assign(d *mailflow.Decision) {
	for i := range d.Made {
		assign(&d.Made[i])
	}
	if len(d.Deliveries) == 0 || d.Deliveries[0].Lane != "" {
		return
	}
	author := d.Message.From
	if author == "" {
		author = d.Message.Envelope.From.String()
	}
	bucket := bucketOf(author)
	for i := range d.Deliveries {
		del := &d.Deliveries[i]
		del.Lane = label{purpose: purposeOf(del), domain: del.Domain, bucket: bucket, limited: del.Limited}.String()
	}
}

// reassign gives deliveries that were decided again the lanes that they now
// belong to; each keeps its sender's bucket.
func reassign(ds []mailflow.Delivery) {
	for i := range ds {
		d := &ds[i]
		if inLane(d) {
			continue
		}
		d.Lane = label{purpose: purposeOf(d), domain: d.Domain, bucket: readLabel(d.Lane).bucket, limited: d.Limited}.String()
	}
}

// inLane reports whether the name of d's lane says what d is.
func inLane(d *mailflow.Delivery) bool {
	rest, ok := strings.CutPrefix(d.Lane, purposeOf(d))
	if ok {
		rest, ok = strings.CutPrefix(rest, "/")
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, d.Domain)
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, "/")
	}
	return ok && strings.HasSuffix(rest, "/"+freeSuffix) != d.Limited
}

func purposeOf(d *mailflow.Delivery) string {
	if d.Purpose == "" {
		return mailflow.PurposeTransactional
	}
	return d.Purpose
}

// assignAll gives all deliveries of an outcome their lanes.
func assignAll(o *mailflow.Outcome) {
	reassign(o.Deliveries)
	reassign(o.Parted)
	for i := range o.Reports {
		assign(&o.Reports[i])
	}
}

// Commit implements [mailflow.Ledger]: it gives the deliveries their lanes.
func (s *openStore) Commit(ctx context.Context, d *mailflow.Decision) error {
	assign(d)
	return s.Store.Commit(ctx, d)
}

// CommitDecided implements [mailflow.Ledger] likewise.
func (s *openStore) CommitDecided(ctx context.Context, decide func(mailflow.View) (*mailflow.Decision, error)) error {
	return s.Store.CommitDecided(ctx, func(v mailflow.View) (*mailflow.Decision, error) {
		d, err := decide(v)
		if d != nil {
			assign(d)
		}
		return d, err
	})
}
