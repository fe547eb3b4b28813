// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"context"
	"errors"
	"net/netip"
)

// ErrNotFound is returned for a name or a record type that does not exist. Any
// other error of a [Resolver] is temporary.
var ErrNotFound = errors.New("no such DNS record")

// Resolver looks names up in the DNS. It is safe for concurrent use, caches
// for the records' TTL, and obeys ctx. Names are given and returned without
// trailing dot, in lower-case A-labels.
//
// Answers carry Secure, set only when the resolver proves DNSSEC or reaches a
// validating one by a trusted path.
type Resolver interface {
	// IPs returns the A and AAAA records of host.
	IPs(ctx context.Context, host string) (Answer[netip.Addr], error)
	// MX returns the MX records of domain, unsorted. A null MX (RFC 7505) is
	// one record with an empty host.
	MX(ctx context.Context, domain string) (Answer[MX], error)
	// TXT returns the TXT records of name, the strings of each joined.
	TXT(ctx context.Context, name string) (Answer[string], error)
	// TLSA returns the TLSA records of name.
	TLSA(ctx context.Context, name string) (Answer[TLSA], error)
	// Names returns the PTR records of ip.
	Names(ctx context.Context, ip netip.Addr) (Answer[string], error)
}

// Answer is a set of records of one type. It is never empty: no record is
// [ErrNotFound].
type Answer[T any] struct {
	Records []T
	Secure  bool
}

// MX is a mail exchanger record (RFC 5321 section 5.1).
type MX struct {
	Preference uint16
	Host       string
}

// TLSA is a TLSA record (RFC 6698).
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}
