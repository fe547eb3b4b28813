// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// model runs random operations on the store and on the reference, and holds
// that both answer alike.
type model struct {
	*testing.T

	rand    *rand.Rand
	now     time.Time
	dir     string
	sql     *Store
	mem     mailflow.Store
	next    int
	ids     []string            // messages
	claimed []mailflow.Delivery // by us
}

func TestLikeTheReference(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			t.Parallel()
			m := &model{
				T: t, rand: rand.New(rand.NewPCG(seed, seed)),
				now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), dir: t.TempDir(),
			}
			m.sql, m.mem = start(t, Options{Dir: m.dir, Now: m.clock}), memstore.Open(m.clock)
			steps := []func(){m.commit, m.commit, m.claim, m.claim, m.finish, m.finish, m.unclaim, m.act, m.drop, m.sweep, m.list}
			steps = append(steps, m.talkSteps()...)
			for range 300 {
				m.now = m.now.Add(time.Duration(m.rand.IntN(int(time.Hour))))
				steps[m.rand.IntN(len(steps))]()
				m.check()
				if t.Failed() {
					t.FailNow()
				}
			}
			integrity(t, m.sql)
			m.reopen()
		})
	}
}

func (m *model) clock() time.Time { return m.now }

func (m *model) id() string {
	m.next++
	return fmt.Sprintf("%05d", m.next)
}

func (m *model) pick(words ...string) string { return words[m.rand.IntN(len(words))] }

func (m *model) lane() string { return m.pick("a", "b", "c", "") }

func (m *model) state() mailflow.State { return mailflow.States[m.rand.IntN(len(mailflow.States))] }

// soon returns a time about now.
func (m *model) soon() time.Time {
	return m.now.Add(time.Duration(m.rand.Int64N(int64(4*time.Hour))) - 2*time.Hour)
}

func (m *model) delivery(message string) mailflow.Delivery {
	return mailflow.Delivery{
		ID: m.id(), Message: message, Server: m.pick("s", "t"), Destination: m.lane(), Lane: m.pick("", "x"), State: m.state(),
		Created: m.now, Due: m.soon(), Expires: m.soon().Add(24 * time.Hour),
	}
}

func (m *model) unrouted(message string) *mailflow.Unrouted {
	to := mailflow.MustParseAddress(m.pick("a", "b", "c") + "@example.org")
	return &mailflow.Unrouted{Message: message, Recipients: []mailflow.Recipient{{Address: to}}, Reason: m.pick("x", "y"), At: m.now}
}

// decision returns the same decision for each store, with a spool of its own.
func (m *model) decision() (sql, mem mailflow.Decision) {
	d := mailflow.Decision{Message: mailflow.StoredMessage{ID: m.id(), Received: m.now, Subject: m.pick("x", "y")}}
	if m.rand.IntN(20) == 0 && len(m.ids) > 0 {
		d.Message.ID = m.ids[m.rand.IntN(len(m.ids))]
	}
	for range m.rand.IntN(4) {
		d.Deliveries = append(d.Deliveries, m.delivery(d.Message.ID))
		if last := d.Deliveries[len(d.Deliveries)-1]; waits(last.State) && m.rand.IntN(3) == 0 {
			d.Claimed = append(d.Claimed, last.ID)
		}
	}
	if m.rand.IntN(4) == 0 {
		d.Unrouted = m.unrouted(d.Message.ID)
	}
	for range m.rand.IntN(3) {
		d.Facts = append(d.Facts, mailflow.Fact{
			Kind: mailflow.FactKind(m.pick("absent", "exists", "version", "below", "below")), Key: m.pick("k", "l", "m"),
			Version: int64(m.rand.IntN(2)), Bound: m.rand.IntN(20), Since: m.now.Add(-10 * time.Hour), At: m.now,
			Expires: m.soon().Add(5 * time.Hour),
		})
	}
	if m.rand.IntN(3) == 0 {
		d.Postings = m.postings(d.Message.ID)
	}
	content := bytes.Repeat([]byte("x"), m.rand.IntN(2*mailflow.MaxInlineBody))
	sql, mem = d, d
	sql.Spool, mem.Spool = m.spool(m.sql, content), m.spool(m.mem, content)
	if m.rand.IntN(4) == 0 {
		a, b := m.decision()
		a.Claimed, b.Claimed = nil, nil
		sql.Made, mem.Made = []mailflow.Decision{a}, []mailflow.Decision{b}
	}
	return sql, mem
}

