// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// aliasCommand returns `mail alias`.
func aliasCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "alias",
		Short: "Lists, sets and removes the addresses that open threads",
	})
	cmd.AddCommand(aliasListCommand(), aliasSetCommand(), removeCommand(
		"ADDRESS...", "Removes aliases; their threads stay", "/mail/aliases/",
	))
	return cmd
}

// aliasListCommand returns `mail alias list`.
func aliasListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Lists the aliases, those of the configuration too",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			entries := []aliasEntry{}
			if err := c.get("/mail/aliases", &entries); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, entries)
			}
			return printAliases(cmd, entries)
		},
	}
}

// printAliases prints aliases for a human.
func printAliases(cmd *cobra.Command, entries []aliasEntry) error {
	if len(entries) == 0 {
		return say(cmd, "There is no alias.\n")
	}
	rows := [][]string{{"ADDRESS", "MODEL", "CONTACT", "THREAD", "OWNER", "SET", "SOURCE"}}
	for _, e := range entries {
		source := string(e.Source)
		if e.Hidden {
			source += ", hidden by the configuration"
		}
		rows = append(rows, []string{
			cell(e.Address.String(), addressWidth), cell(e.Model, textWidth), cell(string(e.Contact), textWidth),
			cell(e.Thread, textWidth), cell(e.Owner, addressWidth), cell(pairs(e.Set), textWidth), source,
		})
	}
	return table(cmd.OutOrStdout(), rows)
}

// pairs returns fields for a human.
func pairs(set map[string]string) string {
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		texts = append(texts, key+"="+set[key])
	}
	return strings.Join(texts, ", ")
}

const aliasSetHelp = `
Makes an alias, or changes one: what is not named stays as it is. It counts at
once. An alias of the configuration is changed there.

An empty text takes an option away, as in --owner "". --set names all the fields
that new threads get; to have none, write --set "".
`

// aliasSetCommand returns `mail alias set`.
func aliasSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set ADDRESS",
		Short: "Makes or changes an alias",
		Long:  aliasSetHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := record(cmd, aliasFlags)
			if err != nil {
				return err
			}
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var e aliasEntry
			if err := c.send(http.MethodPatch, "/mail/aliases/"+url.PathEscape(args[0]), record, &e); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, e)
			}
			opens := "opens " + e.Model
			if e.Thread != "" {
				opens = "writes to thread " + e.Thread
			}
			if err := say(cmd, "%s %s now, for %s\n", e.Address, printable(opens), e.Contact); err != nil {
				return err
			}
			for _, warning := range e.Warnings {
				if err := say(cmd, "Warning: %s\n", printable(warning)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.String("model", "", "The kind of the threads that it opens, such as crm.lead")
	flags.String("contact", "", "From whom it takes mail: "+joined(contactRules))
	flags.String("owner", "", "The address of the contact who becomes responsible")
	flags.StringArray("set", nil, "A field of new threads as NAME=VALUE, may be repeated")
	flags.String("refuse", "", "What those are told whom --contact refuses")
	flags.String("thread", "", "The thread that always gets the mail")
	flags.String("parent", "", "The thread whose followers count")
	flags.Bool("accept-automatic", false, "Let mail that a machine answers with open threads")
	flags.Bool("any-domain", false, "Take mail to the local part in every allowed domain")
	return cmd
}

// aliasFlags are the flags that set an option of an alias.
var aliasFlags = []string{"model", "contact", "owner", "set", "refuse", "thread", "parent", "accept-automatic", "any-domain"}

// record returns what the flags of those names set, under the names that they
// have in JSON.
func record(cmd *cobra.Command, names []string) (map[string]any, error) {
	set := make(map[string]any)
	for _, name := range names {
		f := cmd.Flag(name)
		if !f.Changed {
			continue
		}
		var err error
		if set[strings.ReplaceAll(name, "-", "_")], err = flagValue(f); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// flagValue returns the value of a flag for JSON: lists of NAME=VALUE are an
// object.
func flagValue(f *pflag.Flag) (any, error) {
	list, isList := f.Value.(pflag.SliceValue)
	switch {
	case f.Value.Type() == "bool":
		return f.Value.String() == "true", nil
	case !isList:
		return f.Value.String(), nil
	case f.Name != "set":
		return list.GetSlice(), nil
	}
	fields := make(map[string]string)
	for _, pair := range list.GetSlice() {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("--set %q is no NAME=VALUE", pair)
		}
		fields[key] = value
	}
	return fields, nil
}

// removeCommand returns the command that removes records by their names, which
// stand below path.
func removeCommand(args, short, path string) *cobra.Command {
	return &cobra.Command{
		Use:   "remove " + args,
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			return each(cmd, names, func(name string) (string, error) {
				var removed struct{}
				return "removed", c.ask(http.MethodDelete, path+url.PathEscape(name), http.NoBody, &removed)
			})
		},
	}
}
