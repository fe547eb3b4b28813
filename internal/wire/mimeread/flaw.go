// SPDX-License-Identifier: Apache-2.0

package mimeread

import "slices"

// What can be wrong with a message.
const (
	flawNoField     = "header lines that are no fields were left out"
	flawNoHeader    = "a header is missing"
	flawLongHeader  = "a header is too long; the rest was read as text"
	flawLongField   = "a header field is too long; it was cut"
	flawTwice       = "a header field stands twice; the first counts"
	flawNoBoundary  = "a multipart without parts was read as text"
	flawBoundary    = "parts are divided by another boundary than the header says"
	flawUnclosed    = "a multipart has no end"
	flawReopened    = "parts stand behind the end of their multipart"
	flawEpilogue    = "text behind the end of a multipart was left out"
	flawDeep        = "parts are nested too deep; the inner ones were attached as they are"
	flawParts       = "too many parts; the rest was left out"
	flawAttachments = "too many attachments; the rest was left out"
	flawLongPart    = "an attachment is too long; the rest was left out"
	flawLongText    = "the text is too long; the rest was left out"
	flawEncoding    = "a part has an unknown transfer encoding; it was read as it is"
	flawBase64      = "a part is broken base64"
	flawQuoted      = "a part is broken quoted-printable"
	flawCharset     = "text has no charset, or not the one that it says"
	flawEncrypted   = "the content is encrypted; it was attached"
	flawSealed      = "the content stands inside a signature; it was attached"
	flawSecond      = "the structure is broken; the second reader was used"
	flawUnreadable  = "the message cannot be read; the original was attached"
)

// flaws are what is wrong with a message.
type flaws struct{ list []string }

// add notes a flaw, once.
func (f *flaws) add(flaw string) {
	if len(f.list) < MaxFlaws && !slices.Contains(f.list, flaw) {
		f.list = append(f.list, flaw)
	}
}
