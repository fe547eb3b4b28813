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
}

// Step is the step of the order that found the server.
type Step string

// The steps, in their order.
const (
	StepAddress Step = "filter_address"
	StepDomain  Step = "filter_domain"
	StepOpen    Step = "no_filter"
	StepLast    Step = "first_by_priority"
	StepDefault Step = "default_server"
	StepNone    Step = "no_server"
)

// String says in words why the step takes a server.
func (s Step) String() string {
	switch s {
	case StepAddress:
		return "its from_filter names the author's address"
	case StepDomain:
		return "its from_filter names the author's domain"
	case StepOpen:
		return "it has no from_filter"
	case StepLast:
		return "no from_filter allows the author; it is the first by priority"
	case StepDefault:
		return "it is the default and there is no other server"
	case StepNone:
		return "no outgoing server is configured"
	}
	return string(s)
}

// Reason is why a server was not taken.
type Reason string

// The reasons.
const (
	// ReasonFilter: its filter does not allow the author.
	ReasonFilter Reason = "filter_refuses"
	// ReasonStep: it fits, but a server of an earlier step does too.
	ReasonStep Reason = "later_step"
	// ReasonPriority: it fits as well, but another has the lower priority
	// number, or the same one and the earlier name.
	ReasonPriority Reason = "later_priority"
	// ReasonDefault: it says default, and there is another server.
	ReasonDefault Reason = "only_default"
)

// String says the reason in words.
func (r Reason) String() string {
	switch r {
	case ReasonFilter:
		return "its from_filter does not allow the author"
	case ReasonStep:
		return "another server fits the author more closely"
	case ReasonPriority:
		return "another server that fits alike comes first by priority"
	case ReasonDefault:
		return "it is the default and there are other servers"
	}
	return string(r)
}

// Loser is a server that was not taken.
type Loser struct {
	Server string
	Reason Reason
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
}

// The ranks of a candidate: the lower one wins whatever the priorities are.
const (
	rankAddress = iota
	rankDomain
	rankOpen
	rankLast
	rankDefault
)

// steps are the steps by rank.
var steps = [...]Step{StepAddress, StepDomain, StepOpen, StepLast, StepDefault}

// Choose returns the server by which mail of the author leaves. A null author
// is in nobody's filter.
func Choose(servers []Candidate, author mailflow.Address) Choice {
	if len(servers) == 0 {
		return Choice{Step: StepNone}
	}
	key := author.Key()
	best, bestRank := 0, rankOf(&servers[0], key, author.Domain)
	ranks := make([]int, len(servers))
	for i := range servers {
		rank := rankOf(&servers[i], key, author.Domain)
		ranks[i] = rank
		if order(rank, bestRank, &servers[i], &servers[best]) < 0 {
			best, bestRank = i, rank
		}
	}
	choice := Choice{Server: servers[best].Name, Step: steps[bestRank]}
	if len(servers) > 1 {
		choice.Losers = make([]Loser, 0, len(servers)-1)
	}
	for i := range servers {
		if i != best {
			choice.Losers = append(choice.Losers, Loser{servers[i].Name, reasonOf(ranks[i], bestRank)})
		}
	}
	return choice
}

// rankOf returns the rank of c for an author with that key and domain.
func rankOf(c *Candidate, key, domain string) int {
	switch {
	case c.Default:
		return rankDefault
	case c.Filter.IsEmpty():
		return rankOpen
	case c.Filter.addresses[key]:
		return rankAddress
	case c.Filter.MatchDomain(domain):
		return rankDomain
	}
	return rankLast
}

// order compares two candidates by rank, priority and name.
func order(rankA, rankB int, a, b *Candidate) int {
	return cmp.Or(cmp.Compare(rankA, rankB), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
}

// reasonOf returns why a candidate of rank lost to one of rank won.
func reasonOf(rank, won int) Reason {
	switch rank {
	case won:
		return ReasonPriority
	case rankDefault:
		return ReasonDefault
	case rankLast:
		return ReasonFilter
	}
	return ReasonStep
}
