// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// testCommand returns `mail test`.
func testCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "test",
		Short: "Tries a server without sending anything",
	})
	cmd.AddCommand(testOutgoingCommand())
	return cmd
}

// testOutgoingCommand returns `mail test outgoing`.
func testOutgoingCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "outgoing NAME",
		Short: "Tries an outgoing server as far as it goes without a message",
		Long: "Goes through what comes before a message with the outgoing server of that name: the look-up,\n" +
			"the connection, TLS, EHLO, the login, the sender and a recipient. It is the running gateway\n" +
			"that does so, from where it is and with the credentials that it has.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			asked := make(map[string]string)
			for _, name := range []string{"from", "rcpt"} {
				if f := cmd.Flag(name); f.Changed {
					asked[name] = f.Value.String()
				}
			}
			var report mailflow.TestReport
			if err := c.post("/mail/outgoing/"+url.PathEscape(args[0])+"/test", asked, &report); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				err = printJSON(cmd, report)
			} else {
				err = printReport(cmd, &report)
			}
			if err == nil && !report.OK {
				err = fmt.Errorf("the test of %s failed", args[0])
			}
			return err
		},
	}
	cmd.Flags().String("from", "", "The sender to name; default one that the server may carry")
	cmd.Flags().String("rcpt", "", "The recipient to name; default the sender")
	return cmd
}

// printReport prints a test for a human.
func printReport(cmd *cobra.Command, report *mailflow.TestReport) error {
	rows := [][]string{{"STEP", "TIME", "RESULT"}}
	for _, s := range report.Steps {
		took := s.Took.Round(100 * time.Microsecond).String()
		if s.Detail != "" || s.Error == "" {
			rows = append(rows, []string{s.Name, took, printable(s.Detail)})
		}
		if s.Error != "" {
			rows = append(rows, []string{s.Name, took, "failed: " + printable(s.Error)})
		}
		if s.Hint != "" {
			rows = append(rows, []string{"", "", printable(s.Hint)})
		}
	}
	if err := table(cmd.OutOrStdout(), rows); err != nil || len(report.Unproven) == 0 {
		return err
	}
	var list strings.Builder
	for _, u := range report.Unproven {
		list.WriteString("- " + printable(u) + "\n")
	}
	return say(cmd, "\nNot shown by this test:\n%s", list.String())
}
