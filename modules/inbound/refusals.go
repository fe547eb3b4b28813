// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
)

// refusalPause lies between two log lines about connections that a listener
// turned away: thousands may come in a second, and an operator reads one.
const refusalPause = time.Second

// refusals logs the connections that a listener turned away: the first one, and
// then at most one line in each [refusalPause] that says how many were left
// out. It is safe for concurrent use.
type refusals struct {
	listener string

	mu      sync.Mutex
	resting bool // a line was written less than a pause ago
	leftOut int  // since then
}

// refusalsOf returns the refusals of the listener of that name.
func refusalsOf(ctx context.Context, listener string) *refusals {
	return shared(ctx, "refusals of "+listener, func() *refusals { return &refusals{listener: listener} })
}

// log takes a refusal to log.
func (r *refusals) log(to *zap.Logger, fields ...zap.Field) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.resting {
		r.leftOut++
		return
	}
	r.write(to, fields)
}

// write logs a line, and looks again after a pause. r.mu is held.
func (r *refusals) write(to *zap.Logger, fields []zap.Field) {
	to.Warn("connection refused, too many sessions", fields...)
	r.resting, r.leftOut = true, 0
	time.AfterFunc(refusalPause, func() { r.awake(to) })
}

// awake tells what was left out in the pause that is over.
func (r *refusals) awake(to *zap.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leftOut == 0 {
		r.resting = false
		return
	}
	r.write(to, []zap.Field{zap.String("listener", r.listener), zap.Int("left_out", r.leftOut)})
}
