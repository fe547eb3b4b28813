// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"cmp"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Candidate is an outgoing server as the choice sees it.
type Candidate struct {
	// Name is the server's name; names are unique.
	Name string
	// Priority orders servers that fit alike: lower first.
	Priority int
	// Filter says for which senders it may send; empty = any.
	Filter Filter
	// Default marks the server that is used only when there is no other.
	Default bool
	// Purpose is the purpose that it is dedicated to; empty if none.
	Purpose string
}

// Mail is what a server is chosen for.
type Mail struct {
	// Behavior is whose order is followed.
	Behavior mailflow.Behavior
	// Author is the address in From; null is in nobody's filter.
	Author mailflow.Address
	// DefaultFrom is the address that senders are encapsulated in; null if
	// there is none.
	DefaultFrom mailflow.Address
	// Keeps is set when the author may stay in From by a server that has no
	// filter (documented).
	Keeps bool
	// Purpose is the purpose of the mail; empty means transactional.
	Purpose string
	// Down says why a server is not waited for if another may carry the mail,
	// empty while it works. Nil means that all work.
	Down func(server string) string
}

// Choice is the outcome of [Choose].
type Choice struct {
	// Server is the name of the server; empty with [StepNone], where the mail
	// has to be captured.
	Server string
	// Step says which step found it.
	Step Step
	// Losers are the other servers, in the order in which they were given.
	Losers []Loser
	// Waits says why the server is down, where no other one may carry the
	// mail; empty if the server works.
	Waits string
}

// Choose returns the server by which the mail leaves.
func Choose(servers []Candidate, mail Mail) Choice {
	if len(servers) == 0 {
		return Choice{Step: StepNone}
	}
	c := newContest(servers, mail)
	best := c.best(func(int) bool { return true })
	taken, waits := best, c.down(best)
	if waits != "" {
		if other := c.best(func(i int) bool { return c.stepsIn(i, best) }); other >= 0 {
			taken, waits = other, ""
		}
	}
	return Choice{
		Server: servers[taken].Name, Step: c.step(taken), Waits: waits, Losers: c.losers(taken, best),
	}
}

// contest is one choice while it is made.
type contest struct {
	servers []Candidate
	mail    Mail
	kinds   []kind
	tier    tier   // that of the servers which take part
	tiers   []tier // of all servers
	order   *[kinds]int
}

func newContest(servers []Candidate, mail Mail) *contest {
	c := &contest{
		servers: servers, mail: mail, order: &documentedOrder, tier: tierOther,
		kinds: make([]kind, len(servers)), tiers: make([]tier, len(servers)),
	}
	if mail.Behavior == mailflow.BehaviorOdoo {
		c.order = &odooOrder
	}
	author, standIn := keyed{mail.Author.Key(), mail.Author.Domain}, keyed{mail.DefaultFrom.Key(), mail.DefaultFrom.Domain}
	purpose := cmp.Or(mail.Purpose, mailflow.PurposeTransactional)
	for i := range servers {
		c.kinds[i] = kindOf(&servers[i], author, standIn)
		c.tiers[i] = tierOf(servers[i].Purpose, purpose)
		c.tier = min(c.tier, c.tiers[i])
	}
	return c
}

// best returns the first of the servers that take part and that may be taken,
// or -1.
func (c *contest) best(may func(i int) bool) int {
	best := -1
	for i := range c.servers {
		if c.tiers[i] == c.tier && (best < 0 || c.compare(i, best) < 0) && may(i) {
			best = i
		}
	}
	return best
}

// compare compares two candidates by step, priority and name.
func (c *contest) compare(a, b int) int {
	x, y := &c.servers[a], &c.servers[b]
	return cmp.Or(cmp.Compare(c.order[c.kinds[a]], c.order[c.kinds[b]]), cmp.Compare(x.Priority, y.Priority), cmp.Compare(x.Name, y.Name))
}

// down says why server i is not waited for.
func (c *contest) down(i int) string {
	if c.mail.Down == nil {
		return ""
	}
	return c.mail.Down(c.servers[i].Name)
}

// stepsIn reports whether server i may take the place of the first one, which
// is down: its filter must not refuse the sender that the mail leaves with by
// the first one.
func (c *contest) stepsIn(i, first int) bool {
	if i == first || c.servers[i].Default {
		return false
	}
	f := &c.servers[i].Filter
	carries := f.IsEmpty() || f.Match(c.mail.Author) || !c.keepsAuthor(first) && f.Match(c.mail.DefaultFrom)
	return carries && c.down(i) == ""
}

