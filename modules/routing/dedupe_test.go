// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"strings"
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/mailflow/mailflowtest"
)

// TestDedupe commits what a first mail is claimed for, and brings in another.
func TestDedupe(t *testing.T) {
	t.Parallel()
	const first = "From: Anna <anna@customer.example>\nDate: Mon, 2 Mar 2026 10:00:00 +0000\nSubject: Hello\n"
	const id, again = "Message-Id: <1@x>\n", "References: <a@x>\n"
	for _, c := range []struct {
		name         string
		to, toSecond string
		second       string // header and body of the second
		after        time.Duration
		documented   string
		odoo         string
	}{
		{"the same", "sales", "sales", first + id + "\nHi.\n", 0, "sales: dropped", "sales: dropped"},
		{"other blanks", "sales", "sales", first + id + "\nHi. \n\n", 0, "sales: dropped", "sales: dropped"},
		{"other text", "sales", "sales", first + id + "\nHo.\n", 0, "sales: opens lead of bob by anna", "sales: opens lead of bob by anna"},
		{"another recipient", "sales", "kept", first + id + "\nHi.\n", 0, "kept: opens lead by anna", "kept: dropped"},
		{"another id", "sales", "sales", first + "Message-Id: <2@x>\n\nHi.\n", 0, "sales: opens lead of bob by anna", "sales: opens lead of bob by anna"},
		{"the same in a thread, by another address", "catchall", "sales", first + id + again + "\nHi.\n", 0, "sales: dropped", "sales: dropped"},
		{"catchall, another id", "catchall", "catchall", first + "Message-Id: <2@x>\n" + again + "\nHi.\n", time.Hour, "catchall: dropped", "catchall: to t1 by anna answers p1"},
		{"catchall, another id, later", "catchall", "catchall", first + "Message-Id: <2@x>\n" + again + "\nHi.\n", 3 * time.Hour, "catchall: to t1 by anna answers p1", "catchall: to t1 by anna answers p1"},
		{"catchall, other text", "catchall", "catchall", first + "Message-Id: <2@x>\n" + again + "\nHo.\n", time.Hour, "catchall: to t1 by anna answers p1", "catchall: to t1 by anna answers p1"},
		{"the same, to catchall too", "sales", "sales catchall", first + id + "\nHi.\n", 0, "sales: dropped, catchall: dropped", "sales: dropped, catchall: dropped"},
		{"the same, to another too", "sales", "sales kept", first + id + "\nHi.\n", 0, "sales: dropped, kept: opens lead by anna", "sales: dropped, kept: dropped"},
		{"one that was unrouted", "other", "other", first + id + "\nHi.\n", 0, "other: dropped", "other: unrouted"},
		{"a message of Odoo's that comes back", "sales", "sales", first + "Message-Id: <2@x>\nX-Odoo-Message-Id: <a@x>\n\nHi.\n", 0, "sales: opens lead of bob by anna", "sales: dropped"},
	} {
		for b, want := range map[mailflow.Behavior]string{mailflow.BehaviorDocumented: c.documented, mailflow.BehaviorOdoo: c.odoo} {
			route, err := build(t, mailflow.Inbound, receiving(b), inboundRoute)
			if err != nil {
				t.Fatal(err)
			}
			view := held()
			view.Versions, view.Hits = make(map[string]int64), make(map[string][]time.Time)
			run := func(raw, to string, at time.Time) *mailflow.Transaction {
				rcpts := strings.Fields(to)
				for i := range rcpts {
					rcpts[i] += "@mycompany.com"
				}
				tx := mailflowtest.NewTransaction(t, raw, mailflowtest.NewEnvelope("anna@customer.example", rcpts...))
				tx.View, tx.Tokens, tx.Now = view, keys, at
				if err := route.Run(t.Context(), tx, mailflow.Done); err != nil {
					t.Fatal(err)
				}
				return tx
			}
			header := first + id
			if c.to == "catchall" {
				header += again
			}
			commit(t, view, run(header+"\nHi.\n", c.to, mailflowtest.At))
			if got := found(run(c.second, c.toSecond, mailflowtest.At.Add(c.after))); got != want {
				t.Errorf("%s: %s: %s, want %s", b, c.name, got, want)
			}
		}
	}
}

// commit keeps the facts of a decision in view, and finds them to hold.
func commit(t *testing.T, view *mailflowtest.View, tx *mailflow.Transaction) {
	t.Helper()
	for _, v := range tx.Verdicts() {
		for _, f := range v.Facts {
			switch f.Kind {
			case mailflow.FactAbsent:
				if view.Versions[f.Key] != 0 {
					t.Errorf("%q is there", f.Key)
				}
				view.Versions[f.Key] = 1
			case mailflow.FactBelow:
				view.Hits[f.Key] = append(view.Hits[f.Key], f.At)
			case mailflow.FactExists, mailflow.FactVersion:
			}
		}
	}
}
