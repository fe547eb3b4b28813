// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// fakeOperator is an engine with a few deliveries and one unrouted message.
type fakeOperator struct {
	anyStore // what no test may call

	rows    []mailflow.Queued
	box     []mailflow.Unrouted
	acts    []mailflow.QueueAct
	report  mailflow.TestReport
	tested  []string
	down    []string
	pages   int
	stopped bool
	broken  error
}

// anyStore is a store under a name that leaves Store to the method.
type anyStore = mailflow.Store

func newFakeOperator() *fakeOperator {
	row := func(id string, state mailflow.State) mailflow.Queued {
		return mailflow.Queued{
			Delivery: mailflow.Delivery{
				ID: id, Message: "m-" + id, Route: mailflow.Outbound, State: state,
				Server: "relay", Destination: "relay", Purpose: "transactional",
				Envelope: mailflow.Envelope{
					From:       mailflow.MustParseAddress("bounce@a.example"),
					Recipients: []mailflow.Recipient{{Address: mailflow.MustParseAddress("to@b.example")}},
				},
				Created: noon, Due: noon.Add(time.Minute), Expires: noon.Add(time.Hour),
			},
			From: "Ann <ann@a.example>", Subject: "Hello", Bytes: 123,
		}
	}
	f := &fakeOperator{
		rows: []mailflow.Queued{
			row("d5", mailflow.StateHeld),
			row("d4", mailflow.StateQueued),
			row("d3", mailflow.StateQueued),
			row("d2", mailflow.StateDeferred),
			row("d1", mailflow.StateCaptured),
		},
		box: []mailflow.Unrouted{{
			Message: "m-u", Reason: "no handler claimed it", At: noon,
			Recipients: []mailflow.Recipient{{Address: mailflow.MustParseAddress("nobody@a.example")}},
		}},
		report: mailflow.TestReport{OK: true, Steps: []mailflow.TestStep{{Name: "connect", Took: time.Millisecond}}},
	}
	f.rows[1].Claimed = true
	f.rows[3].Attempts = 2
	f.rows[3].Reply = &mailflow.Reply{Code: 450, Enhanced: mailflow.EnhancedCode{4, 2, 0}, Text: "later"}
	return f
}

func (f *fakeOperator) Store() (mailflow.Store, error) { return f, f.broken }

func (f *fakeOperator) Ready(context.Context) error { return f.broken }

func (f *fakeOperator) Status(context.Context) (*engine.Status, error) {
	return &engine.Status{
		Doors:       []engine.DoorStatus{{Name: "smtp2525", Addresses: []string{"127.0.0.1:2525"}}},
		Generations: 1, Down: f.down,
		Queue: map[mailflow.State]int{mailflow.StateQueued: 2, mailflow.StateHeld: 1},
	}, f.broken
}

func (f *fakeOperator) Test(ctx context.Context, name string, from, rcpt mailflow.Address) (mailflow.TestReport, error) {
	if name != "relay" {
		return mailflow.TestReport{}, fmt.Errorf("no outgoing server is named %q: %w", name, mailflow.ErrNoRecord)
	}
	f.tested = append(f.tested, from.String()+" "+rcpt.String())
	return f.report, ctx.Err()
}

func (f *fakeOperator) Route(_ context.Context, id, thread string, to mailflow.Address) (string, error) {
	switch {
	case thread == "gone":
		return "", fmt.Errorf("thread gone: %w", mailflow.ErrNoRecord)
	case to.Local == "nobody":
		return "", engine.ErrNoAlias
	case !f.box[0].Routed.IsZero() || !f.box[0].Dropped.IsZero():
		return "", mailflow.ErrState
	}
	f.box[0].Routed = noon
	if thread == "" {
		thread = "opened-by-" + to.Local
	}
	return thread, nil
}

func (f *fakeOperator) Deliveries(_ context.Context, q mailflow.QueueQuery) ([]mailflow.Queued, error) {
	f.pages++
	var found []mailflow.Queued
	for _, r := range f.rows {
		if q.ID != "" && r.ID != q.ID || q.Message != "" && r.Message != q.Message ||
			q.Server != "" && r.Server != q.Server || q.Before != "" && r.ID >= q.Before ||
			len(q.States) > 0 && !slices.Contains(q.States, r.State) || len(found) == q.Limit {
			continue
		}
		found = append(found, r)
	}
	return found, nil
}

