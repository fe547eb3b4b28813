// SPDX-License-Identifier: Apache-2.0

// Package reply decides to which thread a mail belongs that answers another.
package reply
