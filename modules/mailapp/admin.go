// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin is the operator's part of Caddy's admin API, below /mail/. It works on
// the configuration that runs when a request comes, whatever was loaded since
// it was made.
//
//	GET  /mail/health                   what runs; 503 if mail is not taken
//	GET  /mail/ready                    200 if mail is taken, else 503
//	GET  /mail/queue                    deliveries: state, server, message, limit, before
//	GET  /mail/queue/ID                 one delivery
//	GET  /mail/queue/ID/message         its message, as it came
//	POST /mail/queue/ID/retry           due now; so hold, release (server), drop (all: reason)
//	GET  /mail/unrouted                 the unrouted box: limit
//	GET  /mail/unrouted/ID              one entry of it
//	GET  /mail/unrouted/ID/message      its message, as it came
//	POST /mail/unrouted/ID/drop         throw it away
//	POST /mail/unrouted/ID/route        put it into a thread: alias or thread
//	GET  /mail/aliases                  what opens threads, of configuration and store
//	any  /mail/aliases/ADDRESS          GET, PUT, PATCH or DELETE one
//	GET  /mail/contacts                 who is known: address, limit
//	any  /mail/contacts/ID              GET, PUT, PATCH or DELETE one
//	GET  /mail/threads                  threads: model, state, text, limit, before
//	any  /mail/threads/ID               GET, PUT or PATCH one
//	GET  /mail/threads/ID/posts/POST/message  the mail of a post, as it came
//	POST /mail/threads/ID/follow        follow it: contact, notes; so unfollow
//	POST /mail/outgoing/NAME/test       try a server without sending: from, rcpt
//	POST /mail/doctor                   which ports of the outgoing servers answer: server
//	POST /mail/oauth/NAME/begin         log a server in with OAuth2: flow, redirect
//	POST /mail/oauth/NAME/finish        whether that is done: id, answer
//	POST /mail/explain                  what would become of a message, and why
//	POST /mail/simulate                 what another configuration would do: since, config
//
// Arguments of a GET stand in the query; those of a POST there or in a JSON
// object; what a PUT or PATCH sets is a JSON object as a GET shows it. A PUT
// sets all of it, a PATCH what it names. Caddy's admin endpoint has no login on
// TCP, so messages, and the texts of posts, are shown over a unix socket or
// remote admin only.
type Admin struct {
	live func() (operator, error)
	// services returns the running configuration; nil if there is none.
	services func() *mailflow.Services
}

// operator is what an operator can do with the engine.
type operator interface {
	Store() (mailflow.Store, error)
	Act(ctx context.Context, id string, act mailflow.QueueAct) error
	Test(ctx context.Context, name string, from, rcpt mailflow.Address) (mailflow.TestReport, error)
	Route(ctx context.Context, id, thread string, to mailflow.Address) (string, error)
	Status(ctx context.Context) (*engine.Status, error)
	Ready(ctx context.Context) error
}

// liveOperator returns the running engine. Error: [engine.ErrNotRunning].
func liveOperator() (operator, error) {
	e, err := Live()
	if err != nil {
		return nil, err
	}
	return e, nil
}

// liveServices returns the running configuration; nil if there is none.
func liveServices() *mailflow.Services {
	app, err := caddy.ActiveContext().AppIfConfigured("mail")
	if a, ok := app.(*App); ok && err == nil {
		return a.services
	}
	return nil
}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.mail", New: func() caddy.Module {
		return &Admin{live: liveOperator, services: liveServices}
	}}
}

// Routes implements [caddy.AdminRouter].
func (a *Admin) Routes() []caddy.AdminRoute {
	const get, post = http.MethodGet, http.MethodPost
	routes := []caddy.AdminRoute{
		on(get, "/mail/health", a.health),
		on(get, "/mail/ready", a.ready),
		on(get, "/mail/queue", a.listQueue),
		on(get, "/mail/queue/{id}", a.showDelivery),
		on(get, "/mail/queue/{id}/message", a.deliveryMessage),
		on(get, "/mail/unrouted", a.listUnrouted),
		on(get, "/mail/unrouted/{id}", a.showUnrouted),
		on(get, "/mail/unrouted/{id}/message", a.unroutedMessage),
		on(post, "/mail/unrouted/{id}/drop", a.dropUnrouted),
		on(post, "/mail/unrouted/{id}/route", a.routeUnrouted),
		on(post, "/mail/outgoing/{name}/test", a.testOutgoing),
		on(post, "/mail/doctor", a.doctor),
		on(post, "/mail/explain", a.explain),
		on(post, "/mail/simulate", a.simulate),
		{Pattern: "/mail/", Handler: caddy.AdminHandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			return apiError(http.StatusNotFound, "there is no %s in the admin API", r.URL.Path)
		})},
	}
	routes = append(routes, a.directoryRoutes()...)
	routes = append(routes, oauthRoutes(liveAccount)...)
	for _, kind := range orders {
		routes = append(routes, on(post, "/mail/queue/{id}/"+string(kind), func(w http.ResponseWriter, r *http.Request) error {
			return a.act(w, r, kind)
		}))
	}
	return routes
}

