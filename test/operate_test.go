// SPDX-License-Identifier: Apache-2.0

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/spf13/cobra"
)

// The binary of the scripts has on top of the real one:
//
//   - mailcaddy httpget [--post] URL prints the status and the body of the
//     answer.
//   - events.handlers.record FILE, which writes each event as a line of JSON.
func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "httpget",
		Short: "Prints what an HTTP server answers",
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.ExactArgs(1)
			cmd.Flags().Bool("post", false, "POST instead of GET")
			cmd.RunE = httpGet
		},
	})
	caddy.RegisterModule(new(recorder))
}

func httpGet(cmd *cobra.Command, args []string) error {
	method := http.MethodGet
	if cmd.Flag("post").Changed {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(cmd.Context(), method, args[0], http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	fmt.Println(resp.Status)
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}

// recorder writes events to a file.
type recorder struct {
	File string `json:"file"`

	mu sync.Mutex
}

func (*recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.record", New: func() caddy.Module { return new(recorder) }}
}

func (r *recorder) Handle(_ context.Context, e caddy.Event) error {
	origin := "caddy" // its core is no module
	if m := e.Origin(); m != nil {
		origin = string(m.CaddyModule().ID)
	}
	line, err := json.Marshal(map[string]any{"name": e.Name(), "origin": origin, "data": e.Data})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := os.OpenFile(r.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Close()
}

func (r *recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&r.File) {
		return d.ArgErr()
	}
	return nil
}

// Interface guards.
var (
	_ caddyevents.Handler   = (*recorder)(nil)
	_ caddyfile.Unmarshaler = (*recorder)(nil)
)
