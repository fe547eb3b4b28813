// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"context"
	"crypto/tls"
	"io"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtpguard"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Replies of a session.
var (
	errAuthRequired = &mailflow.Reply{Code: 530, Enhanced: mailflow.EnhancedCode{5, 7, 0}, Text: "Authentication required"}
	errUserGone     = &mailflow.Reply{Code: 421, Enhanced: mailflow.EnhancedCode{4, 7, 0}, Text: "Login no longer valid, closing connection"}
	errTooManyRcpt  = &mailflow.Reply{Code: 452, Enhanced: mailflow.EnhancedCode{4, 5, 3}, Text: "Too many recipients"}
)

// backend opens the sessions of a door.
type backend struct {
	door *SMTP
	gate mailflow.Gate
}

// Open implements [smtpguard.Backend].
func (b *backend) Open(c *smtpguard.Client) smtpguard.Session {
	return &session{client: c, gate: b.gate, door: b.door}
}

// session is one peer's session.
type session struct {
	client *smtpguard.Client
	gate   mailflow.Gate
	door   *SMTP // the newest one that was asked
	user   string
	intake mailflow.Intake
	rcpts  int
}

// current returns the newest configuration of the door, or nil.
func (s *session) current() *SMTP {
	door := doorOf(s.gate.Current())
	if door != nil {
		s.door = door
	}
	return door
}

// Mechanisms implements [smtpguard.Session]. No password travels in clear but
// on this machine.
func (s *session) Mechanisms() []string {
	door := s.current()
	if door == nil || len(door.Users) == 0 || s.client.TLS == nil && !s.client.Local {
		return nil
	}
	return []string{"PLAIN", "LOGIN"}
}

// Auth implements [smtpguard.Session].
func (s *session) Auth(ctx context.Context, user, password string) error {
	door := s.current()
	if door == nil {
		return mailflow.ReplyShuttingDown
	}
	if err := door.authenticate(ctx, user, password); err != nil {
		return err
	}
	s.user = user
	return nil
}

// MaxSize implements [smtpguard.Session].
func (s *session) MaxSize() int64 { return s.door.MaxSize }

// Mail implements [smtpguard.Session].
func (s *session) Mail(ctx context.Context, env *mailflow.Envelope, size int64) error {
	door := s.current()
	if door == nil {
		return mailflow.ReplyShuttingDown
	}
	peer, err := s.peer(door, env)
	if err != nil {
		return err
	}
	if size > door.MaxSize {
		return mailflow.ReplyTooBig
	}
	intake, err := s.gate.Begin(ctx, peer, env)
	if err != nil {
		return err
	}
	s.intake, s.rcpts = intake, 0
	return nil
}

// peer says who the peer is and what it may do at door.
func (s *session) peer(door *SMTP, env *mailflow.Envelope) (*mailflow.Peer, error) {
	p := &mailflow.Peer{
		Listener: door.Name,
		Protocol: s.client.Protocol(env, s.user),
		IP:       s.client.IP,
		Hello:    s.client.Hello,
		User:     s.user,
		Domain:   door.Domain,
		At:       time.Now(),
	}
	if s.client.TLS != nil {
		p.TLS = tls.VersionName(s.client.TLS.Version)
	}
	if s.user != "" {
		u, ok := door.Users[s.user]
		if !ok {
			return nil, errUserGone
		}
		u.introduce(p)
	}
	p.Submits = door.submit && (s.user != "" || door.trusted(s))
	if !p.Submits && !door.receive {
		return nil, errAuthRequired
	}
	return p, nil
}

// trusted reports whether the peer of s may submit without logging in.
func (s *SMTP) trusted(of *session) bool {
	if s.trusts {
		return of.client.Local
	}
	return of.client.IP.IsValid() && contains(s.networks, of.client.IP)
}

// Rcpt implements [smtpguard.Session].
func (s *session) Rcpt(ctx context.Context, rcpt mailflow.Recipient) error {
	if s.rcpts >= s.door.MaxRecipients {
		return errTooManyRcpt
	}
	if err := s.intake.Rcpt(ctx, rcpt); err != nil {
		return err
	}
	s.rcpts++
	return nil
}

// Data implements [smtpguard.Session].
func (s *session) Data(ctx context.Context, content io.Reader) ([]*mailflow.Reply, error) {
	return s.intake.Commit(ctx, content)
}

// Reset implements [smtpguard.Session].
func (s *session) Reset() {
	if s.intake != nil {
		s.intake.Abort()
		s.intake = nil
	}
}

// Interface guards
var (
	_ smtpguard.Backend = (*backend)(nil)
	_ smtpguard.Session = (*session)(nil)
)
