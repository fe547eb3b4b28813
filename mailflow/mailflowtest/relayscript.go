// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"io"
	"net"
	"strings"
)

// RelayStage is a point at which a [Relay] asks its script.
type RelayStage string

// The stages: the greeting, each command, the reply to each step of AUTH, the
// content as it begins, and the reply to it.
const (
	RelayGreeting RelayStage = "greeting"
	RelayHello    RelayStage = "EHLO" // also HELO and LHLO
	RelayStartTLS RelayStage = "STARTTLS"
	RelayTLS      RelayStage = "handshake" // before it
	RelayAuth     RelayStage = "AUTH"
	RelayMail     RelayStage = "MAIL"
	RelayRcpt     RelayStage = "RCPT"
	RelayData     RelayStage = "DATA"
	RelayContent  RelayStage = "content" // after the first bytes of it
	RelayFinal    RelayStage = "final"   // in LMTP once for each accepted recipient
	RelayReset    RelayStage = "RSET"
	RelayQuit     RelayStage = "QUIT"
)

// RelayEvent is what a script is asked about.
type RelayEvent struct {
	Stage RelayStage
	// Line is the command line; at [RelayFinal] the recipient of LMTP.
	Line string
	// Conn is the number of the connection, Message the number of messages
	// that it carried before.
	Conn, Message int
}

// RelayAct is what a [Relay] does instead of answering well.
type RelayAct func(s *RelaySession)

// RelaySession is a connection as a [RelayAct] sees it.
type RelaySession struct {
	nc      net.Conn // as accepted
	w       io.Writer
	code    string // of the last answer
	ended   bool
	stopped <-chan struct{}
}

// RelaySay answers with the lines, joined by CRLF.
func RelaySay(lines ...string) RelayAct {
	return RelayRaw(strings.Join(lines, "\r\n") + "\r\n")
}

// RelayRaw answers with bytes that need not be a reply.
func RelayRaw(b string) RelayAct {
	return func(s *RelaySession) {
		s.code = b[:min(1, len(b))]
		if _, err := io.WriteString(s.w, b); err != nil {
			s.ended = true
		}
	}
}

// RelaySayClose answers and closes.
func RelaySayClose(lines ...string) RelayAct {
	return func(s *RelaySession) {
		RelaySay(lines...)(s)
		s.ended = true
	}
}

// RelayClose closes the connection in peace.
func RelayClose() RelayAct {
	return func(s *RelaySession) { s.ended = true }
}

// RelayCut resets the connection (TCP RST).
func RelayCut() RelayAct {
	return func(s *RelaySession) {
		if tcp, ok := s.nc.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = s.nc.Close()
		s.ended = true
	}
}

// RelayStall neither answers nor reads until release is closed, which may be
// nil, or the relay stops. Then the connection is closed.
func RelayStall(release <-chan struct{}) RelayAct {
	return func(s *RelaySession) {
		select {
		case <-release:
		case <-s.stopped:
		}
		s.ended = true
	}
}

// RelayAt is a script that acts at one stage and is good at the others.
func RelayAt(stage RelayStage, act RelayAct) func(RelayEvent) RelayAct {
	return RelayActs(map[RelayStage]RelayAct{stage: act})
}

// RelayActs is a script that acts at some stages and is good at the others.
func RelayActs(acts map[RelayStage]RelayAct) func(RelayEvent) RelayAct {
	return func(e RelayEvent) RelayAct { return acts[e.Stage] }
}
