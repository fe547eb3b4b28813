// SPDX-License-Identifier: Apache-2.0

package alias

import (
	"errors"
	"fmt"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func TestRecipients(t *testing.T) {
	t.Parallel()
	s := services(mailflow.BehaviorDocumented, "one.de", "")
	s.Domains[0].Catchall = []mailflow.Address{address("catchall@one.example"), address("old@one.example")}
	s.Domains[0].Bounce = []mailflow.Address{address("bounce@one.example")}
	b, err := NewBook(s)
	if err != nil {
		t.Fatal(err)
	}
	place := func(a mailflow.Address) (Place, error) {
		return b.Place(a, stored), nil
	}
	for header, want := range map[string]string{
		"To: sales@one.example":                                                                               "[sales@one.example]",
		"To: sales@one.example, anna@one.example, x@y.example":                                                "[sales@one.example]",
		"To: sales@one.example, sales@two.example":                                                            "[sales@one.example sales@two.example]",
		"To: sales@one.de\nCc: kept@one.example":                                                              "[sales@one.de kept@one.example]",
		"To: sales@one.example, catchall@one.example":                                                         "[sales@one.example catchall@one.example]",
		"Delivered-To: box@provider.example\nTo: sales@one.example":                                           "[sales@one.example]",
		"Delivered-To: catchall@one.example\nTo: sales@one.example":                                           "[sales@one.example]",
		"Delivered-To: catchall@one.example\nTo: bounce@one.example":                                          "[bounce@one.example]",
		"Delivered-To: catchall@one.example\nX-Original-To: sales@one.example\nTo: list@y.example":            "[sales@one.example catchall@one.example]",
		"Delivered-To: sales@one.example\nTo: sales@one.example, first@one.example":                           "[sales@one.example]",
		"Delivered-To: catchall@one.example\nTo: anna@one.example":                                            "[catchall@one.example]",
		"Delivered-To: anna@one.example\nTo: old@one.example":                                                 "[old@one.example]",
		"To: catchall+token@one.example":                                                                      "[catchall+token@one.example]",
		"Delivered-To: catchall@one.example\nTo: bounce+token@one.example":                                    "[bounce+token@one.example]",
		"Delivered-To: catchall@one.example, box@provider.example\nTo: old@one.example, CATCHALL@one.example": "[catchall@one.example old@one.example]",
		"To: anna@one.example, bob@two.example\nCc: x@y.example":                                              "[anna@one.example bob@two.example]",
		"To: box@provider.example":                                                                            "[]",
		"To: x@y.example":                                                                                     "[]",
		"Subject: x":                                                                                          "[]",
	} {
		got, err := Recipients(Addressed(headerOf(header), mailflow.BehaviorDocumented), place)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q is for %s, want %s (%v)", header, got, want, err)
		}
	}
	oops := errors.New("oops")
	_, err = Recipients([][]mailflow.Address{{address("a@x.de")}}, func(mailflow.Address) (Place, error) { return 0, oops })
	if !errors.Is(err, oops) {
		t.Errorf("the error became %v", err)
	}
}
