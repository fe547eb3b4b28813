// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/internal/credential"
	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/internal/wire/memstore"
	"github.com/mailcaddy/mailcaddy/internal/wire/oauth"
	"github.com/mailcaddy/mailcaddy/mailflow"
	"github.com/mailcaddy/mailcaddy/modules/outbound"
)

// identity is a provider: its code is "good", and the device's is typed in
// after some questions.
type identity struct {
	mu      sync.Mutex
	pending int
	code    string // the error code of all answers
}

func (p *identity) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	code := p.code
	switch {
	case code != "":
	case r.URL.Path == "/device":
		_, _ = fmt.Fprintf(w, `{"device_code":"dc","user_code":"WXYZ-1234","verification_uri":"http://%s/activate","expires_in":900,"interval":1}`, r.Host)
		return
	case r.FormValue("grant_type") == "authorization_code" && r.FormValue("code") != "good":
		code = "invalid_grant"
	case p.pending > 0:
		p.pending--
		code = "authorization_pending"
	}
	if code != "" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, `{"error":%q}`, code)
		return
	}
	_, _ = io.WriteString(w, `{"access_token":"s3cr3t-access","refresh_token":"s3cr3t-refresh","token_type":"Bearer","expires_in":3600}`)
}

// account returns an account at p, and the values that keep its login. Each
// test has a user of its own, since a process has one memory of tokens.
func (p *identity) account(t *testing.T, grant oauth.Grant) (*credential.OAuth2, mailflow.Values) {
	t.Helper()
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	o := &credential.OAuth2{
		Provider: server.URL, Client: "c", Secret: "s3cr3t", Grant: grant,
		TokenEndpoint: server.URL + "/token", DeviceEndpoint: server.URL + "/device", AuthorizationEndpoint: server.URL + "/auth",
	}
	if err := o.SetUp(t.Context(), credential.SMTP, strings.ReplaceAll(t.Name(), "/", "-")+"@a.example", time.Now); err != nil {
		t.Fatal(err)
	}
	store := memstore.Open(time.Now)
	t.Cleanup(func() { _ = store.Close() })
	o.UseValues(store)
	return o, store
}

// kept reports whether a refresh token of o is kept.
func kept(t *testing.T, o *credential.OAuth2, v mailflow.Values) bool {
	t.Helper()
	a, err := o.Account()
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := v.Value(t.Context(), a.Key())
	if err != nil && !errors.Is(err, mailflow.ErrNoRecord) {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "s3cr3t-refresh")
}

// oauthAdmin is an admin API whose server "relay" has the account o.
func oauthAdmin(o *credential.OAuth2) *http.ServeMux {
	mux := http.NewServeMux()
	find := func(name string) (*credential.OAuth2, error) {
		if name != "relay" {
			return accountOf(nil, name)
		}
		return o, nil
	}
	for _, route := range oauthRoutes(find) {
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

// ask sends a POST, and reads the answer into out.
func ask(t *testing.T, h http.Handler, path string, args map[string]string, out any) (int, string) {
	t.Helper()
	body, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body))))
	text := w.Body.String()
	if strings.Contains(text, "s3cr3t") {
		t.Errorf("%s shows a secret: %s", path, text)
	}
	if w.Code == http.StatusOK {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			t.Fatal(err)
		}
	}
	return w.Code, text
}

// TestAdminLogin goes by the page for browsers, with every wrong turn.
func TestAdminLogin(t *testing.T) {
	t.Parallel()
	o, values := new(identity).account(t, "")
	h := oauthAdmin(o)
	var login oauth.Login
	begin := map[string]string{"flow": "code", "redirect": "http://127.0.0.1:1/"}
	if status, text := ask(t, h, "/mail/oauth/relay/begin", begin, &login); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	u, err := url.Parse(login.URL)
	if err != nil || login.ID == "" {
		t.Fatalf("%+v, %v", login, err)
	}
	state := u.Query().Get("state")
	var got loginState
	for _, step := range []struct {
		args   map[string]string
		status int
		want   string
	}{
		{map[string]string{"id": "other", "answer": "code=good&state=" + state}, 404, "no such login waits"},
		{map[string]string{"answer": "code=good&state=" + state}, 404, "no such login waits"},
		{map[string]string{"id": login.ID}, 200, `{"done":false}`},
		{map[string]string{"id": login.ID, "answer": "code=good&state=other"}, 200, `"problem":"that is not the answer`},
		{map[string]string{"id": login.ID, "answer": strings.Repeat("x", maxAnswer+1)}, 400, "longer than 8192 bytes"},
		{map[string]string{"id": login.ID, "code": "x"}, 400, "unknown argument"},
		{map[string]string{"id": login.ID, "answer": "code=good&state=" + state}, 200, `{"done":true}`},
		{map[string]string{"id": login.ID}, 404, "no such login waits"},
	} {
		if kept(t, o, values) && step.status == http.StatusOK {
			t.Errorf("%v: something is kept already", step.args)
		}
		if status, text := ask(t, h, "/mail/oauth/relay/finish", step.args, &got); status != step.status || !strings.Contains(text, step.want) {
			t.Errorf("%v: %d %s, want %d %s", step.args, status, text, step.status, step.want)
		}
	}
	if !kept(t, o, values) {
		t.Error("nothing is kept")
	}
}

