// SPDX-License-Identifier: Apache-2.0

package smtpguard

import "time"

// Limits on what a peer may send.
const (
	// MaxCommandLine is the longest command, in bytes with its CRLF: 512 of RFC
	// 5321 section 4.5.3.1.4, and what SIZE, SMTPUTF8, AUTH and the DSN
	// parameters may add (RFC 3461 section 4 alone adds 500 to RCPT).
	MaxCommandLine = 2048
	// MaxAuthLine is the longest line of a login (RFC 4954 section 4).
	MaxAuthLine = 12288
	// MaxTextLine is the longest line of content, in bytes with its CRLF. RFC
	// 5321 wants 1000; real mail has lines of many kilobytes, but what no limit
	// bounds breaks those who read it.
	MaxTextLine = 64 << 10
	// MaxHello is the longest name a peer may give itself: that of a domain.
	MaxHello = 255
	// MaxSkippedLine is how much of a command that is too long is skipped in the
	// hope of its end. Then the peer is no SMTP client.
	MaxSkippedLine = 64 << 10
	// MaxErrors is how many commands may fail since the last accepted mail; a
	// client that is not lost has far fewer.
	MaxErrors = 20
	// MaxRefusedRecipients is how many recipients may be refused for good since
	// the last accepted mail, which is less than pays for a search for
	// addresses and more than a list out of date has.
	MaxRefusedRecipients = 200
	// MaxSurplusRecipients is how many recipients may be deferred since the last
	// accepted mail: a client that pipelines does so before it learns that
	// they are too many.
	MaxSurplusRecipients = 2000
	// MaxIdleCommands is how many commands may pass without a MAIL: a monitor
	// needs three, and nobody holds a connection open for nothing.
	MaxIdleCommands = 100
	// MaxAuthFailures is how many logins may fail on a connection: a user who
	// mistypes needs two.
	MaxAuthFailures = 4
	// GuessWindow is how long a failed login is remembered across connections:
	// long enough that guessing goes nowhere, short enough that a user who was
	// shut out need not call anybody.
	GuessWindow = 15 * time.Minute
	// MaxDiscarded is how much content beyond the limit is read and thrown away
	// so that the peer gets to its reply; a peer that was told SIZE and goes on
	// even so is cut off.
	MaxDiscarded = 64 << 20
)

// Sizes of memory and of replies.
const (
	smallBuffer   = 1 << 10  // what a waiting connection holds for commands
	contentBuffer = 32 << 10 // what a connection borrows while content comes
	maxOut        = 4 << 10  // replies that wait to be flushed together
	maxReplyText  = 400      // RFC 5321 section 4.5.3.1.5: 512 with codes and CRLF
	// maxShownUser is how much of a name that failed to log in is reported.
	maxShownUser = 100
	// maxGoSMTPLine is go-smtp's line limit: no line that passes the guard
	// reaches it.
	maxGoSMTPLine = MaxAuthLine + MaxCommandLine
	// lingerBytes and lingerTime bound what is read after the last reply, so
	// that closing with unread bytes does not reset the connection before the
	// peer has read it.
	lingerBytes = 256 << 10
	lingerTime  = time.Second
	// maxGuessers is how many peers one of the two tables of failed logins
	// holds: 2 MiB, and far more than guess at once.
	maxGuessers = 10000
	// maxTurningAway is how many connections may wait for their 421 at once;
	// further ones are closed without a word.
	maxTurningAway = 100
	// minAcceptPause and maxAcceptPause lie between attempts to accept where
	// that fails.
	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
	// greetTime bounds the 421 of a connection that is one too many.
	greetTime = time.Second
)

// Timeouts says how long a peer may take. A zero field has its default.
type Timeouts struct {
	// Command is the time for each command, from the reply before to its CRLF.
	// Default: 5m (RFC 5321 section 4.5.3.2.7).
	Command time.Duration
	// Block is how long content may pause. Default: 3m (section 4.5.3.2.5).
	Block time.Duration
	// Content is the time for the whole content of a message, which ends those
	// who send a byte for each block. Default: 30m.
	Content time.Duration
	// Write is the time for the peer to take replies. Default: 1m.
	Write time.Duration
	// Handshake is the time for TLS. Default: 30s.
	Handshake time.Duration
	// AuthDelay is how long the reply to the first failed login waits; it
	// doubles with each further one. Default: 1s.
	AuthDelay time.Duration
}

// withDefaults returns t with its zero fields set.
func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.Command, 5*time.Minute)
	set(&t.Block, 3*time.Minute)
	set(&t.Content, 30*time.Minute)
	set(&t.Write, time.Minute)
	set(&t.Handshake, 30*time.Second)
	set(&t.AuthDelay, time.Second)
	return t
}
