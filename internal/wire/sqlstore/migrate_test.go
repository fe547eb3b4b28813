// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pressly/goose/v3"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// migrateTo brings the database in dir to that version of the schema.
func migrateTo(t *testing.T, dir string, version int64) {
	t.Helper()
	s, err := openSession(t.Context(), filepath.Join(dir, "mail.db"), writerPragmas)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.db.Close() }()
	if err := s.conn.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		t.Fatal(err)
	}
	current, _, err := p.GetVersions(t.Context())
	if err == nil && current > version {
		_, err = p.DownTo(t.Context(), version)
	} else if err == nil {
		_, err = p.UpTo(t.Context(), version)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fillFirst writes rows as the first schema has them.
func fillFirst(t *testing.T, dir string, now time.Time) {
	t.Helper()
	s, err := openSession(t.Context(), filepath.Join(dir, "mail.db"), writerPragmas)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.close() }()
	d := mailflow.Delivery{
		ID: "d", Message: "m", Server: "server", Destination: "server", State: mailflow.StateQueued,
		Created: now, Due: now, Expires: now.Add(time.Hour),
	}
	row, err := encodeDelivery(&d)
	if err != nil {
		t.Fatal(err)
	}
	at, later := micros(now), micros(now.Add(time.Hour))
	for _, st := range []struct {
		query string
		args  []any
	}{
		{`INSERT INTO message (n, id, data) VALUES (1, 'm', '{"id":"m","subject":"old"}')`, nil},
		{`INSERT INTO body (n, bytes) VALUES (1, x'41')`, nil},
		{`INSERT INTO delivery (id, message, destination, server, state, due, expires, data)
			VALUES ('d', 'm', 'server', 'server', 'queued', ?, ?, ?)`, []any{at, later, string(row)}},
		{`INSERT INTO unrouted (message, at, dropped, data) VALUES ('m', ?1, 0, '{"message":"m","reason":"waits"}'),
			('n', ?1, ?1, '{"message":"n","reason":"over","dropped":"2026-01-01T00:00:00Z"}')`, []any{at}},
		{`INSERT INTO record (key, version, expires) VALUES (CAST('r' AS BLOB), 1, 0)`, nil},
		{`INSERT INTO hit (key, at, expires) VALUES (CAST('w' AS BLOB), ?1, ?2), (CAST('w' AS BLOB), ?1, ?2 + 5),
			(CAST('w' AS BLOB), ?1 + 1, ?2), (CAST('v' AS BLOB), ?1, ?2), (CAST('v' AS BLOB), ?1, 0)`, []any{at, later}},
	} {
		if _, err := s.exec(st.query, st.args...); err != nil {
			t.Fatalf("%s: %v", st.query, err)
		}
	}
}

// TestOldSchema opens a store that has the first schema and data.
func TestOldSchema(t *testing.T) {
	t.Parallel()
	dir, now := t.TempDir(), time.Now().UTC().Truncate(time.Microsecond)
	if err := makeDirs(dir); err != nil {
		t.Fatal(err)
	}
	migrateTo(t, dir, 1)
	fillFirst(t, dir, now)
	later := now.Add(time.Hour)
	want := []mailflow.Hit{
		{Key: "w", At: now, Count: 2, Expires: later.Add(5 * time.Microsecond)},
		{Key: "w", At: now.Add(time.Microsecond), Count: 1, Expires: later},
	}
	for _, round := range []string{"up", "down and up again"} {
		s := start(t, Options{Dir: dir})
		hits, err := s.Hits(t.Context(), "w", now)
		if diff := cmp.Diff(want, hits); err != nil || diff != "" {
			t.Errorf("%s: hits: %v\n%s", round, err, diff)
		}
		if hits, err = s.Hits(t.Context(), "v", now); err != nil || len(hits) != 1 || hits[0].Count != 2 || !hits[0].Expires.IsZero() {
			t.Errorf("%s: hits that are kept for good: %v, %v", round, hits, err)
		}
		if v, err := s.Version(t.Context(), "r"); err != nil || v != 1 {
			t.Errorf("%s: version %d, %v", round, v, err)
		}
		box, err := s.Unrouted(t.Context(), "", 0)
		if err != nil || len(box) != 1 || box[0].Reason != "waits" {
			t.Errorf("%s: box %v, %v", round, box, err)
		}
		if err := s.DropUnrouted(t.Context(), "n", now); !errors.Is(err, mailflow.ErrState) {
			t.Errorf("%s: a dropped entry was dropped again: %v", round, err)
		}
		lanes, err := s.Lanes(t.Context())
		if diff := cmp.Diff([]mailflow.Lane{{Destination: "server", NextDue: now, NextExpiry: later, Count: 1}}, lanes); err != nil || diff != "" {
			t.Errorf("%s: lanes: %v\n%s", round, err, diff)
		}
		claimed, err := s.ClaimDue(t.Context(), mailflow.Claim{Destination: "server", DueBy: now, Limit: 9})
		if err != nil || len(claimed) != 1 || claimed[0].ID != "d" {
			t.Errorf("%s: claimed %v, %v", round, claimed, err)
		}
		if err := checkBody(t.Context(), s, "m", []byte("A")); err != nil {
			t.Errorf("%s: %v", round, err)
		}
		integrity(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		migrateTo(t, dir, 1)
	}
}
