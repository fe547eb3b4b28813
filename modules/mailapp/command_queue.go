// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// queueCommand returns `mail queue`.
func queueCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "queue",
		Short: "Lists deliveries, and retries, holds, releases or drops them",
	})
	cmd.AddCommand(queueListCommand(), queueShowCommand(), retryCommand())
	cmd.AddCommand(orderCommand(mailflow.ActHold, "Holds queued and deferred deliveries until they are released"))
	release := orderCommand(mailflow.ActRelease, "Releases held deliveries: they are due now")
	release.Flags().String("server", "", "Give them this outgoing server")
	drop := orderCommand(mailflow.ActDrop, "Throws deliveries away; nobody is told")
	cmd.AddCommand(release, drop)
	return cmd
}

// queueListCommand returns `mail queue list`.
func queueListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists deliveries, newest first",
		Long: "Lists deliveries, newest first. A delivery is a message on its way to one destination.\n\n" +
			"States: " + joined(mailflow.States) + "; sending while an attempt is under way.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			entries := []queueEntry{}
			if err := c.get("/mail/queue"+query(cmd, "state", "server", "message", "limit", "before"), &entries); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, entries)
			}
			return printQueue(cmd, entries)
		},
	}
	cmd.Flags().String("state", "", "Only deliveries in these states, with commas")
	cmd.Flags().String("server", "", "Only deliveries for this outgoing server")
	cmd.Flags().String("message", "", "Only deliveries of this message")
	limitFlag(cmd)
	cmd.Flags().String("before", "", "Only deliveries after this one in the list: the next page")
	return cmd
}

// limitFlag adds the flag that bounds a list.
func limitFlag(cmd *cobra.Command) {
	cmd.Flags().Int("limit", mailflow.DefaultListLimit, "The most to list")
}

// query returns the flags of those names as the query of a URL, as far as they
// are set.
func query(cmd *cobra.Command, names ...string) string {
	args := make(url.Values)
	for _, name := range names {
		if f := cmd.Flag(name); f != nil && f.Changed {
			args.Set(name, f.Value.String())
		}
	}
	if len(args) == 0 {
		return ""
	}
	return "?" + args.Encode()
}

// printQueue prints deliveries for a human.
func printQueue(cmd *cobra.Command, entries []queueEntry) error {
	if len(entries) == 0 {
		if query(cmd, "state", "server", "message", "before") != "" {
			return say(cmd, "No delivery is like that.\n")
		}
		return say(cmd, "The queue is empty.\n")
	}
	rows := [][]string{{"ID", "STATE", "SERVER", "FROM", "TO", "SUBJECT", "TRIES", "DUE", "LAST"}}
	for _, e := range entries {
		due := "-"
		if !e.State.Final() && e.State != mailflow.StateHeld {
			due = clock(e.Due)
		}
		last := e.Reason
		if last == "" {
			last = e.Reply
		}
		rows = append(rows, []string{
			e.ID, string(e.State), cell(e.Server, addressWidth), cell(e.From, addressWidth),
			cell(strings.Join(e.To, ", "), addressWidth), cell(e.Subject, textWidth),
			strconv.Itoa(e.Attempts), due, cell(last, textWidth),
		})
	}
	return table(cmd.OutOrStdout(), rows)
}

// queueShowCommand returns `mail queue show`.
func queueShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Shows one delivery, or its message",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			path := "/mail/queue/" + url.PathEscape(args[0])
			if raw, err := cmd.Flags().GetBool("raw"); raw || err != nil {
				return errors.Join(err, c.raw(path+"/message", cmd.OutOrStdout()))
			}
			var d queueDetails
			if err := c.get(path, &d); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, d)
			}
			return printDelivery(cmd, &d)
		},
	}
	rawFlag(cmd)
	return cmd
}

// rawFlag adds the flag that asks for the message itself.
func rawFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("raw", false, "Print the message as it came; needs an admin API on a unix socket")
}

