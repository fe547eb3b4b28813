// SPDX-License-Identifier: Apache-2.0

package smtpguard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// errAborted ends content that the peer gave up with RSET, EHLO or QUIT.
var errAborted = errors.New("the peer gave the message up")

// content is the content of one message on its way to the session.
type content struct {
	conn  *conn
	text  text
	limit int64     // of its size
	size  int64     // so far, without what SMTP adds
	read  int64     // of the peer, all counted
	chunk *chunk    // nil for DATA
	over  time.Time // when the time for all of it is up
	done  bool      // the end was reached
	err   error     // why it failed; a Reply or an error of reading
	gone  bool      // nothing more can be read: the peer, or its patience
	tail  []byte    // CRLF behind a last chunk that ends without
	carry []byte    // what did not fit a reader with room for one byte
}

// newContent begins the content that go-smtp has said yes to.
func (c *conn) newContent(limit int64) *content {
	c.stage(c.timeouts().Content)
	c.in.borrow()
	k := &content{conn: c, limit: limit, chunk: c.state.chunk, over: c.stageEnd}
	k.text.dots = k.chunk == nil
	c.state.chunk = nil
	if k.chunk != nil {
		k.announce()
	}
	return k
}

// announce looks at the size of a new chunk.
func (k *content) announce() {
	if k.err == nil && k.limit > 0 && k.size+k.chunk.left > k.limit {
		k.err = mailflow.ReplyTooBig
	}
}

// Read implements [io.Reader].
func (k *content) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(k.carry) == 0 && len(p) < 2 {
		// CR and LF are given together.
		two := make([]byte, 2)
		n, err := k.Read(two)
		k.carry = two[:n]
		if n == 0 {
			return 0, err
		}
	}
	if len(k.carry) > 0 {
		n := copy(p, k.carry)
		k.carry = k.carry[n:]
		return n, nil
	}
	for {
		switch {
		case k.err != nil:
			return 0, k.err
		case len(k.tail) > 0:
			n := copy(p, k.tail)
			k.tail = k.tail[n:]
			return n, nil
		case k.done:
			return 0, io.EOF
		}
		if n := k.step(p); n > 0 && k.err == nil {
			return n, nil
		}
	}
}

// step moves on by what waits, or by one read from the peer. It returns how
// much it put into p.
func (k *content) step(p []byte) int {
	if k.chunk != nil && k.chunk.left == 0 {
		k.endChunk()
		return 0
	}
	in := &k.conn.in
	src := in.waiting()
	whole := k.chunk != nil && int64(len(src)) >= k.chunk.left // src ends the chunk
	if whole {
		src = src[:k.chunk.left]
	}
	put, took, end := k.text.feed(p, src)
	if whole && put == 0 && took == 0 && len(src) > 0 {
		// The chunk ends in CR: its LF is the next chunk's first byte.
		k.splitCR()
		return 0
	}
	in.use(took)
	k.count(put, took)
	k.done = k.done || end
	if put == 0 && took == 0 {
		if err := k.conn.fill(k.conn.timeouts().Block); err != nil {
			k.lost(err)
		}
	}
	return put
}

// splitCR takes the CR at the end of a chunk apart from its LF. Where a last
// chunk ends so the CR is bare.
func (k *content) splitCR() {
	k.conn.in.use(1)
	k.chunk.left--
	if k.chunk.last {
		k.fault(faultBareCR)
		return
	}
	k.endChunk()
	if k.err == nil && k.chunk != nil {
		k.conn.in.unread('\r')
		k.chunk.left++
	}
}

// count notes that took bytes of the peer are done with, put of them content.
func (k *content) count(put, took int) {
	k.size += int64(put)
	k.read += int64(took)
	if k.chunk != nil {
		k.chunk.left -= int64(took)
	}
	if k.text.fault != faultNone {
		k.fault(k.text.fault)
	}
	if k.limit <= 0 {
		return
	}
	if k.size > k.limit && k.err == nil {
		k.err = mailflow.ReplyTooBig
	}
	if k.read > k.limit+MaxDiscarded {
		k.gone, k.conn.closing, k.conn.lingering = true, true, true
	}
}

// fault notes that the content is refused.
func (k *content) fault(f fault) {
	if k.err == nil {
		k.err = replyContent(f)
	}
}

