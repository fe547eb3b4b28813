// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// unroutedCommand returns `mail unrouted`.
func unroutedCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "unrouted",
		Short: "Lists received mail that nothing claimed, and drops it",
	})
	drop := &cobra.Command{
		Use:   "drop ID...",
		Short: "Throws messages of the unrouted box away",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			return each(cmd, ids, func(id string) (string, error) {
				var e unroutedEntry
				err := c.post("/mail/unrouted/"+url.PathEscape(id)+"/drop", nil, &e)
				return "dropped", err
			})
		},
	}
	cmd.AddCommand(unroutedListCommand(), unroutedShowCommand(), drop)
	return cmd
}

// unroutedListCommand returns `mail unrouted list`.
func unroutedListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the unrouted box, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			entries := []unroutedEntry{}
			if err := c.get("/mail/unrouted"+query(cmd, "limit"), &entries); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, entries)
			}
			return printBox(cmd, entries)
		},
	}
	limitFlag(cmd)
	return cmd
}

// printBox prints the unrouted box for a human.
func printBox(cmd *cobra.Command, entries []unroutedEntry) error {
	if len(entries) == 0 {
		return say(cmd, "The unrouted box is empty.\n")
	}
	rows := [][]string{{"ID", "AT", "FROM", "TO", "SUBJECT", "REASON"}}
	for _, e := range entries {
		rows = append(rows, []string{
			e.ID, clock(e.At), cell(e.From, addressWidth), cell(strings.Join(e.To, ", "), addressWidth),
			cell(e.Subject, textWidth), cell(e.Reason, textWidth),
		})
	}
	return table(cmd.OutOrStdout(), rows)
}

// unroutedShowCommand returns `mail unrouted show`.
func unroutedShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Shows one message of the unrouted box",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			path := "/mail/unrouted/" + url.PathEscape(args[0])
			if raw, err := cmd.Flags().GetBool("raw"); raw || err != nil {
				return errors.Join(err, c.raw(path+"/message", cmd.OutOrStdout()))
			}
			var e unroutedEntry
			if err := c.get(path, &e); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, e)
			}
			dropped := ""
			if !e.Dropped.IsZero() {
				dropped = clock(e.Dropped)
			}
			return fields(cmd, [][2]string{
				{"Message", e.ID},
				{"Reason", e.Reason},
				{"Dropped", dropped},
				{"From", e.From},
				{"Sender", e.EnvelopeFrom},
				{"To", strings.Join(e.To, ", ")},
				{"Subject", e.Subject},
				{"Message-Id", e.MessageID},
				{"Bytes", strconv.FormatInt(e.Bytes, 10)},
				{"Received", clock(e.At)},
				{"By", e.Listener},
			})
		},
	}
	rawFlag(cmd)
	return cmd
}
