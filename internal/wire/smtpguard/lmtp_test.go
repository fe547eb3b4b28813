// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"strings"
	"testing"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// TestLMTP plays what is other than in SMTP: LHLO, and a reply for each
// recipient after the content, however it ends.
func TestLMTP(t *testing.T) {
	t.Parallel()
	const begin = "LHLO c\r\nMAIL FROM:<s@x.example>\r\n"
	three := "RCPT TO:<a@a.example>\r\nRCPT TO:<B@a.example>\r\nRCPT TO:<c@a.example>\r\n"
	again := "RCPT TO:<a@a.example>\r\nRCPT TO:<b@a.example>\r\nRCPT TO:<A@a.example>\r\n"
	mixed := []*mailflow.Reply{mailflow.ReplyAccepted, mailflow.ReplyUnknownRecipient, mailflow.ReplyTryLater}
	notB := func(a mailflow.Address) error {
		if a.Local == "B" {
			return mailflow.ReplyUnknownRecipient
		}
		return nil
	}
	for name, tt := range map[string]struct {
		keeper *keeper
		lines  []string
		codes  []string
	}{
		"SMTP is not spoken": {new(keeper), []string{"EHLO c\r\nHELO c\r\nMAIL FROM:<>\r\n"}, []string{"220 500 500 503"}},
		"each accepted":      {new(keeper), []string{begin + three + "DATA\r\n", "x\r\n.\r\n"}, []string{"220 250 250 250 250 250 354", "250 250 250"}},
		"each its own":       {&keeper{replies: mixed}, []string{begin + three + "DATA\r\n", "x\r\n.\r\n"}, []string{"220 250 250 250 250 250 354", "250 550 451"}},
		"one refused at RCPT": {
			&keeper{rcptErr: notB},
			[]string{begin + three + "DATA\r\n", "x\r\n.\r\n"},
			[]string{"220 250 250 250 550 250 354", "250 250"},
		},
		"one mailbox twice": {
			&keeper{replies: mixed[:2]},
			[]string{begin + again + "DATA\r\n", "x\r\n.\r\n"},
			[]string{"220 250 250 250 250 250 354", "250 550 250"},
		},
		"no recipient":    {new(keeper), []string{begin + "DATA\r\n"}, []string{"220 250 250 503"}},
		"all refused":     {&keeper{dataErr: mailflow.ReplyNoRoom}, []string{begin + three + "DATA\r\n", "x\r\n.\r\n"}, []string{"220 250 250 250 250 250 354", "451 451 451"}},
		"a bare LF":       {new(keeper), []string{begin + three + "DATA\r\n", "x\n.\r\n.\r\n"}, []string{"220 250 250 250 250 250 354", "550 550 550"}},
		"too big":         {&keeper{maxSize: 3}, []string{begin + three + "DATA\r\n", "xxxxxx\r\n.\r\n"}, []string{"220 250 250 250 250 250 354", "552 552 552"}},
		"chunks":          {new(keeper), []string{begin + three, "BDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\n"}, []string{"220 250 250 250 250 250", "250 250 250 250"}},
		"an early chunk":  {&keeper{maxSize: 3}, []string{begin + three, "BDAT 9\r\nxxxxxxxxx", "NOOP\r\n"}, []string{"220 250 250 250 250 250", "552", "250"}},
		"a last chunk":    {new(keeper), []string{begin + three, "BDAT 3 LAST\r\nx\r\n"}, []string{"220 250 250 250 250 250", "250 250 250"}},
		"a mail after it": {new(keeper), []string{begin + three + "BDAT 3 LAST\r\nx\r\n" + "MAIL FROM:<>\r\nRCPT TO:<a@a.example>\r\nDATA\r\n", "y\r\n.\r\n"}, []string{"220 250 250 250 250 250 250 250 250 250 250 354", "250"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guarded(t, tt.keeper, Options{LMTP: true}, func(b *bench) {
				c := b.dial("192.0.2.9:1")
				for i, line := range tt.lines {
					c.want(line, tt.codes[i])
				}
			})
			for _, m := range tt.keeper.mails {
				if m.word != "LMTP" {
					t.Errorf("protocol %q", m.word)
				}
			}
		})
	}
}

// TestLMTPManyRefusals holds that the replies to one message count as one: 30
// refused recipients are not 30 errors.
func TestLMTPManyRefusals(t *testing.T) {
	t.Parallel()
	k := &keeper{dataErr: mailflow.ReplyUnknownRecipient}
	guarded(t, k, Options{LMTP: true}, func(b *bench) {
		c := b.dial("192.0.2.9:1")
		want := ""
		c.ask("LHLO c\r\nMAIL FROM:<>\r\n")
		for i := range MaxErrors + 10 {
			c.ask("RCPT TO:<r" + string(rune('a'+i)) + "@a.example>\r\n")
			want += " 550"
		}
		c.want("DATA\r\n", "354")
		c.want("x\r\n.\r\n", want[1:])
		c.want("NOOP\r\n", "250")
	})
}

// FuzzLMTP sends anything as a session, and as content for three recipients: it
// is taken as SMTP would take it, and answered three times.
func FuzzLMTP(f *testing.F) {
	for _, text := range contents {
		if len(text) < 1000 {
			f.Add([]byte(text), 3)
		}
	}
	f.Add([]byte("LHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<r@a.example>\r\nBDAT 3\r\na\r\nBDAT 0 LAST\r\n"), 5)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		step = 1 + max(0, step)%2000
		lmtp := Options{LMTP: true}
		k := &keeper{maxSize: 1 << 20}
		checkSession(t, k, runTapeWith(t, lmtp, k, data, step))

		k = &keeper{maxSize: 1 << 20}
		const three = "LHLO c\r\nMAIL FROM:<s@x.example>\r\nRCPT TO:<a@a.example>\r\nRCPT TO:<b@a.example>\r\nRCPT TO:<A@a.example>\r\nDATA\r\n"
		said := runTapeWith(t, lmtp, k, []byte(three+string(data)), step)
		checkSession(t, k, said)
		same := &keeper{maxSize: 1 << 20}
		runTape(t, same, []byte(opening+string(data)), step)
		if (len(k.mails) > 0) != (len(same.mails) > 0) || len(k.mails) > 0 && k.mails[0].content != same.mails[0].content {
			t.Errorf("by LMTP %+v is taken, by SMTP %+v", k.mails, same.mails)
		}
		_, after, _ := strings.Cut(said, "354 ")
		if want := mailflow.ReplyAccepted.String(); len(k.mails) == 1 && strings.Count(after, want) != 3 {
			t.Errorf("the replies are %q, want %q three times", after, want)
		}
	})
}
