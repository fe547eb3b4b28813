// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/wire/smtpguard"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Serve implements [mailflow.Listener].
func (s *SMTP) Serve(ctx context.Context, ln net.Listener, gate mailflow.Gate) error {
	hostname := s.hostname
	if hostname == "" {
		hostname = "localhost"
	}
	away := refusalsOf(ctx, s.Name)
	guard := smtpguard.New(smtpguard.Options{
		Hostname:         hostname,
		LMTP:             s.lmtp,
		TLS:              func() *tls.Config { return currentTLS(gate) },
		Implicit:         s.implicit(ln.Addr()),
		MaxSessions:      s.MaxConnections,
		MaxSessionsPerIP: s.MaxConnectionsPerIP,
		Connections:      connectionsOf(ctx, s.Name),
		MaxGuesses:       s.MaxAuthFailures,
		Guesses:          guessesOf(ctx),
		Exempt:           s.exempt,
		Now:              time.Now,
		Report:           func(i smtpguard.Incident) { s.report(away, i) },
		Debug:            func(text string) { s.log.Debug("protocol library says", zap.String("text", text)) },
	}, &backend{door: s, gate: gate})
	for _, w := range s.wrappers {
		ln = w.WrapListener(ln)
	}
	guard.Serve(ctx, ln)
	return nil
}

// doorOf returns the settings of a listener of this package, or nil.
func doorOf(l mailflow.Listener) *SMTP {
	if d, ok := l.(interface{ settings() *SMTP }); ok {
		return d.settings()
	}
	return nil
}

// settings returns s: an LMTP door has its settings from it.
func (s *SMTP) settings() *SMTP { return s }

// report logs what the guard did on its own. Connections that are turned away
// go by away.
func (s *SMTP) report(away *refusals, i smtpguard.Incident) {
	fields := []zap.Field{zap.String("listener", s.Name)}
	if i.IP.IsValid() {
		fields = append(fields, zap.Stringer("ip", i.IP))
	}
	if i.User != "" {
		fields = append(fields, zap.String("user", i.User))
	}
	if i.Err != nil {
		fields = append(fields, zap.Error(i.Err))
	}
	switch i.Kind {
	case smtpguard.AuthFailed:
		s.log.Warn("login refused", fields...)
	case smtpguard.TooManyErrors:
		s.log.Info("session closed after too many errors", fields...)
	case smtpguard.TooManySessions:
		away.log(s.log, fields...)
	case smtpguard.TooManyGuesses:
		s.log.Warn("login not looked at, too many refused before", fields...)
	case smtpguard.AcceptFailed:
		s.log.Warn("accepting a connection", fields...)
	case smtpguard.TLSFailed:
		s.log.Info("tls handshake failed", fields...)
	case smtpguard.Panicked:
		s.log.Error("session panicked", fields...)
	}
}
