// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
)

// inlineBody reads bytes that stand beside their row.
type inlineBody struct {
	reader *bytes.Reader
	closed atomic.Bool
}

func newInlineBody(b []byte) *inlineBody { return &inlineBody{reader: bytes.NewReader(b)} }

// ReadAt implements io.ReaderAt.
func (b *inlineBody) ReadAt(p []byte, off int64) (int, error) {
	if b.closed.Load() {
		return 0, fs.ErrClosed
	}
	return b.reader.ReadAt(p, off)
}

// Size implements [mailflow.Body].
func (b *inlineBody) Size() int64 { return b.reader.Size() }

// Close implements io.Closer.
func (b *inlineBody) Close() error {
	if b.closed.Swap(true) {
		return fs.ErrClosed
	}
	return nil
}

// fileBody reads the bytes in a file. Its descriptor keeps them when the file
// is removed.
type fileBody struct {
	*os.File

	size int64
}

func openBody(name string) (*fileBody, error) {
	f, err := os.Open(name) //nolint:gosec // a file of the spool
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &fileBody{File: f, size: info.Size()}, nil
}

// Size implements [mailflow.Body].
func (b *fileBody) Size() int64 { return b.size }
