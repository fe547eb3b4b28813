// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/internal/caddyblock"
	"github.com/mailcaddy/mailcaddy/internal/rule/alias"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Alias is an address of ours that opens threads.
type Alias struct {
	// The kind of the threads that it opens, such as crm.lead. Required, save
	// where thread says which one gets the mail. Default: none.
	Model string `json:"model,omitempty"`

	// From whom it takes mail: "everyone", "known" for those who are contacts,
	// "followers" of the thread that the mail is for or else of parent, or
	// "employees". Default: everyone.
	Contact mailflow.ContactRule `json:"contact,omitempty"`

	// The address of the contact who becomes responsible for what it opens.
	// Default: none.
	Owner string `json:"owner,omitempty"`

	// The fields of the threads that it opens; "name" takes the place of the
	// subject. Default: none.
	Set map[string]string `json:"set,omitempty"`

	// What those are told whom contact refuses. Default: a text that names the
	// reason and the company's address.
	Refuse string `json:"refuse,omitempty"`

	// The ID of the thread that always gets the mail. Default: a new thread for
	// each mail.
	Thread string `json:"thread,omitempty"`

	// The ID of the thread whose followers `contact followers` means where the
	// mail answers nothing. Default: none.
	Parent string `json:"parent,omitempty"`

	// Lets mail that a machine answers with (RFC 3834) open threads.
	// Default: false.
	AcceptAutomatic bool `json:"accept_automatic,omitempty"`

	// Takes mail to the local part in every domain that allowed_domains does
	// not shut out. Default: false.
	AnyDomain bool `json:"any_domain,omitempty"`
}

// contactRules are from whom an alias can take mail.
var contactRules = []mailflow.ContactRule{
	mailflow.ContactEveryone, mailflow.ContactKnown, mailflow.ContactFollowers, mailflow.ContactEmployees,
}

// Bounds of what an alias says, which is kept with each thread it opens.
const (
	// maxRefuse bounds the text of a refusal: it goes into a mail to everybody
	// who is refused, and is to be read.
	maxRefuse = 2000
	// maxFields bounds the fields that an alias sets, and maxField each value
	// in bytes: a record of the application has fewer and shorter ones.
	maxFields = 100
	maxField  = 1000
)

