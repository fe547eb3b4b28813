// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// errAddress says how an address is written.
var errAddress = errors.New("write HOST or HOST:PORT, such as smtp.example.com:587, or unix//path/of/socket")

// An address is where a server listens: a socket, or a host and its port.
type address struct {
	host string
	port uint16 // 0 = not said
	path string
}

// parseAddress reads HOST, HOST:PORT or unix//PATH. Its errors carry the next
// step.
func parseAddress(s string) (address, error) {
	if path, ok := strings.CutPrefix(s, "unix/"); ok {
		if !strings.HasPrefix(path, "/") {
			return address{}, fmt.Errorf("server address %q: the path of a socket begins with a slash: %w", s, errAddress)
		}
		return address{path: path}, nil
	}
	host, port, err := cutPort(s)
	if err != nil {
		return address{}, fmt.Errorf("server address %q: %w: %w", s, err, errAddress)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return address{host: ip.String(), port: port}, nil
	}
	if strings.HasPrefix(s, "[") {
		return address{}, fmt.Errorf("server address %q: brackets are for IPv6 addresses: %w", s, errAddress)
	}
	name, err := mailflow.NormalizeDomain(host)
	if err != nil {
		return address{}, fmt.Errorf("server address %q: %w: %w", s, err, errAddress)
	}
	return address{host: name, port: port}, nil
}

// cutPort splits s into host, without brackets, and port.
func cutPort(s string) (string, uint16, error) {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil || !strings.Contains(s, ":") {
		return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), 0, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, errors.New("more than a host and a port")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("port %q is not between 1 and 65535", port)
	}
	return host, uint16(n), nil
}

// loopback reports whether a is on this machine.
func (a address) loopback() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.path != "" || a.host == "localhost" || err == nil && ip.IsLoopback()
}
