// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits on an address, from RFC 5321 sections 4.5.3.1.1 and 4.5.3.1.2. The
// local part is given room beyond its 64 octets, since signed bounce addresses
// of others exceed them in practice; a path as a whole ends at 256.
const (
	// MaxLocalLength is the longest local part that is taken, in octets.
	MaxLocalLength = 128
	// MaxDomainLength is the longest domain that is taken, in octets.
	MaxDomainLength = 255
)

// ErrAddress is what every error of [ParseAddress] wraps.
var ErrAddress = errors.New("not a mail address")

// Address is a mailbox address (RFC 5321 section 4.1.2), normalised where it
// enters: the domain is in lower case with A-labels, so that the unicode and
// the punycode spelling of a domain are one name; an address literal keeps its
// brackets. The local part is unquoted and keeps its case.
//
// The zero Address is the null reverse-path "<>". An address without domain
// is only ever <Postmaster> (RFC 5321 section 4.5.1). Addresses are
// comparable; two spellings of one mailbox meet in [Address.Key].
type Address struct {
	Local  string
	Domain string
}

// ParseAddress reads one addr-spec, without angle brackets, display name or
// source route. An empty text is the null address. Errors wrap [ErrAddress].
func ParseAddress(s string) (Address, error) {
	if s == "" {
		return Address{}, nil
	}
	local, rest, err := cutLocal(s)
	if err != nil {
		return Address{}, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	if rest == "" && strings.EqualFold(local, "postmaster") {
		return Address{Local: local}, nil
	}
	domain, ok := strings.CutPrefix(rest, "@")
	if !ok {
		return Address{}, fmt.Errorf("%w: no domain", ErrAddress)
	}
	domain, err = NormalizeDomain(domain)
	if err != nil {
		return Address{}, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	return Address{Local: local, Domain: domain}, nil
}

// MustParseAddress is [ParseAddress] for constants; it panics on an error.
func MustParseAddress(s string) Address {
	a, err := ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// cutLocal splits s after its local part, which it returns unquoted.
func cutLocal(s string) (local, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		local, rest, err = cutQuoted(s)
	} else {
		i := strings.LastIndexByte(s, '@')
		if i < 0 {
			i = len(s)
		}
		local, rest = s[:i], s[i:]
		err = checkDotString(local)
	}
	switch {
	case err != nil:
		return "", "", err
	case !utf8.ValidString(local):
		return "", "", errors.New("local part is not UTF-8")
	case len(local) > MaxLocalLength:
		return "", "", errors.New("local part too long")
	}
	return local, rest, nil
}

// cutQuoted reads the Quoted-string that s begins with.
func cutQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			if b.Len() == 0 {
				return "", "", errors.New("empty local part")
			}
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] < ' ' || s[i] == 0x7f {
				return "", "", errors.New("control character in local part")
			}
			b.WriteByte(s[i])
		case c < ' ' || c == 0x7f:
			return "", "", errors.New("control character in local part")
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("quoted local part has no end")
}

// checkDotString reports why s is no Dot-string. Dots at odd places are let
// pass, since addresses such as "a..b@" and "a.@" are in real use.
func checkDotString(s string) error {
	if s == "" {
		return errors.New("empty local part")
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !isAtext(r) && r != '.' }); i >= 0 {
		return fmt.Errorf("character %q needs quotes in a local part", s[i])
	}
	return nil
}

// isAtext reports whether r may stand in an atom (RFC 5322 section 3.2.3,
// extended by RFC 6531 section 3.3).
func isAtext(r rune) bool {
	return r >= utf8.RuneSelf || r > ' ' && r < 0x7f && !strings.ContainsRune(`()<>[]:;@\,."`, r)
}

// NormalizeDomain returns domain in the form of [Address.Domain]. It takes
// unicode and punycode names, one trailing dot, and address literals.
func NormalizeDomain(domain string) (string, error) {
	if lit, ok := strings.CutPrefix(domain, "["); ok {
		return normalizeLiteral(lit)
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(domain, "."))
	if err != nil {
		// Underscores are no host names, but they are in mail domains.
		if ascii, err = lenientDomain.ToASCII(strings.ToLower(strings.TrimSuffix(domain, "."))); err != nil {
			return "", fmt.Errorf("domain %q: %w", domain, err)
		}
	}
	if strings.Contains(ascii, "xn--") {
		// What cannot be read back, such as bytes that are no UTF-8, is no name.
		if again, err := lenientDomain.ToASCII(ascii); err != nil || again != ascii {
			return "", fmt.Errorf("domain %q is malformed", domain)
		}
	}
	switch {
	case ascii == "":
		return "", errors.New("empty domain")
	case len(ascii) > MaxDomainLength:
		return "", errors.New("domain too long")
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if label == "" || len(label) > 63 || strings.IndexFunc(label, notInLabel) >= 0 {
			return "", fmt.Errorf("domain %q is malformed", domain)
		}
	}
	return ascii, nil
}

// lenientDomain is the profile for names that the strict one refuses.
var lenientDomain = idna.New(idna.MapForLookup(), idna.StrictDomainName(false), idna.Transitional(false))

func notInLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// normalizeLiteral reads an address literal after its opening bracket (RFC
// 5321 section 4.1.3).
func normalizeLiteral(lit string) (string, error) {
	lit, ok := strings.CutSuffix(lit, "]")
	if !ok {
		return "", errors.New("address literal has no end")
	}
	text, v6 := lit, false
	if len(lit) > 5 && strings.EqualFold(lit[:5], "IPv6:") {
		text, v6 = lit[5:], true
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" || ip.Is6() != v6 {
		return "", fmt.Errorf("address literal [%s] is malformed", lit)
	}
	if v6 {
		return "[IPv6:" + ip.String() + "]", nil
	}
	return "[" + ip.String() + "]", nil
}

// IsNull reports whether a is the null reverse-path.
func (a Address) IsNull() bool { return a == Address{} }

// IsASCII reports whether a can be sent without SMTPUTF8 (RFC 6531).
func (a Address) IsASCII() bool {
	return strings.IndexFunc(a.Local, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// Key returns the form in which addresses are compared and looked up: all in
// lower case. Local parts are case-sensitive by RFC 5321, but no mailbox that
// people write to is.
func (a Address) Key() string {
	return strings.ToLower(a.String())
}

// Is reports whether a and b are spellings of one mailbox.
func (a Address) Is(b Address) bool {
	return a.Domain == b.Domain && strings.EqualFold(a.Local, b.Local)
}

// String returns the addr-spec, with quotes round the local part where it
// needs them. The null address gives "".
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	local := a.Local
	if checkDotString(local) != nil {
		local = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
	}
	if a.Domain == "" {
		return local
	}
	return local + "@" + a.Domain
}

// Path returns a in angle brackets, as SMTP commands want it; the null address
// gives "<>".
func (a Address) Path() string { return "<" + a.String() + ">" }

// MarshalText returns a as [Address.String] does.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads a as [ParseAddress] does.
func (a *Address) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAddress(string(text))
	return err
}
