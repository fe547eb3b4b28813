// SPDX-License-Identifier: Apache-2.0

package alias

import (
	"maps"
	"strings"
	"unicode/utf8"

	"github.com/mailcaddy/mailcaddy/internal/rule/sender"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// nameField is the field of an alias that takes the place of the subject.
const nameField = "name"

// Open returns the thread that a mail with that header opens by a. What the
// operator set comes before what the mail says. The commit gives it its ID.
func Open(a *mailflow.Alias, h mailflow.Header) *mailflow.Thread {
	t := OpenModel(a.Model, h)
	t.Domain = a.Address.Domain
	if len(a.Set) == 0 {
		return t
	}
	t.Fields = maps.Clone(a.Set)
	if name, ok := t.Fields[nameField]; ok {
		t.Name = name
		delete(t.Fields, nameField)
	}
	return t
}

// OpenModel returns the thread of that model that a mail with that header
// opens: it is named like its subject.
func OpenModel(model string, h mailflow.Header) *mailflow.Thread {
	return &mailflow.Thread{Model: model, Name: clip(h.Get("Subject")), From: From(h)}
}

// From returns the author of a mail with that header as a thread and its posts
// show him: the first address in From, with the name decoded, and in quotes
// where it could not stand there without. A field without an address stays as
// it is.
func From(h mailflow.Header) string {
	a := sender.Read(h)
	switch {
	case a.Address.IsNull():
		return clip(h.Get("From"))
	case a.Name == "":
		return clip(a.Address.String())
	}
	name := a.Name
	if strings.ContainsAny(name, `()<>@,:;."[]\`) {
		name = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	return clip(name + " <" + a.Address.String() + ">")
}

// clip cuts s to what a row keeps of a header text.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
	n := min(len(s), mailflow.MaxStoredText)
	for n < len(s) && n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
