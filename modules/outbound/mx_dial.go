// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/rule/mx"
	"github.com/mailcaddy/mailcaddy/internal/wire/smtprelay"
)

// config returns how to speak to a host.
func (t *MX) config(c *candidate) smtprelay.Config {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.roots, ServerName: c.name}
	cfg := smtprelay.Config{
		Host: c.name, Port: uint16(t.Port), Hello: t.hostname, //nolint:gosec // Validate bounds it
		TLS: smtprelay.TLSRequired, TLSConfig: conf, Now: time.Now, Dial: t.dialer,
		Resolve: func(context.Context, string) ([]netip.Addr, error) { return c.addrs, nil },
	}
	switch c.Level {
	case mx.LevelOpportunistic:
		cfg.TLS = smtprelay.TLSOptional
		conf.InsecureSkipVerify = true // clear text would do here too
	case mx.LevelEncrypted:
		conf.InsecureSkipVerify = true // RFC 7672 section 2.2: nothing says what it should be
	case mx.LevelVerified:
	case mx.LevelDANE:
		conf.InsecureSkipVerify = true // the records decide, not the authorities
		conf.VerifyConnection = func(state tls.ConnectionState) error {
			return mx.VerifyDANE(c.TLSA, state.PeerCertificates, []string{c.name, c.domain}, time.Now())
		}
	}
	return cfg
}

// key names the connections that may be used for the host again: those with
// its protection. A certificate that agrees with DANE may do so by the name of
// the domain.
func (c *candidate) key() string {
	key := fmt.Sprintf("%s %d", c.name, c.Level)
	if c.Level == mx.LevelDANE {
		key += " " + c.domain
	}
	return key
}

// dial opens a connection to the host. Where TLS fails and nothing demands it,
// it opens another one without.
func (t *MX) dial(ctx context.Context, c *candidate) (*smtprelay.Conn, error) {
	cfg := t.config(c)
	conn, err := smtprelay.Dial(ctx, cfg)
	if c.Level == mx.LevelOpportunistic && failedAt(err, smtprelay.StageTLS) && ctx.Err() == nil {
		cfg.TLS = smtprelay.TLSOff
		conn, err = smtprelay.Dial(ctx, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", c.name, err)
	}
	if mx.IsSelf(conn.Extensions().Name, t.hostname) {
		conn.Quit()
		return nil, errSelf
	}
	return conn, nil
}

// errSelf says that a host calls itself by the gateway's name.
var errSelf = errors.New("host is this gateway")

// failedAt reports whether err is that of opening a connection at a stage.
func failedAt(err error, stage smtprelay.Stage) bool {
	at, ok := errors.AsType[*smtprelay.StageError](err)
	return ok && at.Stage == stage
}
