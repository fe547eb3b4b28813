// SPDX-License-Identifier: Apache-2.0

package mailflowtest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"net"
	"slices"
	"strings"
)

// maxRelayLine bounds a line of a session: no command is longer, and content
// of tests has no longer lines.
const maxRelayLine = 1 << 20

// relaySession is one connection of a [Relay].
type relaySession struct {
	RelaySession

	relay     *Relay
	r         *bufio.Reader
	protected bool
	user      string
	m         *RelayMessage // the open transaction
	conn, n   int
}

func newRelaySession(r *Relay, nc net.Conn, conn int) *relaySession {
	return &relaySession{
		RelaySession: RelaySession{nc: nc, w: nc, stopped: r.stopped}, relay: r,
		r: bufio.NewReaderSize(nc, maxRelayLine), conn: conn,
	}
}

// script asks the script, which has nothing to say by itself.
func (s *relaySession) script(stage RelayStage, line string) RelayAct {
	if s.relay.Script == nil {
		return nil
	}
	return s.relay.Script(RelayEvent{Stage: stage, Line: line, Conn: s.conn, Message: s.n})
}

// at does what the script says at a stage, else good. It reports whether the
// answer was a 2xx or 3xx.
func (s *relaySession) at(stage RelayStage, line, good string) bool {
	act := s.script(stage, line)
	if act == nil {
		act = RelaySay(good)
	}
	s.code = ""
	act(&s.RelaySession)
	return !s.ended && (s.code == "2" || s.code == "3")
}

// does runs the script at a stage that has no answer.
func (s *relaySession) does(stage RelayStage) {
	if act := s.script(stage, ""); act != nil {
		act(&s.RelaySession)
	}
}

func (s *relaySession) serve() {
	if s.relay.Implicit && !s.handshake() {
		return
	}
	s.at(RelayGreeting, "", "220 relay.example ESMTP")
	for !s.ended {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.relay.note(line)
		s.command(line)
	}
}

// handshake makes the connection a TLS one.
func (s *relaySession) handshake() bool {
	if s.does(RelayTLS); s.ended {
		return false
	}
	tc := tls.Server(s.nc, s.relay.TLS)
	if tc.Handshake() != nil { //nolint:noctx // it ends with the connection
		s.ended = true
		return false
	}
	s.w, s.protected = tc, true
	s.r.Reset(tc)
	return true
}

// command answers one command.
func (s *relaySession) command(line string) {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb := strings.ToUpper(verb); verb {
	case "EHLO", "LHLO", "HELO":
		s.m = nil
		s.hello(verb, line)
	case "STARTTLS":
		if s.at(RelayStartTLS, line, "220 go on") && s.relay.TLS != nil {
			s.handshake()
		}
	case "AUTH":
		s.auth(line, arg)
	case "MAIL":
		s.mail(line)
	case "RCPT":
		s.rcpt(line)
	case "DATA":
		s.data(line)
	case "RSET":
		s.m = nil
		s.at(RelayReset, line, "250 2.0.0 reset")
	case "QUIT":
		s.at(RelayQuit, line, "221 2.0.0 bye")
		s.ended = true
	default:
		RelaySay("500 5.5.2 unknown command")(&s.RelaySession)
	}
}

// offers returns the lines of the EHLO reply behind the first.
func (s *relaySession) offers() []string {
	lines := slices.Clone(s.relay.Offers)
	if s.relay.Offers == nil {
		lines = slices.Clone(RelayOffers)
	}
	if s.relay.TLS != nil && !s.protected {
		lines = append(lines, "STARTTLS")
	}
	if s.relay.Bearer != nil && !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "AUTH") }) {
		lines = append(lines, "AUTH XOAUTH2 OAUTHBEARER")
	}
	if s.relay.Users != nil && !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "AUTH") }) {
		lines = append(lines, "AUTH PLAIN LOGIN")
	}
	return lines
}

func (s *relaySession) hello(verb, line string) {
	lines := []string{"relay.example"}
	if verb != "HELO" {
		lines = append(lines, s.offers()...)
	}
	for i := range lines {
		lines[i] = "250-" + lines[i]
	}
	last := len(lines) - 1
	lines[last] = strings.Replace(lines[last], "-", " ", 1)
	s.at(RelayHello, line, strings.Join(lines, "\r\n"))
}

// auth checks PLAIN and LOGIN, and leaves access tokens to bearer.
func (s *relaySession) auth(line, arg string) {
	mechanism, response, _ := strings.Cut(arg, " ")
	var user, password string
	switch strings.ToUpper(mechanism) {
	case "XOAUTH2", "OAUTHBEARER":
		s.bearer(line, strings.ToUpper(mechanism), decodeBase64(response))
		return
	}
	if strings.EqualFold(mechanism, "LOGIN") {
		user, password = s.ask("VXNlcm5hbWU6"), s.ask("UGFzc3dvcmQ6")
	} else {
		parts := strings.Split(decodeBase64(response), "\x00")
		if len(parts) == 3 {
			user, password = parts[1], parts[2]
		}
	}
	good := "535 5.7.8 authentication failed"
	if want, ok := s.relay.Users[user]; ok && want == password {
		good = "235 2.7.0 welcome"
	}
	if s.at(RelayAuth, line, good) {
		s.user = user
	}
}