func (f *fakeOperator) Act(_ context.Context, id string, act mailflow.QueueAct) error {
	for i := range f.rows {
		r := &f.rows[i]
		if r.ID != id {
			continue
		}
		held := r.State == mailflow.StateHeld
		if r.Claimed || r.State.Final() || held != (act.Kind == mailflow.ActRelease) && act.Kind != mailflow.ActDrop {
			return mailflow.ErrState
		}
		r.State = map[mailflow.ActKind]mailflow.State{
			mailflow.ActDrop: mailflow.StateDropped, mailflow.ActHold: mailflow.StateHeld,
		}[act.Kind]
		if r.State == "" {
			r.State = mailflow.StateQueued
		}
		r.Reason = act.Reason
		f.acts = append(f.acts, act)
		return nil
	}
	return mailflow.ErrNoRecord
}

func (f *fakeOperator) Message(_ context.Context, id string) (*mailflow.StoredMessage, error) {
	return &mailflow.StoredMessage{
		ID: id, Received: noon, Size: 77, Subject: "Hello", Trace: "1 choose_server:server_chosen",
		Envelope: mailflow.Envelope{From: mailflow.MustParseAddress("stranger@c.example")},
		Peer:     mailflow.Peer{Listener: "smtp2525", IP: netip.MustParseAddr("127.0.0.1")},
	}, nil
}

func (f *fakeOperator) Body(_ context.Context, id string) (mailflow.Body, error) {
	return bodyOf{bytes.NewReader([]byte("Subject: " + id + "\r\n\r\nsecret\r\n"))}, nil
}

func (f *fakeOperator) Unrouted(_ context.Context, id string, _ int) ([]mailflow.Unrouted, error) {
	var found []mailflow.Unrouted
	for _, u := range f.box {
		if id == u.Message || id == "" && u.Dropped.IsZero() {
			found = append(found, u)
		}
	}
	return found, nil
}

func (f *fakeOperator) DropUnrouted(_ context.Context, id string, at time.Time) error {
	for i := range f.box {
		if f.box[i].Message != id {
			continue
		}
		if !f.box[i].Dropped.IsZero() {
			return mailflow.ErrState
		}
		f.box[i].Dropped = at
		return nil
	}
	return mailflow.ErrNoRecord
}

type bodyOf struct{ *bytes.Reader }

func (bodyOf) Close() error { return nil }

// call sends a request through the admin routes and returns the answer.
func call(t *testing.T, f *fakeOperator, r *http.Request) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	adminOf(f).ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// adminOf returns the admin API on f.
func adminOf(f *fakeOperator) *http.ServeMux {
	admin := &Admin{live: func() (operator, error) {
		if f.stopped {
			return nil, engine.ErrNotRunning
		}
		return f, nil
	}, services: func() *mailflow.Services {
		return &mailflow.Services{Hostname: "mx.example", Servers: []mailflow.Server{
			{Name: "other"},
			{Name: "relay", FromFilter: []string{"tester@relay.example"}},
		}}
	}}
	return muxOf(admin)
}

