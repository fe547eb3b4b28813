// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// contactCommand returns `mail contact`.
func contactCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "contact",
		Short: "Lists, sets and removes the people who are known",
	})
	cmd.AddCommand(contactListCommand(), contactSetCommand(), removeCommand(
		"ID...", "Removes contacts, also from the threads that they follow", "/mail/contacts/",
	))
	return cmd
}

// contactListCommand returns `mail contact list`.
func contactListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Lists the contacts by ID",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			contacts := []mailflow.Contact{}
			// --address is that of the gateway.
			if err := c.get("/mail/contacts"+strings.Replace(query(cmd, "mailbox", "limit"), "mailbox=", "address=", 1), &contacts); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, contacts)
			}
			return printContacts(cmd, contacts)
		},
	}
	cmd.Flags().String("mailbox", "", "Only contacts with this address")
	limitFlag(cmd)
	return cmd
}

// printContacts prints contacts for a human.
func printContacts(cmd *cobra.Command, contacts []mailflow.Contact) error {
	if len(contacts) == 0 {
		return say(cmd, "Nobody is known.\n")
	}
	rows := [][]string{{"ID", "NAME", "ADDRESSES", "IS", "LANGUAGE"}}
	for _, c := range contacts {
		rows = append(rows, []string{
			cell(c.ID, textWidth), cell(c.Name, addressWidth), cell(mailboxList(c.Addresses), textWidth), role(&c), cell(c.Language, textWidth),
		})
	}
	return table(cmd.OutOrStdout(), rows)
}

// mailboxList returns addresses for a human.
func mailboxList(as []mailflow.Address) string {
	texts := make([]string, len(as))
	for i, a := range as {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// role says what a contact is.
func role(c *mailflow.Contact) string {
	var words []string
	if c.User {
		words = append(words, "user")
	}
	if c.Employee {
		words = append(words, "employee")
	}
	if c.Inbox {
		words = append(words, "reads in the application")
	}
	if len(words) == 0 {
		return "customer"
	}
	return strings.Join(words, ", ")
}

const contactSetHelp = `
Makes a contact, or changes one: what is not named stays as it is. It counts at
once. --mailbox names all the addresses of the contact, the first for mail to it.
`

// contactSetCommand returns `mail contact set`.
func contactSetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set ID",
		Short: "Makes or changes a contact",
		Long:  contactSetHelp,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := record(cmd, []string{"name", "user", "employee", "inbox", "language", "mailbox"})
			if err != nil {
				return err
			}
			if mailboxes, ok := record["mailbox"]; ok {
				record["addresses"] = mailboxes
				delete(record, "mailbox")
			}
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			var set mailflow.Contact
			if err := c.send(http.MethodPatch, "/mail/contacts/"+url.PathEscape(args[0]), record, &set); err != nil {
				return err
			}
			if wantsJSON(cmd) {
				return printJSON(cmd, set)
			}
			return say(cmd, "%s is known now, with %s\n", set.ID, printable(mailboxList(set.Addresses)))
		},
	}
	flags := cmd.Flags()
	flags.String("name", "", "What the contact is called")
	flags.StringArray("mailbox", nil, "An address of the contact, may be repeated")
	flags.Bool("user", false, "Somebody who works with the application")
	flags.Bool("employee", false, "Somebody of the company")
	flags.Bool("inbox", false, "A user who reads posts in the application instead of by mail")
	flags.String("language", "", "A tag such as ro")
	return cmd
}
