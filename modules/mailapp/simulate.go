// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

// trial asks what another configuration would have decided: the body of POST
// /mail/simulate.
type trial struct {
	// Since says what is decided again: what was received in that time, such
	// as "7d". Default: a week.
	Since caddy.Duration `json:"since,omitempty"`
	// Config is the configuration to try: a whole one in Caddy's JSON, or its
	// mail app. Required.
	Config json.RawMessage `json:"config"`
	// Limit is the most differences to tell. Default: 1000.
	Limit int `json:"limit,omitempty"`
}

// trialResult is what came of it.
type trialResult struct {
	// Checked is how many messages were decided again, since that time.
	Checked int       `json:"checked"`
	Since   time.Time `json:"since"`
	// Differences are the recipients that are decided differently about; Count
	// is how many there are, told or not.
	Differences []engine.Difference `json:"differences"`
	Count       int                 `json:"different"`
	// Cut says why not all messages were decided again; empty if they were.
	Cut string `json:"cut,omitempty"`
}

// Defaults and bounds of a trial.
const (
	// defaultTrial is a week, which has all that is regular in it.
	defaultTrial = 7 * 24 * time.Hour
	// defaultDifferences is more than anybody reads, maxDifferences some 5 MB.
	defaultDifferences = 1000
	maxDifferences     = 10_000
	// simulateTimeout bounds a trial: it decides on the machine that serves.
	// At the slowest that was measured it has decided some 100 000 messages.
	simulateTimeout = 5 * time.Minute
)

// check refuses what cannot be tried, and sets defaults.
func (q *trial) check() error {
	if len(q.Config) == 0 {
		return errors.New("there is no configuration to try")
	}
	switch {
	case q.Since < 0:
		return errors.New("since is negative")
	case q.Since == 0:
		q.Since = caddy.Duration(defaultTrial)
	}
	switch {
	case q.Limit < 0 || q.Limit > maxDifferences:
		return fmt.Errorf("limit %d is not a number from 1 to %d", q.Limit, maxDifferences)
	case q.Limit == 0:
		q.Limit = defaultDifferences
	}
	return nil
}

// simulate decides again by the configuration that q brings. Its guests live
// in a context of their own, and are cleaned up when it returns. Error:
// [engine.ErrNotRunning].
func simulate(ctx context.Context, q *trial) (*trialResult, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	running, err := runningApp()
	if err != nil {
		return nil, err
	}
	raw, err := mailConfig(q.Config)
	if err != nil {
		return nil, err
	}
	own, cancel := caddy.NewContext(caddy.ActiveContext())
	defer cancel()
	a, err := unstarted(own, raw)
	if err != nil {
		return nil, fmt.Errorf("the configuration to try is refused: %w", err)
	}
	result := &trialResult{Since: time.Now().Add(-time.Duration(q.Since)), Differences: []engine.Difference{}}
	result.Checked, err = running.engine.Simulate(ctx, a.config, result.Since, func(d engine.Difference) error {
		if result.Count++; len(result.Differences) < q.Limit {
			result.Differences = append(result.Differences, d)
		}
		return nil
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		result.Cut = fmt.Sprintf("it took longer than %v; the messages after these were not looked at", simulateTimeout)
		return result, nil
	}
	return result, err
}
