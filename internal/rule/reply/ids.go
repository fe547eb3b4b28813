// SPDX-License-Identifier: Apache-2.0

package reply

import (
	"encoding/base64"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// Bounds on what is read of a stranger's header.
const (
	// MaxIDs is how many ids of References are looked at, the last ones: real
	// conversations quote some dozens, and each costs a look-up.
	MaxIDs = 100
	// maxID bounds one id; RFC 5322 allows a line.
	maxID = 998
)

// MessageID returns the Message-Id of a mail with angle brackets, or "" if it
// has none that can be read.
func MessageID(h mailflow.Header) string {
	if all := ids(value(h, "Message-Id")); len(all) > 0 {
		return all[0]
	}
	return ""
}

// References returns the ids in References, the oldest first, at most [MaxIDs]
// of the last ones.
func References(h mailflow.Header) []string { return last(ids(value(h, "References"))) }

// InReplyTo returns the ids in In-Reply-To, at most [MaxIDs].
func InReplyTo(h mailflow.Header) []string { return last(ids(value(h, "In-Reply-To"))) }

// threadRoot is how many bytes of a Thread-Index all mails of a conversation
// share ([MS-OXOMSG] 2.2.1.3): a reserved byte, five of time, a GUID.
const threadRoot = 22

// ThreadIndex returns the name of the conversation that Outlook's Thread-Index
// field gives, such as "thread-index:…", or "".
func ThreadIndex(h mailflow.Header) string {
	text := strings.Join(strings.Fields(value(h, "Thread-Index")), "")
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) < threadRoot {
		return ""
	}
	return "thread-index:" + base64.StdEncoding.EncodeToString(raw[:threadRoot])
}

// value returns the unfolded text of all fields of that name.
func value(h mailflow.Header, name string) string {
	var all []string
	for _, f := range h.Fields() {
		if strings.EqualFold(f.Name, name) {
			all = append(all, f.Value())
		}
	}
	return strings.Join(all, " ")
}

// ids returns the ids in s: what stands in angle brackets, without the blanks
// that folding put there. Comments and phrases between them are passed over;
// without any angle bracket a single word with an "@" is an id too.
func ids(s string) []string {
	var all []string
	for rest := s; ; {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		id, next, ok := strings.Cut(after, ">")
		if !ok {
			break
		}
		if i := strings.LastIndexByte(id, '<'); i >= 0 {
			id = id[i+1:]
		}
		if id = strings.Join(strings.Fields(id), ""); id != "" && len(id) <= maxID {
			all = append(all, "<"+id+">")
		}
		rest = next
	}
	if words := strings.Fields(s); len(words) == 1 && !strings.ContainsAny(s, "<>") && strings.Contains(s, "@") && len(words[0]) <= maxID {
		all = append(all, "<"+words[0]+">")
	}
	return all
}

func last(all []string) []string { return all[max(0, len(all)-MaxIDs):] }
