// SPDX-License-Identifier: Apache-2.0

package mx

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// The values of TLSA records that SMTP uses (RFC 7672 section 3.1). The other
// usages, PKIX-TA and PKIX-EE, are for protocols with common authorities.
const (
	usageTA = 2 // trust anchor assertion
	usageEE = 3 // domain-issued certificate

	selectCert = 0 // the whole certificate
	selectSPKI = 1 // its public key

	matchExact  = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// ErrDANE says that a certificate agrees with no TLSA record.
var ErrDANE = errors.New("certificate agrees with no TLSA record")

// Usable returns the records that SMTP can use (RFC 7672 section 3.1.3).
func Usable(records []mailflow.TLSA) []mailflow.TLSA {
	var usable []mailflow.TLSA
	for _, r := range records {
		if (r.Usage == usageTA || r.Usage == usageEE) && r.Selector <= selectSPKI && rightLength(r) {
			usable = append(usable, r)
		}
	}
	return usable
}

func rightLength(r mailflow.TLSA) bool {
	switch r.MatchingType {
	case matchExact:
		return len(r.Data) > 0
	case matchSHA256:
		return len(r.Data) == sha256.Size
	case matchSHA512:
		return len(r.Data) == sha512.Size
	}
	return false
}

// VerifyDANE checks the chain of certificates that a host shows, its own first,
// by usable records. One of usage 3 must agree with the host's certificate,
// whatever names and dates that has (RFC 7672 section 3.1.1). One of usage 2
// must agree with an authority of the chain, or be it; from there the chain
// must be valid at now, and the certificate be for one of names.
func VerifyDANE(records []mailflow.TLSA, chain []*x509.Certificate, names []string, now time.Time) error {
	if len(chain) == 0 {
		return fmt.Errorf("%w: there is none", ErrDANE)
	}
	anchors, found := x509.NewCertPool(), false
	for _, r := range records {
		switch r.Usage {
		case usageEE:
			if agrees(r, chain[0]) {
				return nil
			}
		case usageTA:
			for _, anchor := range authorities(r, chain) {
				anchors.AddCert(anchor)
				found = true
			}
		}
	}
	if !found {
		return ErrDANE
	}
	return verifyFrom(anchors, chain, names, now)
}

// authorities returns what a record of usage 2 makes an authority.
func authorities(r mailflow.TLSA, chain []*x509.Certificate) []*x509.Certificate {
	var found []*x509.Certificate
	for _, c := range chain[1:] {
		if agrees(r, c) {
			found = append(found, c)
		}
	}
	if len(found) == 0 && r.Selector == selectCert && r.MatchingType == matchExact {
		// The authority itself, which the host need not send along.
		if c, err := x509.ParseCertificate(r.Data); err == nil {
			found = append(found, c)
		}
	}
	return found
}

// verifyFrom checks the chain as far as one of anchors.
func verifyFrom(anchors *x509.CertPool, chain []*x509.Certificate, names []string, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: anchors, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDANE, err)
	}
	if !slices.ContainsFunc(names, func(name string) bool { return chain[0].VerifyHostname(name) == nil }) {
		return fmt.Errorf("%w: it is for %q, not for one of %q", ErrDANE, chain[0].DNSNames, names)
	}
	return nil
}

// agrees reports whether r describes c (RFC 6698 section 2.1).
func agrees(r mailflow.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == selectSPKI {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case matchExact:
		return bytes.Equal(r.Data, data)
	case matchSHA256:
		sum := sha256.Sum256(data)
		return bytes.Equal(r.Data, sum[:])
	case matchSHA512:
		sum := sha512.Sum512(data)
		return bytes.Equal(r.Data, sum[:])
	}
	return false
}
