// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// threadCommand returns `mail thread`.
func threadCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "thread",
		Short: "Lists, searches and shows conversations, and who follows them",
	})
	cmd.AddCommand(threadListCommand(), threadSearchCommand(), threadShowCommand(), followCommand(), unfollowCommand())
	return cmd
}

// threadListCommand returns `mail thread list`.
func threadListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists threads, the last updated first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return listThreads(cmd, query(cmd, "model", "state", "limit", "before"))
		},
	}
	threadFlags(cmd)
	return cmd
}

// threadSearchCommand returns `mail thread search`.
func threadSearchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "search WORD...",
		Short: "Lists threads that have all words in their name or in one post",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, words []string) error {
			args := "?" + url.Values{"text": {strings.Join(words, " ")}}.Encode()
			if further := query(cmd, "model", "state", "limit", "before"); further != "" {
				args += "&" + further[1:]
			}
			return listThreads(cmd, args)
		},
	}
	threadFlags(cmd)
	return cmd
}

// threadFlags adds the flags that narrow a list of threads.
func threadFlags(cmd *cobra.Command) {
	cmd.Flags().String("model", "", "Only threads of this kind")
	cmd.Flags().String("state", "", "Only threads in this state")
	limitFlag(cmd)
	cmd.Flags().String("before", "", "Only threads after this one in the list: the next page")
}

// listThreads prints the threads that the query asks for.
func listThreads(cmd *cobra.Command, args string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	threads := []mailflow.Thread{}
	if err := c.get("/mail/threads"+args, &threads); err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, threads)
	}
	if len(threads) == 0 {
		if args != "" {
			return say(cmd, "No thread is like that.\n")
		}
		return say(cmd, "There is no thread.\n")
	}
	rows := [][]string{{"ID", "MODEL", "STATE", "UPDATED", "FROM", "NAME"}}
	for _, t := range threads {
		rows = append(rows, []string{
			t.ID, cell(t.Model, textWidth), cell(t.State, textWidth), clock(t.Updated), cell(t.From, addressWidth), cell(t.Name, textWidth),
		})
	}
	return table(cmd.OutOrStdout(), rows)
}

// threadShowCommand returns `mail thread show`.
func threadShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Shows one thread with its followers and posts, or the mail of a post",
		Long: "Shows one thread with its followers and posts. What stands in the posts is shown by an\n" +
			"admin API on a unix socket only.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			path := "/mail/threads/" + url.PathEscape(args[0])
			if post := cmd.Flag("raw").Value.String(); post != "" {
				return c.raw(path+"/posts/"+url.PathEscape(post)+"/message", cmd.OutOrStdout())
			}
			var t threadDetails
			if err := c.get(path, &t); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, t)
			}
			return printThread(cmd, &t)
		},
	}
	cmd.Flags().String("raw", "", "Print the mail of this post as it came; needs an admin API on a unix socket")
	return cmd
}

// printThread prints one thread for a human.
func printThread(cmd *cobra.Command, t *threadDetails) error {
	var followers []string
	for _, f := range t.Followers {
		text := f.Contact
		if len(f.Addresses) > 0 {
			text += " <" + f.Addresses[0] + ">"
		}
		if f.Notes {
			text += " (notes too)"
		}
		followers = append(followers, text)
	}
	err := fields(cmd, [][2]string{
		{"Thread", t.ID},
		{"Name", t.Name},
		{"Model", t.Model},
		{"Foreign", t.Foreign},
		{"State", t.State},
		{"From", t.From},
		{"Domain", t.Domain},
		{"Fields", pairs(t.Fields)},
		{"Responsible", t.Responsible},
		{"Followers", strings.Join(followers, ", ")},
		{"Opened", clock(t.Created)},
		{"Updated", clock(t.Updated)},
	})
	for i := range t.Posts {
		err = errors.Join(err, printPost(cmd, &t.Posts[i]))
	}
	return err
}

// printPost prints a post for a human.
func printPost(cmd *cobra.Command, p *postEntry) error {
	marks := ""
	if p.Weak != "" {
		marks = ", not proven: " + p.Weak
	}
	err := say(cmd, "\n%s %s, %s, %s%s\n", p.Kind, printable(p.ID), clock(p.At), printable(p.From), printable(marks))
	rows := [][2]string{{"  Subject", p.Subject}, {"  Author", p.Author}, {"  Answers", p.Parent}, {"  Message", p.Message}, {"  Message-Id", p.MessageID}}
	for _, a := range p.Attachments {
		rows = append(rows, [2]string{"  Attachment", fmt.Sprintf("%s, %s, %d bytes", a.Name, a.Type, a.Size)})
	}
	for _, flaw := range p.Flaws {
		rows = append(rows, [2]string{"  Flaw", flaw})
	}
	err = errors.Join(err, fields(cmd, rows))
	for line := range strings.Lines(p.Text) {
		err = errors.Join(err, say(cmd, "  | %s\n", strings.TrimRight(printable(line), " ")))
	}
	return err
}

// followCommand returns `mail thread follow`.
func followCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "follow ID CONTACT...",
		Short: "Makes contacts, by ID or address, follow a thread",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			notes := "no"
			if cmd.Flag("notes").Value.String() == "true" {
				notes = "yes"
			}
			return changeFollowers(cmd, args, "follow", map[string]string{"notes": notes})
		},
	}
	cmd.Flags().Bool("notes", false, "They are told of internal notes too")
	return cmd
}

// unfollowCommand returns `mail thread unfollow`.
func unfollowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unfollow ID CONTACT...",
		Short: "Ends that contacts follow a thread",
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return changeFollowers(cmd, args, "unfollow", make(map[string]string))
		},
	}
}

// changeFollowers gives the order for each contact behind the thread's ID.
func changeFollowers(cmd *cobra.Command, args []string, order string, options map[string]string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	state := map[string]string{"follow": "a follower", "unfollow": "no follower"}[order]
	return each(cmd, args[1:], func(who string) (string, error) {
		options["contact"] = who
		var t threadDetails
		return state, c.post("/mail/threads/"+url.PathEscape(args[0])+"/"+order, options, &t)
	})
}
