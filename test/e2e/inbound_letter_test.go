// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Who writes, and whom to.
const (
	anna     = "anna@customer.example" // a contact
	stranger = "nora@unknown.example"
	app      = "app@mycompany.com" // the user who submits
	catchall = "catchall@mycompany.com"
)

// letter is a mail with all of its copies: one author, subject and text. The
// subject names it.
type letter struct {
	key, id string
	from    string
	// to is whom each copy is for; to some letters there is another list.
	to, orTo []string
	// answers is what it answers, machine is set for what no person wrote.
	answers *letter
	machine bool
	body    string
	// door is where all copies go; empty for any.
	door string
	// places is what is to become of it for each recipient; "" is a refusal.
	places map[string]string
	// once is set for what is a new mail each time it comes.
	once bool

	// quoted is set when an answer names its id, shared when that id names
	// other mails too. A mail is never both: where its answer belongs could
	// not be told.
	quoted, shared bool
	// acked are the messages that got 250, by recipient; unsure is set for the
	// recipients whose answer was lost.
	acked  map[string][]string
	unsure map[string]bool
}

// content returns a copy under that Message-Id.
func (l *letter) content(id string, to []string) string {
	header := ""
	if l.answers != nil {
		header = "References: " + l.answers.id + "\r\n"
	}
	if l.machine {
		header += "Auto-Submitted: auto-replied\r\n"
	}
	return "From: <" + l.from + ">\r\nTo: " + strings.Join(to, ", ") + "\r\nDate: Mon, 02 Mar 2026 12:00:00 +0000\r\n" +
		"Message-Id: " + id + "\r\nSubject: " + l.key + "\r\n" + header + "\r\n" + l.body
}

// thread returns the one thread that it goes to; "" if there is none or are
// several, or an operator may put it into one more.
func (l *letter) thread() string {
	found := ""
	for _, p := range l.places {
		is := strings.HasPrefix(p, inThread)
		if is && found != "" && p != found || strings.HasPrefix(p, inBox) {
			return ""
		}
		if is {
			found = p
		}
	}
	return found
}

// The beginnings of places.
const (
	inThread = "in "
	inBox    = "unrouted "
	onItsWay = "out "
)

// threadPlace names the thread that an alias opened for a mail.
func threadPlace(box, name string) string { return inThread + box + " by " + name }

// modelsOf are the models of the threads that aliases write to, by what their
// field says.
var modelsOf = map[string]string{"sales": "lead", "kept": "lead", "support": "ticket", standing: "note"}

// boxOf returns what the field of the alias's threads says.
func boxOf(local string) string {
	if local == "always" || local == "also" {
		return standing
	}
	return local
}

// foresee says what is to become of the letter.
func (l *letter) foresee() {
	l.places = make(map[string]string)
	all := append(slices.Clone(l.to), l.orTo...)
	for _, to := range all {
		l.places[to] = l.alone(to)
	}
	for _, to := range all {
		if local(to) != "catchall" || l.places[to] != "" {
			continue
		}
		// Beside an alias the catchall address is in its thread.
		for _, other := range all {
			if local(other) != "catchall" && strings.HasPrefix(l.places[other], inThread) {
				l.places[to] = l.places[other]
				break
			}
		}
	}
}

// alone returns what is to become of the letter for one recipient.
func (l *letter) alone(to string) string {
	box := boxOf(local(to))
	switch {
	case strings.HasSuffix(to, "@example.net"):
		return onItsWay + to
	case box == "nobody":
		return ""
	case l.answers != nil && (box == "catchall" || modelsOf[box] == l.answers.model()):
		return l.answers.thread()
	case l.machine:
		return inBox + to
	case box == "catchall", box == "support" && l.from != anna:
		return ""
	case box == standing:
		return threadPlace(standing, standing)
	}
	return threadPlace(box, l.key)
}

// model returns that of its thread.
func (l *letter) model() string {
	box, _, _ := strings.Cut(strings.TrimPrefix(l.thread(), inThread), " ")
	return modelsOf[box]
}

// kindIn returns what its post in a thread is: an answer to a note is one too.
func (l *letter) kindIn(thread string) mailflow.PostKind {
	switch {
	case l.machine:
		return mailflow.PostNote
	case l.answers != nil && l.answers.thread() == thread:
		return l.answers.kindIn(thread)
	}
	return mailflow.PostComment
}

// divide says what becomes of the refused recipients of a mail that others
// get: SMTP has one answer for all, so that they are in the unrouted box.
func (l *letter) divide(rng *rand.Rand, smtp, lmtp string) {
	var refused []string
	taken := false
	for to, p := range l.places {
		taken = taken || p != ""
		if p == "" && local(to) != "nobody" {
			refused = append(refused, to)
		}
	}
	if !taken || len(refused) == 0 {
		return
	}
	if l.door = lmtp; rng.IntN(2) == 0 {
		l.door = smtp
		for _, to := range refused {
			l.places[to] = inBox + to
		}
	}
}

func local(address string) string {
	name, _, _ := strings.Cut(address, "@")
	return name
}
