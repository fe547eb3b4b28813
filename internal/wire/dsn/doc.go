// SPDX-License-Identifier: Apache-2.0

// Package dsn writes delivery status notifications: the mails that tell a
// sender that a message failed, waits, or left for a place that reports no
// further.
//
// A notification is a multipart/report (RFC 6522) of three parts: plain words
// for people, message/delivery-status (RFC 3464) for programs, and the message
// or its header. When an address of the report is not ASCII the parts are
// those of RFC 6533, and the notification needs SMTPUTF8.
//
// It goes out with the null reverse-path, says Auto-Submitted: auto-replied
// (RFC 3834), and refers to the message by In-Reply-To and References. What
// peers said is quoted with control characters taken out, on a bounded length,
// so that nothing they say can add a field or a part.
package dsn
