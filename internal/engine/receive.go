// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// buffers are what content is read through: 32 KiB, as io.Copy would make anew
// for each message.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 32<<10)
	return &b
}}

// receive spools content and returns it as a message without ID. The caller
// closes its body.
func receive(spool mailflow.Spool, content io.Reader) (*mailflow.Message, error) {
	high := &highBytes{first: -1, last: -1}
	buf := buffers.Get().(*[]byte)
	_, err := io.CopyBuffer(io.MultiWriter(spool, high), content, *buf)
	buffers.Put(buf)
	if err != nil {
		return nil, err
	}
	body, err := spool.Body()
	if err != nil {
		return nil, err
	}
	header, err := readHeader(body)
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	size := int64(header.Size())
	return &mailflow.Message{
		Header: header, Body: body,
		UTF8Header: high.first >= 0 && high.first < size,
		EightBit:   high.last >= size,
	}, nil
}

// headerChunk is how much of a message is read to find its header; most end
// in the first chunk.
const headerChunk = 16 << 10

// readHeader parses the header block of b.
func readHeader(b mailflow.Body) (mailflow.Header, error) {
	for n := int64(headerChunk); ; n *= 4 {
		n = min(n, b.Size(), mailflow.MaxHeaderBytes)
		buf := make([]byte, n)
		if _, err := b.ReadAt(buf, 0); err != nil && !errors.Is(err, io.EOF) {
			return mailflow.Header{}, fmt.Errorf("reading the header: %w", err)
		}
		h := mailflow.ParseHeader(buf)
		if int64(h.Size()) < n || n == b.Size() || n == mailflow.MaxHeaderBytes {
			return h, nil
		}
	}
}

// highBytes is a writer that notes where bytes outside ASCII stand.
type highBytes struct{ n, first, last int64 }

// Write implements [io.Writer].
func (h *highBytes) Write(p []byte) (int, error) {
	outside := func(b byte) bool { return b >= 0x80 }
	if i := slices.IndexFunc(p, outside); i >= 0 {
		if h.first < 0 {
			h.first = h.n + int64(i)
		}
		for j := len(p) - 1; ; j-- {
			if outside(p[j]) {
				h.last = h.n + int64(j)
				break
			}
		}
	}
	h.n += int64(len(p))
	return len(p), nil
}
