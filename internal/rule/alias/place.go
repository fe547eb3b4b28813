// SPDX-License-Identifier: Apache-2.0

package alias

import (
	"slices"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Place says what an address in a header is to us.
type Place int

// The places, from far to near.
const (
	// PlaceElsewhere: it is not ours.
	PlaceElsewhere Place = iota
	// PlaceDomain: it is in one of our domains, and nothing more is known of
	// it: a colleague's mailbox, perhaps.
	PlaceDomain
	// PlaceCollects: it takes what is for others: a catchall address.
	PlaceCollects
	// PlaceMeans: it means something by itself: an alias, a bounce address, or
	// an address with something behind a "+".
	PlaceMeans
)

// Place returns what a is to us. stored are the aliases that the store has for
// [Book.Candidates].
func (b *Book) Place(a mailflow.Address, stored []mailflow.Alias) Place {
	if len(b.Match(a, stored)) > 0 {
		return PlaceMeans
	}
	for i := range b.domains {
		if slices.ContainsFunc(b.domains[i].Catchall, a.Is) {
			return PlaceCollects
		}
	}
	switch {
	case b.domains.Ours(a):
		return PlaceMeans
	case b.domains.Find(a.Domain) != nil:
		return PlaceDomain
	}
	return PlaceElsewhere
}

// Recipients returns whom of us a mail is for, of the groups that [Addressed]
// returns. The first group with an address that means something counts, and
// there what means something or collects. Without one it is for all that
// collect, and else for the unknown addresses of our domains in the first
// group that has some. It is empty if no address is ours: then the mail is for
// the mailbox that it was in.
//
// So a mail to an alias and a colleague is for the alias alone, and one that a
// provider put into the catchall mailbox, and says so in Delivered-To, is for
// the alias in To.
func Recipients(groups [][]mailflow.Address, place func(mailflow.Address) (Place, error)) ([]mailflow.Address, error) {
	var collecting, unknown []mailflow.Address
	for _, group := range groups {
		var near, domain []mailflow.Address
		means := false
		for _, a := range group {
			p, err := place(a)
			if err != nil {
				return nil, err
			}
			switch p {
			case PlaceMeans:
				near, means = append(near, a), true
			case PlaceCollects:
				near = append(near, a)
			case PlaceDomain:
				domain = append(domain, a)
			case PlaceElsewhere:
			}
		}
		if means {
			return near, nil
		}
		for _, a := range near {
			if !slices.ContainsFunc(collecting, a.Is) {
				collecting = append(collecting, a)
			}
		}
		if len(unknown) == 0 {
			unknown = domain
		}
	}
	if len(collecting) > 0 {
		return collecting, nil
	}
	return unknown, nil
}
