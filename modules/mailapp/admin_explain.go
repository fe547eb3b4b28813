// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

// Bounds of an explanation.
const (
	// maxExplained bounds the message. It is held in memory a few times over,
	// and a door takes 35 MiB unless it is told otherwise.
	maxExplained = 50 << 20
	// maxInquiry bounds the request: the message in base64, with room for a
	// configuration of 4 MiB, which is some 50 000 lines.
	maxInquiry = maxExplained/3*4 + 4<<20
	// explainTimeout bounds what handlers look up while they decide.
	explainTimeout = 30 * time.Second
)

// explain answers POST /mail/explain, whose body is an [inquiry], with an
// [engine.Explanation]. The caller brings the message, so that it is no secret
// of this gateway: it is explained over TCP too.
func (a *Admin) explain(w http.ResponseWriter, r *http.Request) error {
	q, err := readInquiry(http.MaxBytesReader(w, r.Body, maxInquiry))
	if err != nil {
		return err
	}
	// The admin server's read timeout would end the request's own context.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), explainTimeout)
	defer cancel()
	x, err := explain(ctx, q)
	switch {
	case errors.Is(err, engine.ErrNotRunning):
		return apiError(http.StatusServiceUnavailable, "%w; load a configuration that has a mail block, or send one along", err)
	case err != nil && ctx.Err() != nil:
		return apiError(http.StatusGatewayTimeout, "it took longer than %v: %w", explainTimeout, err)
	case err != nil:
		return apiError(http.StatusBadRequest, "%w", err)
	}
	return reply(w, http.StatusOK, x)
}

// readInquiry reads the body of a request.
func readInquiry(body io.Reader) (*inquiry, error) {
	text, err := io.ReadAll(body)
	if long := new(http.MaxBytesError); errors.As(err, &long) {
		return nil, apiError(http.StatusRequestEntityTooLarge, "the request is longer than %d bytes", long.Limit)
	}
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "reading the request: %w", err)
	}
	q := new(inquiry)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(q); err != nil {
		return nil, apiError(http.StatusBadRequest, "the body is no JSON object such as "+
			`{"out": true, "rcpt": ["bob@example.net"], "message": "From: …"}: %w`, err)
	}
	return q, nil
}
