// SPDX-License-Identifier: Apache-2.0

package smtpguard

import "github.com/mailcaddy/mailcaddy/mailflow"

// take notes that a RCPT was accepted.
func (d *dialogue) take(rcpt mailflow.Address) {
	if d.boxes == nil {
		d.boxes = make(map[string]int)
	}
	box, ok := d.boxes[rcpt.Key()]
	if !ok {
		box = len(d.boxes)
		d.boxes[rcpt.Key()] = box
	}
	d.taken = append(d.taken, box)
}

// spread returns a reply for each RCPT that was accepted (RFC 2033 section
// 4.2). There are as many replies as mailboxes, or one for all; a mailbox that
// stood in two RCPTs is one.
func (d *dialogue) spread(replies []*mailflow.Reply) []*mailflow.Reply {
	all := make([]*mailflow.Reply, len(d.taken))
	for i, box := range d.taken {
		switch len(replies) {
		case len(d.boxes):
			all[i] = replies[box]
		case len(d.taken):
			all[i] = replies[i]
		default:
			all[i] = replies[0]
		}
	}
	return all
}
