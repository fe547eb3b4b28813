// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// Sizes of RSA keys in bits. A shorter key can be broken, and RFC 8301 section
// 3.2 wants 2048; a verifier need not take more than 4096.
const (
	minBits = 2048
	maxBits = 4096
)

// MaxKeyText bounds the text of a key, so that the wrong file is not parsed:
// the longest key has 4 KiB.
const MaxKeyText = 64 << 10

// nextStep is what an operator can do about a key that is of no use.
const nextStep = "make one with `mail dkim generate DOMAIN SELECTOR`"

// key is one key of a [Signer], parsed once for each text.
type key struct {
	selector string
	text     func() (string, error)
	parsed   atomic.Pointer[parsedKey]
}

type parsedKey struct {
	text    string
	private crypto.Signer
}

// load returns the private key as it is now.
func (k *key) load() (crypto.Signer, error) {
	text, err := k.text()
	if err != nil {
		return nil, err
	}
	if p := k.parsed.Load(); p != nil && p.text == text {
		return p.private, nil
	}
	private, err := parsePrivate(text)
	if err != nil {
		return nil, err
	}
	k.parsed.Store(&parsedKey{text, private})
	return private, nil
}

// parsePrivate reads a private key in PEM. No error shows any of the text.
func parsePrivate(text string) (crypto.Signer, error) {
	if len(text) > MaxKeyText {
		return nil, fmt.Errorf("it is longer than a key, with %d bytes: name the file of the private key in PEM", len(text))
	}
	kind := ""
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if kind = block.Type; !strings.HasSuffix(kind, "PRIVATE KEY") {
			continue
		}
		if kind == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("it is encrypted: write it without its passphrase with `openssl pkey -in FILE -out NEW`")
		}
		return parseBlock(block)
	}
	switch kind {
	case "":
		return nil, errors.New("it has no PEM block: the key is the text from -----BEGIN PRIVATE KEY----- on; " + nextStep)
	case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
		return nil, errors.New("it is the public half: name the file of the private key")
	}
	return nil, errors.New("it has no private key: name the file of one in PEM, or " + nextStep)
}

// parseBlock reads a PEM block that holds a private key.
func parseBlock(block *pem.Block) (crypto.Signer, error) {
	var parsed any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, errKind
	}
	if err != nil {
		// The cause may quote what it could not read.
		return nil, errors.New("it is damaged, or no key in PKCS #1 or PKCS #8: " + nextStep)
	}
	switch private := parsed.(type) {
	case *rsa.PrivateKey:
		return private, checkBits(private.N.BitLen())
	case ed25519.PrivateKey:
		return private, nil
	}
	return nil, errKind
}

// errKind is returned for a key that DKIM has no signatures of.
var errKind = errors.New("it is neither an RSA nor an Ed25519 key, and DKIM has no other: " + nextStep)

// checkBits refuses RSA keys that receivers do.
func checkBits(bits int) error {
	switch {
	case bits < minBits:
		return fmt.Errorf("it is an RSA key of %d bits, which can be broken: make one of %d with "+
			"`mail dkim generate DOMAIN SELECTOR`, under a new selector", bits, minBits)
	case bits > maxBits:
		return fmt.Errorf("it is an RSA key of %d bits, and receivers need not take more than %d (RFC 8301): %s",
			bits, maxBits, nextStep)
	}
	return nil
}
