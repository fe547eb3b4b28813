// SPDX-License-Identifier: Apache-2.0

package mailflow

// TokenKind is what a signed token names.
type TokenKind string

// The kinds of tokens.
const (
	// TokenDelivery stands in the reverse-path of one delivery; its ID is the
	// delivery's.
	TokenDelivery TokenKind = "delivery"
	// TokenMessage stands in the Message-Id of a message that got it here; its
	// ID is the message's.
	TokenMessage TokenKind = "message"
	// TokenThread stands in the Reply-To of what is sent from a thread, and in
	// the Message-Id of a post that was written here; its ID is the thread's.
	TokenThread TokenKind = "thread"
)

// Tokens makes and reads signed tokens: names of things of ours that travel
// through other people's mail and come back. A token consists of lower-case
// letters, digits and the signs of the ID; case does not matter.
type Tokens interface {
	// Sign returns the token of that kind for id.
	Sign(kind TokenKind, id string) string
	// Verify returns the ID that text is a token of that kind for.
	Verify(kind TokenKind, text string) (id string, ok bool)
}