// printDelivery prints one delivery for a human.
func printDelivery(cmd *cobra.Command, d *queueDetails) error {
	peer := d.Peer.Listener
	if d.Peer.IP.IsValid() {
		peer += ", " + d.Peer.IP.String()
	}
	if d.Peer.User != "" {
		peer += ", user " + d.Peer.User
	}
	rows := [][2]string{
		{"Delivery", d.ID},
		{"Message", d.Message},
		{"State", string(d.State)},
		{"Reason", d.Reason},
		{"From", d.From},
		{"Sender", d.EnvelopeFrom},
		{"To", strings.Join(d.To, ", ")},
		{"Subject", d.Subject},
		{"Message-Id", d.MessageID},
		{"Bytes", strconv.FormatInt(d.Bytes, 10)},
		{"Received", clock(d.Received)},
		{"By", peer},
		{"Domain", d.Domain},
		{"Purpose", d.Purpose},
		{"Server", d.Server},
		{"Attempts", strconv.Itoa(d.Attempts)},
		{"Last reply", d.Reply},
	}
	if !d.State.Final() {
		rows = append(rows, [2]string{"Due", clock(d.Due)}, [2]string{"Given up", clock(d.Expires)})
	}
	return fields(cmd, append(rows, [2]string{"Decided", d.Trace}))
}

// fields prints names and values, without those that are empty.
func fields(cmd *cobra.Command, rows [][2]string) error {
	var lines [][]string
	for _, row := range rows {
		if value := printable(row[1]); value != "" {
			lines = append(lines, []string{row[0] + ":", value})
		}
	}
	return table(cmd.OutOrStdout(), lines)
}

// orderResult is what became of an order, for --json.
type orderResult struct {
	ID    string `json:"id"`
	State string `json:"state,omitempty"`
	Error string `json:"error,omitempty"`
}

// orderCommand returns `mail queue KIND`.
func orderCommand(kind mailflow.ActKind, short string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   string(kind) + " ID...",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, ids []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			return giveOrders(cmd, c, kind, ids)
		},
	}
	cmd.Flags().String("reason", "", "Why; kept with the delivery")
	return cmd
}

// retryCommand returns `mail queue retry`.
func retryCommand() *cobra.Command {
	cmd := orderCommand(mailflow.ActRetry, "Tries queued and deferred deliveries now")
	cmd.Use = "retry ID...|--all"
	cmd.Flags().Bool("all", false, "Try all deferred deliveries")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if all := cmd.Flag("all").Changed; all == (len(args) > 0) {
			return errors.New("name the deliveries to try, or say --all")
		}
		return nil
	}
	one := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, ids []string) error {
		if len(ids) > 0 {
			return one(cmd, ids)
		}
		c, err := newAdminClient(cmd)
		if err != nil {
			return err
		}
		var deferred []queueEntry
		path := fmt.Sprintf("/mail/queue?state=%s&limit=%d", mailflow.StateDeferred, maxListLimit)
		if err := c.get(path, &deferred); err != nil {
			return err
		}
		for _, e := range deferred {
			ids = append(ids, e.ID)
		}
		return giveOrders(cmd, c, mailflow.ActRetry, ids)
	}
	return cmd
}

// giveOrders gives an order for each delivery, and goes on when one is
// refused.
func giveOrders(cmd *cobra.Command, c *adminClient, kind mailflow.ActKind, ids []string) error {
	args := make(map[string]string)
	for _, name := range []string{"reason", "server"} {
		if f := cmd.Flag(name); f != nil && f.Changed {
			args[name] = f.Value.String()
		}
	}
	return each(cmd, ids, func(id string) (string, error) {
		var e queueEntry
		err := c.post("/mail/queue/"+url.PathEscape(id)+"/"+string(kind), args, &e)
		return string(e.State), err
	})
}

// each gives an order for each ID, prints what became of it, and returns the
// refusals.
func each(cmd *cobra.Command, ids []string, order func(id string) (state string, err error)) error {
	results := make([]orderResult, len(ids))
	var errs []error
	for i, id := range ids {
		state, err := order(id)
		results[i] = orderResult{ID: id, State: state}
		if err != nil {
			results[i].Error = err.Error()
			errs = append(errs, err)
			continue
		}
		if !wantsJSON(cmd) {
			errs = append(errs, say(cmd, "%s is %s now\n", printable(id), state))
		}
	}
	switch {
	case wantsJSON(cmd):
		errs = append(errs, printJSON(cmd, results))
	case len(ids) == 0:
		errs = append(errs, say(cmd, "There is nothing to do.\n"))
	}
	return errors.Join(errs...)
}
