// SPDX-License-Identifier: Apache-2.0

package preset

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Answer is what is known about a yes-or-no question.
type Answer string

// The answers.
const (
	Unknown Answer = ""
	Yes     Answer = "yes"
	No      Answer = "no"
)

// TLS says how a connection is protected, in the words of the transport.
type TLS string

// The ways.
const (
	// StartTLS begins TLS in the session (RFC 3207).
	StartTLS TLS = "starttls"
	// Implicit speaks TLS from the first byte (RFC 8314 section 3).
	Implicit TLS = "implicit"
)

// Preset is what is known about a provider. It does not change and is safe for
// concurrent use.
type Preset struct {
	// Name is the name in the configuration, Title that of the provider.
	Name, Title string
	// Args are the arguments that it was found with.
	Args []string

	// Host and Port are where to submit mail, TLS how.
	Host string
	Port uint16
	TLS  TLS
	// Ports are all that the provider documents for mail of customers.
	Ports []uint16

	// Login says how one logs in.
	Login Login
	// SPF is the domain whose SPF record allows the provider's servers; empty
	// if none is to be included.
	SPF string
	// OwnReversePath says whether the provider sends with a reverse-path of its
	// own in place of ours. SPF is then checked against that one: it passes
	// without an include, and is not aligned for DMARC unless the provider was
	// given a subdomain of ours for it.
	OwnReversePath Answer
	// DKIM says how the provider signs for our domain.
	DKIM DKIM

	// Limits are those that hold unless the operator writes his own: only what
	// the provider documents for every account.
	Limits []mailflow.Limit
	// Quotas are limits that hold for some accounts, to tell the operator.
	Quotas []Quota

	// Envelope is the reverse-path to give: bounce, or login where the provider
	// takes its own user's address only.
	Envelope mailflow.EnvelopeRule
	// NullSender says whether it accepts the null reverse-path, which reports
	// carry.
	NullSender Answer
	// MessageID says what becomes of our Message-Id.
	MessageID MessageID

	// Sources tell where each fact is from.
	Sources Sources
}

// Login is how one logs in to a provider.
type Login struct {
	// Mechanisms are the SASL mechanisms that are documented, of those that
	// the gateway speaks, the one to use first.
	Mechanisms []string
	// User is the name that all customers log in with; empty if each has his
	// own.
	User string
	// Words says what user and password are, for the operator.
	Words string
}

// DKIM is how a provider signs for the domains of its customers.
type DKIM struct {
	// Record is the type of the DNS records that it asks for: "CNAME" to keys
	// that it holds and rotates, or "TXT" with the key itself.
	Record string
	// Selectors are the selectors where all customers have the same.
	Selectors []string
	// Words says what to publish, for the operator.
	Words string
}

// Quota is a limit of some accounts.
type Quota struct {
	Limit mailflow.Limit
	// Words says whom it holds for.
	Words string
}

// MessageID says what a provider does to the Message-Id.
type MessageID struct {
	// Kept says whether it leaves ours in its place.
	Kept Answer
	// Keep is a header field, without line end, that makes the provider keep
	// it; empty if there is none.
	Keep string
	// In says where the reply to the content has the new one.
	In Place
	// Domain stands behind the "@" of an id that the reply gives without.
	Domain string
}

// Place is where a reply has the new Message-Id.
type Place int

// The places.
const (
	// Nowhere is a reply that does not tell it.
	Nowhere Place = iota
	// LastWord is "Ok ID", the id without domain.
	LastWord
	// InBrackets is "... <ID@DOMAIN> ...".
	InBrackets
)

// Sources are addresses of pages, by what they tell. An empty one says that no
// source is known.
type Sources struct {
	Server, Login, SPF, DKIM, Limits, Envelope, NullSender, MessageID string
}

// ErrPreset is wrapped by the errors of [Find].
var ErrPreset = errors.New("no such preset")

// Names returns the names of the presets, sorted.
func Names() []string {
	names := make([]string, 0, len(table))
	for _, e := range table {
		names = append(names, e.preset.Name)
	}
	slices.Sort(names)
	return names
}

// Find returns the preset of that name, as its arguments make it. Upper and
// lower case, "-" and "_" are alike. Errors wrap [ErrPreset] and say what to
// write.
func Find(name string, args []string) (Preset, error) {
	folded := fold(name)
	i := slices.IndexFunc(table, func(e entry) bool {
		return e.preset.Name == folded || slices.Contains(e.aliases, folded)
	})
	if i < 0 {
		if meant := suggest(folded); meant != "" {
			return Preset{}, fmt.Errorf("%w: %q; did you mean %q?", ErrPreset, name, meant)
		}
		return Preset{}, fmt.Errorf("%w: %q; there are %s", ErrPreset, name, strings.Join(Names(), ", "))
	}
	e := table[i]
	p := e.preset
	if e.argue == nil {
		if len(args) > 0 {
			return Preset{}, fmt.Errorf("%w: %s takes no argument, not %q", ErrPreset, p.Name, args)
		}
		return p, nil
	}
	if len(args) > 1 {
		return Preset{}, fmt.Errorf("%w: %s takes one argument, not %q", ErrPreset, p.Name, args)
	}
	arg := ""
	if len(args) == 1 {
		arg = strings.ToLower(args[0])
		p.Args = []string{arg}
	}
	if err := e.argue(&p, arg); err != nil {
		return Preset{}, fmt.Errorf("%w: %s: %w", ErrPreset, p.Name, err)
	}
	return p, nil
}

// OfHost returns the preset whose server a host name is, for advice to write
// it.
func OfHost(host string) (Preset, bool) {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if m := sesHost.FindStringSubmatch(host); m != nil {
		p, err := Find("amazon_ses", m[1:])
		return p, err == nil
	}
	for _, e := range table {
		switch host {
		case e.preset.Host:
			p, err := Find(e.preset.Name, nil)
			return p, err == nil
		case mailgunEU:
			p, err := Find("mailgun", []string{"eu"})
			return p, err == nil
		case outlookPersonal:
			p, err := Find("outlook", nil)
			return p, err == nil
		}
	}
	return Preset{}, false
}

// String returns what to write in the configuration.
func (p Preset) String() string { return strings.Join(append([]string{p.Name}, p.Args...), " ") }

// fold makes spellings alike.
func fold(name string) string { return strings.ReplaceAll(strings.ToLower(name), "-", "_") }

var (
	// sesRegion is the form of an AWS region.
	sesRegion = regexp.MustCompile(`^[a-z]{2,3}(-[a-z]+)+-[0-9]{1,2}$`)
	sesHost   = regexp.MustCompile(`^email-smtp(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com$`)
)

// argueSES puts the region in.
func argueSES(p *Preset, region string) error {
	if region == "" {
		region = sesFirstRegion
	}
	if !sesRegion.MatchString(region) {
		return fmt.Errorf("%q is no region; write one such as eu-west-1", region)
	}
	p.Host = "email-smtp." + region + ".amazonaws.com"
	p.MessageID.Domain = region + ".amazonses.com"
	if region == sesFirstRegion {
		p.MessageID.Domain = "email.amazonses.com"
	}
	return nil
}

// argueMailgun puts the region in.
func argueMailgun(p *Preset, region string) error {
	switch region {
	case "", "us":
	case "eu":
		p.Host = mailgunEU
	default:
		return fmt.Errorf("%q is none of its regions; write eu, or nothing for the United States", region)
	}
	return nil
}
