// SPDX-License-Identifier: Apache-2.0

package mimewrite

import (
	"net/netip"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// maxHello is the longest EHLO name that a Received field quotes, in octets: a
// domain has no more (RFC 5321 section 4.5.3.1.2).
const maxHello = 255

// Stamp is what a Received field says.
type Stamp struct {
	// Peer is who handed the message in.
	Peer *mailflow.Peer
	// Hostname is the gateway's own name.
	Hostname string
	// ID is the ID of the message.
	ID string
	// Recipients are those of the copy that carries the field. One alone is
	// named; of several none is, so that no copy tells who else got one.
	Recipients []mailflow.Recipient
	// At is when the message was received.
	At time.Time
}

// Received returns the Received field (RFC 5321 section 4.4), folded and with
// its final CRLF. What the peer said of itself cannot break the field. The
// authenticated user is not named.
func Received(s Stamp) string {
	var b strings.Builder
	b.WriteString("Received: ")
	if from := fromClause(s.Peer); from != "" {
		b.WriteString("from " + from + "\r\n\t")
	}
	b.WriteString("by " + atom(s.Hostname, "localhost"))
	if p := s.Peer.Protocol; p != "" && p != "local" {
		b.WriteString(" with " + atom(p, "ESMTP"))
	}
	b.WriteString(" id " + atom(s.ID, "none"))
	if len(s.Recipients) == 1 {
		if path := s.Recipients[0].Address.Path(); isASCII(path) || strings.HasPrefix(s.Peer.Protocol, "UTF8") {
			b.WriteString("\r\n\tfor " + path)
		}
	}
	b.WriteString(";\r\n\t" + s.At.Format("Mon, 02 Jan 2006 15:04:05 -0700") + "\r\n")
	return b.String()
}

// fromClause returns the EHLO name and the address of the peer; "" if neither
// is known.
func fromClause(p *mailflow.Peer) string {
	hello, ip := atom(p.Hello, ""), literal(p.IP)
	switch {
	case hello == "" && ip == "":
		return ""
	case hello == "":
		return ip
	case ip == "":
		return hello
	}
	return hello + " (" + ip + ")"
}

// literal returns ip as an address literal (RFC 5321 section 4.1.3).
func literal(ip netip.Addr) string {
	switch ip = ip.Unmap().WithZone(""); {
	case !ip.IsValid():
		return ""
	case ip.Is6():
		return "[IPv6:" + ip.String() + "]"
	}
	return "[" + ip.String() + "]"
}

// atom returns s if it is a name that can stand in a Received field, else
// instead.
func atom(s, instead string) string {
	bad := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._:[]", r)
	}
	if s == "" || len(s) > maxHello || strings.IndexFunc(s, bad) >= 0 {
		return instead
	}
	return s
}
