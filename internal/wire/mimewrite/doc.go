// SPDX-License-Identifier: Apache-2.0

// Package mimewrite gives the bytes of a message as they are sent: the stored
// bytes with the header changes of the delivery made, and re-encoded where the
// next hop takes 7-bit data only.
//
// # What changes and what does not
//
// A [Content] begins with the Received field of the gateway, then come the
// fields that were added, then the header of the message. Return-Path
// (RFC 5321 section 4.4), Bcc and Resent-Bcc (RFC 5322 section 3.6.3) are
// taken out. Every other field keeps its bytes and its place, and the body is
// what was received, to the last byte.
//
// An added field is folded at 78 characters (RFC 5322 section 2.1.1) at its
// own blanks, so that unfolding gives the value back. Letters outside ASCII
// become encoded words (RFC 2047), unless the header of the message is UTF-8
// already (RFC 6532) or they stand in the local part of an address, where
// nothing else can express them.
//
// # Seven bits
//
// [mailflow.Encoding7Bit] re-encodes 8-bit parts (RFC 6152 section 3) as
// quoted-printable, or as base64 where that is shorter, at any depth of
// multipart and attached messages. Parts that are 7-bit keep their bytes. The
// body is read twice and never kept: first to find what needs encoding, then
// to write it. What cannot be converted without damage is refused with
// [ErrSealed] before the first byte is given: a signed part (RFC 1847 section
// 2.1), an attached message with 8-bit letters in its header, a structure
// beyond the limits of this package.
package mimewrite
