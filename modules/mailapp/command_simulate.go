// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
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

const simulateHelp = `
Decides once more about the mail that the running gateway has received, by its
configuration and by that in the file, both against the state of today, and shows
each recipient that they decide differently about. Nothing is kept or sent, and
the new configuration is not started.

With --json it prints one JSON object in a line for each difference, and one with
the numbers at the end. The exit code says only whether it could be done.

The gateway is looked for at --address, else where the file has its admin API,
else at the default address.
`

// simulateCommand returns `mail simulate`.
func simulateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "simulate --config FILE [--since 7d]",
		Short: "Shows what another configuration would do with the mail of the last days",
		Long:  simulateHelp,
		Args:  cobra.NoArgs,
		RunE:  runSimulate,
	}
	cmd.Flags().StringP("config", "c", "", "Configuration file to try")
	cmd.Flags().String("since", "7d", "How far back to go")
	cmd.Flags().Int("limit", defaultDifferences, "The most differences to show")
	return cmd
}

func runSimulate(cmd *cobra.Command, _ []string) error {
	file, adapter := cmd.Flag("config").Value.String(), cmd.Flag("adapter").Value.String()
	if file == "" {
		return errors.New("say with --config which configuration is to be tried")
	}
	since, err := caddy.ParseDuration(cmd.Flag("since").Value.String())
	if err != nil || since <= 0 {
		return fmt.Errorf("--since %q is not a duration such as 12h or 7d", cmd.Flag("since").Value)
	}
	q := trial{Since: caddy.Duration(since)}
	if q.Limit, err = cmd.Flags().GetInt("limit"); err != nil {
		return err
	}
	inquiry := new(inquiry)
	config, name, err := inquiry.explainBy(file, adapter)
	if err != nil {
		return err
	}
	q.Config = inquiry.Config
	address, err := caddycmd.DetermineAdminAPIAddress(cmd.Flag("address").Value.String(), config, name, adapter)
	if err != nil {
		return fmt.Errorf("finding the admin API: %w", err)
	}
	c := &adminClient{address: address, binary: cmd.Root().Name()}
	result := new(trialResult)
	if err := c.send(http.MethodPost, "/mail/simulate", q, result); err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printTrialJSON(cmd, result)
	}
	return printTrial(cmd, result)
}

// printTrialJSON prints a trial for a program, an object in each line.
func printTrialJSON(cmd *cobra.Command, result *trialResult) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetEscapeHTML(false)
	for _, d := range result.Differences {
		if err := e.Encode(d); err != nil {
			return err
		}
	}
	return e.Encode(struct {
		Checked   int       `json:"checked"`
		Different int       `json:"different"`
		Since     time.Time `json:"since"`
		Cut       string    `json:"cut,omitempty"`
	}{result.Checked, result.Count, result.Since, result.Cut})
}

// printTrial prints a trial for a human.
func printTrial(cmd *cobra.Command, result *trialResult) error {
	var errs []error
	for i := range result.Differences {
		errs = append(errs, printDifference(cmd, &result.Differences[i]))
	}
	if more := result.Count - len(result.Differences); more > 0 {
		errs = append(errs, say(cmd, "… and %d more; show them with --limit\n\n", more))
	}
	errs = append(errs, say(cmd, "%s of %s decided differently.\n",
		number(result.Count, "recipient"), number(result.Checked, "message")+" since "+clock(result.Since)))
	if result.Cut != "" {
		errs = append(errs, say(cmd, "Not all: %s.\n", printable(result.Cut)))
	}
	return errors.Join(errs...)
}

// printDifference prints one difference for a human.
func printDifference(cmd *cobra.Command, d *engine.Difference) error {
	return errors.Join(
		say(cmd, "%s, %s, from %s: %s\n", printable(d.Message), clock(d.Received), cell(d.From, addressWidth), cell(d.Subject, textWidth)),
		say(cmd, "  %s\n    before: %s\n    after:  %s\n\n", printable(d.Recipient), printable(d.Before), printable(d.After)),
	)
}

// number returns a number of things in words.
func number(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
