// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// unroutedCommand returns `mail unrouted`.
func unroutedCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "unrouted",
		Short: "Lists received mail that nothing claimed, and routes or drops it",
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
	cmd.AddCommand(unroutedListCommand(), unroutedShowCommand(), unroutedRouteCommand(), drop)
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
			return fields(cmd, [][2]string{
				{"Message", e.ID},
				{"Reason", e.Reason},
				{"Dropped", clockOrNothing(e.Dropped)},
				{"Routed", clockOrNothing(e.Routed)},
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

// clockOrNothing returns t for a field that is left out when it is empty.
func clockOrNothing(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return clock(t)
}

// routeResult is what became of an order to route, for --json.
type routeResult struct {
	ID     string `json:"id"`
	Thread string `json:"thread,omitempty"`
	Error  string `json:"error,omitempty"`
}

// unroutedRouteCommand returns `mail unrouted route`.
func unroutedRouteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "route ID... --alias ADDRESS|--thread ID",
		Short: "Puts messages of the unrouted box into a thread",
		Long: "Puts messages of the unrouted box into the thread that is named, or into a new one\n" +
			"as the alias opens it, whoever has sent them.",
		Args: cobra.MinimumNArgs(1),
		RunE: runUnroutedRoute,
	}
	cmd.Flags().String("alias", "", "The alias that opens a thread for each")
	cmd.Flags().String("thread", "", "The thread that gets them")
	cmd.MarkFlagsOneRequired("alias", "thread")
	cmd.MarkFlagsMutuallyExclusive("alias", "thread")
	return cmd
}

func runUnroutedRoute(cmd *cobra.Command, ids []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	args := make(map[string]string)
	for _, name := range []string{"alias", "thread"} {
		if f := cmd.Flag(name); f.Changed {
			args[name] = f.Value.String()
		}
	}
	results := make([]routeResult, len(ids))
	var errs []error
	for i, id := range ids {
		var e routedEntry
		err := c.post("/mail/unrouted/"+url.PathEscape(id)+"/route", args, &e)
		results[i] = routeResult{ID: id, Thread: e.Thread}
		if err != nil {
			results[i].Error = err.Error()
			errs = append(errs, err)
			continue
		}
		if !wantsJSON(cmd) {
			errs = append(errs, say(cmd, "%s is in thread %s now\n", printable(id), printable(e.Thread)))
		}
	}
	if wantsJSON(cmd) {
		errs = append(errs, printJSON(cmd, results))
	}
	return errors.Join(errs...)
}
