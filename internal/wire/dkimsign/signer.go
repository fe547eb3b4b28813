// SPDX-License-Identifier: Apache-2.0

package dkimsign

import (
	"bufio"
	"context"
	"crypto"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// MaxKeys is the most keys of a [Signer]: one of each kind, or an old one and
// a new one. Each costs every receiver a look-up, and verifiers may stop after
// a few signatures (RFC 6376 section 6.1).
const MaxKeys = 2

// Signer signs the mail of a domain. It implements [mailflow.Signer].
type Signer struct {
	domain string
	keys   []*key
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

// New returns the signer of domain, in ASCII, with one or two keys. No
// key is read yet.
func New(domain string, keys []Key) (*Signer, error) {
	switch {
	case len(keys) == 0:
		return nil, fmt.Errorf("no DKIM key for %s", domain)
	case len(keys) > MaxKeys:
		return nil, fmt.Errorf("%d DKIM keys for %s: receivers need not look at more than a few signatures; "+
			"keep %d, one RSA and one Ed25519, or the old and the new one", len(keys), domain, MaxKeys)
	}
	s := &Signer{domain: strings.ToLower(domain)}
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

// sign feeds the message to a signature for each key, in one pass.
func (s *Signer) sign(ctx context.Context, keys []crypto.Signer, message io.Reader) ([]byte, error) {
	r := bufio.NewReader(message)
	g := &guard{ctx: ctx}
	head, err := readHeader(r, g)
	if err != nil {
		return nil, err
	}
	names, fields, err := pick(head)
	if err != nil {
		return nil, err
	}
	signatures, err := s.begin(keys, names)
	if err != nil {
		return nil, err
	}
	defer signatures.end()
	if _, err := signatures.writer().Write(fields); err != nil {
		return nil, fmt.Errorf("signing the header: %w", err)
	}
	if _, err := io.Copy(io.MultiWriter(g, signatures.writer()), r); err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	if err := g.end(); err != nil {
		return nil, err
	}
	var out []byte
	for i, signature := range signatures {
		if err := signature.Close(); err != nil {
			return nil, fmt.Errorf("using the key %s: %w", s.keys[i].selector, err)
		}
		out = append(out, signature.Signature()...)
	}
	return out, nil
}

// signatures are those that are being made of one message.
type signatures []*dkim.Signer

// begin begins a signature with each key.
func (s *Signer) begin(keys []crypto.Signer, names []string) (signatures, error) {
	var all signatures
	for i, private := range keys {
		signature, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: s.domain, Selector: s.keys[i].selector, Signer: private, HeaderKeys: names,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			all.end()
			return nil, fmt.Errorf("using the key %s: %w", s.keys[i].selector, err)
		}
		all = append(all, signature)
	}
	return all, nil
}

// writer returns what hands the message to all.
func (all signatures) writer() io.Writer {
	writers := make([]io.Writer, len(all))
	for i, signature := range all {
		writers[i] = signature
	}
	return io.MultiWriter(writers...)
}

// end gives up those that are not made: each has a goroutine that waits.
func (all signatures) end() {
	for _, signature := range all {
		_ = signature.Close()
	}
}

// Interface guards.
var _ mailflow.Signer = (*Signer)(nil)
