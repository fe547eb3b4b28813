// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// browser is the end of a login by a page for browsers (RFC 8252 section 7.3):
// a listener on this machine that the browser is sent on to.
type browser struct {
	redirect string
	answers  chan string
	server   *http.Server // nil: it cannot listen
}

// catchBrowser listens at the address of redirect, or at a free port. At a
// given address that cannot be listened at there is only the redirect.
func catchBrowser(ctx context.Context, redirect string) (*browser, error) {
	b := &browser{redirect: redirect, answers: make(chan string)}
	address := "127.0.0.1:0"
	if redirect != "" {
		u, err := url.Parse(redirect)
		if err != nil || u.Hostname() == "" {
			return nil, fmt.Errorf("redirect %q is no address such as http://127.0.0.1:8080/", redirect)
		}
		address = net.JoinHostPort(u.Hostname(), u.Port())
		if ip := net.ParseIP(u.Hostname()); u.Port() == "" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return b, nil // the gateway says whether it can be
		}
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err != nil && redirect != "":
		return b, nil // somebody else listens there: the address is pasted
	case err != nil:
		return nil, fmt.Errorf("listening for the browser: %w", err)
	case redirect == "":
		b.redirect = "http://" + ln.Addr().String() + "/"
	}
	b.server = &http.Server{Handler: http.HandlerFunc(b.catch), ReadTimeout: browserTimeout, MaxHeaderBytes: maxAnswer}
	go func() { _ = b.server.Serve(ln) }() // it ends by close
	return b, nil
}

// catch takes the request that the browser was sent on with. Others, such as
// that for an icon, have no state.
func (b *browser) catch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if r.URL.Query().Get("state") == "" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	select {
	case b.answers <- b.redirect + "?" + r.URL.RawQuery:
		_, _ = fmt.Fprintln(w, "mailcaddy has the answer. The command says whether it is done; this page can be closed.")
	case <-r.Context().Done():
	}
}

// listens reports whether the browser can come by itself.
func (b *browser) listens() bool { return b.server != nil }

// close ends listening. The last page is still sent.
func (b *browser) close() {
	if b.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), browserTimeout)
	defer cancel()
	_ = b.server.Shutdown(ctx) // what is left ends with the command
}
