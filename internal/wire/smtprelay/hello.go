// SPDX-License-Identifier: Apache-2.0

package smtprelay

import (
	"slices"
	"strconv"
	"strings"
)

// Extensions are what a server offers (RFC 5321 section 4.1.1.1). After HELO
// it offers nothing.
type Extensions struct {
	// Name is what the server calls itself.
	Name string
	// Keywords are all that it offers, in its order.
	Keywords []string
	// Size is the largest message that it takes in bytes; 0 is no limit, and
	// HasSize says whether it takes the parameter (RFC 1870).
	Size    int64
	HasSize bool
	// Auth are its mechanisms, in upper case (RFC 4954).
	Auth []string
	// MaxMessages and MaxRecipients are its limits for a connection and for a
	// message; 0 if it names none (RFC 9422).
	MaxMessages, MaxRecipients int

	Pipelining, EightBitMIME, SMTPUTF8, DSN, StartTLS, RequireTLS, Chunking, EnhancedCodes bool
}

// parseExtensions reads the reply to EHLO.
func parseExtensions(rep reply) Extensions {
	var e Extensions
	name, _, _ := strings.Cut(rep.lines[0], " ")
	e.Name = cut(printable(name), 255)
	for _, line := range rep.lines[1:] {
		keyword, params, _ := strings.Cut(strings.TrimSpace(printable(line)), " ")
		// "AUTH=" is the form before RFC 4954.
		if before, after, ok := strings.Cut(keyword, "="); ok {
			keyword, params = before, after+" "+params
		}
		keyword = strings.ToUpper(keyword)
		if keyword != "" && !slices.Contains(e.Keywords, keyword) {
			e.Keywords = append(e.Keywords, cut(keyword, 64))
		}
		e.offer(keyword, strings.Fields(strings.ToUpper(params)))
	}
	return e
}

// offer notes one line.
func (e *Extensions) offer(keyword string, params []string) {
	switch keyword {
	case "SIZE":
		e.HasSize = true
		if len(params) > 0 {
			if n, err := strconv.ParseInt(params[0], 10, 64); err == nil && n > 0 {
				e.Size = n
			}
		}
	case "AUTH":
		e.Auth = append(e.Auth, params...)
	case "LIMITS":
		e.limits(params)
	case "PIPELINING":
		e.Pipelining = true
	case "8BITMIME":
		e.EightBitMIME = true
	case "SMTPUTF8":
		e.SMTPUTF8 = true
	case "DSN":
		e.DSN = true
	case "STARTTLS":
		e.StartTLS = true
	case "REQUIRETLS":
		e.RequireTLS = true
	case "CHUNKING":
		e.Chunking = true
	case "ENHANCEDSTATUSCODES":
		e.EnhancedCodes = true
	}
}

func (e *Extensions) limits(params []string) {
	for _, p := range params {
		name, value, _ := strings.Cut(p, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n <= 0 {
			continue
		}
		switch name {
		case "MAILMAX":
			e.MaxMessages = n
		case "RCPTMAX":
			e.MaxRecipients = n
		}
	}
}
