// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Gate is a [mailflow.Gate] that records what listeners hand in. Fields are set
// before it is used; methods may be called at any time. The zero Gate takes
// everything, and names no Listener: set it with [Gate.SetCurrent].
type Gate struct {
	// BeginErr, RcptErr and CommitErr are returned by these steps when they are
	// set. RcptErr is asked for each recipient.
	BeginErr, CommitErr error
	RcptErr             func(rcpt mailflow.Recipient) error
	// Replies are returned by Commit; nil accepts every recipient.
	Replies []*mailflow.Reply
	// OnCommit runs in Commit before the content is read, such as to panic or to
	// wait.
	OnCommit func(ctx context.Context)

	mu      sync.Mutex
	current mailflow.Listener
	mails   []Mail
	begun   int
	ended   int
}

// Mail is a message that a [Gate] took.
type Mail struct {
	Peer     mailflow.Peer
	Envelope mailflow.Envelope
	Content  string
}

// String returns the envelope and the size of the content in one line.
func (m Mail) String() string {
	var to []string
	for _, r := range m.Envelope.Recipients {
		to = append(to, r.Address.Path())
	}
	return fmt.Sprintf("%s -> %s, %d bytes, by %s", m.Envelope.From.Path(), strings.Join(to, " "), len(m.Content), m.Peer.Protocol)
}

// SetCurrent makes l what Current returns; nil as while draining.
func (g *Gate) SetCurrent(l mailflow.Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current = l
}

// Current implements [mailflow.Gate].
func (g *Gate) Current() mailflow.Listener {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.current
}

// Mails returns what was committed, in order.
func (g *Gate) Mails() []Mail {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.mails)
}

// Open returns how many transactions have begun and not ended. It is negative
// when one ended twice.
func (g *Gate) Open() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begun - g.ended
}

// Begin implements [mailflow.Gate].
func (g *Gate) Begin(_ context.Context, peer *mailflow.Peer, env *mailflow.Envelope) (mailflow.Intake, error) {
	if g.BeginErr != nil {
		return nil, g.BeginErr
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun++
	return &intake{gate: g, peer: peer, env: env}, nil
}

// intake is a transaction of a [Gate].
type intake struct {
	gate  *Gate
	peer  *mailflow.Peer
	env   *mailflow.Envelope
	ended bool
}

// Rcpt implements [mailflow.Intake].
func (in *intake) Rcpt(_ context.Context, rcpt mailflow.Recipient) error {
	if in.gate.RcptErr != nil {
		if err := in.gate.RcptErr(rcpt); err != nil {
			return err
		}
	}
	in.env.Recipients = append(in.env.Recipients, rcpt)
	return nil
}

// Commit implements [mailflow.Intake].
func (in *intake) Commit(ctx context.Context, content io.Reader) ([]*mailflow.Reply, error) {
	defer in.Abort()
	g := in.gate
	if g.OnCommit != nil {
		g.OnCommit(ctx)
	}
	if g.CommitErr != nil {
		return nil, g.CommitErr
	}
	bytes, err := io.ReadAll(content)
	if err != nil {
		return nil, fmt.Errorf("receiving content: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mails = append(g.mails, Mail{Peer: *in.peer, Envelope: *in.env, Content: string(bytes)})
	if g.Replies != nil {
		return g.Replies, nil
	}
	replies := make([]*mailflow.Reply, len(in.env.Recipients))
	for i := range replies {
		replies[i] = mailflow.ReplyAccepted
	}
	return replies, nil
}

// Abort implements [mailflow.Intake].
func (in *intake) Abort() {
	if in.ended {
		return
	}
	in.ended = true
	in.gate.mu.Lock()
	defer in.gate.mu.Unlock()
	in.gate.ended++
}

// Interface guards
var (
	_ mailflow.Gate   = (*Gate)(nil)
	_ mailflow.Intake = (*intake)(nil)
)
