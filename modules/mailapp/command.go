// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "mail",
		Short:     "Operates the mail gateway",
		Long:      mailHelp,
		CobraFunc: mailCommand,
	})
}

const mailHelp = `
Looks after a running mail gateway: what is in its queue, what nothing claimed,
whether its outgoing servers work. The commands ask the gateway through Caddy's
admin API, found as Caddy's own commands find it: by --address, by the file that
--config names, else at the default address.

With --json every command prints JSON instead of text. The exit code is 0 if all
that was asked for was done, and 1 if not.
`

// mailCommand fills the command `mail`.
func mailCommand(cmd *cobra.Command) {
	group(cmd)
	flags := cmd.PersistentFlags()
	flags.String("address", "", "Address of the admin API of the gateway")
	flags.StringP("config", "c", "", "Configuration file to find the address in")
	flags.StringP("adapter", "a", "", "Name of the adapter of the configuration file")
	flags.Bool("json", false, "Print JSON")
	cmd.AddCommand(queueCommand(), unroutedCommand(), threadCommand(), aliasCommand(), contactCommand(), sendCommand(), testCommand())
	cmd.AddCommand(doctorCommand(), oauthCommand(), explainCommand(), simulateCommand(), dkimCommand())
}

// group makes cmd one that does nothing but hold others.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// adminClient asks a running gateway.
type adminClient struct {
	address string
	binary  string
}

// newAdminClient returns the client that cmd's flags describe.
func newAdminClient(cmd *cobra.Command) (*adminClient, error) {
	flag := func(name string) string {
		f := cmd.Flag(name)
		if f == nil {
			return ""
		}
		return f.Value.String()
	}
	address, err := caddycmd.DetermineAdminAPIAddress(flag("address"), nil, flag("config"), flag("adapter"))
	if err != nil {
		return nil, fmt.Errorf("finding the admin API: %w", err)
	}
	return &adminClient{address: address, binary: cmd.Root().Name()}, nil
}

// get reads the answer of a GET into out.
func (c *adminClient) get(path string, out any) error {
	return c.ask(http.MethodGet, path, nil, out)
}

// post sends args as JSON and reads the answer into out.
func (c *adminClient) post(path string, args map[string]string, out any) error {
	return c.send(http.MethodPost, path, args, out)
}

// send sends v as JSON and reads the answer into out.
func (c *adminClient) send(method, path string, v, out any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	return c.ask(method, path, bytes.NewReader(body), out)
}

func (c *adminClient) ask(method, path string, body io.Reader, out any) error {
	resp, err := caddycmd.AdminAPIRequest(c.address, method, path, nil, body)
	if err != nil {
		return c.explain(err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", c.address, err)
	}
	return nil
}

// raw copies the answer of a GET to w.
func (c *adminClient) raw(path string, w io.Writer) error {
	resp, err := caddycmd.AdminAPIRequest(c.address, http.MethodGet, path, nil, nil)
	if err != nil {
		return c.explain(err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", c.address, err)
	}
	return nil
}

// errNoGateway is wrapped by the errors of a client that nobody answers.
var errNoGateway = errors.New("no gateway answers")

// explain makes an operator's error of what Caddy's client returns, which is
// text only.
func (c *adminClient) explain(err error) error {
	answer, answered := strings.CutPrefix(err.Error(), "caddy responded with error: HTTP ")
	if !answered {
		return fmt.Errorf("%w at %s; start one with `%s run --config Caddyfile`, "+
			"or say with --address or --config where it is: %w", errNoGateway, c.address, c.binary, err)
	}
	status, text, _ := strings.Cut(answer, ": ")
	var known struct {
		Error string `json:"error"`
	}
	if json.Unmarshal([]byte(text), &known) == nil && known.Error != "" {
		return errors.New(known.Error)
	}
	if status == strconv.Itoa(http.StatusNotFound) {
		return fmt.Errorf("the server at %s has no mail in its admin API; is it another Caddy?", c.address)
	}
	return err
}

// printJSON prints v for a program.
func printJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// say prints text for a human.
func say(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	return err
}

// wantsJSON reports whether --json was given.
func wantsJSON(cmd *cobra.Command) bool {
	f := cmd.Flag("json")
	return f != nil && f.Value.String() == "true"
}

// table prints rows in columns.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		line := strings.TrimRight(strings.Join(row, "\t"), "\t")
		if _, err := fmt.Fprintln(tw, line); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// Widths of columns that hold what others wrote.
const (
	addressWidth = 36
	textWidth    = 48
)

// cell returns s for a terminal, in at most width characters, "-" for nothing.
// What strangers wrote must neither move the cursor nor change the title, so
// only what can be seen is printed.
func cell(s string, width int) string {
	s = printable(s)
	if s == "" {
		return "-"
	}
	if rs := []rune(s); len(rs) > width {
		return string(rs[:width-1]) + "…"
	}
	return s
}

// printable returns s with a blank for each white space and a mark for
// everything else that a terminal does not simply show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// clock returns t for a human, in local time.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
