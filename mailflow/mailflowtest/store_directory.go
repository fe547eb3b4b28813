// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"sync"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

var directoryTests = map[string]func(*storeTest){
	"contacts are found by each of their addresses":  testContacts,
	"a contact is written new or changed":            testPutContact,
	"a contact is dropped with what it follows":      testDropContact,
	"aliases are found by address and by local part": testAliases,
	"an alias comes back as it was written":          testAliasRoundTrip,
	"each change of an alias raises its version":     testAliasVersion,
	"aliases written at once have different ones":    testAliasRace,
	"followers are added, changed and removed":       testFollow,
}

func addresses(texts ...string) []mailflow.Address {
	list := make([]mailflow.Address, len(texts))
	for i, text := range texts {
		list[i] = mailflow.MustParseAddress(text)
	}
	return list
}

// contact writes a contact.
func (t *storeTest) contact(id string, texts ...string) mailflow.Contact {
	t.Helper()
	c := mailflow.Contact{ID: id, Name: "Jörg " + id, Addresses: addresses(texts...), User: true, Employee: true, Inbox: true, Language: "de"}
	if err := t.store.PutContact(t.Context(), &c); err != nil {
		t.Fatalf("PutContact(%s): %v", id, err)
	}
	return c
}

// alias writes an alias and returns it as it is stored.
func (t *storeTest) alias(address string) mailflow.Alias {
	t.Helper()
	return t.putAlias(mailflow.Alias{Address: mailflow.MustParseAddress(address), Model: "crm.lead"})
}

func (t *storeTest) putAlias(a mailflow.Alias) mailflow.Alias {
	t.Helper()
	if err := t.store.PutAlias(t.Context(), &a); err != nil {
		t.Fatalf("PutAlias(%s): %v", a.Address, err)
	}
	v, err := t.store.Version(t.Context(), mailflow.AliasKey(a.Address))
	if err != nil || v == 0 {
		t.Fatalf("version %d of alias %s: %v", v, a.Address, err)
	}
	a.Version = v
	return a
}

// known checks whose an address is.
func (t *storeTest) known(address string, want ...mailflow.Contact) {
	t.Helper()
	got, err := t.store.Contacts(t.Context(), mailflow.MustParseAddress(address))
	if err != nil {
		t.Errorf("Contacts(%s): %v", address, err)
		return
	}
	t.same("contacts", got, want)
}

// aliases checks which aliases addresses are.
func (t *storeTest) aliases(as []mailflow.Address, want ...mailflow.Alias) {
	t.Helper()
	got, err := t.store.Aliases(t.Context(), as)
	if err != nil {
		t.Errorf("Aliases(%v): %v", as, err)
		return
	}
	t.same("aliases", got, want)
}

// followers checks who follows a thread, by contact.
func (t *storeTest) followers(thread string, want ...mailflow.Follower) {
	t.Helper()
	got, err := t.store.Followers(t.Context(), thread)
	if err != nil {
		t.Errorf("Followers(%s): %v", thread, err)
		return
	}
	t.same("followers", got, want)
}

