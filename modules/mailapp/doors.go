// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// addresser is what a listener tells about itself: the addresses it wants to
// listen on, in Caddy's notation.
type addresser interface {
	Addresses() []string
}

// receiver is a listener that knows whether the world's mail comes in by it,
// and not only that of this machine.
type receiver interface {
	Receives() bool
}

// loadListeners loads the listeners.
func (a *App) loadListeners() error {
	for name := range a.ListenersRaw {
		if err := checkName(name); err != nil {
			return fmt.Errorf("listener: %w", err)
		}
	}
	guests, err := a.ctx.LoadModule(a, "ListenersRaw")
	if err != nil {
		return fmt.Errorf("loading mail listeners: %w", err)
	}
	a.listeners = guests.(map[string]any)
	return nil
}

// receives reports whether the world's mail comes in by one of the listeners.
func (a *App) receives() bool {
	for _, guest := range a.listeners {
		if r, ok := guest.(receiver); ok && r.Receives() {
			return true
		}
	}
	return false
}

// provisionDoors finds the sockets of the listeners.
func (a *App) provisionDoors() error {
	holders := make(map[string]string) // listener by socket key
	for _, name := range slices.Sorted(maps.Keys(a.listeners)) {
		door, err := a.provisionDoor(name, a.listeners[name])
		if err != nil {
			return fmt.Errorf("listener %s: %w", name, err)
		}
		for _, s := range door.Sockets {
			if other, ok := holders[s.Key]; ok {
				return fmt.Errorf("the listeners %s and %s both listen on %s; give one another address", other, name, s.Key)
			}
			holders[s.Key] = name
		}
		a.config.Doors = append(a.config.Doors, door)
	}
	return nil
}

// provisionDoor makes a door of a listener.
func (a *App) provisionDoor(name string, guest any) (engine.Door, error) {
	listener, ok := guest.(mailflow.Listener)
	if !ok {
		return engine.Door{}, fmt.Errorf("%T is not a mail listener", guest)
	}
	addr, ok := guest.(addresser)
	if !ok {
		return engine.Door{}, fmt.Errorf("%T does not say where it listens", guest)
	}
	if n, ok := guest.(mailflow.Named); ok {
		n.SetName(name)
	}
	if user, ok := guest.(mailflow.ServicesUser); ok {
		if err := user.UseServices(a.services); err != nil {
			return engine.Door{}, err
		}
	}
	if e, ok := guest.(encrypter); ok {
		if err := a.encrypt(name, e); err != nil {
			return engine.Door{}, err
		}
	}
	door := engine.Door{Name: name, Listener: listener}
	for i, address := range addr.Addresses() {
		sockets, err := sockets(address, name+"/"+strconv.Itoa(i))
		if err != nil {
			return engine.Door{}, err
		}
		door.Sockets = append(door.Sockets, sockets...)
	}
	if len(door.Sockets) == 0 {
		return engine.Door{}, errors.New("it has no address; write one behind its name, such as :25")
	}
	return door, nil
}

// parseAddress reads an address to listen on.
func parseAddress(address string) (caddy.NetworkAddress, error) {
	fail := func(err error) (caddy.NetworkAddress, error) {
		return caddy.NetworkAddress{}, fmt.Errorf("address %q: %w", address, err)
	}
	network, _, port, err := caddy.SplitNetworkAddress(address)
	if err != nil {
		return fail(err)
	}
	switch network {
	case "unix":
	case "", "tcp", "tcp4", "tcp6":
		if port == "" {
			return fail(errors.New("it has no port; write one, such as :25 or 127.0.0.1:2525"))
		}
	default:
		return fail(fmt.Errorf("network %s cannot be listened on; write HOST:PORT or unix//PATH", network))
	}
	na, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return fail(err)
	}
	return na, nil
}

// sockets returns what is bound for an address, one for each port of a range.
// The owner tells apart addresses whose port the system chooses.
func sockets(address, owner string) ([]engine.Socket, error) {
	address, err := expand(address)
	if err != nil {
		return nil, fmt.Errorf("address: %w", err)
	}
	na, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	if na.IsUnixNetwork() {
		return []engine.Socket{unixSocket(na.Host)}, nil
	}
	bound := make([]engine.Socket, 0, na.PortRangeSize())
	for _, one := range na.Expand() {
		bound = append(bound, tcpSocket(one, owner))
	}
	return bound, nil
}

// tcpSocket returns the socket of one TCP port. It does not use Caddy's own
// listeners, which share a port with any process that asks for it: two
// gateways would each take half of the mail.
func tcpSocket(na caddy.NetworkAddress, owner string) engine.Socket {
	if strings.EqualFold(na.Host, "localhost") {
		na.Host = "127.0.0.1" // as package net does
	}
	network, address := na.Network, na.JoinHostPort(0)
	key := network + "/" + strings.ToLower(address)
	if na.StartPort == 0 {
		key += "/" + owner
	}
	return engine.Socket{Key: key, Listen: func(ctx context.Context) (net.Listener, error) {
		ln, err := new(net.ListenConfig).Listen(ctx, network, address)
		return ln, busy(err)
	}}
}
