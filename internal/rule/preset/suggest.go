// SPDX-License-Identifier: Apache-2.0

package preset

import "slices"

// others are names that people give to a provider and that are not near its
// preset's.
var others = map[string]string{
	"ses": "amazon_ses", "aws": "amazon_ses", "aws_ses": "amazon_ses", "amazon": "amazon_ses", "amazonses": "amazon_ses",
	"google": "gmail", "googlemail": "gmail", "google_workspace": "gmail", "workspace": "gmail",
	"office365": "outlook", "office_365": "outlook", "microsoft": "outlook", "microsoft365": "outlook",
	"microsoft_365": "outlook", "exchange": "outlook", "hotmail": "outlook",
}

// maxSuggested is the longest name, in bytes, for which a suggestion is looked
// up: the work grows with its length.
const maxSuggested = 32

// suggest returns the name that was perhaps meant by a folded one, or "".
func suggest(name string) string {
	if meant := others[name]; meant != "" {
		return meant
	}
	if len(name) > maxSuggested {
		return ""
	}
	meant, best := "", maxSuggested
	for _, e := range table {
		for _, known := range append(slices.Clone(e.aliases), e.preset.Name) {
			if far := edits(name, known); far < best && 3*far <= len(known) {
				meant, best = e.preset.Name, far
			}
		}
	}
	return meant
}

// edits is the Levenshtein distance between a and b, in bytes.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, change)
		}
	}
	return row[len(b)]
}
