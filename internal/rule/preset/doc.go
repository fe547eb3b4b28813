// SPDX-License-Identifier: Apache-2.0

// Package preset knows the providers that mail is commonly sent through: where
// their servers are, how one logs in, what they do to a message.
//
// [Find] returns a [Preset] by its name and arguments:
//
//	postmark · brevo (also sendinblue) · amazon_ses [REGION] · mailgun [eu] ·
//	sendgrid · mailjet · gmail · outlook
//
// A preset is a set of defaults. What the operator writes himself counts more,
// field by field.
//
// # Message-Id
//
// Several providers put a Message-Id of their own in place of ours. Replies
// then name that one, so it must be known for them to find their thread. Three
// things can be done, and [MessageID] says which: ask the provider to keep ours
// ([MessageID.Keep]), read the new one from the reply to the content
// ([Preset.Learn]), or neither. Where a provider replaces it and does not tell
// (Brevo, Mailjet), replies are found by the token in Reply-To alone.
//
// # What is known
//
// Each fact has its source in [Preset.Sources], as of November 2026. Facts that
// no source tells are [Unknown] or empty, never guessed. Providers change their
// ways: when one does, the table is what to correct.
//
// # Ports
//
// [PortAdvice] is the rule about port 25, which many networks block for mail
// that leaves.
package preset
