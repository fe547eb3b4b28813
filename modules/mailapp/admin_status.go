// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"net/http"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// The words for how the gateway is.
const (
	statusOK = "ok"
	// statusDegraded: mail is taken, and some waits for a server that cannot
	// be reached.
	statusDegraded = "degraded"
	// statusFailing: mail is not taken.
	statusFailing = "failing"
)

// healthReport is the answer of /mail/health.
type healthReport struct {
	Status string `json:"status"`
	// Error says why mail is not taken.
	Error string `json:"error,omitempty"`

	// The same as in [engine.Status].
	Listeners   []engine.DoorStatus    `json:"listeners"`
	Generations int                    `json:"generations"`
	Queue       map[mailflow.State]int `json:"queue"`
	Down        []string               `json:"down"`
}

// health answers GET /mail/health.
func (a *Admin) health(w http.ResponseWriter, r *http.Request) error {
	h, err := a.report(r.Context())
	if err != nil {
		h.Status, h.Error = statusFailing, err.Error()
		return reply(w, http.StatusServiceUnavailable, h)
	}
	return reply(w, http.StatusOK, h)
}

// report returns what the gateway does now; the error is why mail is not
// taken.
func (a *Admin) report(ctx context.Context) (*healthReport, error) {
	h := &healthReport{Status: statusOK, Listeners: []engine.DoorStatus{}, Queue: map[mailflow.State]int{}, Down: []string{}}
	op, err := a.live()
	if err != nil {
		return h, err
	}
	s, err := op.Status(ctx)
	if err != nil {
		return h, err
	}
	h.Generations, h.Queue = s.Generations, s.Queue
	h.Listeners = append(h.Listeners, s.Doors...)
	if h.Down = append(h.Down, s.Down...); len(h.Down) > 0 {
		h.Status = statusDegraded
	}
	return h, op.Ready(ctx)
}

// ready answers GET /mail/ready.
func (a *Admin) ready(w http.ResponseWriter, r *http.Request) error {
	op, err := a.live()
	if err == nil {
		err = op.Ready(r.Context())
	}
	if err != nil {
		return reply(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "error": err.Error()})
	}
	return reply(w, http.StatusOK, map[string]any{"ready": true})
}
