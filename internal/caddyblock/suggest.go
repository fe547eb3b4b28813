// SPDX-License-Identifier: Apache-2.0

package caddyblock

import (
	"slices"
	"strings"
)

// maxSuggested is the longest name, in bytes, for which a suggestion is
// looked up: no name of ours is longer, and the work grows with the square.
const maxSuggested = 64

// Suggest returns the known name that was perhaps meant by name, or "" when
// none is near. Near is at most one edit (a letter more, less, other, or two
// swapped) for each three letters; of equally near ones the first in
// alphabetical order wins. Upper and lower case, and '-' and '_', are alike.
func Suggest(name string, known []string) string {
	if len(name) > maxSuggested {
		return ""
	}
	var meant string
	best := maxSuggested
	for _, candidate := range slices.Sorted(slices.Values(known)) {
		far := distance(fold(name), fold(candidate))
		if far < best && 3*far <= max(len(name), len(candidate)) {
			meant, best = candidate, far
		}
	}
	return meant
}

// fold makes spellings alike that differ only in case or dash.
func fold(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "-", "_")
}

// distance is the number of edits between a and b, in bytes (optimal string
// alignment).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(row[j-1]+1, last[j]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
