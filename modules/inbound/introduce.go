// SPDX-License-Identifier: Apache-2.0

package inbound

import (
	"errors"
	"fmt"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Introduce adds to p what the configuration says of such a peer: the door's
// protocol and domain, and what is configured for p.User. The error says why
// the door takes no mail from it.
func (s *SMTP) Introduce(p *mailflow.Peer) error {
	switch {
	case p.Submits && !s.submit:
		return errors.New("it takes no mail to the world; for that it has to say submit")
	case !p.Submits && !s.receive:
		return errors.New("it takes no mail from strangers; for that it has to say receive")
	}
	p.Domain = s.Domain
	if s.lmtp {
		p.Protocol = "LMTP"
	}
	if p.User == "" {
		return nil
	}
	u, ok := s.Users[p.User]
	if !ok {
		return fmt.Errorf("it has no user %q", p.User)
	}
	u.introduce(p)
	return nil
}
