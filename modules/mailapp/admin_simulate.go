// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"net/http"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

// maxTrial bounds the request: a configuration of some 50 000 lines.
const maxTrial = 4 << 20

// simulate answers POST /mail/simulate, whose body is a [trial], with a
// [trialResult]. Like a list it shows senders, recipients and subjects.
func (a *Admin) simulate(w http.ResponseWriter, r *http.Request) error {
	q := new(trial)
	if err := readJSON(w, r, q, maxTrial); err != nil {
		return err
	}
	// The admin server's read timeout would end the request's own context; a
	// client that has gone is not waited for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), simulateTimeout)
	defer cancel()
	result, err := simulate(ctx, q)
	switch {
	case errors.Is(err, engine.ErrNotRunning):
		return refusal(err)
	case err != nil:
		return apiError(http.StatusBadRequest, "%w", err)
	}
	return reply(w, http.StatusOK, result)
}
