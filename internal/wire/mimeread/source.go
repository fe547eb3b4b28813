// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"context"
	"io"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// source reads the stored bytes and remembers why that failed: those who read
// through it know errors of the message only.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

func newSource(ctx context.Context, body mailflow.Body) *source {
	return &source{ctx: ctx, r: io.NewSectionReader(body, 0, body.Size())}
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.err == nil {
		s.err = s.ctx.Err()
	}
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// opened is an attachment that is read: its end is the end of what can
// be read of it, or the error of the stored bytes.
type opened struct {
	src *source
	r   io.Reader
}

// Read implements io.Reader.
func (o *opened) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	switch {
	case err == nil:
		return n, nil
	case o.src.err != nil:
		return n, o.src.err
	}
	return n, io.EOF
}
