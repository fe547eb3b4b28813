// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"context"
	"database/sql"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// recorder is a querier that remembers its queries.
type recorder struct {
	querier

	queries []string
}

func (r *recorder) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	r.queries = append(r.queries, query)
	return r.querier.query(ctx, query, args...)
}

var parameter = regexp.MustCompile(`\?\d*`)

// plan returns how SQLite would run a query.
func plan(t *testing.T, s *Store, query string) []string {
	t.Helper()
	var steps []string
	err := each(t.Context(), s.readers, func(rows *sql.Rows) error {
		var id, parent, unused int
		var detail string
		err := rows.Scan(&id, &parent, &unused, &detail)
		steps = append(steps, detail)
		return err
	}, `EXPLAIN QUERY PLAN `+parameter.ReplaceAllString(query, "NULL"))
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return steps
}

// harmless are the scans that read no table, or one in the order of a list, as
// far as its page goes.
var harmless = regexp.MustCompile(`^SCAN (CONSTANT ROW|\(subquery-\d+\)|` +
	`thread USING INDEX thread_updated|post USING INDEX post_fresh|words VIRTUAL TABLE INDEX 0:M\d)`)

// indexed checks that a query looks at what an index finds, and sorts nothing
// but what a search has found.
func indexed(t *testing.T, s *Store, query string) {
	t.Helper()
	searches := strings.Contains(query, "MATCH")
	for _, step := range plan(t, s, query) {
		if strings.HasPrefix(step, "SCAN") && !harmless.MatchString(step) || !searches && strings.Contains(step, "TEMP B-TREE") {
			t.Errorf("%s\n\tis run by: %s", query, step)
		}
	}
}

// TestLookUpsUseIndexes holds that a decision reads no more rows when there
// are more.
func TestLookUpsUseIndexes(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	fillTalk(t, s)
	r := &recorder{querier: s.readers}
	v, ctx, a := view{r}, t.Context(), mailflow.MustParseAddress("sales@example.org")
	for what, get := range map[string]func() (int, error){
		"Thread":    func() (int, error) { _, err := v.Thread(ctx, "t"); return 1, err },
		"ThreadOf":  func() (int, error) { _, err := v.ThreadOf(ctx, "ticket", "1"); return 1, err },
		"Posts":     func() (int, error) { l, err := v.Posts(ctx, []string{"<p>"}, 3); return len(l), err },
		"Contacts":  func() (int, error) { l, err := v.Contacts(ctx, a); return len(l), err },
		"Followers": func() (int, error) { l, err := v.Followers(ctx, "t"); return len(l), err },
		"Aliases":   func() (int, error) { l, err := v.Aliases(ctx, []mailflow.Address{a}); return len(l), err },
		"Version":   func() (int, error) { n, err := v.Version(ctx, mailflow.ThreadKey("t")); return int(n), err },
		"Count":     func() (int, error) { n, err := v.Count(ctx, "w", time.Time{}, 3); return n, err },
	} {
		if n, err := get(); err != nil || n == 0 {
			t.Errorf("%s: %d rows, %v", what, n, err)
		}
	}
	if len(r.queries) < 8 {
		t.Errorf("%d queries were seen", len(r.queries))
	}
	for _, query := range r.queries {
		indexed(t, s, query)
	}
}

// TestWritesUseIndexes holds the same for what a commit runs.
func TestWritesUseIndexes(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	fillTalk(t, s)
	var queries []string
	err := s.write(t.Context(), 0, func(c *change) error {
		for query := range c.stmts {
			queries = append(queries, query)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, query := range queries {
		verb, _, _ := strings.Cut(query, " ")
		if !slices.Contains([]string{"SELECT", "INSERT", "UPDATE", "DELETE"}, verb) || strings.Contains(query, "INTO words") {
			continue // the table of words is virtual, and found by its number
		}
		seen++
		indexed(t, s, query)
	}
	if seen < 20 {
		t.Errorf("%d statements were seen", seen)
	}
}

// TestListsUseIndexes holds that the first page of a list is not made of all
// rows.
func TestListsUseIndexes(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: t.TempDir()})
	fillTalk(t, s)
	ctx, before := t.Context(), s.readerQueries()
	for _, q := range []mailflow.ThreadQuery{{}, {Before: "t"}, {Text: "text"}} {
		if _, err := s.Threads(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.PostsOf(ctx, "t")
	if err == nil {
		_, err = s.Undigested(ctx, 1)
	}
	if err == nil {
		_, err = s.Received(ctx, time.Time{}, "a", 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	queries := slices.DeleteFunc(s.readerQueries(), func(query string) bool { return slices.Contains(before, query) })
	if len(queries) != 6 {
		t.Errorf("%d queries were seen: %q", len(queries), queries)
	}
	for _, query := range queries {
		indexed(t, s, query)
	}
}

// readerQueries returns the queries that were prepared for reading.
func (s *Store) readerQueries() []string {
	var queries []string
	s.readers.stmts.Range(func(query, _ any) bool {
		queries = append(queries, query.(string))
		return true
	})
	return queries
}