func (m *model) spool(s mailflow.Store, content []byte) mailflow.Spool {
	d, err := decide(m.Context(), s, "x", content)
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(d.Spool.Discard)
	return d.Spool
}

// alike checks that both stores gave the same kind of error, and returns
// whether there was none.
func (m *model) alike(what string, sql, mem error) bool {
	m.Helper()
	for _, kind := range []error{mailflow.ErrStale, mailflow.ErrDuplicate, mailflow.ErrNoRecord, mailflow.ErrState} {
		if errors.Is(sql, kind) != errors.Is(mem, kind) {
			m.Fatalf("%s: %v, the reference says %v", what, sql, mem)
		}
	}
	if (sql == nil) != (mem == nil) {
		m.Fatalf("%s: %v, the reference says %v", what, sql, mem)
	}
	return sql == nil
}

// same checks that both stores gave the same value.
func (m *model) same(what string, sql, mem any) {
	m.Helper()
	if diff := cmp.Diff(mem, sql, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		m.Fatalf("%s (-reference +sqlite):\n%s", what, diff)
	}
}

func (m *model) commit() {
	sql, mem := m.decision()
	if m.alike("commit", m.sql.Commit(m.Context(), &sql), m.mem.Commit(m.Context(), &mem)) {
		m.ids = append(m.ids, sql.Message.ID)
		for _, d := range sql.Deliveries {
			if slices.Contains(sql.Claimed, d.ID) {
				m.claimed = append(m.claimed, d)
			}
		}
	}
}

func (m *model) claim() {
	c := mailflow.Claim{Destination: m.lane(), Lane: m.pick("", "x"), DueBy: m.now, Limit: m.rand.IntN(5), ExpiredOnly: m.rand.IntN(4) == 0}
	sql, err := m.sql.ClaimDue(m.Context(), c)
	mem, err2 := m.mem.ClaimDue(m.Context(), c)
	m.alike("claim", err, err2)
	m.same("claim", sql, mem)
	m.claimed = append(m.claimed, sql...)
}

// take takes some deliveries of those that are claimed.
func (m *model) take() []mailflow.Delivery {
	n := min(m.rand.IntN(4), len(m.claimed))
	m.rand.Shuffle(len(m.claimed), func(i, j int) { m.claimed[i], m.claimed[j] = m.claimed[j], m.claimed[i] })
	ds := slices.Clone(m.claimed[:n])
	m.claimed = m.claimed[n:]
	return ds
}

func (m *model) finish() {
	taken := m.take()
	var sql, mem mailflow.Outcome
	for _, d := range taken {
		d.State, d.Attempts, d.Due = m.state(), d.Attempts+1, m.soon()
		d.RelayedID = m.pick("", m.ref())
		if m.rand.IntN(5) == 0 {
			d.Destination = m.lane()
		}
		sql.Deliveries = append(sql.Deliveries, d)
		if m.rand.IntN(4) == 0 {
			sql.Parted = append(sql.Parted, m.delivery(d.Message))
		}
		if m.rand.IntN(4) == 0 {
			sql.Unrouted = append(sql.Unrouted, *m.unrouted(d.Message))
		}
	}
	for range m.rand.IntN(3) {
		sql.Hits = append(sql.Hits, mailflow.Hit{Key: m.pick("k", "l"), At: m.now, Count: 1 + m.rand.IntN(3), Expires: m.soon().Add(5 * time.Hour)})
	}
	if len(taken) > 0 && m.rand.IntN(3) == 0 {
		sql.Postings = m.postings(taken[0].Message)
	}
	mem = sql
	if m.rand.IntN(3) == 0 {
		a, b := m.decision()
		a.Claimed, b.Claimed = nil, nil
		sql.Reports, mem.Reports = []mailflow.Decision{a}, []mailflow.Decision{b}
	}
	if !m.alike("finish", m.sql.Finish(m.Context(), &sql), m.mem.Finish(m.Context(), &mem)) {
		m.claimed = append(m.claimed, taken...)
	}
}

func (m *model) unclaim() {
	var ids []string
	for _, d := range m.take() {
		ids = append(ids, d.ID)
	}
	m.alike("unclaim", m.sql.Unclaim(m.Context(), ids...), m.mem.Unclaim(m.Context(), ids...))
}

