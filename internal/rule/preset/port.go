// SPDX-License-Identifier: Apache-2.0

package preset

// Ports that mail is handed over at.
const (
	// PortRelay is where mail servers take mail from each other (RFC 5321).
	PortRelay uint16 = 25
	// PortSubmissions has implicit TLS (RFC 8314 section 3.3).
	PortSubmissions uint16 = 465
	// PortSubmission has STARTTLS (RFC 6409 section 3.1).
	PortSubmission uint16 = 587
	// PortAlternate is what many providers offer beside it, where networks
	// block 587 too. No RFC gives it to mail.
	PortAlternate uint16 = 2525
)

// UsualPorts returns the ports that a server for outgoing mail may listen on,
// in ascending order.
func UsualPorts() []uint16 {
	return []uint16{PortRelay, PortSubmissions, PortSubmission, PortAlternate}
}

// A remote is a port of a server, which may be on this machine or this network.
type remote struct {
	port  uint16
	local bool
}

// portAdvice is what to know about a remote.
var portAdvice = map[remote]string{
	{port: PortRelay}: "many networks block port 25 for mail that leaves; try 465 (tls implicit), 587 or 2525, " +
		"and see with `mailcaddy mail doctor` which of them answers",
}

// PortAdvice returns the operator's next step for a server at that port; empty
// if there is nothing to say. Local says that it is on this machine or this
// network, where nobody blocks ports.
func PortAdvice(port uint16, local bool) string { return portAdvice[remote{port, local}] }
