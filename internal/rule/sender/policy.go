// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"fmt"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Anybody is the entry of a list of senders that allows all of them.
const Anybody = "*"

// Allowed is a set of senders.
type Allowed struct {
	relay.Filter

	// Any is set when it has everybody in it.
	Any bool
}

// ParseAllowed reads a list of senders as [relay.ParseFilter] does; "*" alone
// is everybody. No entries allow nobody.
func ParseAllowed(texts []string) (Allowed, error) {
	if len(texts) == 1 && texts[0] == Anybody {
		return Allowed{Any: true}, nil
	}
	f, err := relay.ParseFilter(texts)
	return Allowed{Filter: f}, err
}

// Match reports whether a is in the set. The null address is in none.
func (a Allowed) Match(address mailflow.Address) bool {
	return !address.IsNull() && (a.Any || a.Filter.Match(address))
}

// Policy is what a domain says about senders. It does not change and is safe
// for concurrent use.
type Policy struct {
	// Behavior is whose answers are given.
	Behavior mailflow.Behavior
	// DefaultFrom is the address that senders are encapsulated in, Bounce the
	// one that bounces go to, Catchall the one that replies go to; each is
	// null if there is none.
	DefaultFrom, Bounce, Catchall mailflow.Address
	// Subaddress is set when Bounce may name the delivery.
	Subaddress bool

	keeps      Allowed
	setsFilter bool // default_from_filter is set
}

// NewPolicy returns the policy of a domain; d is nil where a message belongs
// to none, which encapsulates nobody. An error says what is wrong with the
// default_from_filter.
func NewPolicy(d *mailflow.Domain, ours mailflow.Domains, b mailflow.Behavior) (*Policy, error) {
	p := &Policy{Behavior: b}
	if d == nil {
		return p, nil
	}
	p.DefaultFrom = d.DefaultFrom
	if p.DefaultFrom.IsNull() {
		p.DefaultFrom = d.EmailFrom
	}
	if len(d.Bounce) > 0 {
		p.Bounce, p.Subaddress = d.Bounce[0], d.Subaddress
	} else {
		p.Bounce = d.EmailFrom
	}
	if len(d.Catchall) > 0 {
		p.Catchall = d.Catchall[0]
	}
	texts := d.DefaultFromFilter
	if p.setsFilter = len(texts) > 0; !p.setsFilter {
		for i := range ours {
			texts = append(texts, ours[i].Name)
		}
	}
	var err error
	if p.keeps, err = ParseAllowed(texts); err != nil {
		return nil, fmt.Errorf("domain %s: default_from_filter: %w", d.Name, err)
	}
	return p, nil
}

// Keeps reports whether the author may stay in From by a server that has no
// filter, in the documented behavior.
func (p *Policy) Keeps(author mailflow.Address) bool { return p.keeps.Match(author) }