func (m *model) act() {
	id := fmt.Sprintf("%05d", m.rand.IntN(m.next+2))
	act := mailflow.QueueAct{
		Kind:   mailflow.ActKind(m.pick("retry", "hold", "release", "drop")),
		Reason: m.pick("", "order"), At: m.soon(), Server: m.pick("", "", "s"),
	}
	m.alike("act", m.sql.Act(m.Context(), id, act), m.mem.Act(m.Context(), id, act))
}

func (m *model) drop() {
	id := fmt.Sprintf("%05d", m.rand.IntN(m.next+2))
	if m.rand.IntN(2) == 0 {
		p := m.postings(id)
		m.alike("route", m.sql.RouteUnrouted(m.Context(), id, m.now, p), m.mem.RouteUnrouted(m.Context(), id, m.now, p))
		return
	}
	m.alike("drop", m.sql.DropUnrouted(m.Context(), id, m.now), m.mem.DropUnrouted(m.Context(), id, m.now))
}

func (m *model) sweep() {
	keep := func() time.Duration { return time.Duration(m.rand.IntN(20)) * time.Hour }
	r := mailflow.Retention{Sent: keep(), Failed: keep(), Captured: keep(), Unrouted: keep(), Seen: keep()}
	sql, err := m.sql.Sweep(m.Context(), r, m.now)
	mem, err2 := m.mem.Sweep(m.Context(), r, m.now)
	m.alike("sweep", err, err2)
	m.same("sweep", sql, mem)
}

func (m *model) list() {
	q := mailflow.QueueQuery{Server: m.pick("", "s"), Limit: m.rand.IntN(20)}
	for range m.rand.IntN(3) {
		q.States = append(q.States, m.state())
	}
	if m.rand.IntN(2) == 0 {
		q.Before = fmt.Sprintf("%05d", m.rand.IntN(m.next+2))
	}
	sql, err := m.sql.Deliveries(m.Context(), q)
	mem, err2 := m.mem.Deliveries(m.Context(), q)
	m.alike("list", err, err2)
	m.same("list", sql, mem)
}

// check compares all that can be seen.
func (m *model) check() {
	ctx := m.Context()
	for what, get := range map[string]func(s mailflow.Store) (any, error){
		"depth":      func(s mailflow.Store) (any, error) { return s.Depth(ctx) },
		"lanes":      func(s mailflow.Store) (any, error) { return s.Lanes(ctx) },
		"deliveries": func(s mailflow.Store) (any, error) { return s.Deliveries(ctx, mailflow.QueueQuery{}) },
		"box":        func(s mailflow.Store) (any, error) { return s.Unrouted(ctx, "", 0) },
		"version":    func(s mailflow.Store) (any, error) { return s.Version(ctx, "k") },
		"hits":       func(s mailflow.Store) (any, error) { return s.Hits(ctx, "k", m.now.Add(-6*time.Hour)) },
		"received": func(s mailflow.Store) (any, error) {
			return s.Received(ctx, m.now.Add(-20*time.Hour), fmt.Sprintf("%05d", m.next/2), 7)
		},
		"count": func(s mailflow.Store) (any, error) { return s.Count(ctx, "k", m.now.Add(-3*time.Hour), 9) },
	} {
		sql, err := get(m.sql)
		mem, err2 := get(m.mem)
		m.alike(what, err, err2)
		m.same(what, sql, mem)
	}
	m.checkTalk()
	if len(m.ids) == 0 {
		return
	}
	id := m.ids[m.rand.IntN(len(m.ids))]
	sql, err := m.sql.Message(ctx, id)
	mem, err2 := m.mem.Message(ctx, id)
	if m.alike("message", err, err2) {
		m.same("message", sql, mem)
	}
}

// reopen checks that the counts are the same when they are read from disk.
func (m *model) reopen() {
	var ids []string
	for _, d := range m.claimed {
		ids = append(ids, d.ID)
	}
	m.alike("unclaim", m.sql.Unclaim(m.Context(), ids...), m.mem.Unclaim(m.Context(), ids...))
	if err := m.sql.Close(); err != nil {
		m.Fatal(err)
	}
	m.sql = start(m.T, Options{Dir: m.dir, Now: m.clock})
	m.check()
}
