// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/internal/engine"
)

const explainHelp = `
Decides about a message as if it came now and shows how: what each handler looked
at and why, what becomes of each recipient, by which server, envelope and header
it would leave, and what a receiver's DMARC check will rest on. Nothing is kept,
sent or counted. The message comes from a file or, for "-", from standard input.

Without --out it comes from a stranger, as mail that is received; with --out it is
submitted, as mail that is sent. The running gateway answers by its configuration
and its state.

With --config it answers by that configuration instead, which is not started:
nothing of the running one changes. If no gateway runs, the command itself answers
by the file that --config names, or by the Caddyfile in this directory, and says
what is unknown without a gateway.

The gateway is looked for at --address, else where the file that --config names
has its admin API, else at the default address.
`

// explainCommand returns `mail explain`.
func explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [--out] [--from ADDRESS] [--rcpt ADDRESS]... FILE|-",
		Short: "Shows what would become of a message, and why",
		Long:  explainHelp,
		Args:  cobra.ExactArgs(1),
		RunE:  runExplain,
	}
	flags := cmd.Flags()
	flags.Bool("out", false, "The message is sent: a peer that may submit brings it")
	flags.String("from", "", "The sender of the envelope; default the Return-Path of the message, else its author")
	flags.StringArray("rcpt", nil, "A recipient, may be repeated; default those in the header")
	flags.String("user", "", "Who has logged in; means --out")
	flags.String("listener", "", "Where it comes in; default the first listener that takes it")
	flags.String("ip", "", "The address that it comes from")
	flags.StringP("config", "c", "", "Configuration file to explain by; default the running configuration")
	return cmd
}

func runExplain(cmd *cobra.Command, args []string) error {
	file, adapter := cmd.Flag("config").Value.String(), cmd.Flag("adapter").Value.String()
	if file == "-" && args[0] == "-" {
		return errors.New("the message and the configuration cannot both come from standard input")
	}
	q, err := inquiryOf(cmd, args)
	if err != nil {
		return err
	}
	var config []byte
	if file != "" {
		if config, file, err = q.explainBy(file, adapter); err != nil {
			return err
		}
	}
	address, err := caddycmd.DetermineAdminAPIAddress(cmd.Flag("address").Value.String(), config, file, adapter)
	if err != nil {
		return fmt.Errorf("finding the admin API: %w", err)
	}
	c := &adminClient{address: address, binary: cmd.Root().Name()}
	x, err := askOrExplain(cmd.Context(), c, q, file)
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, x)
	}
	return say(cmd, "%s", explanationText(x))
}

// inquiryOf reads the flags and the message.
func inquiryOf(cmd *cobra.Command, args []string) (*inquiry, error) {
	text, err := readInput(cmd, args)
	if err != nil {
		return nil, err
	}
	flag := func(name string) string { return cmd.Flag(name).Value.String() }
	q := &inquiry{
		Out: cmd.Flag("out").Value.String() == "true", User: flag("user"),
		Listener: flag("listener"), IP: flag("ip"), Base64: text,
	}
	if q.Rcpt, err = cmd.Flags().GetStringArray("rcpt"); err != nil {
		return nil, err
	}
	if cmd.Flag("from").Changed {
		from := flag("from")
		q.From = &from
	}
	_, err = q.content()
	return q, err
}

// explainBy sets the configuration to explain by: the mail app of the file,
// for an empty name of the Caddyfile in this directory. It returns the whole
// configuration and the file's name, which is empty if there is none.
func (q *inquiry) explainBy(file, adapter string) (config []byte, name string, err error) {
	config, name, _, err = caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return nil, "", fmt.Errorf("reading the configuration to explain by: %w", err)
	}
	if name == "" {
		return nil, "", nil
	}
	var whole struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &whole); err != nil {
		return nil, "", fmt.Errorf("reading %s: %w", name, err)
	}
	if q.Config = whole.Apps["mail"]; len(q.Config) == 0 {
		return nil, "", fmt.Errorf("reading %s: %w", name, errNoMail)
	}
	return config, name, nil
}

// askOrExplain asks the gateway. If none answers, the configuration of q does,
// which is that of the file, or else of the Caddyfile in this directory.
func askOrExplain(ctx context.Context, c *adminClient, q *inquiry, file string) (*engine.Explanation, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	x := new(engine.Explanation)
	err = c.ask(http.MethodPost, "/mail/explain", bytes.NewReader(body), x)
	if !errors.Is(err, errNoGateway) {
		return x, err
	}
	if file == "" {
		var unusable error
		if _, file, unusable = q.explainBy("", ""); file == "" {
			return nil, errors.Join(err, unusable)
		}
	}
	if x, err = explainAlone(ctx, q); err != nil {
		return nil, err
	}
	alone := fmt.Sprintf("No gateway answers at %s: this is by %s alone.", c.address, file)
	x.Unknown = append([]string{alone}, x.Unknown...)
	return x, nil
}

// explainAlone answers in this process, where no gateway runs.
func explainAlone(ctx context.Context, q *inquiry) (*engine.Explanation, error) {
	base, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to read the configuration: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	return explainBy(ctx, base, engine.New(engine.Options{Now: time.Now}), q)
}
