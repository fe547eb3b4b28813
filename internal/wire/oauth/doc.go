// SPDX-License-Identifier: Apache-2.0

// Package oauth gets the access tokens (RFC 6749) that mail servers take in
// place of passwords.
//
// # Accounts and tokens
//
// An [Account] is a user at a [Provider], and the client that speaks for it. A
// [Keeper] gives its access token: from memory until shortly before it ends,
// else a new one, for which there is one request however many ask. A token
// that a mail server has refused is replaced when the caller says so.
//
// Most accounts rest on somebody's consent, of which the provider gives a
// refresh token. It is kept in [mailflow.Values], as it is: whoever can read
// the store can log in, as with every mail program. The key names the provider,
// the client and the user, see [Account.Key], so that it does not matter what
// the configuration calls the server, and that two servers of one account share
// it. Some providers give a new refresh token at each use. The new one is
// written only over the one that it came from; where another process was
// faster, and the provider has ended the old one, the newer one is used. An
// account with [GrantClient] needs no consent and keeps nothing.
//
// # Consent
//
// [Keeper.Begin] starts a login and says what somebody has to open in a
// browser; [Keeper.Finish] ends it. There are two ways:
//
//   - [FlowDevice] (RFC 8628): a short code is typed in at a page of the
//     provider, on any device, and the keeper asks until that is done.
//   - [FlowCode] (RFC 6749 section 4.1 with RFC 7636 and 8252): the browser is
//     sent on to an address of the loopback at the end. What it is sent with is
//     handed to Finish, by a program that listens there or by somebody who
//     copies the address. Google needs this way, since its device flow does not
//     allow the scope of mail.
//
// A login replaces what is kept of the account only when it has succeeded.
// There is one at a time for each account, the newest; it ends after half an
// hour at most. What Finish takes is bound to the login by a state, a verifier
// (PKCE) and, where the provider sends one, the issuer (RFC 9207), so that
// nobody can slip in the consent of another account unnoticed. The tokens never
// leave the keeper.
//
// # Errors
//
// [ErrConsent] says that somebody has to log in again, [ErrClient] that the
// provider does not know or not want the client or what it asks for, and
// [ErrUnavailable] that the provider did not answer. None of them is the fault
// of a mail: it waits.
package oauth
