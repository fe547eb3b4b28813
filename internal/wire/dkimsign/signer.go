// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// MaxKeys is the most keys of a [Signer]: one of each kind, or an old one and
// a new one. Each costs every receiver a look-up, and verifiers may stop after
// a few signatures (RFC 6376 section 6.1).
const MaxKeys = 2

// blockSize is the memory that a message streams through. A common mail fits
// into one block.
const blockSize = 32 << 10

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, blockSize) }}

// Signer signs the mail of a domain. It implements [mailflow.Signer].
type Signer struct {
	domain string
	keys   []*key
	now    func() time.Time
}

// Key says where a key is.
type Key struct {
	// Selector is the name of the key below _domainkey.DOMAIN (RFC 6376
	// section 3.1).
	Selector string
	// Text returns the private key in PEM: PKCS #1 or PKCS #8. It is called
	// for each message, by many at once. Its errors must not show the key.
	Text func() (string, error)
}

// New returns the signer of domain, in ASCII, with one or two keys. The
// signatures say that they were made at the time that now returns. No key is
// read yet.
func New(domain string, keys []Key, now func() time.Time) (*Signer, error) {
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("no DKIM key for %s", domain)
	case len(keys) > MaxKeys:
		return nil, fmt.Errorf("%d DKIM keys for %s: receivers need not look at more than a few signatures; "+
			"keep %d, one RSA and one Ed25519, or the old and the new one", len(keys), domain, MaxKeys)
	}
	s := &Signer{domain: strings.ToLower(domain), now: now}
	for _, k := range keys {
		selector, err := NormalizeSelector(k.Selector)
		if err != nil {
			return nil, err
		}
		for _, other := range s.keys {
			if other.selector == selector {
				return nil, fmt.Errorf("two DKIM keys of %s have the selector %s: give each its own, as s1 and s2", domain, selector)
			}
		}
		if name := RecordName(s.domain, selector); len(name) > maxName {
			return nil, fmt.Errorf("the name %s is too long for the DNS: choose a shorter selector", name)
		}
		s.keys = append(s.keys, &key{selector: selector, text: k.Text})
	}
	return s, nil
}

// Check loads the keys and reports why one cannot be used.
func (s *Signer) Check() error {
	_, err := s.load()
	return err
}

// Sign returns a DKIM-Signature field for each key, in their order. An error of
// a key names it; any other says what of the message cannot be signed or read.
func (s *Signer) Sign(ctx context.Context, message io.Reader) ([]byte, error) {
	keys, err := s.load()
	if err != nil {
		return nil, err
	}
	return s.sign(ctx, keys, message)
}

// load returns the private keys.
func (s *Signer) load() ([]crypto.Signer, error) {
	keys := make([]crypto.Signer, len(s.keys))
	for i, k := range s.keys {
		var err error
		if keys[i], err = k.load(); err != nil {
			return nil, fmt.Errorf("loading the DKIM key %s of %s: %w", k.selector, s.domain, err)
		}
	}
	return keys, nil
}

func (s *Signer) sign(ctx context.Context, keys []crypto.Signer, message io.Reader) ([]byte, error) {
	r, _ := readers.Get().(*bufio.Reader) // the pool has nothing else
	defer func() {
		r.Reset(nil)
		readers.Put(r)
	}()
	r.Reset(message)
	var ends lineEnds
	head, err := readHeader(r, &ends)
	if err != nil {
		return nil, err
	}
	signed, err := pick(head)
	if err != nil {
		return nil, err
	}
	body := newBodyHash(ctx, &ends)
	if _, err := io.Copy(body, r); err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	hash, err := body.sum()
	if err != nil {
		return nil, err
	}
	var out []byte
	for i, private := range keys {
		f := field{
			algorithm: algorithm(private), domain: s.domain, selector: s.keys[i].selector,
			time: s.now().Unix(), names: signed.names, body: hash,
		}
		text := f.format()
		sum := sha256.New()
		sum.Write(signed.canonical)
		sum.Write(canonicalField(nil, fieldName, strings.TrimPrefix(text, fieldName+":")))
		signature, err := private.Sign(rand.Reader, sum.Sum(nil), options(private))
		if err != nil {
			return nil, fmt.Errorf("using the key %s: %w", f.selector, err)
		}
		out = append(out, f.complete(text, signature)...)
	}
	return out, nil
}

// Interface guards.
var _ mailflow.Signer = (*Signer)(nil)