// dedicated reports whether the purpose demands the servers that take part.
func (c *contest) dedicated() bool {
	return c.tier == tierDedicated && cmp.Or(c.mail.Purpose, mailflow.PurposeTransactional) != mailflow.PurposeTransactional
}

// keepsAuthor reports whether the mail leaves with its author by server i, and
// not with the default_from.
func (c *contest) keepsAuthor(i int) bool {
	switch k := c.kinds[i]; {
	case k == kindAddress, k == kindDomain, c.mail.DefaultFrom.IsNull():
		return true
	case c.mail.Behavior == mailflow.BehaviorOdoo:
		return c.dedicated()
	case k == kindOpen, k == kindLast && !c.dedicated():
		return c.mail.Keeps
	}
	return false
}

// step returns the step that finds server i.
func (c *contest) step(i int) Step {
	if c.dedicated() {
		return StepPurpose
	}
	return steps[c.kinds[i]]
}

// losers returns the servers beside the taken one with their reasons; first
// is the one that would be taken if none was down.
func (c *contest) losers(taken, first int) []Loser {
	if len(c.servers) == 1 {
		return nil
	}
	losers := make([]Loser, 0, len(c.servers)-1)
	for i := range c.servers {
		if i == taken {
			continue
		}
		l := Loser{Server: c.servers[i].Name, Reason: c.reason(i, taken)}
		if taken != first && c.tiers[i] == c.tier && c.compare(i, taken) < 0 {
			l.Reason, l.Down = ReasonDown, c.down(i)
			if l.Down == "" {
				l.Reason = ReasonFilter // it works, but may not step in
			}
		}
		losers = append(losers, l)
	}
	return losers
}

// reason returns why server i lost to the taken one.
func (c *contest) reason(i, taken int) Reason {
	switch {
	case c.tiers[i] != c.tier:
		return ReasonPurpose
	case c.kinds[i] == c.kinds[taken]:
		return ReasonPriority
	case c.kinds[i] == kindDefault:
		return ReasonDefault
	case c.kinds[i] == kindLast:
		return ReasonFilter
	}
	return ReasonStep
}

// kind is how a server fits the mail.
type kind int

const (
	kindAddress kind = iota
	kindDomain
	kindOpen
	kindFromAddress
	kindFromDomain
	kindLast
	kindDefault
	kinds // their number
)

// The places of the kinds in the two orders: the lower one wins whatever the
// priorities are.
var (
	documentedOrder = [kinds]int{
		kindAddress: 0, kindDomain: 1, kindOpen: 2, kindFromAddress: 3, kindFromDomain: 4, kindLast: 5, kindDefault: 6,
	}
	odooOrder = [kinds]int{
		kindAddress: 0, kindDomain: 1, kindFromAddress: 2, kindFromDomain: 3, kindOpen: 4, kindLast: 5, kindDefault: 6,
	}
)

// keyed is an address in the form that filters are asked with.
type keyed struct{ key, domain string }

// kindOf returns how c fits mail of the author, with an address to stand in
// for it.
func kindOf(c *Candidate, author, standIn keyed) kind {
	switch f := &c.Filter; {
	case c.Default:
		return kindDefault
	case f.IsEmpty():
		return kindOpen
	case f.addresses[author.key]:
		return kindAddress
	case f.MatchDomain(author.domain):
		return kindDomain
	case f.addresses[standIn.key]:
		return kindFromAddress
	case f.MatchDomain(standIn.domain):
		return kindFromDomain
	}
	return kindLast
}

// tier says how near a server's purpose is to that of the mail. Only servers
// of the nearest tier take part.
type tier int

const (
	// tierDedicated: the server is for mail of this purpose. Every server is
	// for transactional mail that is not dedicated to another purpose.
	tierDedicated tier = iota
	// tierOpen: the server is dedicated to nothing.
	tierOpen
	// tierOther: the server is dedicated to another purpose. It is used only
	// when there is no other, since mail that is accepted has to leave.
	tierOther
)

// tierOf returns the tier of a server that is dedicated to a purpose, for mail
// of that purpose.
func tierOf(dedicated, purpose string) tier {
	switch {
	case dedicated == purpose, dedicated == "" && purpose == mailflow.PurposeTransactional:
		return tierDedicated
	case dedicated == "":
		return tierOpen
	}
	return tierOther
}