// relayChallenge is what a [Relay] says of a token that it refuses.
const relayChallenge = `{"status":"invalid_token","schemes":"bearer","scope":"mail"}`

// bearer checks an access token. The script is asked where the token is good
// or the failure has been answered as the mechanism wants it.
func (s *relaySession) bearer(line, mechanism, response string) {
	fields := strings.Split(response, "\x01")
	user, token := "", ""
	for _, f := range fields {
		if rest, ok := strings.CutPrefix(f, "user="); ok {
			user = rest
		}
		if rest, ok := strings.CutPrefix(f, "n,a="); ok && mechanism == "OAUTHBEARER" {
			user = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(strings.TrimSuffix(rest, ","))
		}
		if rest, ok := strings.CutPrefix(f, "auth=Bearer "); ok {
			token = rest
		}
	}
	good := "235 2.7.0 welcome"
	if s.relay.Bearer == nil || !strings.HasSuffix(response, "\x01\x01") || !s.relay.Bearer(user, token) {
		want := ""
		if mechanism == "OAUTHBEARER" {
			want = "\x01"
		}
		good = "535 5.7.8 authentication failed"
		if s.ask(base64.StdEncoding.EncodeToString([]byte(relayChallenge))) != want {
			good = "501 5.5.2 that is no end of a failed login"
		}
	}
	if !s.ended && s.at(RelayAuth, line, good) {
		s.user = user
	}
}

// ask sends a challenge and returns the decoded answer.
func (s *relaySession) ask(challenge string) string {
	RelaySay("334 " + challenge)(&s.RelaySession)
	line, err := s.r.ReadString('\n')
	if err != nil {
		s.ended = true
	}
	return decodeBase64(strings.TrimRight(line, "\r\n"))
}

func decodeBase64(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(b)
}

func (s *relaySession) mail(line string) {
	if s.m != nil {
		RelaySay("503 5.5.1 nested MAIL")(&s.RelaySession)
		return
	}
	pipelined := s.r.Buffered() > 0
	if s.at(RelayMail, line, "250 2.1.0 sender ok") {
		s.m = &RelayMessage{
			Conn: s.conn, Mail: cutVerb(line, "FROM:"), TLS: s.protected, User: s.user, Pipelined: pipelined,
		}
	}
}

func (s *relaySession) rcpt(line string) {
	if s.m == nil {
		RelaySay("503 5.5.1 MAIL first")(&s.RelaySession)
		return
	}
	if s.at(RelayRcpt, line, "250 2.1.5 recipient ok") {
		s.m.Rcpt = append(s.m.Rcpt, cutVerb(line, "TO:"))
	}
}

// cutVerb returns what stands behind the colon of MAIL and RCPT.
func cutVerb(line, keyword string) string {
	_, arg, _ := strings.Cut(line, " ")
	if len(arg) >= len(keyword) && strings.EqualFold(arg[:len(keyword)], keyword) {
		return arg[len(keyword):]
	}
	return arg
}

func (s *relaySession) data(line string) {
	good := "354 go on"
	if s.m == nil || len(s.m.Rcpt) == 0 {
		good = "503 5.5.1 no valid recipients"
	}
	if !s.at(RelayData, line, good) || s.code != "3" {
		return
	}
	content, ok := s.content()
	if !ok {
		return
	}
	m := s.m
	s.m = nil
	if m == nil {
		m = new(RelayMessage)
	}
	m.Content = content
	s.final(m)
}

// content reads to the final dot.
func (s *relaySession) content() ([]byte, bool) {
	var content []byte
	for {
		line, err := s.r.ReadSlice('\n')
		if err != nil {
			s.ended = true
			return nil, false
		}
		if string(line) == ".\r\n" {
			return content, true
		}
		first := content == nil
		content = append(content, strings.TrimPrefix(string(line), ".")...)
		if first {
			if s.does(RelayContent); s.ended {
				return nil, false
			}
		}
	}
}

// final answers the content and keeps what it took. It keeps before it
// answers, so that whoever has the answer finds the mail.
func (s *relaySession) final(m *RelayMessage) {
	rcpts := []string{""}
	if s.relay.LMTP {
		rcpts = m.Rcpt
	}
	acts := make([]RelayAct, len(rcpts))
	var taken []string
	for i, rcpt := range rcpts {
		if acts[i] = s.script(RelayFinal, rcpt); acts[i] == nil {
			acts[i] = RelaySay("250 2.0.0 taken")
			taken = append(taken, rcpt)
		}
	}
	s.n++
	m.Number = s.n
	if s.relay.LMTP {
		m.Rcpt = taken
	}
	if len(taken) > 0 {
		s.relay.take(*m)
	}
	for _, act := range acts {
		if !s.ended {
			act(&s.RelaySession)
		}
	}
}
