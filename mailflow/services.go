// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"fmt"
	"slices"
	"strings"
)

// Services is what the app gives to its modules: the parts of the
// configuration that decisions need. It does not change within a
// configuration.
type Services struct {
	// Hostname is the gateway's own name.
	Hostname string
	// Domains are our domains.
	Domains Domains
	// Servers are the outgoing servers, in the order of their priorities, then
	// names.
	Servers []Server
	// Matchers are the named matchers of the configuration.
	Matchers map[string]Matcher
	// Resolver looks up DNS.
	Resolver Resolver
	// Behavior says whose answer is given where the documentation and Odoo
	// differ.
	Behavior Behavior
	// Aliases are the aliases that the configuration has; the store has others.
	Aliases []Alias
	// Purposes say what mail has which purpose when the application does not;
	// the first that holds counts.
	Purposes []PurposeRule
}

// PurposeRule gives a purpose to the mail that matchers choose.
type PurposeRule struct {
	Purpose string
	// Match are alternatives: one of them has to match.
	Match []Matcher
}

// ServicesUser is a module that needs [Services]. The app calls UseServices
// once, after Provision and before the first use; an error refuses the
// configuration. A module with modules inside hands them on.
type ServicesUser interface {
	UseServices(s *Services) error
}

// matchers returns the matchers of those names.
func (s *Services) matchers(names []string) ([]Matcher, error) {
	var ms []Matcher
	for _, n := range names {
		m, ok := s.Matchers[n]
		if !ok {
			return nil, fmt.Errorf("matcher @%s is not defined", n)
		}
		ms = append(ms, m)
	}
	return ms, nil
}

// Step makes a route's step of a handler: it hands the handler the services
// and looks up its matchers.
func (s *Services) Step(name string, match []string, h Handler) (Step, error) {
	ms, err := s.matchers(match)
	if err != nil {
		return Step{}, fmt.Errorf("handler %s: %w", name, err)
	}
	if u, ok := h.(ServicesUser); ok {
		if err := u.UseServices(s); err != nil {
			return Step{}, fmt.Errorf("handler %s: %w", name, err)
		}
	}
	return Step{Name: name, Match: ms, Handler: h}, nil
}

// Server is an outgoing server as decisions see it.
type Server struct {
	// Name is its name in the configuration.
	Name string
	// Priority orders servers that fit alike: lower first.
	Priority int
	// FromFilter lists the addresses and domains it may send for, as
	// configured; empty = any.
	FromFilter []string
	// Default marks the server that is used only when there is no other.
	Default bool
	// Purpose is the purpose that it is dedicated to; empty if it takes
	// transactional mail, and mass mail where no server is dedicated to that.
	Purpose string
	// Envelope says what reverse-path it is given.
	Envelope EnvelopeRule
	// NoNullSender is set when it refuses the null reverse-path.
	NoNullSender bool
	// Login is the address that the gateway logs in with; null if it is none.
	Login Address
	// Limits bound what is handed to it.
	Limits []Limit
	// Captures is set when its transport keeps mail instead of sending it.
	Captures bool
	// PerDomain is set when its transport finds the next hop by the
	// recipients' domain: a delivery then has recipients of one domain, and
	// that domain is a destination of its own.
	PerDomain bool
}

// Deliver returns the action that sends to rcpt by s.
func (s *Server) Deliver(rcpt Recipient) Deliver {
	d := Deliver{Server: s.Name}
	if s.PerDomain {
		d.Destination = s.Name + "/" + rcpt.Address.Domain
	}
	return d
}

// Domain is one of our domains.
type Domain struct {
	// Name is the domain, normalised.
	Name string
	// Default marks the one that messages belong to when nothing else says.
	Default bool
	// Catchall and Bounce are addresses; the first is used from now on, the
	// others are former ones, still accepted.
	Catchall, Bounce []Address
	// DefaultFrom is the address that senders are encapsulated in; null if
	// none.
	DefaultFrom Address
	// DefaultFromFilter lists the addresses and domains that may stay in From
	// where the server has no say; empty = all our domains, "*" = any.
	DefaultFromFilter []string
	// EmailFrom is Odoo's email_from: it takes the place of a missing
	// DefaultFrom and bounce address.
	EmailFrom Address
	// Subaddress is set when the catchall and bounce addresses may carry
	// "+TOKEN".
	Subaddress bool
	// Limits bound what is sent for the domain.
	Limits []Limit
	// Signs is set when mail of the domain is signed (DKIM).
	Signs bool
	// Company is the display name of the domain's owner, and CompanyAddress the
	// address for humans; both may be empty.
	Company        string
	CompanyAddress Address
	// AllowedDomains are further domains in which the local parts of its
	// aliases are valid; "*" = every domain.
	AllowedDomains []string
}

// Domains are our domains, sorted by name.
type Domains []Domain

// Find returns the domain of that normalised name, or nil.
func (ds Domains) Find(name string) *Domain {
	i, ok := slices.BinarySearchFunc(ds, name, func(d Domain, n string) int { return strings.Compare(d.Name, n) })
	if !ok {
		return nil
	}
	return &ds[i]
}

// Default returns the domain that says default, or the only one, or nil.
func (ds Domains) Default() *Domain {
	if len(ds) == 1 {
		return &ds[0]
	}
	for i := range ds {
		if ds[i].Default {
			return &ds[i]
		}
	}
	return nil
}

// Ours reports whether a is one of the addresses that the gateway itself
// answers: a catchall or bounce address, former ones too, with or without
// "+TOKEN" behind its name. Not just any address of our domains is.
func (ds Domains) Ours(a Address) bool {
	if name, _, ok := strings.Cut(a.Local, "+"); ok && name != "" && ds.Ours(Address{Local: name, Domain: a.Domain}) {
		return true
	}
	for i := range ds {
		if slices.ContainsFunc(ds[i].Catchall, a.Is) || slices.ContainsFunc(ds[i].Bounce, a.Is) {
			return true
		}
	}
	return false
}

// Of returns the name of the domain that a message belongs to: that of one of
// our addresses that it came to, the author's if it is ours, the one that the
// user or the listener names, else the default one. It is empty if there is
// none.
func (ds Domains) Of(rcpts []Recipient, author Address, peer *Peer) string {
	for _, r := range rcpts {
		if ds.Ours(r.Address) && ds.Find(r.Address.Domain) != nil {
			return r.Address.Domain
		}
	}
	for _, name := range [...]string{author.Domain, peer.Domain} {
		if name != "" && ds.Find(name) != nil {
			return name
		}
	}
	if d := ds.Default(); d != nil {
		return d.Name
	}
	return ""
}

// Daemon returns the address that reports about a message of that domain are
// from: its first bounce address, so that a server that may send for the
// domain may send the report; without one the null address.
func (ds Domains) Daemon(name string) Address {
	d := ds.Find(name)
	if d == nil || len(d.Bounce) == 0 {
		return Address{}
	}
	return d.Bounce[0]
}
