// SPDX-License-Identifier: Apache-2.0

package routing

import (
	"encoding/json"
	"errors"
	"strings"

	"github.com/mailcaddy/mailcaddy/internal/rule/relay"
)

// list is the JSON form of a matcher that is a list of words.
type list struct{ words []string }

// MarshalJSON implements json.Marshaler.
func (l list) MarshalJSON() ([]byte, error) { return json.Marshal(l.words) }

// UnmarshalJSON implements json.Unmarshaler.
func (l *list) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &l.words) }

// addressFilter reads patterns for addresses: those of [relay.ParseFilter],
// and "*@example.com" for "example.com".
func addressFilter(patterns []string) (relay.Filter, error) {
	if len(patterns) == 0 {
		return relay.Filter{}, errors.New("there is no pattern")
	}
	patterns, err := expandAll(patterns)
	if err != nil {
		return relay.Filter{}, err
	}
	for i, p := range patterns {
		if domain, ok := strings.CutPrefix(p, "*@"); ok {
			patterns[i] = domain
		}
	}
	return relay.ParseFilter(patterns)
}
