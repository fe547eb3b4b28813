// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// maxSend bounds the message that `mail send` reads into memory: more than any
// door takes.
const maxSend = 256 << 20

// Bounds of the session of `mail send`, so that it ends where nobody speaks.
const (
	sendDialTimeout = 10 * time.Second
	sendTimeout     = 5 * time.Minute
)

// sendCommand returns `mail send`.
func sendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "send --from ADDRESS --to ADDRESS... [FILE|-]",
		Short: "Sends a message through the gateway, as an application would",
		Long: "Reads a message from a file or from standard input and submits it over SMTP to a listener of\n" +
			"the running gateway on loopback. Text without a header gets From, To, Subject, Date and\n" +
			"Message-Id; of those a header of its own only what it lacks.",
		Args: cobra.MaximumNArgs(1),
		RunE: runSend,
	}
	cmd.Flags().String("from", "", "The sender")
	cmd.Flags().StringArray("to", nil, "A recipient; may be repeated")
	cmd.Flags().String("subject", "", "The subject, for text without one")
	cmd.Flags().String("listener", "", "The listener to use; the first on loopback that takes mail to send")
	for _, name := range []string{"from", "to"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // a flag that was just made is there
		}
	}
	return cmd
}

// sendResult is what the gateway answered, for --json.
type sendResult struct {
	Listener string `json:"listener"`
	Address  string `json:"address"`
	Reply    string `json:"reply"`
}

func runSend(cmd *cobra.Command, args []string) error {
	d, err := draftOf(cmd)
	if err != nil {
		return err
	}
	text, err := readInput(cmd, args)
	if err != nil {
		return err
	}
	msg, err := d.complete(text)
	if err != nil {
		return err
	}
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	result, err := findDoor(c, cmd.Flag("listener").Value.String())
	if err != nil {
		return err
	}
	if result.Reply, err = submit(cmd.Context(), result.Address, d, msg); err != nil {
		return fmt.Errorf("sending by listener %s at %s: %w", result.Listener, result.Address, err)
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, result)
	}
	return say(cmd, "%s took it: %s\n", result.Listener, printable(result.Reply))
}

// readInput reads the file that args name, or standard input.
func readInput(cmd *cobra.Command, args []string) (_ []byte, err error) {
	in, name := cmd.InOrStdin(), "standard input"
	if len(args) > 0 && args[0] != "-" {
		name = args[0]
		f, err := os.Open(name) //nolint:gosec // the operator names a file of his own
		if err != nil {
			return nil, fmt.Errorf("reading the message: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxSend+1))
	if err != nil {
		return nil, fmt.Errorf("reading the message from %s: %w", name, err)
	}
	if len(text) > maxSend {
		return nil, fmt.Errorf("the message in %s is longer than %d bytes", name, maxSend)
	}
	return text, nil
}

// findDoor returns the listener to submit by, with the address to dial.
func findDoor(c *adminClient, name string) (*sendResult, error) {
	var h healthReport
	if err := c.get("/mail/health", &h); err != nil {
		return nil, err
	}
	// What a listener is for only its configuration says. Without it the
	// gateway's own answer must do.
	kinds := make(map[string]doorKind)
	if err := c.get("/config/apps/mail/listeners", &kinds); err != nil {
		kinds = nil
	}
	if name != "" {
		return namedDoor(h.Listeners, name)
	}
	for _, d := range h.Listeners {
		kind, known := kinds[d.Name]
		for _, text := range d.Addresses {
			a, err := netip.ParseAddrPort(text)
			if err == nil && a.Addr().Unmap().IsLoopback() && (!known || kind.trusts(a.Addr().Unmap())) {
				return &sendResult{Listener: d.Name, Address: text}, nil
			}
		}
	}
	return nil, errors.New("no listener on loopback takes mail to send without a login; " +
		"add one, such as `smtp 127.0.0.1:2525`, or name one with --listener")
}

// doorKind is what the configuration of a listener says that it is for.
type doorKind struct {
	Protocol string `json:"protocol"`
	Receive  bool   `json:"receive"`
	Submit   *struct {
		Networks []string `json:"networks"`
	} `json:"submit"`
}

// trusts reports whether a listener on loopback takes mail to send over SMTP
// from peer without a login. One that says nothing does.
func (k doorKind) trusts(peer netip.Addr) bool {
	if k.Protocol != "smtp" || k.Submit == nil {
		return k.Protocol == "smtp" && !k.Receive
	}
	return slices.ContainsFunc(k.Submit.Networks, func(text string) bool {
		if p, err := netip.ParsePrefix(text); err == nil {
			return p.Contains(peer)
		}
		a, err := netip.ParseAddr(text)
		return err == nil && a == peer
	})
}

// namedDoor returns the listener of that name.
func namedDoor(doors []engine.DoorStatus, name string) (*sendResult, error) {
	var names []string
	for _, d := range doors {
		names = append(names, d.Name)
		if d.Name != name {
			continue
		}
		for _, text := range d.Addresses {
			a, err := netip.ParseAddrPort(text)
			if err != nil {
				continue // a unix socket
			}
			if a.Addr().IsUnspecified() {
				text = net.JoinHostPort("localhost", strconv.Itoa(int(a.Port())))
			}
			return &sendResult{Listener: name, Address: text}, nil
		}
		return nil, fmt.Errorf("listener %s has no TCP address", name)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no listener %s, nor any other", name)
	}
	return nil, fmt.Errorf("there is no listener %s; there are: %s", name, strings.Join(names, ", "))
}

// submit speaks SMTP with the gateway and returns its final reply.
func submit(ctx context.Context, address string, d *draft, msg []byte) (string, error) {
	dialer := net.Dialer{Timeout: sendDialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	c := smtp.NewClient(conn)
	defer func() { _ = c.Close() }() // after QUIT, or for an error that is told
	c.CommandTimeout, c.SubmissionTimeout = sendTimeout, sendTimeout
	if err := c.Mail(d.from.String(), &smtp.MailOptions{UTF8: d.utf8(msg)}); err != nil {
		return "", fmt.Errorf("MAIL FROM:%s: %w", d.from.Path(), refused(err))
	}
	for _, to := range d.to {
		if err := c.Rcpt(to.String(), nil); err != nil {
			return "", fmt.Errorf("RCPT TO:%s: %w", to.Path(), refused(err))
		}
	}
	w, err := c.Data()
	if err != nil {
		return "", fmt.Errorf("DATA: %w", refused(err))
	}
	if _, err := io.Copy(w, bytes.NewReader(msg)); err != nil {
		return "", fmt.Errorf("sending the message: %w", err)
	}
	resp, err := w.CloseWithResponse()
	if err != nil {
		return "", fmt.Errorf("after the message: %w", refused(err))
	}
	_ = c.Quit() // the message is taken
	return "250 " + resp.StatusText, nil
}

// refused returns the reply that a client error is.
func refused(err error) error {
	var e *smtp.SMTPError
	if !errors.As(err, &e) {
		return err
	}
	r := &mailflow.Reply{Code: e.Code, Text: e.Message}
	if e.EnhancedCode != smtp.EnhancedCodeNotSet && e.EnhancedCode != smtp.NoEnhancedCode {
		r.Enhanced = mailflow.EnhancedCode(e.EnhancedCode)
	}
	return r
}
