// SPDX-License-Identifier: Apache-2.0

package relay

// Step is the step of the order that found the server.
type Step string

// The steps, in the documented order. [StepPurpose] stands before all of them.
const (
	StepPurpose     Step = "purpose"
	StepAddress     Step = "filter_address"
	StepDomain      Step = "filter_domain"
	StepOpen        Step = "no_filter"
	StepFromAddress Step = "default_from_address"
	StepFromDomain  Step = "default_from_domain"
	StepLast        Step = "first_by_priority"
	StepDefault     Step = "default_server"
	StepNone        Step = "no_server"
)

// steps are the steps by kind.
var steps = [kinds]Step{
	kindAddress: StepAddress, kindDomain: StepDomain, kindOpen: StepOpen,
	kindFromAddress: StepFromAddress, kindFromDomain: StepFromDomain, kindLast: StepLast, kindDefault: StepDefault,
}

// String says in words why the step takes a server.
func (s Step) String() string {
	switch s {
	case StepPurpose:
		return "it is dedicated to mail of this purpose"
	case StepAddress:
		return "its from_filter names the author's address"
	case StepDomain:
		return "its from_filter names the author's domain"
	case StepOpen:
		return "it has no from_filter"
	case StepFromAddress:
		return "its from_filter names the address of default_from"
	case StepFromDomain:
		return "its from_filter names the domain of default_from"
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
	// ReasonPurpose: it is for mail of another purpose, or another server is
	// dedicated to this one.
	ReasonPurpose Reason = "other_purpose"
	// ReasonDown: it comes first, but it is down and another one may carry the
	// mail.
	ReasonDown Reason = "server_down"
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
	case ReasonPurpose:
		return "another server is nearer to the purpose of the mail"
	case ReasonDown:
		return "it is down and another server may carry the mail"
	}
	return string(r)
}

// Loser is a server that was not taken.
type Loser struct {
	Server string
	Reason Reason
	// Down says why the server is down, with [ReasonDown].
	Down string
}
