// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Bounds of a contact.
const (
	// maxMailboxes bounds the addresses of a contact: nobody has more, and
	// each is looked at for every mail.
	maxMailboxes = 100
	// maxLanguage is as long as a tag can usefully be (RFC 5646 section 4.4.1).
	maxLanguage = 35
)

// checkContact refuses a contact that could not be one, and brings its
// addresses to normal form.
func checkContact(c *mailflow.Contact) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if len(c.Name) > mailflow.MaxStoredText || strings.IndexFunc(c.Name, unicode.IsControl) >= 0 {
		return fmt.Errorf("name: it takes at most %d bytes in one line", mailflow.MaxStoredText)
	}
	if len(c.Addresses) == 0 {
		return errors.New("it has no address, so that no mail is from it or for it")
	}
	if len(c.Addresses) > maxMailboxes {
		return fmt.Errorf("it has more than %d addresses", maxMailboxes)
	}
	var addresses []mailflow.Address
	for _, a := range c.Addresses {
		if a.Domain == "" {
			return fmt.Errorf("%q is no full address such as anna@example.com", a)
		}
		if !slices.ContainsFunc(addresses, a.Is) {
			addresses = append(addresses, a)
		}
	}
	c.Addresses = addresses
	if len(c.Language) > maxLanguage || strings.IndexFunc(c.Language, notInName) >= 0 {
		return fmt.Errorf("language: %q is no tag such as ro or pt-BR", c.Language)
	}
	return nil
}
