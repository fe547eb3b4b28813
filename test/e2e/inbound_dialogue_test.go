// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// dialogue is one mail, what is said about it, and what becomes of it.
type dialogue struct {
	name   string
	door   func(*receiver) string
	from   string
	header string
	to     []string
	// says is what each recipient is answered, as it begins.
	says []string
	// ends are the places that it is in afterwards: "MODEL by AUTHOR" for a
	// new thread, the ID of one that was there, "unrouted RCPT", and "STATE
	// RCPT" for a delivery.
	ends []string
}

func strangersDoor(r *receiver) string { return r.smtp }
func serverDoor(r *receiver) string    { return r.lmtp }
func submitDoor(r *receiver) string    { return r.submit }

const (
	noSuchAddress = "550 5.1.1 No such address here"
	onlyAnswers   = "550 5.7.1 This address takes only answers, and the message answers nothing known here"
	registerFirst = "550 5.7.1 Please register first"
	taken         = "250 2.0.0 OK, queued as "
)

// dialogues are held with one gateway, all at once; the token is one for the
// thread that stands.
func dialogues(token string) []dialogue {
	const (
		sales, support, always = "sales@mycompany.com", "support@mycompany.com", "always@mycompany.com"
		nobody, outside        = "nobody@mycompany.com", "bob@elsewhere.example"
	)
	return []dialogue{
		{name: "nobody", from: stranger, to: []string{nobody}, says: []string{noSuchAddress}},
		{name: "nobody, by LMTP", door: serverDoor, from: stranger, to: []string{nobody}, says: []string{noSuchAddress}},
		{name: "nobody, with a subaddress", from: stranger, to: []string{"sales+x@mycompany.com"}, says: []string{noSuchAddress}},
		{name: "nobody beside an alias", from: stranger, to: []string{nobody, sales}, says: []string{noSuchAddress, taken}, ends: []string{"lead by "}},
		{name: "postmaster", from: stranger, to: []string{"Postmaster"}, says: []string{taken}, ends: []string{"unrouted Postmaster"}},
		{name: "our postmaster, by LMTP", door: serverDoor, from: stranger, to: []string{"postmaster@mycompany.com"}, says: []string{taken}, ends: []string{"unrouted postmaster@mycompany.com"}},
		{name: "not our postmaster", from: stranger, to: []string{"postmaster@elsewhere.example"}, says: []string{"550 5.7.1 Relaying denied"}},
		{name: "no relay", from: stranger, to: []string{outside}, says: []string{"550 5.7.1 Relaying denied"}},
		{name: "an alias", from: anna, to: []string{sales}, says: []string{taken}, ends: []string{"lead by anna"}},
		{name: "an alias of the store, in upper case", from: stranger, to: []string{"KEPT@MyCompany.COM"}, says: []string{taken}, ends: []string{"lead by "}},
		{name: "refused by an alias", from: stranger, to: []string{support}, says: []string{registerFirst}},
		{name: "let in by that alias", from: anna, to: []string{support}, says: []string{taken}, ends: []string{"ticket by anna"}},
		{name: "refused in part", from: stranger, to: []string{support, sales}, says: []string{taken, taken}, ends: []string{"lead by ", "unrouted " + support}},
		{name: "refused in part, by LMTP", door: serverDoor, from: stranger, to: []string{support, nobody, sales, catchall}, says: []string{registerFirst, noSuchAddress, taken, taken}, ends: []string{"lead by "}},
		{name: "all refused, each for its reason", door: serverDoor, from: stranger, to: []string{support, catchall}, says: []string{registerFirst, onlyAnswers}},
		{name: "all refused, by SMTP", from: stranger, to: []string{catchall, support}, says: []string{"550 5.7.1 ", "550 5.7.1 "}},
		{name: "two aliases of one thread", door: serverDoor, from: stranger, to: []string{always, "also@mycompany.com"}, says: []string{taken, taken}, ends: []string{standing}},
		{name: "twice the same", door: serverDoor, from: stranger, to: []string{sales, "Sales@mycompany.com"}, says: []string{taken, taken}, ends: []string{"lead by "}},
		{name: "no answer", from: stranger, to: []string{catchall}, says: []string{onlyAnswers}},
		{name: "answers something unknown", from: stranger, header: "References: <unknown@x>\r\n", to: []string{catchall}, says: []string{onlyAnswers}},
		{name: "a machine's answer to nothing", from: stranger, header: "Auto-Submitted: auto-replied\r\n", to: []string{catchall}, says: []string{taken}, ends: []string{"unrouted " + catchall}},
		{name: "signed", from: stranger, to: []string{"catchall+" + token + "@mycompany.com"}, says: []string{taken}, ends: []string{standing}},
		{name: "signed, in upper case", from: anna, to: []string{"CATCHALL+" + strings.ToUpper(token) + "@mycompany.com"}, says: []string{taken}, ends: []string{standing}},
		{name: "signed by somebody else", from: stranger, to: []string{"catchall+" + standing + strings.Repeat("0", len(token)-len(standing)) + "@mycompany.com"}, says: []string{onlyAnswers}},
		{name: "signed, submitted", door: submitDoor, from: app, to: []string{"catchall+" + token + "@mycompany.com"}, says: []string{taken}, ends: []string{standing}},
		{name: "submitted to an alias", door: submitDoor, from: app, to: []string{sales}, says: []string{taken}, ends: []string{"lead by app"}},
		{name: "submitted to an alias and out", door: submitDoor, from: app, to: []string{sales, outside}, says: []string{taken, taken}, ends: []string{"captured " + outside, "lead by app"}},
		{name: "submitted to the catchall address", door: submitDoor, from: app, to: []string{catchall}, says: []string{onlyAnswers}},
		{name: "submitted and refused in part", door: submitDoor, from: app, to: []string{catchall, outside}, says: []string{taken, taken}, ends: []string{"captured " + outside, "failed " + catchall}},
		{name: "submitted to a colleague", door: submitDoor, from: app, to: []string{"colleague@mycompany.com"}, says: []string{taken}, ends: []string{"captured colleague@mycompany.com"}},
	}
}

