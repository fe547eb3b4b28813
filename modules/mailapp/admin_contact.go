// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// listContacts answers GET /mail/contacts: all, or those with an address.
func (a *Admin) listContacts(w http.ResponseWriter, r *http.Request) error {
	limit, err := listLimit(r)
	if err != nil {
		return err
	}
	_, store, err := a.store()
	if err != nil {
		return err
	}
	contacts, err := contactsAt(r.Context(), store, r.URL.Query().Get("address"), limit)
	if err != nil {
		return refusal(err)
	}
	return reply(w, http.StatusOK, append([]mailflow.Contact{}, contacts...))
}

// contactsAt lists the contacts with that address; without one all.
func contactsAt(ctx context.Context, s mailflow.Store, address string, limit int) ([]mailflow.Contact, error) {
	if address == "" {
		contacts, err := s.ContactList(ctx, limit)
		if err != nil {
			return nil, fmt.Errorf("listing the contacts: %w", err)
		}
		return contacts, nil
	}
	addr, err := mailflow.ParseAddress(address)
	if err != nil {
		return nil, apiError(http.StatusBadRequest, "address %q: %w", address, err)
	}
	contacts, err := s.Contacts(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("looking for %s: %w", addr, err)
	}
	if limit > 0 && limit < len(contacts) {
		contacts = contacts[:limit]
	}
	return contacts, nil
}

// contact returns the contact that an ID, or an address that only one has,
// names. Error: [mailflow.ErrNoRecord].
func contact(ctx context.Context, s mailflow.Store, name string) (*mailflow.Contact, error) {
	var found []mailflow.Contact
	var err error
	if strings.Contains(name, "@") {
		found, err = contactsAt(ctx, s, name, 0)
	} else {
		found, err = s.ContactList(ctx, math.MaxInt32)
		found = slices.DeleteFunc(found, func(c mailflow.Contact) bool { return c.ID != name })
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("looking for contact %s: %w", name, err)
	case len(found) == 0:
		return nil, fmt.Errorf("contact %s: %w", name, mailflow.ErrNoRecord)
	case len(found) > 1:
		ids := make([]string, len(found))
		for i := range found {
			ids[i] = found[i].ID
		}
		return nil, apiError(http.StatusConflict, "%s is the address of several contacts; name one of them: %s", name, strings.Join(ids, ", "))
	}
	return &found[0], nil
}

// showContact answers GET /mail/contacts/ID, where an address does as well.
func (a *Admin) showContact(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	c, err := contact(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	return reply(w, http.StatusOK, c)
}

// putContact answers PUT /mail/contacts/ID with the contact as it then is.
func (a *Admin) putContact(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	return setContact(w, r, store, mailflow.Contact{ID: r.PathValue("id")})
}

// patchContact answers PATCH /mail/contacts/ID: what the request does not name
// stays as it is, of a contact that there is.
func (a *Admin) patchContact(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if err := checkID(id); err != nil {
		return apiError(http.StatusBadRequest, "contact: %w", err)
	}
	old, err := contact(r.Context(), store, id)
	if err = orNew(&old, err); err != nil {
		return refusal(err)
	}
	old.ID = id
	return setContact(w, r, store, *old)
}

// setContact writes the contact that the request makes of c.
func setContact(w http.ResponseWriter, r *http.Request, store mailflow.Store, c mailflow.Contact) error {
	id := c.ID
	c.Addresses = slices.Clone(c.Addresses)
	if err := readRecord(w, r, &c); err != nil {
		return err
	}
	if c.ID != id {
		return apiError(http.StatusBadRequest, "the path is that of %s, the body names %s", id, c.ID)
	}
	if err := checkContact(&c); err != nil {
		return apiError(http.StatusBadRequest, "contact %s: %w", id, err)
	}
	if err := store.PutContact(r.Context(), &c); err != nil {
		return refusal(fmt.Errorf("keeping contact %s: %w", id, err))
	}
	return reply(w, http.StatusOK, c)
}

// dropContact answers DELETE /mail/contacts/ID with the contact as it was.
func (a *Admin) dropContact(w http.ResponseWriter, r *http.Request) error {
	_, store, err := a.store()
	if err != nil {
		return err
	}
	c, err := contact(r.Context(), store, r.PathValue("id"))
	if err != nil {
		return refusal(err)
	}
	if err := store.DropContact(r.Context(), c.ID); err != nil {
		return refusal(fmt.Errorf("removing contact %s: %w", c.ID, err))
	}
	return reply(w, http.StatusOK, c)
}
