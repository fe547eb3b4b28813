// SPDX-License-Identifier: Apache-2.0

package mimeread

// The limits of reading. What is beyond is left out of a [Mail] and told among
// its flaws; the stored message keeps it.
const (
	// MaxDepth bounds how deep multiparts stand in each other. Real mail has
	// less than ten levels; each line that looks like a boundary is compared
	// with all of them.
	MaxDepth = 256
	// MaxNested is the depth from which on the parts of inner multiparts are
	// read as if they stood beside each other: each level copies everything
	// below it once more.
	MaxNested = 16
	// MaxParts bounds the parts of a message, multiparts and their parts
	// together: each costs some kilobytes of buffers and fields while it is
	// read. Digests of mailing lists have some hundreds.
	MaxParts = 2000
	// MaxTextBytes bounds each form of the body, plain and HTML, in bytes of
	// UTF-8. It is held in memory, stored and indexed; nobody reads more.
	MaxTextBytes = 2 << 20
	// MaxAttachments bounds the attachments that are told: people look at the
	// list.
	MaxAttachments = 500
	// MaxAttachmentBytes bounds what is decoded of one attachment. Doors take
	// far less; a mailbox that is fetched may hold anything.
	MaxAttachmentBytes = 1 << 30
	// MaxSecondBytes bounds the messages for the second reader, which holds a
	// message in memory several times over.
	MaxSecondBytes = 1 << 20
	// MaxSecondNested bounds the multiparts in messages for the second reader:
	// each one inside another without an end doubles its time.
	MaxSecondNested = 10
	// MaxFlaws bounds what is told to be wrong.
	MaxFlaws = 20

	// maxFieldBytes bounds a field that says what a part is. Real ones are far
	// below 1 KiB, but for file names in many sections (RFC 2231).
	maxFieldBytes = 16 << 10
	// maxParams bounds the parameters of a field, sections counted.
	maxParams = 100
	// maxDropped bounds what is held of header lines that are no fields, until
	// it is known whether they are the text of a message without a header.
	maxDropped = 64 << 10
	// maxPreamble bounds what is held of a multipart before its first boundary,
	// until it is known whether there is any.
	maxPreamble = 1 << 20
	// maxNameBytes bounds the name of an attachment: the longest name of a file
	// in common file systems.
	maxNameBytes = 255
	// maxPeek bounds how far an attached message is searched for its subject.
	maxPeek = 64 << 10
	// bufferBytes is how much of the stored bytes is read at once, and the
	// longest line that can be a boundary.
	bufferBytes = 32 << 10
)

// limits are the bounds that tests make smaller.
type limits struct {
	depth, nested   int // nested <= depth
	parts           int
	header          int
	text            int
	attachments     int
	attachmentBytes int64
	second          int64
}