// lost notes that the peer is gone, or slow, or that it is time to end.
func (k *content) lost(err error) {
	k.gone = true
	switch {
	case errors.Is(err, errDraining):
		err = mailflow.ReplyShuttingDown
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errTimeout
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	k.err = err
}

// endChunk answers a chunk and reads commands up to the next one.
func (k *content) endChunk() {
	if k.chunk.last {
		k.done = true
		if k.text.middle {
			k.tail = []byte("\r\n")
		}
		return
	}
	c := k.conn
	c.emit(&mailflow.Reply{Code: 250, Enhanced: mailflow.EnhancedCode{2, 0, 0}, Text: fmt.Sprintf("%d bytes so far", k.size)})
	c.in.release()
	for {
		line, err := c.nextLine()
		if err != nil {
			k.commandFailed(err)
			return
		}
		if k.between(line) {
			break
		}
	}
	c.in.borrow()
	if c.stageEnd = k.over; !c.server.options.Now().Before(k.over) {
		k.lost(os.ErrDeadlineExceeded) // what waits would be read without a look at the time
	}
}

// between looks at a command between two chunks. It reports whether content, or
// its end, follows.
func (k *content) between(line []byte) bool {
	c := k.conn
	word, rest, _ := bytes.Cut(line, []byte(" "))
	switch verb := string(bytes.ToUpper(word)); verb {
	case "BDAT":
		ch, ok := parseChunk(string(rest))
		if !ok {
			k.gone, k.err = true, errArguments
			c.closing, c.lingering = true, true
			return true
		}
		if ch.left == 0 && !ch.last && k.talks() {
			return true
		}
		k.chunk = ch
		k.announce()
		return true
	case "NOOP":
		if k.talks() {
			return true
		}
		c.reply(okay.nothing)
		return false
	case "RSET", "QUIT", "EHLO", "HELO":
		// go-smtp ends the transaction, and then gets this command.
		c.state.pushed, c.state.silent = bytes.Clone(line), true
		k.gone, k.err = true, errAborted
		return true
	}
	c.state.verb = "BDAT"
	if c.reply(errSequence); c.closing {
		c.state.silent, k.gone, k.err = true, true, errAborted
		return true
	}
	return false
}

// talks counts a command between chunks that brings no content, and reports
// whether it is one too many, which ends the content.
func (k *content) talks() bool {
	n := &k.conn.counts.idle
	if *n++; *n <= MaxIdleCommands {
		return false
	}
	k.gone, k.err = true, errTooMuchTalk
	return true
}

// commandFailed ends content whose next command could not be read.
func (k *content) commandFailed(err error) {
	var f faultError
	switch {
	case errors.As(err, &f):
		k.gone, k.err = true, replyFault(fault(f))
		k.conn.closing, k.conn.lingering = true, true
	case errors.Is(err, errLineLong):
		k.gone, k.err = true, errTooLong
		k.conn.closing, k.conn.lingering = true, true
	default:
		k.lost(err)
	}
}

// finish reads the rest of content that the session did not read, so that the
// next command is one.
func (k *content) finish() {
	var scratch [2]byte // nothing is put there
	for !k.done && !k.gone {
		if k.chunk != nil {
			// The rest of the chunk; the next one is refused by itself.
			if k.chunk.left > k.limit+MaxDiscarded {
				k.gone = true
			} else if err := k.conn.skip(k.chunk.left); err != nil {
				k.lost(err)
			}
			break
		}
		k.text.mute = true
		k.step(scratch[:])
	}
	if k.gone && !errors.Is(k.err, errAborted) {
		k.conn.closing, k.conn.lingering = true, true
	}
	k.conn.in.release()
}

// ends reports whether the peer awaits the replies to the whole message: after
// DATA and a last chunk, and not after an earlier one.
func (k *content) ends() bool { return k.chunk == nil || k.chunk.last }

// skip reads n bytes away.
func (c *conn) skip(n int64) error {
	for n > 0 {
		have := min(int64(len(c.in.waiting())), n)
		c.in.use(int(have))
		if n -= have; n == 0 {
			return nil
		}
		if err := c.fill(c.timeouts().Block); err != nil {
			return err
		}
	}
	return nil
}
