// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"go.uber.org/zap"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// unsigned is the error of a message that cannot be signed: it must not leave
// without.
type unsigned struct {
	domain string
	err    error
}

// Error implements error.
func (u *unsigned) Error() string { return fmt.Sprintf("signing for %s: %v", u.domain, u.err) }

// Unwrap returns why.
func (u *unsigned) Unwrap() error { return u.err }

// sign returns content with the signatures that d asks for. A domain that is
// no longer signed for is what the operator wants now.
func (r *runner) sign(ctx context.Context, g *Generation, d *mailflow.Delivery, content mailflow.Content) (mailflow.Content, error) {
	if d.SignAs == "" {
		return content, nil
	}
	signer, ok := g.config.Signers[d.SignAs]
	if !ok {
		if r.firstUnsigned(d.SignAs) {
			g.config.Logger.Warn("sending unsigned, since the domain is no longer signed for", zap.String("domain", d.SignAs))
		}
		return content, nil
	}
	s := &signedContent{Content: content, signer: signer, domain: d.SignAs}
	fields, err := s.fieldsFor(ctx, mailflow.EncodingAsIs)
	if err != nil {
		return nil, err
	}
	s.size = int64(len(fields)) + content.Size()
	return s, nil
}

// firstUnsigned reports whether this is the first time that mail for a domain
// leaves unsigned against its decision.
func (r *runner) firstUnsigned(domain string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unsigned[domain] {
		return false
	}
	r.unsigned[domain] = true
	return true
}

// signedContent is a message with signatures before it. It is signed once for
// each encoding that it is sent in, by reading it once; no more of it is kept
// than the signatures.
type signedContent struct {
	mailflow.Content

	signer mailflow.Signer
	domain string
	size   int64

	mu     sync.Mutex
	fields map[mailflow.Encoding][]byte
	failed *unsigned
}

// Size implements [mailflow.Content].
func (s *signedContent) Size() int64 { return s.size }

// Open implements [mailflow.Content].
func (s *signedContent) Open(ctx context.Context, enc mailflow.Encoding) (io.ReadCloser, error) {
	if enc == mailflow.Encoding7Bit && !s.EightBit() {
		enc = mailflow.EncodingAsIs // the same bytes
	}
	fields, err := s.fieldsFor(ctx, enc)
	if err != nil {
		return nil, err
	}
	content, err := s.Content.Open(ctx, enc)
	if err != nil {
		return nil, err
	}
	return signedReader{Reader: io.MultiReader(bytes.NewReader(fields), content), Closer: content}, nil
}

// signedReader reads the signatures, then the content, and closes that.
type signedReader struct {
	io.Reader
	io.Closer
}

// fieldsFor returns the signatures of the content in that encoding.
func (s *signedContent) fieldsFor(ctx context.Context, enc mailflow.Encoding) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if fields, ok := s.fields[enc]; ok {
		return fields, nil
	}
	rc, err := s.Content.Open(ctx, enc)
	if err != nil {
		return nil, err
	}
	watched := &watchedReader{Reader: rc}
	fields, err := s.signer.Sign(ctx, watched)
	closed := rc.Close()
	switch {
	case watched.err != nil:
		return nil, fmt.Errorf("reading the message to sign it: %w", watched.err)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		s.failed = &unsigned{domain: s.domain, err: err}
		return nil, s.failed
	case closed != nil:
		return nil, fmt.Errorf("reading the message to sign it: %w", closed)
	}
	if s.fields == nil {
		s.fields = make(map[mailflow.Encoding][]byte, 1)
	}
	s.fields[enc] = fields
	return fields, nil
}

// explain returns the error of an attempt: that it could not be signed, if that
// is why it failed, whatever the transport made of it.
func (s *signedContent) explain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	return err
}

// watchedReader notes an error of reading, which is none of the signer's.
type watchedReader struct {
	io.Reader

	err error
}

// Read implements [io.Reader].
func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

var _ mailflow.Content = (*signedContent)(nil)
