// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// smuggled is a second mail as it stands behind what a lax server takes for the
// end of the first.
const smuggled = "MAIL FROM:<evil@mycompany.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n" +
	"From: evil@mycompany.com\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"

// endings are what some server or other takes for the end of content, and RFC
// 5321 does not.
var endings = []string{
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\n.\r", "\r.\n", "\r.\r\n", "\n\n.\n\n",
	"\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n.\x00\r\n", "\r\n\x00.\r\n", "\x00\r.\r\x00",
}

// TestHostileSmuggling hides a second mail behind each ending, in DATA and in
// chunks of BDAT: there is one reply, a refusal, and no mail at all.
func TestHostileSmuggling(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	f.besiege(t, maxGrowth, func() {
		smuggle(t, func() *client { return mustDial(t, f.door) })
	})
	f.checkLedger(t)
}

// TestHostileSmugglingByLMTP does the same at a door that speaks LMTP, where
// the recipients of the hidden mail would have replies of their own.
func TestHostileSmugglingByLMTP(t *testing.T) {
	t.Parallel()
	lmtp := freeAddress(t)
	f := newFortressOf(t, strings.Replace(hostileConfig, "\t\tsmtp %s", "\t\tlmtp "+lmtp+" {\n\t\t\tsubmit 127.0.0.0/8\n\t\t}\n\t\tsmtp %s", 1))
	greeted := func() *client {
		c, err := connect(lmtp)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		if err := c.greetBy("LHLO"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	f.besiege(t, maxGrowth, func() {
		smuggle(t, greeted)
		// What is hidden would be taken, were it not hidden.
		open := mailOf("by-lmtp")
		greeted().mustSend(t, open)
		f.acknowledged(open.to)
	})
	f.checkLedger(t)
}

// smuggle tries every ending, each in a session of its own.
func smuggle(t *testing.T, greeted func() *client) {
	t.Helper()
	for _, ending := range endings {
		text := "Subject: first\r\n\r\nfirst" + ending + smuggled
		checkRefused(t, greeted(), "DATA", ending, "DATA\r\n", []int{354}, text)
		body := strings.TrimSuffix(text, ".\r\n")
		whole := fmt.Sprintf("BDAT %d LAST\r\n%s", len(body), body)
		checkRefused(t, greeted(), "BDAT", ending, "", nil, whole)
		// The ending is split over two chunks, in its middle.
		half := strings.Index(body, ending) + len(ending)/2
		split := fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", half, body[:half], len(body)-half, body[half:])
		checkRefused(t, greeted(), "two chunks", ending, "", nil, split)
	}
}

// checkRefused sends a mail whose content is not to be taken, and looks at all
// replies up to that to QUIT: the content has one, or one for each chunk, the
// last of which refuses it. Then the session goes on, or is closed.
func checkRefused(t *testing.T, c *client, how, ending, verb string, ready []int, text string) {
	t.Helper()
	defer c.close()
	m := submission{from: "anna@mycompany.com", to: "first@example.net"}
	if err := c.write([]byte(m.envelope() + verb)); err != nil {
		t.Fatal(err)
	}
	for _, want := range append([]int{250, 250}, ready...) {
		if a, err := c.read(); err != nil || a.code != want {
			t.Fatalf("%s %q: %v, %v, want %d", how, ending, a, err, want)
		}
	}
	if err := c.write([]byte(text + "QUIT\r\n")); err != nil {
		t.Fatal(err)
	}
	got, err := c.codes()
	if err != nil {
		t.Fatalf("%s %q: %v %v", how, ending, got, err)
	}
	if n := len(got); n > 0 && got[n-1] == 221 {
		got = got[:n-1]
	}
	if n := len(got); how == "two chunks" && n == 2 && got[0] == 250 {
		got = got[1:] // the first chunk has nothing wrong yet
	} else if how == "two chunks" && n == 2 && got[0] == 550 {
		got = got[:1] // the second one then is out of place
	}
	if !slices.Equal(got, []int{550}) {
		t.Errorf("%s with %q: the replies are %v, want one 550", how, ending, got)
	}
}

// TestHostileDots sends the true ending where it is no ending, within a chunk
// and across chunks: that is one mail, and the far end gets it as one.
func TestHostileDots(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	body := "From: anna@mycompany.com\r\nSubject: dots\r\n\r\nfirst\r\n.\r\n" + smuggled + "..\r\n.\r\n"
	at := strings.Index(body, "\r\n.\r\n")
	want := 0
	f.besiege(t, maxGrowth, func() {
		for cut := at - 1; cut <= at+6; cut++ {
			m := submission{from: "anna@mycompany.com", to: fmt.Sprintf("dots%d@example.net", cut)}
			text := fmt.Sprintf("%sBDAT %d\r\n%sBDAT %d LAST\r\n%sQUIT\r\n",
				m.envelope(), cut, body[:cut], len(body)-cut, body[cut:])
			c := mustDial(t, f.door)
			if err := c.write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			got, err := c.codes()
			if err != nil || !slices.Equal(got, []int{250, 250, 250, 250, 221}) {
				t.Errorf("cut at %d: the replies are %v, %v", cut, got, err)
			}
			f.acknowledged(m.to)
			want++
		}
	})
	f.checkLedger(t)
	for _, m := range f.far.Messages() {
		if !strings.HasPrefix(m.Rcpt[0], "<dots") {
			continue
		}
		want--
		if err := compare(body, string(m.Content)); err != nil {
			t.Errorf("the mail to %s: %v", m.Rcpt[0], err)
		}
	}
	if want != 0 {
		t.Errorf("%d mails with dots are missing", want)
	}
}

// TestHostileCommands sends commands that another server would read otherwise,
// with a mail behind each: the command is the last one, and there is no mail.
func TestHostileCommands(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	f.besiege(t, maxGrowth, func() {
		for _, bad := range []string{
			"NOOP\n", "NOOP\r", "NOOP\r\r\n", "NOOP \x00\r\n", "\n", "\r\r\n", "\x00\r\n",
			"NOOP\nMAIL FROM:<evil@mycompany.com>\nRCPT TO:<victim@example.net>\nDATA\n",
			"MAIL FROM:<evil@mycompany.com>\rRCPT TO:<victim@example.net>\r\n",
			"MAIL FROM:<evil\x00@mycompany.com>\r\n", "MAIL FROM:<evil@mycompany.com>\r\nRCPT TO:<victim@example.net\x00>\r\n",
			"EHLO client.example\nNOOP\r\n", "BDAT 99999999999999999999999\r\n", "BDAT -1\r\n", "BDAT 0x10 LAST\r\n",
		} {
			c := mustDial(t, f.door)
			if err := c.write([]byte(bad + "RSET\r\n" + smuggled + "QUIT\r\n")); err != nil {
				t.Fatal(err)
			}
			got, err := c.codes()
			if n := len(got); err != nil || n == 0 || got[n-1] != 500 && got[n-1] != 501 {
				t.Errorf("behind %q the replies are %v, %v, want 500 or 501 and the end", bad, got, err)
			}
		}
	})
	f.checkLedger(t)
}

// TestHostileBrowser has a web page post mail to a door on the user's own
// machine, which trusts that machine: HTTP ends the session at once.
func TestHostileBrowser(t *testing.T) {
	t.Parallel()
	f := newFortress(t)
	f.besiege(t, maxGrowth, func() {
		for _, head := range []string{
			"POST / HTTP/1.1\r\nHost: 127.0.0.1:2525\r\nContent-Type: text/plain\r\n\r\n",
			"GET / HTTP/1.1\r\n", "PUT /x HTTP/1.1\r\n", "CONNECT x:25 HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n",
		} {
			c := mustDial(t, f.door)
			if err := c.write([]byte(head + "EHLO client.example\r\n" + smuggled + "QUIT\r\n")); err != nil {
				t.Fatal(err)
			}
			if got, err := c.codes(); err != nil || len(got) != 1 || got[0] < 400 {
				t.Errorf("behind %q the replies are %v, %v, want one refusal and the end", head, got, err)
			}
		}
	})
	f.checkLedger(t)
}
