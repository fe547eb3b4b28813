// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"testing"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// waitingOperator is an engine whose mail waits.
type waitingOperator struct {
	*fakeOperator

	reason string
	until  time.Time
}

func (w *waitingOperator) Waiting(*mailflow.Delivery) (string, time.Time) { return w.reason, w.until }

func TestLiveEntry(t *testing.T) {
	t.Parallel()
	due := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	row := mailflow.Queued{Delivery: mailflow.Delivery{State: mailflow.StateDeferred, Reason: "stored", Due: due}}
	for name, c := range map[string]struct {
		reason  string
		until   time.Time
		claimed bool
		want    string
		due     time.Time
	}{
		"nothing holds it up":         {want: "stored", due: due},
		"a limit until later":         {reason: "limit", until: due.Add(time.Hour), want: "limit", due: due.Add(time.Hour)},
		"an outage, tried before due": {reason: "down", until: due.Add(-time.Hour), want: "down", due: due},
		"a limit without time":        {reason: "limit", want: "limit", due: due},
		"it is being sent":            {reason: "limit", until: due.Add(time.Hour), claimed: true, want: "stored", due: due},
	} {
		q := row
		q.Claimed = c.claimed
		e := liveEntry(&waitingOperator{newFakeOperator(), c.reason, c.until}, &q)
		if e.Reason != c.want || !e.Due.Equal(c.due) {
			t.Errorf("%s: reason %q, due %v, want %q, %v", name, e.Reason, e.Due, c.want, c.due)
		}
	}
	if e := liveEntry(newFakeOperator(), &row); e.Reason != "stored" {
		t.Errorf("without live reasons: %q", e.Reason)
	}
}
