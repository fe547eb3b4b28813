// SPDX-License-Identifier: Apache-2.0

package domainauth

import (
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// ResultsField is the name of the field that [Examine] looks at.
const ResultsField = "Authentication-Results"

// MaxOthers bounds [Examination.Others], which an operator reads. A mail that
// went through a few hands has as many.
const MaxOthers = 8

// Examination is what the Authentication-Results fields of a mail are worth.
type Examination struct {
	// Believed are the fields that are believed, in the order of the mail.
	Believed []Results
	// Forged are the fields that bear our own ID.
	Forged []mailflow.Field
	// Below is the number of fields by trusted IDs that stand where a sender
	// can write them too, and are not believed.
	Below int
	// Others are the IDs of the other fields, each once and [MaxOthers] at
	// most; empty for a field that names nobody or cannot be read.
	Others []string
}

// Results returns all results that are believed. Where one ID has several
// verdicts of DMARC it has none: a mail has one author, so a sender wrote one
// of them.
func (e *Examination) Results() []mailflow.AuthResult {
	var all []mailflow.AuthResult
	verdicts := make(map[string]int)
	for _, f := range e.Believed {
		for _, r := range f.Results {
			if r.Method == "dmarc" {
				verdicts[r.By]++
			}
			all = append(all, r)
		}
	}
	return slices.DeleteFunc(all, func(r mailflow.AuthResult) bool { return r.Method == "dmarc" && verdicts[r.By] > 1 })
}

// Examine reads the Authentication-Results fields of a mail that came from
// outside. A field with our own ID is a forgery (RFC 8601 section 5), even
// where that ID is trusted.
//
// Anybody can write a field with the ID of somebody whom we trust; who receives
// for us should take such fields away, but not all do. Fields are added on
// top, so of the fields by a trusted ID those are believed that stand above the
// first Received field, where only the last host can write; if there are none,
// the topmost one alone. What stands below it may be the sender's. Providers
// put their own Received fields above it, so being below one says nothing.
//
// A trusted ID "*.example.com" stands for all IDs below that domain, for a
// provider whose hosts have IDs of their own, and counts as one.
func Examine(h mailflow.Header, ours string, trusted []string) Examination {
	var e Examination
	ours = serviceID(ours)
	fields := h.Fields()
	hops := slices.IndexFunc(fields, func(f mailflow.Field) bool { return strings.EqualFold(f.Name, "Received") })
	met := make([]bool, len(trusted))
	for i, f := range fields {
		if !strings.EqualFold(f.Name, ResultsField) {
			continue
		}
		value := f.Value()
		r, ok := ParseResults(value)
		by := -1
		if ok {
			by = slices.IndexFunc(trusted, func(t string) bool { return isTrusted(t, r.ID) })
		}
		switch {
		case r.ID != "" && r.ID == ours, !ok && r.ID == "" && mentions(value, ours):
			e.Forged = append(e.Forged, f)
		case by < 0:
			if len(e.Others) < MaxOthers && !slices.Contains(e.Others, r.ID) {
				e.Others = append(e.Others, r.ID)
			}
		case i < hops, !met[by]:
			met[by] = true
			e.Believed = append(e.Believed, r)
		default:
			e.Below++
		}
	}
	return e
}

// isTrusted reports whether the trusted ID t means id.
func isTrusted(t, id string) bool {
	if parent, ok := strings.CutPrefix(t, "*."); ok {
		_, err := mailflow.NormalizeDomain(id)
		return err == nil && strings.HasSuffix(id, "."+serviceID(parent))
	}
	return id == serviceID(t)
}

// mentions reports whether a field that names nobody, or cannot be read, may
// claim our ID to somebody who reads it in another way.
func mentions(value, ours string) bool {
	if len(value) <= MaxResultsBytes {
		if text, ok := plain(value); ok {
			value, _, _ = strings.Cut(text, ";")
			if who := strings.Fields(value); len(who) > 0 && strings.Contains(who[0], "=") {
				return false // it begins with a result
			}
		}
	}
	return ours != "" && strings.Contains(strings.ToLower(value), ours)
}
