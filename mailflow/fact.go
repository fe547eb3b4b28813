// SPDX-License-Identifier: Apache-2.0

package mailflow

import (
	"errors"
	"fmt"
	"time"
)

// Fact is a predicate on the state that a decision rests on. The commit checks
// a decision's facts in order and writes what they imply, in the transaction
// that commits the decision; if one does not hold nothing is written.
//
// Facts are built from two things that every store has: records, a version
// under a key, and windows, dated hits under a key.
type Fact struct {
	Kind FactKind `json:"kind"`
	// Key names the record or window: kind of thing, then what makes it one,
	// separated by a NUL, as [FactKey] makes it.
	Key string `json:"key"`
	// Version is what [FactVersion] compares with.
	Version int64 `json:"version,omitempty"`
	// Bound is how many hits [FactBelow] allows before this one.
	Bound int `json:"bound,omitempty"`
	// Since is where the window of [FactBelow] begins, At the time of its hit.
	Since time.Time `json:"since,omitzero"`
	At    time.Time `json:"at,omitzero"`
	// Expires is when the record or hit may be forgotten; zero keeps it.
	Expires time.Time `json:"expires,omitzero"`
}

// FactKind is the kind of a [Fact].
type FactKind string

// The facts.
const (
	// FactAbsent holds while there is no record; the commit makes it.
	FactAbsent FactKind = "absent"
	// FactExists holds while there is a record.
	FactExists FactKind = "exists"
	// FactVersion holds while the record has that version; 0 = no record.
	FactVersion FactKind = "version"
	// FactBelow holds while the window has fewer hits than Bound since Since;
	// the commit adds one at At.
	FactBelow FactKind = "below"
)

// FactKey joins the parts of a key.
func FactKey(kind string, parts ...string) string {
	for _, p := range parts {
		kind += "\x00" + p
	}
	return kind
}

// ErrStale is wrapped by a commit that found a fact that no longer holds. The
// message is then decided once more.
var ErrStale = errors.New("the state has changed since the decision")

// StaleError says which fact no longer holds. It wraps [ErrStale].
type StaleError struct{ Fact Fact }

// Error implements error.
func (e *StaleError) Error() string {
	return fmt.Sprintf("%v: %s %q", ErrStale, e.Fact.Kind, e.Fact.Key)
}

// Unwrap returns [ErrStale].
func (*StaleError) Unwrap() error { return ErrStale }
