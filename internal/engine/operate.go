// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ErrNotRunning is returned to an operator while no configuration is active.
var ErrNotRunning = errors.New("the mail app is not running")

// Store returns the store that the newest generation uses, to look at.
func (e *Engine) Store() (mailflow.Store, error) {
	g := e.newest()
	if g == nil {
		return nil, ErrNotRunning
	}
	return g.store.Store, nil
}

// Act does what an operator ordered with a delivery. What is to be tried again
// is tried at once.
func (e *Engine) Act(ctx context.Context, id string, act mailflow.QueueAct) error {
	g := e.newest()
	if g == nil {
		return ErrNotRunning
	}
	if act.At.IsZero() {
		act.At = e.now()
	}
	if err := g.store.Act(ctx, id, act); err != nil {
		return err
	}
	if act.Kind == mailflow.ActRetry || act.Kind == mailflow.ActRelease {
		g.store.runner.wakeAll()
		return nil
	}
	// Held or dropped: that is a mail event, whoever decided it.
	changed, err := g.store.Deliveries(ctx, mailflow.QueueQuery{ID: id})
	if err != nil {
		return fmt.Errorf("reading back what was ordered: %w", err)
	}
	for i := range changed {
		g.reportDelivery(&changed[i].Delivery, 0)
	}
	return nil
}

// Waiting says why a delivery that waits does so, and until when: its server or
// host is down, or a limit is used up. It is empty if nothing holds the
// delivery up but its own due time; the time is zero if it cannot be told. It
// is found out at each call, since it changes for many deliveries at once.
func (e *Engine) Waiting(d *mailflow.Delivery) (reason string, until time.Time) {
	g := e.newest()
	if g == nil || d.State != mailflow.StateQueued && d.State != mailflow.StateDeferred {
		return "", time.Time{}
	}
	return g.store.runner.waiting(g, d)
}

// Test tries the outgoing server of that name without sending.
func (e *Engine) Test(ctx context.Context, name string, from, rcpt mailflow.Address) (mailflow.TestReport, error) {
	g := e.pin()
	if g == nil {
		return mailflow.TestReport{}, ErrNotRunning
	}
	defer e.unpin(g)
	s, ok := g.config.Servers[name]
	if !ok {
		return mailflow.TestReport{}, fmt.Errorf("no outgoing server is named %q: %w", name, mailflow.ErrNoRecord)
	}
	t, ok := s.Transport.(mailflow.Tester)
	if !ok {
		return mailflow.TestReport{}, fmt.Errorf("the transport of %q has no test: %w", name, mailflow.ErrState)
	}
	return t.Test(ctx, from, rcpt), nil
}

// DoorStatus is one listener that is open.
type DoorStatus struct {
	Name string `json:"name"`
	// Addresses are the bound addresses, so that port 0 shows what it became.
	Addresses []string `json:"addresses"`
}

// Status is what the engine does now.
type Status struct {
	// Doors are the open listeners of the newest generation.
	Doors []DoorStatus `json:"listeners"`
	// Generations counts those that are live or still have work.
	Generations int `json:"generations"`
	// Queue counts the deliveries in each state.
	Queue map[mailflow.State]int `json:"queue"`
	// Down lists the destinations that take no mail at the moment.
	Down []string `json:"down,omitempty"`
}

// Status returns what the engine does now.
func (e *Engine) Status(ctx context.Context) (*Status, error) {
	g := e.newest()
	if g == nil {
		return nil, ErrNotRunning
	}
	depth, err := g.store.Depth(ctx)
	if err != nil {
		return nil, err
	}
	return &Status{
		Doors:       e.doors(g),
		Generations: e.live(),
		Queue:       depth,
		Down:        g.store.runner.down(),
	}, nil
}

// Ready returns nil when mail is taken: a generation is active and its store
// takes commits. Else it says why not.
func (e *Engine) Ready(ctx context.Context) error {
	g := e.newest()
	if g == nil {
		return ErrNotRunning
	}
	return g.store.Ready(ctx)
}
