// SPDX-License-Identifier: Apache-2.0

package mtasts

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

const (
	// maxPatterns is the most hosts that a policy may name. Large providers
	// name some ten; memory is bounded by it.
	maxPatterns = 64
	// maxAge is the longest time for which a policy holds (section 3.2).
	maxAge = 31557600 * time.Second
	// version is what records begin with, and what policies say.
	version = "STSv1"
)

// errPolicy is wrapped by the error on a text that is no policy.
var errPolicy = errors.New("not an MTA-STS policy")

// Policy is the policy of a domain (section 3.2).
type Policy struct {
	// Mode is "enforce", "testing" or "none".
	Mode string
	// MX are the hosts that take the domain's mail: names, or "*." and a name
	// for all names with one label more. In lower case.
	MX []string
	// MaxAge is how long the policy holds.
	MaxAge time.Duration
}

// ParsePolicy reads the text of a policy. Fields that it does not know are
// left out; of a field that stands twice the first counts, but for mx.
func ParsePolicy(text string) (Policy, error) {
	var p Policy
	seen := make(map[string]bool)
	for line := range strings.SplitSeq(text, "\n") {
		key, value, ok := strings.Cut(line, ":")
		key, value = strings.Trim(key, " \t\r"), strings.Trim(value, " \t\r")
		if !ok || seen[key] && key != "mx" {
			continue
		}
		seen[key] = true
		if err := p.set(key, value); err != nil {
			return Policy{}, fmt.Errorf("%w: %w", errPolicy, err)
		}
	}
	switch {
	case !seen["version"] || !seen["mode"] || !seen["max_age"]:
		return Policy{}, fmt.Errorf("%w: version, mode or max_age is missing", errPolicy)
	case len(p.MX) == 0 && p.Mode != "none":
		return Policy{}, fmt.Errorf("%w: it names no host", errPolicy)
	}
	return p, nil
}

// set takes one field.
func (p *Policy) set(key, value string) error {
	switch key {
	case "version":
		if value != version {
			return fmt.Errorf("version %.20q", value)
		}
	case "mode":
		if !slices.Contains([]string{"enforce", "testing", "none"}, value) {
			return fmt.Errorf("mode %.20q", value)
		}
		p.Mode = value
	case "max_age":
		seconds, err := strconv.ParseUint(value, 10, 32)
		if err != nil || len(value) > 10 {
			return fmt.Errorf("max_age %.20q", value)
		}
		p.MaxAge = min(time.Duration(seconds)*time.Second, maxAge)
	case "mx":
		return p.addHost(value)
	}
	return nil
}

// addHost takes one mx field.
func (p *Policy) addHost(pattern string) error {
	if len(p.MX) == maxPatterns {
		return fmt.Errorf("more than %d hosts", maxPatterns)
	}
	name, wildcard := strings.CutPrefix(pattern, "*.")
	host, err := mailflow.NormalizeDomain(name)
	if err != nil || strings.HasPrefix(host, "[") {
		return fmt.Errorf("host %.80q", pattern)
	}
	if wildcard {
		host = "*." + host
	}
	p.MX = append(p.MX, host)
	return nil
}

// ParseRecord returns the id of the one of texts that announces a policy
// (section 3.1). None, or several, announce none.
func ParseRecord(texts []string) (id string, ok bool) {
	records := slices.DeleteFunc(slices.Clone(texts), func(s string) bool {
		rest, ok := strings.CutPrefix(s, "v="+version)
		return !ok || rest != "" && !strings.HasPrefix(strings.TrimLeft(rest, " \t"), ";")
	})
	if len(records) != 1 {
		return "", false
	}
	for field := range strings.SplitSeq(records[0], ";") {
		key, value, _ := strings.Cut(field, "=")
		if strings.Trim(key, " \t") == "id" {
			id = strings.Trim(value, " \t")
			return id, checkID(id)
		}
	}
	return "", false
}

// checkID reports whether id is one: up to 32 letters and digits.
func checkID(id string) bool {
	return id != "" && len(id) <= 32 && strings.IndexFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) < 0
}
