// SPDX-License-Identifier: Apache-2.0

// Package domainauth decides what a domain answers for: which identities of a
// mail align (DMARC, RFC 7489 section 3.1), and what a receiver will therefore
// make of it; and which of the verdicts that others wrote into a mail are
// believed (Authentication-Results, RFC 8601).
package domainauth

import (
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Identities are what a receiver judges a mail by.
type Identities struct {
	// From is the address of the From field as it is sent; null if the mail
	// has none.
	From mailflow.Address
	// Envelope is the reverse-path as it is sent.
	Envelope mailflow.Address
	// Hello is the name in EHLO: SPF falls back to it for the null
	// reverse-path (RFC 7208 section 2.4).
	Hello string
	// SignedAs is the domain of the DKIM signature; empty if unsigned.
	SignedAs string
}

// Finding is one thing that a receiver will find.
type Finding struct {
	// Code is a constant that programs can test.
	Code string `json:"code"`
	// Text says it to a human, with what to do.
	Text string `json:"text"`
	// Passes is set when DMARC can pass because of it.
	Passes bool `json:"passes"`
}

// Codes of findings.
const (
	CodeNoFrom       = "no_from"
	CodeDKIMAligned  = "dkim_aligned"
	CodeDKIMUnsigned = "dkim_unsigned"
	CodeDKIMOther    = "dkim_not_aligned"
	CodeSPFAligned   = "spf_aligned"
	CodeSPFOther     = "spf_not_aligned"
)

// Foresee says what DMARC rests on for a mail with these identities: one
// finding about DKIM and one about SPF. Where neither passes a receiver with a
// strict policy refuses the mail. Whether the records are published it does
// not know.
func Foresee(ids Identities) []Finding {
	from := ids.From.Domain
	if from == "" {
		return []Finding{{Code: CodeNoFrom, Text: "The mail has no From address: receivers refuse it (RFC 7489 section 6.6.1)."}}
	}
	return []Finding{foreseeDKIM(from, ids.SignedAs), foreseeSPF(from, ids)}
}

func foreseeDKIM(from, signed string) Finding {
	switch {
	case signed == "":
		return Finding{Code: CodeDKIMUnsigned, Text: fmt.Sprintf(
			"It leaves here unsigned: add `dkim` to the domain %s, unless the server signs for that domain itself.", from)}
	case Aligned(from, signed):
		return Finding{Code: CodeDKIMAligned, Passes: true, Text: fmt.Sprintf(
			"It is signed for %s, which aligns with From: that passes once the key is published.", signed)}
	}
	return Finding{Code: CodeDKIMOther, Text: fmt.Sprintf("It is signed for %s, which does not align with From (%s).", signed, from)}
}

func foreseeSPF(from string, ids Identities) Finding {
	domain, what := ids.Envelope.Domain, "reverse-path"
	if ids.Envelope.IsNull() {
		domain, what = ids.Hello, "name in EHLO (the reverse-path is null)"
	}
	if Aligned(from, domain) {
		return Finding{Code: CodeSPFAligned, Passes: true, Text: fmt.Sprintf(
			"The %s is in %s, which aligns with From: that passes if the domain's SPF record names the server.", what, domain)}
	}
	return Finding{Code: CodeSPFOther, Text: fmt.Sprintf(
		"The %s is in %s, which does not align with From (%s): SPF cannot help, only a DKIM signature for %s can.", what, orNone(domain), from, from)}
}

func orNone(domain string) string {
	if domain == "" {
		return "no domain"
	}
	return domain
}

// Aligned reports whether two domains align in relaxed mode, the default: they
// have the same organizational domain (RFC 7489 section 3.2). Both are
// normalised; an empty one aligns with nothing.
func Aligned(a, b string) bool {
	return a != "" && b != "" && Organizational(a) == Organizational(b)
}

// Organizational returns the organizational domain of a normalised domain: the
// public suffix and one label more. A public suffix is its own.
func Organizational(domain string) string {
	domain = strings.TrimSuffix(domain, ".")
	org, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return org
}
