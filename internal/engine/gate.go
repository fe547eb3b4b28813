// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Current implements [mailflow.Gate].
func (f *feed) Current() mailflow.Listener {
	g := f.generation.engine.newest()
	if g == nil {
		return nil
	}
	if now := g.feed(f.socket); now != nil {
		return now.listener
	}
	return nil
}

// Begin implements [mailflow.Gate].
func (f *feed) Begin(_ context.Context, peer *mailflow.Peer, env *mailflow.Envelope) (mailflow.Intake, error) {
	g := f.generation.engine.pin()
	if g == nil {
		return nil, mailflow.ReplyShuttingDown
	}
	peer.Listener = f.door
	return &intake{generation: g, peer: peer, env: env}, nil
}

// Interface guards
var (
	_ mailflow.Gate   = (*feed)(nil)
	_ mailflow.Intake = (*intake)(nil)
)
