// SPDX-License-Identifier: Apache-2.0

package mailflow

import "io"

// Body is the bytes of a message: immutable, and read as often as needed, by
// several readers at once. Lines end with CRLF.
//
// Whoever opened a Body closes it; reading after Close is an error.
type Body interface {
	io.ReaderAt
	io.Closer

	// Size returns the length in bytes.
	Size() int64
}

// Message is the content of a mail as handlers see it: its bytes, which are
// never changed, and its header.
type Message struct {
	// ID names the message in the ledger, in logs and in commands. It sorts
	// by the time of its making.
	ID string
	// Header is the parsed header block.
	Header Header
	// Body is all bytes, the header block among them.
	Body Body
	// EightBit is set when a byte outside ASCII stands in the body, UTF8Header
	// when one stands in the header block.
	EightBit, UTF8Header bool
}

// Size returns the length of the whole message in bytes.
func (m *Message) Size() int64 { return m.Body.Size() }

// HeaderChange is one change that is made to the header while a message is
// sent; the stored bytes stay as they came.
type HeaderChange struct {
	// Op says what is done with the fields of that name.
	Op HeaderOp `json:"op"`
	// Name is the field name.
	Name string `json:"name"`
	// Value is the new text, ASCII with encoded words or UTF-8; it has no line
	// break. For [HeaderRemove] it is empty, or a part that the fields which are
	// taken away have in their text, in any case of letters.
	Value string `json:"value,omitempty"`
}

// HeaderOp is the kind of a [HeaderChange].
type HeaderOp string

// The header changes.
const (
	HeaderSet    HeaderOp = "set"    // takes the place of all fields of that name
	HeaderAdd    HeaderOp = "add"    // stands before the others
	HeaderEnsure HeaderOp = "ensure" // is added when no field of that name is there
	HeaderRemove HeaderOp = "remove" // takes the fields of that name away
)
