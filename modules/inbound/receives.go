// SPDX-License-Identifier: Apache-2.0

package inbound

// Receives reports whether the world's mail comes in by this door. A loopback
// door that says nothing of its role receives too, but only from this machine:
// where the answers to our mail go is then not known.
func (s *SMTP) Receives() bool { return s.receive && !s.trusts }
