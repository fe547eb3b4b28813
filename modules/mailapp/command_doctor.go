// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/internal/engine"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

const doctorHelp = `
Looks whether mail can leave. It knocks at the usual ports of each outgoing server,
25, 465, 587 and 2525, and at the one in use, says which of them answer and how
fast, and what to change if the one in use does not: many networks block port 25.
It logs in nowhere and sends nothing.

The running gateway looks from where it is. If none runs, the command itself looks
from here, by the file that --config names or by the Caddyfile in this directory.
`

// doctorCommand returns `mail doctor`.
func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor [NAME]",
		Short: "Looks whether mail can leave, and by which ports",
		Long:  doctorHelp,
		Args:  cobra.MaximumNArgs(1),
		RunE:  runDoctor,
	}
}

func runDoctor(cmd *cobra.Command, args []string) error {
	c, err := newAdminClient(cmd)
	if err != nil {
		return err
	}
	asked := make(map[string]string)
	if len(args) == 1 {
		asked["server"] = args[0]
	}
	var d diagnosis
	err = c.post("/mail/doctor", asked, &d)
	if errors.Is(err, errNoGateway) {
		d, err = examineAlone(cmd, c.address, asked["server"], err)
	}
	if err != nil {
		return err
	}
	if wantsJSON(cmd) {
		err = printJSON(cmd, d)
	} else {
		err = printDiagnosis(cmd, &d)
	}
	if err == nil && !d.OK {
		err = errors.New("not every outgoing server can be reached")
	}
	return err
}

// examineAlone examines the servers of a configuration file in this process,
// where no gateway runs.
func examineAlone(cmd *cobra.Command, address, server string, noGateway error) (diagnosis, error) {
	config, file, _, err := caddycmd.LoadConfig(cmd.Flag("config").Value.String(), cmd.Flag("adapter").Value.String())
	if err != nil {
		return diagnosis{}, errors.Join(noGateway, err)
	}
	if file == "" {
		return diagnosis{}, noGateway
	}
	base, err := caddy.ProvisionContext(&caddy.Config{
		Admin:   &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "ERROR"}}}},
	})
	if err != nil {
		return diagnosis{}, fmt.Errorf("preparing to read the configuration: %w", err)
	}
	own, stop := caddy.NewContext(base)
	defer stop()
	servers, err := configuredServers(own, config)
	if err == nil {
		err = knownServer(servers, server)
	}
	if err != nil {
		return diagnosis{}, fmt.Errorf("looking by %s alone: %w", file, err)
	}
	d := newDoctor().examine(cmd.Context(), servers, server)
	d.Note = fmt.Sprintf("No gateway answers at %s: this is as seen from here, by %s alone.", address, file)
	return d, nil
}

// configuredServers returns the outgoing servers of a configuration in Caddy's
// JSON. Nothing else of it is loaded.
func configuredServers(ctx caddy.Context, config []byte) (map[string]*engine.Server, error) {
	var whole struct {
		Apps struct {
			Mail *App `json:"mail"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(config, &whole); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	a := whole.Apps.Mail
	if a == nil {
		return nil, errors.New("it has no mail block")
	}
	a.ctx, a.logger, a.config = ctx, ctx.Logger(), new(engine.Config)
	if err := a.provisionHostname(); err != nil {
		return nil, err
	}
	if _, err := a.provisionServers(); err != nil {
		return nil, err
	}
	for name, s := range a.config.Servers {
		u, ok := s.Transport.(mailflow.ServicesUser)
		if _, dials := s.Transport.(targeted); !ok || !dials {
			continue
		}
		if err := u.UseServices(&mailflow.Services{Hostname: a.config.Hostname}); err != nil {
			return nil, fmt.Errorf("outgoing %s: %w", name, err)
		}
	}
	return a.config.Servers, nil
}

// printDiagnosis prints what the doctor found for a human.
func printDiagnosis(cmd *cobra.Command, d *diagnosis) error {
	if d.Note != "" {
		if err := say(cmd, "%s\n\n", d.Note); err != nil {
			return err
		}
	}
	if len(d.Servers) == 0 {
		return say(cmd, "There is no outgoing server.\n")
	}
	rows := [][]string{{"SERVER", "PORT", "TIME", "RESULT"}}
	for _, c := range d.Servers {
		if len(c.Ports) == 0 {
			rows = append(rows, []string{c.Server, "-", "-", "-"})
		}
		for _, p := range c.Ports {
			if c.all(portUnknown) && !p.Used {
				continue // for the same reason
			}
			rows = append(rows, []string{c.Server, portName(p), p.Took.Round(100 * time.Microsecond).String(), portResult(p)})
		}
	}
	if err := table(cmd.OutOrStdout(), rows); err != nil {
		return err
	}
	for i, c := range d.Servers {
		if i == 0 {
			if err := say(cmd, "\n"); err != nil {
				return err
			}
		}
		advice := c.Advice
		if advice == "" {
			advice = "well"
		}
		if err := say(cmd, "%s: %s\n", c.Server, printable(advice)); err != nil {
			return err
		}
	}
	return nil
}

// portName returns a port with a mark for the one in use.
func portName(p portCheck) string {
	name := strconv.Itoa(int(p.Port))
	if p.Port == 0 {
		name = "socket"
	}
	if p.Used {
		name += " (in use)"
	}
	return name
}

// portResult returns what became of a knock.
func portResult(p portCheck) string {
	text := p.Detail
	if p.Error != "" {
		text = p.Error
	}
	return string(p.State) + ": " + printable(text)
}
