// SPDX-License-Identifier: Apache-2.0

package smtprelay

import "time"

// How long a server may be silent. Those of RFC 5321 section 4.5.3.2 are the
// least that a client must wait, since busy servers do take that long.
const (
	// TimeoutConnect bounds the TCP handshake with one address, so that the
	// next address gets its turn.
	TimeoutConnect = 30 * time.Second
	// TimeoutTLS bounds the TLS handshake.
	TimeoutTLS = time.Minute
	// TimeoutCommand bounds the wait for the greeting and for the replies to
	// EHLO, AUTH, MAIL, RCPT and RSET (section 4.5.3.2.1 to .3).
	TimeoutCommand = 5 * time.Minute
	// TimeoutData bounds the wait for 354 (section 4.5.3.2.4).
	TimeoutData = 2 * time.Minute
	// TimeoutBlock bounds the sending of each block (section 4.5.3.2.5).
	TimeoutBlock = 3 * time.Minute
	// TimeoutFinal bounds the wait for the reply to the content, in which the
	// server scans and stores it (section 4.5.3.2.6).
	TimeoutFinal = 10 * time.Minute
	// TimeoutQuit bounds the good-bye, which nobody waits for.
	TimeoutQuit = 2 * time.Second
)

// Timeouts says how long a server may be silent; a zero field has the default
// of the constant of that name.
type Timeouts struct {
	Connect, TLS, Command, Data, Block, Final, Quit time.Duration
}

// AtMost returns the defaults, none of them longer than limit; zero is no
// limit.
func AtMost(limit time.Duration) Timeouts {
	t := Timeouts{}.withDefaults()
	if limit > 0 {
		for _, d := range t.all() {
			*d = min(*d, limit)
		}
	}
	return t
}

// all returns pointers to all fields, in the order of the struct.
func (t *Timeouts) all() []*time.Duration {
	return []*time.Duration{&t.Connect, &t.TLS, &t.Command, &t.Data, &t.Block, &t.Final, &t.Quit}
}

// withDefaults returns t with its zero fields set.
func (t Timeouts) withDefaults() Timeouts {
	defaults := Timeouts{TimeoutConnect, TimeoutTLS, TimeoutCommand, TimeoutData, TimeoutBlock, TimeoutFinal, TimeoutQuit}
	from := defaults.all()
	for i, d := range t.all() {
		if *d <= 0 {
			*d = *from[i]
		}
	}
	return t
}
