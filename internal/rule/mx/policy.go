// SPDX-License-Identifier: Apache-2.0

package mx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Level is how a connection has to be protected.
type Level int

// The levels, each stricter than the one before.
const (
	// LevelOpportunistic takes what is offered.
	LevelOpportunistic Level = iota
	// LevelEncrypted demands TLS, with any certificate.
	LevelEncrypted
	// LevelVerified demands a certificate that is valid for the host's name.
	LevelVerified
	// LevelDANE demands a certificate that agrees with a TLSA record.
	LevelDANE
)

// String says the level for the operator.
func (l Level) String() string {
	switch l {
	case LevelOpportunistic:
		return "TLS if offered"
	case LevelEncrypted:
		return "TLS"
	case LevelVerified:
		return "TLS with a valid certificate"
	case LevelDANE:
		return "TLS by DANE"
	}
	return "unknown"
}

// STSMode is the mode of an MTA-STS policy (RFC 8461 section 3.2).
type STSMode string

// The modes.
const (
	STSNone    STSMode = "none"
	STSTesting STSMode = "testing"
	STSEnforce STSMode = "enforce"
)

// STS is what the MTA-STS policy of a domain says. The zero STS says nothing.
type STS struct {
	Mode STSMode
	// Patterns are host names, or "*." and a name, in lower case.
	Patterns []string
}

// Names reports whether the policy names the host (RFC 8461 section 4.1): "*."
// stands for exactly one label.
func (s STS) Names(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	_, parent, _ := strings.Cut(host, ".")
	return slices.ContainsFunc(s.Patterns, func(p string) bool {
		if suffix, ok := strings.CutPrefix(p, "*."); ok {
			return parent != "" && parent == suffix
		}
		return p == host
	})
}

// Evidence is what is known of a host before it is asked.
type Evidence struct {
	// Domain is the recipients' domain, Host the name of the host.
	Domain, Host string
	// ProvenMX is set when DNSSEC proves that the domain has this host.
	ProvenMX bool
	// TLSA are the host's TLSA records; only proven ones of a host whose name
	// and addresses are proven too.
	TLSA []mailflow.TLSA
	// STS is the domain's policy.
	STS STS
	// RequireTLS is set for a message with REQUIRETLS.
	RequireTLS bool
}

// Protection is what a host must do.
type Protection struct {
	Level Level
	// TLSA are the records that one must agree with, at LevelDANE.
	TLSA []mailflow.TLSA
	// Note is what a policy in testing would have refused; empty if nothing.
	Note string
}

// Errors of [Decide].
var (
	// ErrNotInPolicy says that the domain's MTA-STS policy does not name the
	// host.
	ErrNotInPolicy = errors.New("not named by the domain's MTA-STS policy")
	// ErrUnproven says that a message with REQUIRETLS cannot go to the host
	// because nothing proves its name.
	ErrUnproven = errors.New("REQUIRETLS needs the host's name proven by DNSSEC or MTA-STS")
)

// Decide returns how a connection to the host has to be protected, or why the
// host may not be used.
func Decide(e Evidence) (Protection, error) {
	usable := Usable(e.TLSA)
	if len(usable) > 0 {
		return Protection{Level: LevelDANE, TLSA: usable}, nil
	}
	p := Protection{}
	if len(e.TLSA) > 0 {
		p.Level = LevelEncrypted
	}
	named := e.STS.Names(e.Host)
	switch e.STS.Mode {
	case STSEnforce:
		if !named {
			return Protection{}, fmt.Errorf("host %s: %w", e.Host, ErrNotInPolicy)
		}
		p.Level = LevelVerified
	case STSTesting:
		if !named {
			p.Note = fmt.Sprintf("host %s: %s, which is in testing", e.Host, ErrNotInPolicy)
		}
	case STSNone:
		named = false
	}
	if e.RequireTLS && p.Level < LevelVerified {
		if !e.ProvenMX && !named && e.Host != e.Domain {
			return Protection{}, fmt.Errorf("host %s: %w", e.Host, ErrUnproven)
		}
		p.Level = LevelVerified
	}
	return p, nil
}