// muxOf serves the routes of admin, with errors as Caddy shows them.
func muxOf(admin *Admin) *http.ServeMux {
	mux := http.NewServeMux()
	for _, route := range admin.Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			err := route.Handler.ServeHTTP(w, r)
			if err == nil {
				return
			}
			refused, ok := err.(caddy.APIError) //nolint:errorlint // as Caddy does
			if !ok {
				refused.HTTPStatus = http.StatusInternalServerError
			}
			w.WriteHeader(refused.HTTPStatus)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		})
	}
	return mux
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, target, body string
		change                     func(f *fakeOperator)
		status                     int
		want                       string
	}{
		{name: "health", target: "/mail/health", status: 200, want: `"status":"ok","listeners":[{"name":"smtp2525","addresses":["127.0.0.1:2525"]}],"generations":1,"queue":{"held":1,"queued":2},"down":[]`},
		{name: "health degraded", target: "/mail/health", change: func(f *fakeOperator) { f.down = []string{"relay"} }, status: 200, want: `"status":"degraded"`},
		{name: "health failing", target: "/mail/health", change: func(f *fakeOperator) { f.broken = mailflow.ErrNoRoom }, status: 503, want: `"status":"failing","error":"store cannot write"`},
		{name: "health stopped", target: "/mail/health", change: func(f *fakeOperator) { f.stopped = true }, status: 503, want: "not running"},
		{name: "ready", target: "/mail/ready", status: 200, want: `{"ready":true}`},
		{name: "not ready", target: "/mail/ready", change: func(f *fakeOperator) { f.broken = mailflow.ErrNoRoom }, status: 503, want: `"ready":false`},
		{name: "stopped is not ready", target: "/mail/ready", change: func(f *fakeOperator) { f.stopped = true }, status: 503, want: "not running"},

		{name: "bad state", target: "/mail/queue?state=lost", status: 400, want: `unknown state \"lost\"; known are: queued,`},
		{name: "bad limit", target: "/mail/queue?limit=0", status: 400, want: "from 1 to 10000"},
		{name: "queue stopped", target: "/mail/queue", change: func(f *fakeOperator) { f.stopped = true }, status: 503, want: "mail block"},
		{name: "queue without room", target: "/mail/queue", change: func(f *fakeOperator) { f.broken = mailflow.ErrNoRoom }, status: 503, want: "disk"},
		{name: "show", target: "/mail/queue/d2", status: 200, want: `"trace":"1 choose_server:server_chosen"`},
		{name: "show none", target: "/mail/queue/d9", status: 404, want: "delivery d9: no such record"},

		{name: "retry", method: "POST", target: "/mail/queue/d2/retry", status: 200, want: `"state":"queued"`},
		{name: "hold", method: "POST", target: "/mail/queue/d3/hold", body: `{"reason":"look first"}`, status: 200, want: `"reason":"look first"`},
		{name: "hold by query", method: "POST", target: "/mail/queue/d3/hold?reason=look", status: 200, want: `"reason":"look"`},
		{name: "release", method: "POST", target: "/mail/queue/d5/release", body: `{"server":"other"}`, status: 200, want: `"state":"queued"`},
		{name: "drop", method: "POST", target: "/mail/queue/d5/drop", status: 200, want: `"state":"dropped"`},
		{name: "act on none", method: "POST", target: "/mail/queue/d9/drop", status: 404, want: "no such record"},
		{name: "drop final", method: "POST", target: "/mail/queue/d1/drop", status: 409, want: "cannot drop delivery d1: it is captured, and that is final"},
		{name: "hold held", method: "POST", target: "/mail/queue/d5/hold", status: 409, want: "it is held already"},
		{name: "retry held", method: "POST", target: "/mail/queue/d5/retry", status: 409, want: "release it instead"},
		{name: "release queued", method: "POST", target: "/mail/queue/d3/release", status: 409, want: "retry it instead"},
		{name: "hold claimed", method: "POST", target: "/mail/queue/d4/hold", status: 409, want: "an attempt is under way"},
		{name: "release to nowhere", method: "POST", target: "/mail/queue/d5/release?server=x", status: 404, want: `no outgoing server is named \"x\"; there are: other, relay`},
		{name: "server for hold", method: "POST", target: "/mail/queue/d3/hold?server=x", status: 400, want: `unknown argument \"server\"; known are: reason`},
		{name: "bad json", method: "POST", target: "/mail/queue/d3/hold", body: `[1]`, status: 400, want: "no JSON object"},
		{name: "long reason", method: "POST", target: "/mail/queue/d3/hold", body: `{"reason":"` + strings.Repeat("x", 501) + `"}`, status: 400, want: "longer than 500"},
		{name: "huge body", method: "POST", target: "/mail/queue/d3/hold", body: strings.Repeat(" ", 16<<10) + "{}", status: 400, want: "too large"},
		{name: "unknown order", method: "POST", target: "/mail/queue/d3/send", status: 404, want: "no /mail/queue/d3/send"},
		{name: "order by GET", target: "/mail/queue/d3/drop", status: 405, want: "takes POST, not GET"},
		{name: "list by POST", method: "POST", target: "/mail/queue", status: 405, want: "takes GET, not POST"},

		{name: "unrouted", target: "/mail/unrouted", status: 200, want: `[{"id":"m-u","from":"stranger@c.example","to":["nobody@a.example"],"subject":"Hello","reason":"no handler claimed it","at":"2026-11-21T12:00:00Z","bytes":77,"envelope_from":`},
		{name: "unrouted empty", target: "/mail/unrouted", change: func(f *fakeOperator) { f.box = nil }, status: 200, want: `[]`},
		{name: "unrouted show", target: "/mail/unrouted/m-u", status: 200, want: `"id":"m-u"`},
		{name: "unrouted none", target: "/mail/unrouted/m-x", status: 404, want: "unrouted message m-x: no such record"},
		{name: "unrouted drop", method: "POST", target: "/mail/unrouted/m-u/drop", status: 200, want: `"dropped":"`},
		{name: "unrouted drop twice", method: "POST", target: "/mail/unrouted/m-u/drop", change: func(f *fakeOperator) { f.box[0].Dropped = noon }, status: 409, want: "dropped before"},
		{name: "unrouted drop none", method: "POST", target: "/mail/unrouted/m-x/drop", status: 404, want: "no such record"},

		{name: "unrouted route", method: "POST", target: "/mail/unrouted/m-u/route", body: `{"thread":"t1"}`, status: 200, want: `"routed":"2026-11-21T12:00:00Z",`},
		{name: "unrouted route by alias", method: "POST", target: "/mail/unrouted/m-u/route?alias=sales@a.example", status: 200, want: `"thread":"opened-by-sales"`},
		{name: "unrouted route none", method: "POST", target: "/mail/unrouted/m-x/route?thread=t1", status: 404, want: "unrouted message m-x: no such record"},
		{name: "unrouted route nowhere", method: "POST", target: "/mail/unrouted/m-u/route", status: 400, want: "name the alias or the thread"},
		{name: "unrouted route to both", method: "POST", target: "/mail/unrouted/m-u/route?thread=t1&alias=sales@a.example", status: 400, want: "name the alias or the thread"},
		{name: "unrouted route to no alias", method: "POST", target: "/mail/unrouted/m-u/route?alias=nobody@a.example", status: 404, want: "nobody@a.example is no alias; `mail alias list` shows them"},
		{name: "unrouted route to no address", method: "POST", target: "/mail/unrouted/m-u/route?alias=sales", status: 400, want: "no full address"},
		{name: "unrouted route to no thread", method: "POST", target: "/mail/unrouted/m-u/route?thread=gone", status: 404, want: "thread gone: no such record"},
		{name: "unrouted route twice", method: "POST", target: "/mail/unrouted/m-u/route?thread=t1", change: func(f *fakeOperator) { f.box[0].Routed = noon }, status: 409, want: "was put into a thread before"},
		{name: "unrouted route dropped", method: "POST", target: "/mail/unrouted/m-u/route?thread=t1", change: func(f *fakeOperator) { f.box[0].Dropped = noon }, status: 409, want: "was dropped before"},

		{name: "test", method: "POST", target: "/mail/outgoing/relay/test", body: `{"from":"a@b.example"}`, status: 200, want: `"ok":true`},
		{name: "test none", method: "POST", target: "/mail/outgoing/other/test", status: 404, want: `no outgoing server is named \"other\"`},
		{name: "test bad address", method: "POST", target: "/mail/outgoing/relay/test?rcpt=a@", status: 400, want: `rcpt \"a@\"`},
		{name: "test stopped", method: "POST", target: "/mail/outgoing/relay/test", change: func(f *fakeOperator) { f.stopped = true }, status: 503, want: "not running"},
		{name: "nothing there", target: "/mail/blacklist", status: 404, want: "there is no /mail/blacklist"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeOperator()
			if tt.change != nil {
				tt.change(f)
			}
			if tt.method == "" {
				tt.method = http.MethodGet
			}
			status, text := call(t, f, httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body)))
			if status != tt.status || !strings.Contains(text, tt.want) {
				t.Errorf("%s %s = %d %s\nwant %d …%s…", tt.method, tt.target, status, text, tt.status, tt.want)
			}
		})
	}
}

