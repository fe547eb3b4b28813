// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/mailcaddy/mailcaddy/internal/rule/preset"
)

// advise says what the answers of the ports mean.
func (c *checkup) advise() {
	i := slices.IndexFunc(c.Ports, func(p portCheck) bool { return p.Used })
	used := &c.Ports[i]
	if c.OK = used.State == portAnswers; c.OK {
		return
	}
	other := c.otherPort()
	switch {
	case used.Port == 0:
		c.Advice = "no mail server answers at the socket: check its path, that the server runs, and that this user may open it"
	case used.State == portUnknown && c.all(portUnknown):
		c.Advice = "it could not be tried: check the host name, and this machine's network and resolver"
	case used.State == portUnusable && other == "":
		c.Advice = fmt.Sprintf("port %d answers, and not as a mail server should: %s", used.Port, used.Error)
	case used.State == portUnusable:
		c.Advice = fmt.Sprintf("port %d answers, and not as a mail server should: use %s", used.Port, other)
	case used.State == portRefused && other != "":
		c.Advice = fmt.Sprintf("nothing listens at port %d: use %s", used.Port, other)
	case other != "":
		c.Advice = fmt.Sprintf("port %d is blocked here: use %s", used.Port, other)
	case c.all(portSilent):
		c.Advice = "none of its ports answers: a firewall may let no mail out of here, or the server is down"
	default:
		c.Advice = "it takes no mail at any of these ports: check the host name, and that the server runs"
	}
}

// all reports whether all ports are in a state.
func (c *checkup) all(state portState) bool {
	return !slices.ContainsFunc(c.Ports, func(p portCheck) bool { return p.State != state })
}

// otherPort returns the best port that answers, in words; empty if none does.
// The one for submission comes first and port 25, which may be closed
// tomorrow, last.
func (c *checkup) otherPort() string {
	best := []uint16{preset.PortSubmission, preset.PortSubmissions, preset.PortAlternate}
	for _, p := range c.Ports {
		if !slices.Contains(best, p.Port) {
			best = append(best, p.Port)
		}
	}
	for _, port := range best {
		if !slices.ContainsFunc(c.Ports, func(p portCheck) bool { return p.Port == port && p.State == portAnswers }) {
			continue
		}
		if port == preset.PortSubmissions {
			return "465 (tls implicit)"
		}
		return strconv.Itoa(int(port))
	}
	return ""
}
