// SPDX-License-Identifier: Apache-2.0

package sender

import (
	"slices"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ErrNotYours refuses a mail in the name of another of our domains.
var ErrNotYours = &mailflow.Reply{
	Code: 550, Enhanced: mailflow.EnhancedCode{5, 7, 1}, Text: "You may not send as the address in From",
}

// May reports whether the peer may send a mail that is from these authors, as
// [Authors] finds them: nil, or [ErrNotYours]. A submitter sends as any address
// of its own domain, which is the one that its user or listener names; as
// those of its from_filter; and as addresses of domains that are not ours,
// which [Decide] encapsulates where it must. Addresses of our other domains
// are not its own. A trusted peer that has no domain of its own, since neither
// a login nor its listener names one, speaks for all of ours. Who does not
// submit is not asked: that mail only comes in.
func May(authors []mailflow.Address, peer *mailflow.Peer, domains mailflow.Domains) *mailflow.Reply {
	if !peer.Submits || peer.Domain == "" || slices.Contains(peer.FromFilter, Anybody) {
		return nil
	}
	for _, a := range authors {
		if a.Domain == peer.Domain || domains.Find(a.Domain) == nil {
			continue
		}
		// A list that cannot be read was refused when it was loaded.
		if f, err := relay.ParseFilter(peer.FromFilter); err != nil || !f.Match(a) {
			return ErrNotYours
		}
	}
	return nil
}
