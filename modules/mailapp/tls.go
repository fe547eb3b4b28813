// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"
)

// encrypter is a listener that can speak TLS. It says how, and the app gives it
// what it needs for that: certificates are Caddy's, and the app knows for which
// name.
type encrypter interface {
	// ConnectionPolicies returns how connections are encrypted; none if they
	// are not. The app sets what they leave open.
	ConnectionPolicies() caddytls.ConnectionPolicies

	// RequiresTLS reports whether the listener is of no use without a
	// certificate.
	RequiresTLS() bool

	// UseTLS is called once, before Serve, unless there are no policies.
	// config returns nil while there is no certificate; it is to be asked for
	// each handshake, and of the listener that [mailflow.Gate.Current] returns:
	// when a configuration goes its certificates may go with it.
	UseTLS(config func() *tls.Config)
}

// certificateManager is Caddy's tls app, as far as doors need it.
type certificateManager interface {
	Manage(subjects map[string]struct{}) error
}

// errNoSubject refuses TLS for a gateway without a name.
var errNoSubject = errors.New("TLS needs a certificate, and that a name: write `hostname` into the mail block")

// encrypt gives a listener its TLS. It makes nothing and asks nobody for a
// certificate; see startTLS for that.
func (a *App) encrypt(name string, e encrypter) error {
	policies := e.ConnectionPolicies()
	if len(policies) == 0 {
		return nil
	}
	names, err := subjects(policies)
	if err != nil {
		return err
	}
	if a.Hostname != "" {
		names = append(names, a.config.Hostname)
	}
	if len(names) == 0 && e.RequiresTLS() {
		return errNoSubject
	}
	for _, p := range policies {
		complete(p, a.config.Hostname)
	}
	app, err := a.ctx.App("tls")
	if err != nil {
		return fmt.Errorf("loading the tls app: %w", err)
	}
	if err := policies.Provision(a.ctx); err != nil {
		return fmt.Errorf("reading connection policies: %w", err)
	}
	manager, ok := app.(certificateManager)
	if !ok {
		return fmt.Errorf("%T manages no certificates", app)
	}
	a.certificates.manager = manager
	a.certificates.add(name, names)
	config, needed := policies.TLSConfig(a.ctx), policies[len(policies)-1].FallbackSNI
	e.UseTLS(func() *tls.Config {
		if !hasCertificate(needed) {
			return nil
		}
		return config
	})
	return nil
}

// complete sets what a policy leaves open, as mail needs it. Many servers name
// no host in their handshake, or that of the MX record's owner; they get the
// gateway's certificate instead of an alert. And no protocol is negotiated:
// Caddy's default, those of HTTP, would refuse a client that offers others.
func complete(p *caddytls.ConnectionPolicy, hostname string) {
	if p.DefaultSNI == "" {
		p.DefaultSNI = hostname
	}
	if p.FallbackSNI == "" {
		p.FallbackSNI = p.DefaultSNI
	}
	if p.ALPN == nil {
		p.ALPN = []string{}
	}
}

// subjects returns the names in policies that there must be certificates for.
// Wildcards are left to the configuration of the tls app.
func subjects(policies caddytls.ConnectionPolicies) ([]string, error) {
	var names []string
	for _, p := range policies {
		var matched []string
		if raw, ok := p.MatchersRaw["sni"]; ok {
			if err := json.Unmarshal(raw, &matched); err != nil {
				return nil, fmt.Errorf("reading the sni of a connection policy: %w", err)
			}
		}
		for _, name := range append(matched, p.DefaultSNI, p.FallbackSNI) {
			name, err := expand(name)
			if err != nil {
				return nil, fmt.Errorf("reading the names of a connection policy: %w", err)
			}
			if name != "" && !strings.Contains(name, "*") {
				names = append(names, strings.ToLower(name))
			}
		}
	}
	return names, nil
}

// certificates are what the listeners need certificates for.
type certificates struct {
	manager certificateManager
	names   map[string]struct{}
	without []string // listeners that have no name to ask for
}

// add notes that a listener needs certificates for names.
func (c *certificates) add(listener string, names []string) {
	if len(names) == 0 {
		c.without = append(c.without, listener)
	}
	for _, n := range names {
		if c.names == nil {
			c.names = make(map[string]struct{})
		}
		c.names[n] = struct{}{}
	}
}

// startTLS has the tls app see to the certificates. Those that are not there
// yet come in the background.
func (a *App) startTLS() error {
	c := &a.certificates
	if len(c.without) > 0 {
		a.logger.Warn("a listener offers no encryption, since the gateway has no name that a certificate could be for",
			zap.Strings("listeners", c.without), zap.String("next_step", "write `hostname` into the mail block"))
	}
	if len(c.names) == 0 {
		return nil
	}
	if err := c.manager.Manage(c.names); err != nil {
		return fmt.Errorf("managing certificates for %q: %w", slices.Sorted(maps.Keys(c.names)), err)
	}
	return nil
}

// hasCertificate reports whether there is a certificate for that name. It does
// not ask the tls app, whose answer is not safe while other apps start; all
// certificates are in one cache, which is gone when no configuration has TLS.
func hasCertificate(name string) (has bool) {
	defer func() {
		if recover() != nil {
			has = false
		}
	}()
	return len(caddytls.AllMatchingCertificates(name)) > 0
}
