// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// directoryRoutes returns the endpoints of what can be changed at run time:
// who is known, which addresses open threads, and the threads.
func (a *Admin) directoryRoutes() []caddy.AdminRoute {
	const get, post = http.MethodGet, http.MethodPost
	return []caddy.AdminRoute{
		on(get, "/mail/aliases", a.listAliases),
		byMethod("/mail/aliases/{address}", methods{
			get: a.showAlias, http.MethodPut: a.putAlias, http.MethodPatch: a.patchAlias, http.MethodDelete: a.dropAlias,
		}),
		on(get, "/mail/contacts", a.listContacts),
		byMethod("/mail/contacts/{id}", methods{
			get: a.showContact, http.MethodPut: a.putContact, http.MethodPatch: a.patchContact, http.MethodDelete: a.dropContact,
		}),
		on(get, "/mail/threads", a.listThreads),
		byMethod("/mail/threads/{id}", methods{
			get: a.showThread, http.MethodPut: a.putThread, http.MethodPatch: a.patchThread,
		}),
		on(post, "/mail/threads/{id}/follow", a.follow),
		on(post, "/mail/threads/{id}/unfollow", a.unfollow),
		on(get, "/mail/threads/{id}/posts/{post}/message", a.postMessage),
	}
}

// methods are what an endpoint does, by the request's method.
type methods map[string]caddy.AdminHandlerFunc

// byMethod returns the route of an endpoint that takes several methods.
func byMethod(pattern string, work methods) caddy.AdminRoute {
	known := strings.Join(slices.Sorted(maps.Keys(work)), ", ")
	return caddy.AdminRoute{Pattern: pattern, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if do, ok := work[r.Method]; ok {
			return do(w, r)
		}
		w.Header().Set("Allow", known)
		return apiError(http.StatusMethodNotAllowed, "%s takes %s, not %s", r.URL.Path, known, r.Method)
	})}
}

// maxRecord bounds the JSON of one alias, contact or thread: all the fields
// that one can have, in full.
const maxRecord = 256 << 10

// readRecord reads the JSON object in a request into out, which keeps what the
// object does not name.
func readRecord(w http.ResponseWriter, r *http.Request, out any) error {
	return readJSON(w, r, out, maxRecord)
}

// readJSON reads the JSON object in a request, of at most that many bytes.
func readJSON(w http.ResponseWriter, r *http.Request, out any, most int64) error {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if long := new(http.MaxBytesError); errors.As(err, &long) {
		return apiError(http.StatusRequestEntityTooLarge, "the request is longer than %d bytes", long.Limit)
	}
	if err != nil {
		return apiError(http.StatusBadRequest, "reading the request: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(out); err != nil {
		return apiError(http.StatusBadRequest, "the body is not the JSON object that it should be: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return apiError(http.StatusBadRequest, "the body has more than one JSON object")
	}
	return nil
}

// orNew makes a record of what was looked for in vain.
func orNew[T any](record **T, err error) error {
	if errors.Is(err, mailflow.ErrNoRecord) {
		*record = new(T)
		return nil
	}
	return err
}