// TestAdminLoginRefused tells who has to act.
func TestAdminLoginRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		code   string
		server string
		args   map[string]string
		status int
		want   string
	}{
		{"unknown server", "", "other", nil, 404, "no outgoing server logs in with OAuth2"},
		{"unknown flow", "", "relay", map[string]string{"flow": "magic"}, 400, `flow \"magic\" is none of`},
		{"elsewhere", "", "relay", map[string]string{"flow": "code", "redirect": "http://evil.example/"}, 400, "is not on the user's own machine"},
		{"wrong client", "invalid_client", "relay", nil, 409, "check client, secret, scope and tenant"},
		{"later", "temporarily_unavailable", "relay", nil, 502, "cannot be asked at the moment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o, _ := (&identity{code: tt.code}).account(t, "")
			status, text := ask(t, oauthAdmin(o), "/mail/oauth/"+tt.server+"/begin", tt.args, nil)
			if status != tt.status || !strings.Contains(text, tt.want) {
				t.Errorf("%d %s, want %d %s", status, text, tt.status, tt.want)
			}
		})
	}
	w := httptest.NewRecorder()
	o, _ := new(identity).account(t, "")
	oauthAdmin(o).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/mail/oauth/relay/begin", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
}

// TestAccountOf names the servers that could be meant.
func TestAccountOf(t *testing.T) {
	t.Parallel()
	with := func(auth *outbound.Login) *engine.Server {
		return &engine.Server{Transport: &outbound.SMTP{NextHop: outbound.NextHop{Auth: auth}}}
	}
	servers := map[string]*engine.Server{"plain": with(nil), "kept": {Transport: new(outbound.Capture)}}
	if _, err := accountOf(servers, "plain"); err == nil || !strings.Contains(err.Error(), "no outgoing server logs in with OAuth2; write auth oauth2 in its via") {
		t.Errorf("none: %v", err)
	}
	want := new(credential.OAuth2)
	servers["gmail"], servers["ms"] = with(&outbound.Login{OAuth2: want}), with(&outbound.Login{OAuth2: new(credential.OAuth2)})
	if got, err := accountOf(servers, "gmail"); got != want || err != nil {
		t.Errorf("gmail: %v, %v", got, err)
	}
	for name, want := range map[string]string{
		"kept":  `outgoing server "kept" does not log in with OAuth2; these do: gmail, ms`,
		"other": `no outgoing server is named "other"; with OAuth2 there are: gmail, ms`,
	} {
		if _, err := accountOf(servers, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// person runs a command, and reads what it prints while it waits.
type person struct {
	out     *io.PipeReader
	in      *io.PipeWriter
	printed strings.Builder
	result  chan error
}

// login runs `mail oauth login relay` against h.
func login(t *testing.T, h http.Handler, args ...string) *person {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	out, w := io.Pipe()
	r, in := io.Pipe()
	p := &person{out: out, in: in, result: make(chan error, 1)}
	root := &cobra.Command{Use: "mailcaddy", SilenceUsage: true, SilenceErrors: true}
	mail := &cobra.Command{Use: "mail"}
	mailCommand(mail)
	root.AddCommand(mail)
	root.SetOut(w)
	root.SetErr(w)
	root.SetIn(r)
	root.SetArgs(append([]string{"mail", "--address", server.Listener.Addr().String(), "oauth", "login", "relay"}, args...))
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		_ = out.Close()
		_ = in.Close()
	})
	go func() {
		err := root.ExecuteContext(ctx)
		_ = w.Close()
		p.result <- err
	}()
	return p
}

// until reads until what is printed has the word.
func (p *person) until(t *testing.T, word string) string {
	t.Helper()
	b := make([]byte, 4096)
	for !strings.Contains(p.printed.String(), word) {
		n, err := p.out.Read(b)
		p.printed.Write(b[:n])
		if err != nil {
			t.Fatalf("%v: printed %q without %q", err, p.printed.String(), word)
		}
	}
	return p.printed.String()
}

// end reads the rest, and returns all.
func (p *person) end(t *testing.T) (string, error) {
	t.Helper()
	rest, err := io.ReadAll(p.out)
	if err != nil {
		t.Fatal(err)
	}
	return p.printed.String() + string(rest), <-p.result
}

// page returns the address of the page in what is printed.
func page(t *testing.T, printed string) *url.URL {
	t.Helper()
	for line := range strings.Lines(printed) {
		if u, err := url.Parse(strings.TrimSpace(line)); err == nil && u.Query().Get("state") != "" {
			return u
		}
	}
	t.Fatalf("no page in %q", printed)
	return nil
}

// TestCommandLoginBrowser lets the browser come by itself.
func TestCommandLoginBrowser(t *testing.T) {
	t.Parallel()
	o, values := new(identity).account(t, "")
	p := login(t, oauthAdmin(o), "--flow", "code")
	u := page(t, p.until(t, "paste it here"))
	redirect := u.Query().Get("redirect_uri")
	for path, status := range map[string]int{"favicon.ico": http.StatusNotFound, "?code=good&state=" + u.Query().Get("state"): http.StatusOK} {
		response, err := http.Get(redirect + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != status {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	printed, err := p.end(t)
	if err != nil || !strings.Contains(printed, "relay can log in as TestCommandLoginBrowser@a.example now") || !kept(t, o, values) {
		t.Errorf("%v: %s", err, printed)
	}
	if strings.Contains(printed, "s3cr3t") {
		t.Errorf("it shows a secret: %s", printed)
	}
}

// TestCommandLoginPasted pastes the address, the wrong one first.
func TestCommandLoginPasted(t *testing.T) {
	t.Parallel()
	o, values := new(identity).account(t, "")
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	p := login(t, oauthAdmin(o), "--flow", "code", "--redirect", taken.URL)
	printed := p.until(t, "paste it here")
	if !strings.Contains(printed, "where this command cannot listen") {
		t.Errorf("printed %s", printed)
	}
	u := page(t, printed)
	_, _ = io.WriteString(p.in, "\ngood\n")
	p.until(t, "that is not the answer to this login; copy the whole address")
	_, _ = io.WriteString(p.in, taken.URL+"/?state="+u.Query().Get("state")+"&code=good\n")
	if printed, err := p.end(t); err != nil || !strings.Contains(printed, "can log in as") || !kept(t, o, values) {
		t.Errorf("%v: %s", err, printed)
	}
}

// TestCommandLoginRefused ends with what the provider says, or with nobody
// there.
func TestCommandLoginRefused(t *testing.T) {
	t.Parallel()
	o, values := new(identity).account(t, "")
	p := login(t, oauthAdmin(o), "--flow", "code")
	u := page(t, p.until(t, "paste it here"))
	_, _ = io.WriteString(p.in, "error=access_denied&state="+u.Query().Get("state")+"\n")
	if printed, err := p.end(t); err == nil || !strings.Contains(err.Error(), "giving consent: provider answered access_denied") {
		t.Errorf("%v: %s", err, printed)
	}
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	p = login(t, oauthAdmin(o), "--flow", "code", "--redirect", taken.URL)
	p.until(t, "paste it here")
	_ = p.in.Close()
	if printed, err := p.end(t); !errors.Is(err, errNoInput) || kept(t, o, values) {
		t.Errorf("%v: %s", err, printed)
	}
}

// TestCommandLoginDevice waits until the code was typed in.
func TestCommandLoginDevice(t *testing.T) {
	t.Parallel()
	o, values := (&identity{pending: 1}).account(t, "")
	p := login(t, oauthAdmin(o))
	printed, err := p.end(t)
	for _, want := range []string{"/activate in a browser, log in as TestCommandLoginDevice@a.example and enter the code\n\n    WXYZ-1234\n", "can log in as"} {
		if err != nil || !strings.Contains(printed, want) {
			t.Errorf("%v: printed %s without %q", err, printed, want)
		}
	}
	if !kept(t, o, values) {
		t.Error("nothing is kept")
	}
	p = login(t, oauthAdmin(o), "--json")
	printed, err = p.end(t)
	d := json.NewDecoder(strings.NewReader(printed))
	var begun oauth.Login
	var state loginState
	if err != nil || d.Decode(&begun) != nil || d.Decode(&state) != nil || begun.Code != "WXYZ-1234" || !state.Done {
		t.Errorf("%v: %s", err, printed)
	}
}

// TestCommandLoginClient needs nobody.
func TestCommandLoginClient(t *testing.T) {
	t.Parallel()
	o, values := new(identity).account(t, oauth.GrantClient)
	printed, err := login(t, oauthAdmin(o)).end(t)
	if err != nil || !strings.Contains(printed, "relay needs nobody's consent") || kept(t, o, values) {
		t.Errorf("%v: %s", err, printed)
	}
	o, _ = (&identity{code: "unauthorized_client"}).account(t, oauth.GrantClient)
	if _, err := login(t, oauthAdmin(o)).end(t); err == nil || !strings.Contains(err.Error(), "unauthorized_client") {
		t.Errorf("error %v", err)
	}
}
