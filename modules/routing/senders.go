// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"github.com/mailcaddy/mailcaddy/internal/rule/sender"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// policies are what our domains say about senders, by name. The empty name is
// that of mail which belongs to none.
type policies map[string]*sender.Policy

func newPolicies(s *mailflow.Services) (policies, error) {
	none, err := sender.NewPolicy(nil, s.Domains, s.Behavior)
	if err != nil {
		return nil, err
	}
	ps := policies{"": none}
	for i := range s.Domains {
		if ps[s.Domains[i].Name], err = sender.NewPolicy(&s.Domains[i], s.Domains, s.Behavior); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// of returns the policy of the domain that the message belongs to.
func (ps policies) of(tx *mailflow.Transaction) *sender.Policy {
	if p, ok := ps[tx.Domain]; ok {
		return p
	}
	return ps[""]
}

// authorOf returns who the message is from. At RCPT, where there is no
// content, that is the reverse-path.
func authorOf(tx *mailflow.Transaction, b mailflow.Behavior) sender.Author {
	if tx.Message == nil {
		return sender.Author{Address: tx.Sender()}
	}
	return sender.ReadOr(tx.Message.Header, tx.Envelope.From, b)
}
