// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// submissionsPort is where TLS comes before the greeting (RFC 8314 section 3.3).
const submissionsPort = 465

// TLS says when and how a door encrypts. In JSON it may be a mode alone, as in
// `"tls": "off"`.
type TLS struct {
	// When: "starttls" on the peer's command, "implicit" before the greeting,
	// "off" never; "auto" is implicit on port 465, starttls elsewhere, and off
	// where all addresses are loopback or unix sockets. Default: auto
	Mode TLSMode `json:"mode,omitempty"`

	// How, as Caddy's HTTP server has it: the first policy that matches holds,
	// and a peer that none matches is refused. Default: one that matches all
	ConnectionPolicies caddytls.ConnectionPolicies `json:"connection_policies,omitempty"`
}

// TLSMode says when a door encrypts.
type TLSMode string

// The modes.
const (
	TLSAuto     TLSMode = "auto"
	TLSStart    TLSMode = "starttls"
	TLSImplicit TLSMode = "implicit"
	TLSOff      TLSMode = "off"
)

// tlsFields is TLS as an object.
type tlsFields TLS

// UnmarshalJSON implements [json.Unmarshaler].
func (t *TLS) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte{'"'}) {
		return json.Unmarshal(b, &t.Mode)
	}
	return caddy.StrictUnmarshalJSON(b, (*tlsFields)(t))
}

// MarshalJSON implements [json.Marshaler].
func (t *TLS) MarshalJSON() ([]byte, error) {
	if len(t.ConnectionPolicies) == 0 && t.Mode != "" {
		return json.Marshal(t.Mode)
	}
	return json.Marshal((*tlsFields)(t))
}

// validate refuses what is no mode, and policies for nothing.
func (t *TLS) validate() error {
	if slices.Contains(t.ConnectionPolicies, nil) {
		return errors.New("tls: a connection policy is null: write {} for one that leaves all open")
	}
	switch t.Mode {
	case TLSAuto, TLSStart, TLSImplicit:
		return nil
	case TLSOff:
		if len(t.ConnectionPolicies) > 0 {
			return errors.New("tls is off and has connection policies: remove one of the two")
		}
		return nil
	}
	return fmt.Errorf("tls %q is none of %q", t.Mode, []TLSMode{TLSAuto, TLSStart, TLSImplicit, TLSOff})
}

// ConnectionPolicies returns the policies for the TLS of the door, at least
// one; none if it has no TLS.
func (s *SMTP) ConnectionPolicies() caddytls.ConnectionPolicies {
	switch {
	case s.TLS.Mode == TLSOff, s.TLS.Mode == TLSAuto && s.local && len(s.TLS.ConnectionPolicies) == 0 && !listensOn(s.Listen, submissionsPort):
		return nil
	case len(s.TLS.ConnectionPolicies) == 0:
		s.TLS.ConnectionPolicies = caddytls.ConnectionPolicies{new(caddytls.ConnectionPolicy)}
	}
	return s.TLS.ConnectionPolicies
}

// RequiresTLS reports whether the door is of no use without a certificate.
func (s *SMTP) RequiresTLS() bool {
	return s.TLS.Mode == TLSStart || s.TLS.Mode == TLSImplicit || s.TLS.Mode == TLSAuto && listensOn(s.Listen, submissionsPort)
}

// UseTLS hands the door the configuration of its TLS. It is asked for each
// handshake and each offer of STARTTLS, and returns nil while there is no
// certificate. It is called once, before the first use.
func (s *SMTP) UseTLS(config func() *tls.Config) { s.secure = config }

// implicit reports whether TLS comes before the greeting on that socket.
func (s *SMTP) implicit(on net.Addr) bool {
	if s.TLS.Mode == TLSAuto {
		tcp, ok := on.(*net.TCPAddr)
		return ok && tcp.Port == submissionsPort
	}
	return s.TLS.Mode == TLSImplicit
}

// currentTLS returns the TLS of the newest configuration: a certificate of an
// older one may be gone, as when the hostname has changed since the session
// began.
func currentTLS(gate mailflow.Gate) *tls.Config {
	door := doorOf(gate.Current())
	if door == nil || door.secure == nil {
		return nil
	}
	return door.secure()
}

// listensOn reports whether one of addresses has that port.
func listensOn(addresses []string, port uint) bool {
	for _, raw := range addresses {
		text, err := caddy.NewReplacer().ReplaceOrErr(raw, true, true)
		if err != nil {
			continue // refused elsewhere
		}
		a, err := caddy.ParseNetworkAddress(text)
		if err == nil && !a.IsUnixNetwork() && a.StartPort <= port && port <= a.EndPort {
			return true
		}
	}
	return false
}

// readTLS reads `tls`. Syntax:
//
//	tls [auto|starttls|implicit|off] {
//		connection_policy {
//			...
//		}
//		client_authentication {
//			...
//		}
//	}
//
// Inside of connection_policy stands what Caddy's HTTP server takes there,
// inside of client_authentication what client_auth takes in it.
// client_authentication alone is a policy for all peers.
func (s *SMTP) readTLS(d *caddyfile.Dispenser) error {
	s.TLS = new(TLS)
	block := caddyblock.Block{Kind: "tls", Options: caddyblock.Options{
		"connection_policy": caddyblock.Func(func(d *caddyfile.Dispenser) error {
			p := new(caddytls.ConnectionPolicy)
			s.TLS.ConnectionPolicies = append(s.TLS.ConnectionPolicies, p)
			return p.UnmarshalCaddyfile(d.NewFromNextSegment())
		}).Many(),
	}}
	var auth *caddytls.ClientAuthentication
	block.Options["client_authentication"] = caddyblock.Func(func(d *caddyfile.Dispenser) error {
		auth = new(caddytls.ClientAuthentication)
		return auth.UnmarshalCaddyfile(d.NewFromNextSegment())
	})
	if d.CountRemainingArgs() > 0 {
		block.Args = caddyblock.Enum(&s.TLS.Mode, TLSAuto, TLSStart, TLSImplicit, TLSOff)
	}
	start := *d
	if err := block.ReadRest(d); err != nil {
		return err
	}
	if auth != nil {
		if len(s.TLS.ConnectionPolicies) > 0 {
			return start.Err("tls: client_authentication and connection_policy exclude each other: write client_auth inside of connection_policy")
		}
		s.TLS.ConnectionPolicies = caddytls.ConnectionPolicies{{ClientAuthentication: auth}}
	}
	if s.TLS.Mode == "" && len(s.TLS.ConnectionPolicies) == 0 {
		return start.ArgErr()
	}
	return nil
}
