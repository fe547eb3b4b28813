// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// example is a running gateway with the Caddyfile.example of the repository,
// in which only the ports are others.
type example struct {
	*gateway
	local, mx, submission string // its doors
}

func startExample(t *testing.T) *example {
	t.Helper()
	text, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	e := &example{local: freeAddress(t), mx: freeAddress(t), submission: freeAddress(t)}
	caddyfile := string(text)
	for written, free := range map[string]string{
		"\tsmtp 127.0.0.1:2525 ": e.local, "\tsmtp 127.0.0.1:2526 ": e.mx, "\tsmtp 127.0.0.1:2587 ": e.submission,
	} {
		if strings.Count(caddyfile, written) != 1 {
			t.Fatalf("Caddyfile.example has no line with %q", written)
		}
		caddyfile = strings.Replace(caddyfile, written, "\tsmtp "+free+" ", 1)
	}
	e.gateway = startGateway(t, caddyfile)
	return e
}

// TestExample does with the Caddyfile.example what its comments promise.
func TestExample(t *testing.T) {
	t.Parallel()
	g := startExample(t)

	login := []string{"--auth", "PLAIN", "--auth-user", "app", "--auth-password", "mailcaddy"}
	for _, tt := range []struct {
		from, server, door string
		further            []string
	}{
		{"billing@mycompany.com", "billing", g.local, nil},
		{"anna@mycompany.com", "everything", g.local, nil},
		{"news@mycompany.com", "campaigns", g.local, []string{"--header", "List-Unsubscribe: <mailto:news@mycompany.com>"}},
		{"letter@mycompany.com", "campaigns", g.local, []string{"--header", "X-Mail-Purpose: mass"}},
		{"bob@mycompany.ro", "billing", g.submission, login},
	} {
		args := append([]string{"--from", tt.from, "--to", "bob@example.net", "--header", "Subject: by " + tt.server}, tt.further...)
		transcript, code := swaks(t, tt.door, args...)
		if code != 0 {
			t.Errorf("swaks from %s: exit %d\n%s", tt.from, code, transcript)
			continue
		}
		d := g.awaitCaptured(tt.from)
		if d.Server != tt.server || !slices.Equal(d.To, []string{"bob@example.net"}) || d.Subject != "by "+tt.server {
			t.Errorf("mail from %s is captured as %+v, want server %s", tt.from, d, tt.server)
		}
	}

	g.checkSubmission()
	g.checkMX()
	g.checkHuge()
}

// checkSubmission tries the door for applications that log in.
func (g *example) checkSubmission() {
	t := g.t
	to := []string{"--from", "anna@mycompany.com", "--to", "carol@example.net"}
	transcript, code := swaks(t, g.submission, to...)
	if code == 0 || !strings.Contains(transcript, "530 5.7.0") {
		t.Errorf("without a login: exit %d, want 530 5.7.0\n%s", code, transcript)
	}
	login := append(to, "--auth", "PLAIN", "--auth-user", "app")
	if transcript, code := swaks(t, g.submission, append(login, "--auth-password", "wrong")...); code == 0 || !strings.Contains(transcript, "535 5.7.8") {
		t.Errorf("with a wrong password: exit %d, want 535 5.7.8\n%s", code, transcript)
	}
	for _, mechanism := range []string{"PLAIN", "LOGIN"} {
		login := append(to, "--auth", mechanism, "--auth-user", "app", "--auth-password", "mailcaddy")
		if transcript, code := swaks(t, g.submission, login...); code != 0 {
			t.Errorf("AUTH %s: exit %d\n%s", mechanism, code, transcript)
		}
	}
}

// checkMX tries the door that takes mail for our domains only.
func (g *example) checkMX() {
	t := g.t
	transcript, code := swaks(t, g.mx, "--from", "x@elsewhere.example", "--to", "bob@example.net")
	if code == 0 || !strings.Contains(transcript, "550 5.7.1") {
		t.Errorf("relaying: exit %d, want 550 5.7.1\n%s", code, transcript)
	}
	transcript, code = swaks(t, g.mx, "--from", "x@elsewhere.example", "--to", "nobody@mycompany.com")
	if code == 0 || !strings.Contains(transcript, "550 5.1.1") {
		t.Errorf("an unknown address: exit %d, want 550 5.1.1\n%s", code, transcript)
	}
	transcript, code = swaks(t, g.mx, "--from", "x@elsewhere.example", "--to", "support@mycompany.com")
	if code == 0 || !strings.Contains(transcript, "550 5.7.1 Please register first") {
		t.Errorf("support for a stranger: exit %d, want 550 5.7.1 Please register first\n%s", code, transcript)
	}
	for i, to := range []string{"sales@mycompany.com", "sales@mycompany.eu"} {
		if transcript, code := swaks(t, g.mx, "--from", "x@elsewhere.example", "--to", to, "--header", "Subject: to "+to); code != 0 {
			t.Errorf("mail for an alias: exit %d\n%s", code, transcript)
		}
		if threads := g.threads(); len(threads) != i+1 || threads[0].Model != "crm.lead" || threads[0].Fields["team"] != "Direct sales" {
			t.Errorf("after mail for %s the threads are %+v", to, threads)
		}
	}
	if box := g.unrouted(); len(box) != 0 {
		t.Errorf("the unrouted box holds %+v", box)
	}
}

// checkHuge tries the matcher and the handler that refuse a huge mail.
func (g *example) checkHuge() {
	t := g.t
	body := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 26<<20/78)
	m := submission{from: "anna@mycompany.com", to: "bob@example.net", content: "Subject: huge\r\n\r\n" + body}
	c := mustDial(t, g.local)
	if a, err := c.send(m); err != nil || a.code != 552 || !strings.Contains(a.text, "5.3.4 Please send a link instead") {
		t.Errorf("26 MiB: %v, %v, want 552 5.3.4 Please send a link instead", a, err)
	}
}

// awaitCaptured waits until a mail of that sender is captured.
func (g *gateway) awaitCaptured(from string) (found delivery) {
	g.t.Helper()
	await(g.t, "the mail from "+from+" is captured", func() bool {
		list := g.queue("--state", "captured")
		i := slices.IndexFunc(list, func(d delivery) bool { return strings.Contains(d.From, from) })
		if i >= 0 {
			found = list[i]
		}
		return i >= 0
	})
	return found
}

// boxed is one object of `mail unrouted list --json`.
type boxed struct {
	ID   string   `json:"id"`
	From string   `json:"from"`
	To   []string `json:"to"`
}

// unrouted returns what `mail unrouted list --json` shows.
func (g *gateway) unrouted() []boxed {
	g.t.Helper()
	stdout, stderr, code := g.run("mail", "unrouted", "list", "--json")
	var box []boxed
	if err := json.Unmarshal([]byte(stdout), &box); err != nil || code != 0 {
		g.t.Fatal(fmt.Errorf("mail unrouted list: exit %d: %s: %w", code, stderr, err))
	}
	return box
}

// conversation is one object of `mail thread list --json`.
type conversation struct {
	ID     string            `json:"id"`
	Model  string            `json:"model"`
	Fields map[string]string `json:"fields"`
}

// threads returns what `mail thread list --json` shows.
func (g *gateway) threads() []conversation {
	g.t.Helper()
	stdout, stderr, code := g.run("mail", "thread", "list", "--json")
	var threads []conversation
	if err := json.Unmarshal([]byte(stdout), &threads); err != nil || code != 0 {
		g.t.Fatal(fmt.Errorf("mail thread list: exit %d: %s: %w", code, stderr, err))
	}
	return threads
}