func testContacts(t *storeTest) {
	z := t.contact("zoe", "zoe@example.org", "z@example.com", "ZOE@example.org")
	a := t.contact("anna", "anna@example.org", "z@example.com")
	t.known("zoe@example.org", z)
	t.known("Zoe@EXAMPLE.org", z)
	t.known("z@example.com", z, a) // oldest first
	t.known("nobody@example.org")
	got, err := t.store.ContactList(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.same("by ID", got, []mailflow.Contact{a, z})
	if got, err = t.store.ContactList(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	t.same("limit", got, []mailflow.Contact{a})
	if err := t.store.PutContact(t.Context(), new(mailflow.Contact)); err == nil {
		t.Error("a contact without ID is no error")
	}
}

func testPutContact(t *storeTest) {
	t.contact("anna", "old@example.org", "kept@example.org")
	bob := t.contact("bob", "kept@example.org")
	anna := t.contact("anna", "new@example.org", "kept@example.org")
	t.known("old@example.org")
	t.known("new@example.org", anna)
	t.known("kept@example.org", anna, bob) // a change makes nobody younger
	bare := mailflow.Contact{ID: "anna"}
	if err := t.store.PutContact(t.Context(), &bare); err != nil {
		t.Fatal(err)
	}
	t.known("kept@example.org", bob)
}

func testDropContact(t *storeTest) {
	t.contact("anna", "anna@example.org")
	bob := t.contact("bob", "bob@example.org")
	th, _ := t.open()
	for _, id := range []string{"anna", "bob"} {
		if err := t.store.Follow(t.Context(), mailflow.Follower{Thread: th.ID, Contact: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := t.store.DropContact(t.Context(), "anna"); err != nil {
		t.Fatal(err)
	}
	t.known("anna@example.org")
	t.known("bob@example.org", bob)
	t.followers(th.ID, mailflow.Follower{Thread: th.ID, Contact: "bob"})
	t.wantErr("drop", t.store.DropContact(t.Context(), "anna"), mailflow.ErrNoRecord)
	anna := t.contact("anna", "bob@example.org")
	t.known("bob@example.org", bob, anna) // a new one is the youngest
}

func testAliases(t *storeTest) {
	sales := t.alias("sales@example.org")
	support := t.putAlias(mailflow.Alias{Address: mailflow.MustParseAddress("Support@example.org"), Model: "ticket", AnyDomain: true})
	other := t.alias("support@example.com")
	t.aliases(addresses("sales@example.org"), sales)
	t.aliases(addresses("SALES@example.org"), sales)
	t.aliases(addresses("sales@example.com"))
	t.aliases(addresses("support@example.net"), support)
	t.aliases(addresses("sUPPORT@example.com"), other, support) // by address
	t.aliases(addresses("sales@example.org", "nobody@example.org", "support@example.org", "sales@example.org"), sales, support)
	t.aliases(nil)
	t.aliases([]mailflow.Address{{}})
}

func testAliasRoundTrip(t *storeTest) {
	a := t.putAlias(mailflow.Alias{
		Address: mailflow.MustParseAddress("jobs@example.org"), Model: "hr.applicant", Contact: mailflow.ContactEmployees,
		Owner: "anna@example.org", Set: map[string]string{"name": "x", "": "empty"}, Thread: "t", Parent: "p", Refuse: "Nein, danke.",
		AcceptAutomatic: true, AnyDomain: true,
	})
	t.aliases(addresses("jobs@example.org"), a)
	first := t.alias("a@example.org")
	got, err := t.store.AliasList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.same("by address", got, []mailflow.Alias{first, a})
	if err := t.store.DropAlias(t.Context(), a.Address); err != nil {
		t.Fatal(err)
	}
	t.aliases(addresses("jobs@example.com"))
	t.wantErr("drop", t.store.DropAlias(t.Context(), a.Address), mailflow.ErrNoRecord)
	if err := t.store.PutAlias(t.Context(), new(mailflow.Alias)); err == nil {
		t.Error("an alias without address is no error")
	}
}

func testAliasVersion(t *storeTest) {
	key, last := mailflow.AliasKey(mailflow.MustParseAddress("sales@example.org")), int64(0)
	t.version(key, 0)
	for i := range 4 {
		if i == 3 {
			if err := t.store.DropAlias(t.Context(), mailflow.MustParseAddress("sales@example.org")); err != nil {
				t.Fatal(err)
			}
			t.version(key, 0)
		}
		a := t.alias("Sales@example.org") // one record, however it is spelt
		if a.Version <= last {
			t.Errorf("version %d follows %d", a.Version, last)
		}
		last = a.Version
		t.version(key, last)
		t.aliases(addresses("sales@example.org"), a)
	}
	t.sweep(keepDay, 1000*day, 0)
	t.version(key, last)
}

func testAliasRace(t *storeTest) {
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			a := mailflow.Alias{Address: mailflow.MustParseAddress("sales@example.org"), Model: "crm.lead"}
			if err := t.store.PutAlias(t.Context(), &a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if v, err := t.store.Version(t.Context(), mailflow.AliasKey(mailflow.MustParseAddress("sales@example.org"))); err != nil || v < 20 {
		t.Errorf("version %d after 20 changes, %v", v, err)
	}
}

func testFollow(t *storeTest) {
	t.contact("anna", "anna@example.org")
	th, _ := t.open()
	f := mailflow.Follower{Thread: th.ID, Contact: "anna"}
	for _, notes := range []bool{false, true, false} {
		f.Notes = notes
		if err := t.store.Follow(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		t.followers(th.ID, f)
	}
	t.followers("unknown")
	t.wantErr("thread", t.store.Follow(t.Context(), mailflow.Follower{Thread: "unknown", Contact: "anna"}), mailflow.ErrNoRecord)
	t.wantErr("contact", t.store.Follow(t.Context(), mailflow.Follower{Thread: th.ID, Contact: "unknown"}), mailflow.ErrNoRecord)
	if err := t.store.Unfollow(t.Context(), th.ID, "anna"); err != nil {
		t.Fatal(err)
	}
	t.followers(th.ID)
	t.wantErr("Unfollow", t.store.Unfollow(t.Context(), th.ID, "anna"), mailflow.ErrNoRecord)
}
