// SPDX-License-Identifier: Apache-2.0

//go:build unix

package smtprelay

import (
	"errors"
	"net"
	"syscall"
)

// alive reports whether an idle connection is still open and silent. It looks
// at the socket and does not wait: a server that has closed it, or has said
// that it will, shows there.
func alive(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = rc.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		silent = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && silent
}