// TestInboundDialogues brings mail in by each door: it is refused at RCPT, or
// after the content with the words of the alias, or it is in its place.
func TestInboundDialogues(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.start()
	r.awaitReady()
	all := dialogues(r.keys.Sign(mailflow.TokenThread, standing))
	for i, d := range all {
		if d.door == nil {
			d.door = strangersDoor
		}
		s, err := r.open(d.door(r))
		if err != nil {
			t.Fatal(err)
		}
		content := fmt.Sprintf("From: <%s>\r\nMessage-Id: <%d@client.example>\r\nSubject: %s\r\n%s\r\nhello\r\n", d.from, i, d.name, d.header)
		final, err := s.hand(d.from, d.to, content)
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		for i, a := range final {
			if !strings.HasPrefix(a.String(), d.says[i]) {
				t.Errorf("%s: %s was answered %v, want %s", d.name, d.to[i], a, d.says[i])
			}
		}
		s.quit()
	}
	await(t, "what was refused in part has failed", func() bool { return r.gateway.open() == 0 })
	r.stop()
	ends := r.read(nil).ends()
	if got, want := ends["Your message could not be delivered"], []string{"captured " + app}; !slices.Equal(got, want) {
		t.Errorf("reports to submitters: %q, want %q", got, want)
	}
	for _, d := range all {
		got := ends[d.name]
		if slices.Sort(got); !slices.Equal(got, d.ends) {
			t.Errorf("%s: it is %q, want %q", d.name, got, d.ends)
		}
	}
}

// TestInboundRoutedToItsThread has an operator put the refused part of a mail
// into the thread that the rest is in: it is there once.
func TestInboundRoutedToItsThread(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	r.start()
	r.awaitReady()
	s, err := r.open(r.smtp)
	if err != nil {
		t.Fatal(err)
	}
	to := []string{"always@mycompany.com", "support@mycompany.com"}
	if _, err := s.hand(stranger, to, "From: <"+stranger+">\r\nMessage-Id: <1@client.example>\r\nSubject: parted\r\n\r\nhello\r\n"); err != nil {
		t.Fatal(err)
	}
	var box []struct{ ID string }
	if r.get("/mail/unrouted", &box); len(box) != 1 {
		t.Fatalf("the box has %d entries, want 1", len(box))
	}
	if status, said, err := r.ask(http.MethodPost, "/mail/unrouted/"+box[0].ID+"/route?thread="+standing, nil); err != nil || status != http.StatusOK {
		t.Errorf("routing it: %d %s, %v", status, said, err)
	}
	r.stop()
	k := r.read(nil)
	if len(k.posts) != 1 || len(k.unrouted) != 1 || k.unrouted[0].Routed.IsZero() {
		t.Errorf("it is in %d posts, and in the box as %+v", len(k.posts), k.unrouted)
	}
}

// ends returns the places of mails by their subjects.
func (k *kept) ends() map[string][]string {
	ends := make(map[string][]string)
	for i := range k.posts {
		p := &k.posts[i]
		place := p.Thread
		if place != standing {
			place = k.threads[p.Thread].Model + " by " + p.Author
		}
		ends[p.Subject] = append(ends[p.Subject], place)
	}
	for _, u := range k.unrouted {
		for _, r := range u.Recipients {
			subject := k.rows[u.Message].Subject
			ends[subject] = append(ends[subject], "unrouted "+r.Address.String())
		}
	}
	for i := range k.queue {
		d := &k.queue[i]
		for _, r := range d.Envelope.Recipients {
			ends[d.Subject] = append(ends[d.Subject], string(d.State)+" "+r.Address.String())
		}
	}
	return ends
}
