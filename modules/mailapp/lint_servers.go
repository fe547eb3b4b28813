// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/internal/rule/preset"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// lintServers looks at the outgoing servers together.
func (a *App) lintServers() []finding {
	servers := a.services.Servers
	if len(servers) == 0 {
		return []finding{found(
			"no outgoing server is configured, everything that is sent is captured",
			"add an outgoing block with `via smtp HOST:PORT`",
		)}
	}
	var all []finding
	if !slices.ContainsFunc(servers, transactional) {
		all = append(all, found(
			"every outgoing server is for mass mail, transactional mail has none of its own",
			"add an outgoing block without purpose",
		))
	}
	for i, s := range servers {
		for _, other := range servers[i+1:] {
			if sender := rivals(s, other); sender != "" {
				all = append(all, found(
					"two outgoing servers of equal priority fit the same senders, the names decide between them",
					"give them different priorities, or filters that have nothing in common",
					zap.Strings("outgoing", []string{s.Name, other.Name}), zap.Int("priority", s.Priority), zap.String("senders", sender),
				))
			}
		}
	}
	return all
}

// transactional reports whether the server takes transactional mail.
func transactional(s mailflow.Server) bool { return s.Purpose != mailflow.PurposeMass }

// rivals returns what only the names of two servers decide: senders that both
// fit alike, and that no priority gives to one of them.
func rivals(a, b mailflow.Server) string {
	purpose := func(s mailflow.Server) string { return cmp.Or(s.Purpose, mailflow.PurposeTransactional) }
	switch {
	case a.Priority != b.Priority, a.Default, b.Default, purpose(a) != purpose(b):
		return ""
	case len(a.FromFilter) == 0 && len(b.FromFilter) == 0:
		return "those that no from_filter names"
	}
	return commonSender(a.FromFilter, b.FromFilter)
}

// endpoint is a transport that knows where it hands mail over.
type endpoint interface {
	Endpoint() (host string, port uint16, err error)
}

// lintPorts looks at the ports that mail leaves by.
func (a *App) lintPorts() []finding {
	var all []finding
	for _, s := range a.services.Servers {
		t, ok := a.config.Servers[s.Name].Transport.(endpoint)
		if !ok {
			continue
		}
		host, port, err := t.Endpoint()
		if err != nil || host == "" {
			continue // a placeholder may have its value later
		}
		if advice := preset.PortAdvice(port, nearby(host)); advice != "" {
			all = append(all, found(
				"an outgoing server is reached by port 25, which many networks block", advice,
				zap.String("outgoing", s.Name), zap.String("host", host),
			))
		}
	}
	return all
}

// nearby reports whether a host is on this machine or this network, as far as
// its name tells.
func nearby(host string) bool {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast()
	}
	return !strings.Contains(host, ".")
}