// on returns the route of an endpoint that takes one method.
func on(method, pattern string, work caddy.AdminHandlerFunc) caddy.AdminRoute {
	return caddy.AdminRoute{Pattern: pattern, Handler: caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != method {
			w.Header().Set("Allow", method)
			return apiError(http.StatusMethodNotAllowed, "%s takes %s, not %s", r.URL.Path, method, r.Method)
		}
		return work(w, r)
	})}
}

// apiError returns an error that the operator is answered with.
func apiError(status int, format string, args ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, args...)}
}

// refusal returns err as the answer that its kind deserves.
func refusal(err error) error {
	var known caddy.APIError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, mailflow.ErrNoRecord):
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	case errors.Is(err, mailflow.ErrState):
		return caddy.APIError{HTTPStatus: http.StatusConflict, Err: err}
	case errors.Is(err, engine.ErrNotRunning):
		return apiError(http.StatusServiceUnavailable, "%w; load a configuration that has a mail block", err)
	case errors.Is(err, mailflow.ErrNoRoom):
		return apiError(http.StatusServiceUnavailable, "%w; look at the room on its disk", err)
	}
	return err
}

// store returns the running engine and its store.
func (a *Admin) store() (operator, mailflow.Store, error) {
	op, err := a.live()
	if err != nil {
		return nil, nil, refusal(err)
	}
	s, err := op.Store()
	if err != nil {
		return nil, nil, refusal(err)
	}
	return op, s, nil
}

// reply answers with v as JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that has gone misses nothing
	return nil
}

// Bounds of a request.
const (
	// maxRequest bounds the JSON of a POST: a few short arguments.
	maxRequest = 16 << 10
	// maxReason bounds the reason of an order, which is kept with the delivery.
	maxReason = 500
	// maxListLimit bounds a list, which is made in memory: 10 000 rows are some
	// 5 MB of JSON. Longer ones are read in pages.
	maxListLimit = 10_000
)

// arguments returns the arguments of a POST, from its query and the JSON object
// in its body. Others than those named are refused.
func arguments(w http.ResponseWriter, r *http.Request, names ...string) (map[string]string, error) {
	args := make(map[string]string)
	for name, values := range r.URL.Query() {
		args[name] = values[0]
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "reading the request: %w", err)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &args); err != nil {
			return nil, apiError(http.StatusBadRequest, "the body is no JSON object of texts: %w", err)
		}
	}
	for name := range args {
		if !slices.Contains(names, name) {
			return nil, apiError(http.StatusBadRequest, "unknown argument %q; known are: %s", name, strings.Join(names, ", "))
		}
	}
	return args, nil
}

// listLimit returns the limit in the query; 0 if there is none.
func listLimit(r *http.Request) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxListLimit {
		return 0, apiError(http.StatusBadRequest, "limit %q is not a number from 1 to %d; "+
			"for more, ask again with before=ID of the last one", text, maxListLimit)
	}
	return n, nil
}

// private reports whether what is answered to r stays with somebody who is
// known: the owner of the socket's file, or a key of Caddy's remote admin.
func private(r *http.Request) bool {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

// sendMessage answers with the bytes of a message, as they came.
func sendMessage(w http.ResponseWriter, r *http.Request, s mailflow.Store, id string) error {
	if !private(r) {
		return apiError(http.StatusForbidden, "messages are not shown over TCP, since the admin endpoint has no login there; "+
			"set `admin unix//path/to/socket` in the global options and ask there, or use Caddy's remote admin")
	}
	body, err := s.Body(r.Context(), id)
	if err != nil {
		return refusal(fmt.Errorf("message %s: %w", id, err))
	}
	w.Header().Set("Content-Type", "message/rfc822")
	w.Header().Set("Content-Length", strconv.FormatInt(body.Size(), 10))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.Copy(w, io.NewSectionReader(body, 0, body.Size())) // cut short, it does not fit its length
	return body.Close()
}

// Interface guards.
var (
	_ caddy.Module      = (*Admin)(nil)
	_ caddy.AdminRouter = (*Admin)(nil)
	_ operator          = (*engine.Engine)(nil)
)