func TestAdminQueueEntry(t *testing.T) {
	t.Parallel()
	_, text := call(t, newFakeOperator(), httptest.NewRequest(http.MethodGet, "/mail/queue?message=m-d2", nil))
	var got []map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	want := []map[string]any{{
		"id": "d2", "message": "m-d2", "state": "deferred", "from": "Ann <ann@a.example>", "to": []any{"to@b.example"},
		"subject": "Hello", "server": "relay", "purpose": "transactional", "due": "2026-11-21T12:01:00Z",
		"attempts": 2.0, "reply": "450 4.2.0 later", "reason": "", "bytes": 123.0,
		"created": "2026-11-21T12:00:00Z", "expires": "2026-11-21T13:00:00Z",
		"destination": "relay", "envelope_from": "bounce@a.example",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAdminQueueStates: what is being sent is told from what waits, also when
// that takes several pages.
func TestAdminQueueStates(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"":                               "d5 d4 d3 d2 d1",
		"?state=sending":                 "d4",
		"?state=queued":                  "d3",
		"?state=queued&limit=1":          "d3",
		"?state=sending,deferred":        "d4 d2",
		"?state=held&state=Captured":     "d5 d1",
		"?limit=2":                       "d5 d4",
		"?limit=2&before=d4":             "d3 d2",
		"?server=other":                  "",
		"?state=sending&limit=1":         "d4",
		"?state=deferred,queued&limit=1": "d3",
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			_, text := call(t, newFakeOperator(), httptest.NewRequest(http.MethodGet, "/mail/queue"+query, nil))
			var entries []queueEntry
			if err := json.Unmarshal([]byte(text), &entries); err != nil {
				t.Fatal(err)
			}
			var ids []string
			for _, e := range entries {
				ids = append(ids, e.ID)
			}
			if got := strings.Join(ids, " "); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestAdminMessage: bodies are shown to those only who are known.
func TestAdminMessage(t *testing.T) {
	t.Parallel()
	local := func(a net.Addr) func(r *http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, a))
		}
	}
	for _, tt := range []struct {
		name   string
		target string
		from   func(r *http.Request) *http.Request
		status int
		want   string
	}{
		{"nothing known", "/mail/queue/d1/message", func(r *http.Request) *http.Request { return r }, 403, "admin unix//"},
		{"loopback", "/mail/queue/d1/message", local(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2019}), 403, "admin unix//"},
		{"unix", "/mail/queue/d1/message", local(&net.UnixAddr{Name: "/run/a.sock", Net: "unix"}), 200, "Subject: m-d1\r\n\r\nsecret\r\n"},
		{"tls without key", "/mail/queue/d1/message", func(r *http.Request) *http.Request {
			r.TLS = new(tls.ConnectionState)
			return r
		}, 403, "remote admin"},
		{"remote admin", "/mail/queue/d1/message", func(r *http.Request) *http.Request {
			r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}
			return r
		}, 200, "secret"},
		{"unrouted on loopback", "/mail/unrouted/m-u/message", local(&net.TCPAddr{}), 403, "admin unix//"},
		{"unrouted on unix", "/mail/unrouted/m-u/message", local(&net.UnixAddr{Net: "unix"}), 200, "Subject: m-u"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := tt.from(httptest.NewRequest(http.MethodGet, tt.target, nil))
			status, text := call(t, newFakeOperator(), r)
			if status != tt.status || !strings.Contains(text, tt.want) || status != 200 && strings.Contains(text, "secret") {
				t.Errorf("got %d %q, want %d %q", status, text, tt.status, tt.want)
			}
		})
	}
}

func TestAdminActIsGivenOn(t *testing.T) {
	t.Parallel()
	f := newFakeOperator()
	r := httptest.NewRequest(http.MethodPost, "/mail/queue/d5/release", strings.NewReader(`{"server":"other","reason":"checked"}`))
	if status, text := call(t, f, r); status != 200 {
		t.Fatalf("got %d %s", status, text)
	}
	if len(f.acts) != 1 || f.acts[0].Kind != mailflow.ActRelease || f.acts[0].Server != "other" ||
		f.acts[0].Reason != "checked" || f.acts[0].At.IsZero() {
		t.Errorf("got %+v", f.acts)
	}
}