// resolve returns a, which is configured under that address, for decisions.
func (a *Alias) resolve(address string) (mailflow.Alias, error) {
	addr, err := aliasAddress(address)
	if err != nil {
		return mailflow.Alias{}, err
	}
	expanded := *a
	for _, f := range []struct {
		name string
		text *string
	}{
		{"model", &expanded.Model},
		{"owner", &expanded.Owner},
		{"refuse", &expanded.Refuse},
		{"thread", &expanded.Thread},
		{"parent", &expanded.Parent},
	} {
		if *f.text, err = expand(*f.text); err != nil {
			return mailflow.Alias{}, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	expanded.Set = nil
	for key, value := range a.Set {
		if value, err = expand(value); err != nil {
			return mailflow.Alias{}, fmt.Errorf("set %s: %w", key, err)
		}
		put(&expanded.Set, key, value)
	}
	return expanded.at(addr)
}

// at returns a as the alias at addr, with its texts as they stand.
func (a *Alias) at(addr mailflow.Address) (mailflow.Alias, error) {
	resolved := mailflow.Alias{
		Address: addr, Model: a.Model, Contact: cmp.Or(a.Contact, mailflow.ContactEveryone),
		Owner: a.Owner, Set: a.Set, Thread: a.Thread, Parent: a.Parent, Refuse: a.Refuse,
		AcceptAutomatic: a.AcceptAutomatic, AnyDomain: a.AnyDomain,
	}
	return resolved, checkAlias(&resolved)
}

// optionsOf returns the options that make that alias.
func optionsOf(a *mailflow.Alias) Alias {
	return Alias{
		Model: a.Model, Contact: a.Contact, Owner: a.Owner, Set: a.Set, Refuse: a.Refuse, Thread: a.Thread, Parent: a.Parent,
		AcceptAutomatic: a.AcceptAutomatic, AnyDomain: a.AnyDomain,
	}
}

// checkAlias refuses an alias that could not work, wherever it comes from, and
// brings its owner's address to normal form.
func checkAlias(a *mailflow.Alias) error {
	if err := oneOf("contact", a.Contact, contactRules...); err != nil {
		return err
	}
	if a.Model == "" && a.Thread == "" {
		return errors.New("it does not say what it opens; give it a model, such as crm.lead")
	}
	if a.Model != "" {
		if err := checkModel(a.Model); err != nil {
			return fmt.Errorf("model: %w", err)
		}
	}
	for name, id := range map[string]string{"thread": a.Thread, "parent": a.Parent} {
		if id == "" {
			continue
		}
		if err := checkID(id); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if a.Owner != "" {
		owner, err := mailflow.ParseAddress(a.Owner)
		if err != nil {
			return fmt.Errorf("owner: %q: %w", a.Owner, err)
		}
		if owner.Domain == "" {
			return fmt.Errorf("owner: %q is no full address such as anna@example.com", a.Owner)
		}
		a.Owner = owner.String()
	}
	if len(a.Refuse) > maxRefuse {
		return fmt.Errorf("refuse: the text is longer than %d bytes", maxRefuse)
	}
	return checkFields(a.Set)
}

// checkFields refuses fields that no thread should carry.
func checkFields(set map[string]string) error {
	if len(set) > maxFields {
		return fmt.Errorf("set: there are more than %d fields", maxFields)
	}
	for key, value := range set {
		if key == "" || len(key) > maxName || strings.IndexFunc(key, unseen) >= 0 {
			return fmt.Errorf("set: %q is no name of a field", key)
		}
		if len(value) > maxField {
			return fmt.Errorf("set %s: the value is longer than %d bytes", key, maxField)
		}
	}
	return nil
}

// checkModel refuses what is no word.
func checkModel(model string) error {
	if model == "" || len(model) > maxName || strings.IndexFunc(model, unseen) >= 0 {
		return fmt.Errorf("%q is no model; it is a word such as crm.lead", model)
	}
	return nil
}

// checkID refuses what cannot be the ID of a thread or a contact.
func checkID(id string) error {
	if err := checkName(id); err != nil || strings.ToLower(id) != id {
		return fmt.Errorf("%q is no ID: it takes small letters, digits, and the signs . _ -", id)
	}
	return nil
}

// unseen reports whether r is no part of a word.
func unseen(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }

// aliasAddress reads the address of an alias, which is also the key of a map.
func aliasAddress(text string) (mailflow.Address, error) {
	if err := checkPlain(text); err != nil {
		return mailflow.Address{}, err
	}
	addr, err := fullAddress(text)
	if err != nil {
		return mailflow.Address{}, err
	}
	if strings.Contains(addr.Local, "/") {
		return mailflow.Address{}, fmt.Errorf("%q: a slash cannot stand in the address of an alias, "+
			"which is a part of its path in the admin API", text)
	}
	return addr, nil
}

// resolveAliases returns the configured aliases, sorted by address.
func (a *App) resolveAliases() ([]mailflow.Alias, error) {
	var aliases []mailflow.Alias
	for _, address := range slices.Sorted(maps.Keys(a.Aliases)) {
		configured := a.Aliases[address]
		if configured == nil {
			configured = new(Alias) // `null` in JSON
		}
		resolved, err := configured.resolve(address)
		if err != nil {
			return nil, fmt.Errorf("alias %s: %w", address, err)
		}
		aliases = append(aliases, resolved)
	}
	slices.SortFunc(aliases, func(a, b mailflow.Alias) int { return strings.Compare(a.Address.Key(), b.Address.Key()) })
	for i := 1; i < len(aliases); i++ {
		if aliases[i].Address.Is(aliases[i-1].Address) {
			return nil, fmt.Errorf("alias %s is configured twice, in two spellings", aliases[i].Address)
		}
	}
	return aliases, nil
}

// provisionAliases makes the aliases. The domains are known by then, and what
// they allow is checked with them.
func (a *App) provisionAliases() (err error) {
	if a.services.Aliases, err = a.resolveAliases(); err != nil {
		return err
	}
	_, err = alias.NewBook(a.services)
	return err
}

// readAlias reads an alias block; d stands on the option's name. Syntax:
//
//	alias <address> {
//		model   <word>
//		contact everyone|known|followers|employees
//		owner   <address>
//		set     <field> <value>
//		refuse  <text>
//		thread  <id>
//		parent  <id>
//		accept_automatic
//		any_domain
//	}
func (a *App) readAlias(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	addr, err := aliasAddress(d.Val())
	if err != nil {
		return d.Errf("alias: %w", err)
	}
	if _, ok := a.Aliases[addr.String()]; ok {
		return d.Errf("alias %s has a block already", addr)
	}
	read := new(Alias)
	put(&a.Aliases, addr.String(), read)
	return caddyblock.Block{Kind: "alias", Options: caddyblock.Options{
		"model":            checked(&read.Model, checkModel),
		"contact":          caddyblock.Enum(&read.Contact, contactRules...),
		"owner":            checked(&read.Owner, isFullAddress),
		"set":              caddyblock.Pairs(&read.Set),
		"refuse":           caddyblock.String(&read.Refuse),
		"thread":           checked(&read.Thread, checkID),
		"parent":           checked(&read.Parent, checkID),
		"accept_automatic": caddyblock.Flag(&read.AcceptAutomatic),
		"any_domain":       caddyblock.Flag(&read.AnyDomain),
	}}.ReadRest(d)
}
