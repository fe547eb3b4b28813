// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/internal/wire/oauth"
)

// oauthCommand returns `mail oauth`.
func oauthCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "oauth",
		Short: "Looks after servers that log in with OAuth2",
	})
	cmd.AddCommand(oauthLoginCommand())
	return cmd
}

// oauthLoginCommand returns `mail oauth login`.
func oauthLoginCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "login NAME",
		Short: "Gets the consent that an outgoing server's OAuth2 rests on",
		Long: "Lets the running gateway begin a login at the provider of the outgoing server of that name,\n" +
			"says what to open in a browser, and waits until consent was given there. The gateway keeps\n" +
			"what it gets; a reload, a restart and another name of the server do not need a new login.\n" +
			"\n" +
			"With --flow device a code is typed in at a page of the provider, on any device. With --flow code\n" +
			"the browser is sent on to an address of this machine at the end. A browser that runs elsewhere\n" +
			"cannot open that: copy the address from its address bar and paste it here.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := newAdminClient(cmd)
			if err != nil {
				return err
			}
			l := &oauthLogin{cmd: cmd, client: c, name: args[0]}
			return l.run(cmd.Flag("flow").Value.String(), cmd.Flag("redirect").Value.String())
		},
	}
	cmd.Flags().String("flow", "", "device or code; default what the provider has for such a client")
	cmd.Flags().String("redirect", "", "The address that a browser is sent on to, if the provider wants a registered one; default a free port of 127.0.0.1")
	return cmd
}

// oauthLogin is one run of `mail oauth login`.
type oauthLogin struct {
	cmd    *cobra.Command
	client *adminClient
	name   string
	login  oauth.Login
}

// run begins the login and waits for its end.
func (l *oauthLogin) run(flow, redirect string) error {
	browser, err := catchBrowser(l.cmd.Context(), redirect)
	if err != nil {
		return err
	}
	defer browser.close()
	asked := map[string]string{"redirect": browser.redirect}
	if flow != "" {
		asked["flow"] = flow
	}
	if err := l.client.post(l.path("begin"), asked, &l.login); err != nil {
		return err
	}
	if err := l.tell(browser); err != nil {
		return err
	}
	switch l.login.Flow {
	case oauth.FlowDevice:
		err = l.waitForDevice()
	case oauth.FlowCode:
		err = l.waitForBrowser(browser)
	case oauth.FlowNone:
	}
	if err != nil {
		return err
	}
	return l.done()
}

func (l *oauthLogin) path(step string) string {
	return "/mail/oauth/" + url.PathEscape(l.name) + "/" + step
}

// tell says what to open.
func (l *oauthLogin) tell(browser *browser) error {
	if wantsJSON(l.cmd) {
		return printJSON(l.cmd, l.login)
	}
	user, page := printable(l.login.User), printable(l.login.URL)
	switch l.login.Flow {
	case oauth.FlowDevice:
		return say(l.cmd, "Open %s in a browser, log in as %s and enter the code\n\n    %s\n\nWaiting for that, until %s.\n",
			page, user, printable(l.login.Code), clock(l.login.Expires))
	case oauth.FlowCode:
		where := "At the end the browser is sent on to this machine, and this command goes on by itself."
		if !browser.listens() {
			where = "At the end the browser is sent on to " + browser.redirect + ", where this command cannot listen."
		}
		return say(l.cmd, "Open this page in a browser, log in as %s and allow what it asks for:\n\n%s\n\n%s\n"+
			"If the browser cannot open the page at the end, copy its address and paste it here.\n", user, page, where)
	case oauth.FlowNone:
	}
	return nil
}

// done says that the server can log in.
func (l *oauthLogin) done() error {
	switch {
	case wantsJSON(l.cmd):
		return printJSON(l.cmd, loginState{Done: true})
	case l.login.Flow == oauth.FlowNone:
		return say(l.cmd, "%s needs nobody's consent, and the provider knows its client. Try it: mail test outgoing %s\n", l.name, l.name)
	}
	return say(l.cmd, "%s can log in as %s now. Try it: mail test outgoing %s\n", l.name, printable(l.login.User), l.name)
}

// finish asks whether the login is over, with the browser's answer or none.
func (l *oauthLogin) finish(answer string) (loginState, error) {
	args := map[string]string{"id": l.login.ID}
	if answer != "" {
		args["answer"] = answer
	}
	var state loginState
	err := l.client.post(l.path("finish"), args, &state)
	return state, err
}

// waitForDevice waits until the code was typed in: the gateway answers when it
// was, or asks to be asked again. The login's own end is an error of it.
func (l *oauthLogin) waitForDevice() error {
	for {
		state, err := l.finish("")
		if err != nil || state.Done {
			return err
		}
	}
}

// Errors of a login that nobody ends.
var (
	errTooLate = errors.New("nobody gave consent in time; begin again")
	errNoInput = errors.New("there is nobody to paste the browser's address, and this command cannot listen for it; begin again in a terminal")
)

// waitForBrowser waits until the browser comes, or somebody has pasted its
// address.
func (l *oauthLogin) waitForBrowser(browser *browser) error {
	ctx, cancel := context.WithDeadline(l.cmd.Context(), l.login.Expires)
	defer cancel()
	pasted := readLines(ctx, l.cmd.InOrStdin())
	for {
		var answer string
		select {
		case answer = <-browser.answers:
		case line, ok := <-pasted:
			if !ok && !browser.listens() {
				return errNoInput
			}
			if !ok {
				pasted = nil
				continue
			}
			answer = line
		case <-ctx.Done():
			return errTooLate
		}
		state, err := l.finish(answer)
		if err != nil || state.Done {
			return err
		}
		if _, err := fmt.Fprintln(l.cmd.ErrOrStderr(), printable(state.Problem)); err != nil {
			return err
		}
	}
}

// readLines returns the lines of r that are not empty, until its end or that
// of ctx.
func readLines(ctx context.Context, r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		s := bufio.NewScanner(r)
		for s.Scan() {
			line := strings.TrimSpace(s.Text())
			if line == "" {
				continue
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// browserTimeout bounds what a browser may take to send its request.
const browserTimeout = 10 * time.Second
