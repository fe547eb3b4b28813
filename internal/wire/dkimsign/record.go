// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
)

// maxString is the longest string of a TXT record (RFC 1035 section 3.3).
const maxString = 255

// Sizes of names (RFC 1035 section 2.3.4); that of a whole name as text.
const (
	maxLabel = 63
	maxName  = 253
)

// Kind is a kind of key, as it stands in k= of a record.
type Kind string

// The kinds of keys.
const (
	RSA     Kind = "rsa"
	Ed25519 Kind = "ed25519"
)

// Generate returns a new private key in PEM (PKCS #8). The bits are those of an
// RSA key.
func Generate(kind Kind, bits int) (string, error) {
	var private crypto.Signer
	var err error
	switch kind {
	case RSA:
		if err := checkBits(bits); err != nil {
			return "", err
		}
		private, err = rsa.GenerateKey(rand.Reader, bits)
	case Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return "", fmt.Errorf("%q is no kind of DKIM key: use %s or %s", kind, RSA, Ed25519)
	}
	if err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", fmt.Errorf("encoding the key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// Record returns the value of the TXT record for a private key in PEM (RFC 6376
// section 3.6.1, RFC 8463 section 4).
func Record(text string) (string, error) {
	private, err := parsePrivate(text)
	if err != nil {
		return "", err
	}
	if public, ok := private.Public().(ed25519.PublicKey); ok {
		return record(Ed25519, public), nil
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return "", fmt.Errorf("encoding the public key: %w", err)
	}
	return record(RSA, der), nil
}

func record(kind Kind, public []byte) string {
	return "v=DKIM1; k=" + string(kind) + "; p=" + base64.StdEncoding.EncodeToString(public)
}

// RecordName returns the name of the TXT record of a key.
func RecordName(domain, selector string) string { return selector + "._domainkey." + domain }

// Strings splits the value of a TXT record into the strings that it is made of,
// each of at most 255 bytes; readers join them without a blank (RFC 6376
// section 3.6.2.2).
func Strings(value string) []string {
	var parts []string
	for len(value) > maxString {
		parts, value = append(parts, value[:maxString]), value[maxString:]
	}
	return append(parts, value)
}

// NormalizeSelector returns selector in lower case. It is one label of letters,
// digits and inner hyphens, or several with dots between (RFC 6376 section
// 3.1).
func NormalizeSelector(selector string) (string, error) {
	lower := strings.ToLower(selector)
	for label := range strings.SplitSeq(lower, ".") {
		if label == "" || len(label) > maxLabel || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.IndexFunc(label, notInSelector) >= 0 {
			return "", fmt.Errorf("%q is no DKIM selector: it takes letters, digits and inner hyphens, as s1 or mail2026", selector)
		}
	}
	return lower, nil
}

func notInSelector(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
