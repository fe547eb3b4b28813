// SPDX-License-Identifier: Apache-2.0

// Package mimeread reads a stored message for people: what it says, and what is
// attached to it.
//
// The stored bytes are the truth and stay as they are. What this package makes
// of them can be made again at any time, so it never refuses: a message that
// breaks the rules is read as far as it can be, and [Mail] says what was wrong.
// Errors are those of reading the stored bytes, and nothing else.
//
// # Three readers
//
//  1. A repair goes over the stored bytes and writes the message anew with a
//     sound structure: header lines that are no fields are left out, boundaries
//     are those that the message really uses, every multipart is closed, and
//     what is beyond the limits of this package is left out. go-message reads
//     the result. Contents of parts pass untouched; broken base64 and
//     quoted-printable are decoded as far as they make sense.
//  2. Where that gives nothing at all, enmime reads the stored bytes, if they
//     are few enough to be held in memory.
//  3. Where that fails too, the message itself is the one attachment.
//
// # What is text and what is attached
//
// The body is text/plain and text/html without a file name that is not marked
// as an attachment; a message that is text as a whole is body whatever its name.
// Stretches of it that stand one after another are
// [Passage]s; the forms of a multipart/alternative are one passage. Everything
// else is an attachment: named parts, images (those that the body shows have a
// Content-ID), calendars, attached messages, signatures, encrypted contents,
// TNEF (winmail.dat), reports. An attached message is not opened. Text encoded
// by uuencode stays in the text as it is.
//
// # Memory
//
// The message is read as a stream. What is held are the texts, up to their
// limits, and some buffers; attachments are counted while they pass and are read
// again by [Open].
package mimeread
