// SPDX-License-Identifier: Apache-2.0

package mailmodules

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

func init() { caddy.RegisterModule(new(Maildir)) }

// Maildir delivers into a Maildir: one file for each delivery, which a mail
// reader finds below new. A delivery that is repeated, since the gateway died
// before it could note the success, replaces the file of the first time unless
// a reader has moved it.
type Maildir struct {
	// The directory. It is made, readable for this user alone, if it does not
	// exist. Placeholders are resolved at each delivery. Required.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Maildir) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "mail.transports.maildir", New: func() caddy.Module { return new(Maildir) }}
}

// Validate checks that there is a directory. It is not touched before there is
// mail for it: `caddy validate` must change nothing.
func (t *Maildir) Validate() error {
	if t.Path == "" {
		return errors.New("a Maildir needs a path; write `via maildir /var/mail/archive`")
	}
	return nil
}

// Deliver implements mailflow.Transport. What fails here heals: the disk is
// full, or not mounted. So every error defers.
func (t *Maildir) Deliver(ctx context.Context, a *mailflow.Attempt) ([]mailflow.Result, error) {
	dir, err := t.prepare()
	if err != nil {
		return nil, err
	}
	if err := deliver(ctx, dir, a); err != nil {
		return nil, fmt.Errorf("writing into the Maildir: %w", err)
	}
	stored := &mailflow.Reply{Code: 250, Enhanced: mailflow.EnhancedCode{2, 0, 0}, Text: "stored in the Maildir"}
	var results []mailflow.Result
	for _, rcpt := range a.Delivery.Envelope.Recipients {
		results = append(results, mailflow.ResultOf(rcpt, stored))
	}
	return results, nil
}

// prepare returns the directory and makes what is missing of it. Without it no
// delivery gets anywhere, so that its errors are those of an unreachable host.
func (t *Maildir) prepare() (string, error) {
	dir, err := caddy.NewReplacer().ReplaceOrErr(t.Path, true, true)
	if err != nil {
		return "", fmt.Errorf("%w: resolving the path of the Maildir: %w", mailflow.ErrUnreachable, err)
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return "", fmt.Errorf("%w: making the Maildir: %w", mailflow.ErrUnreachable, err)
		}
	}
	return dir, nil
}

// deliver writes a message, and returns when it is safe: its bytes and its
// name are on the disk.
func deliver(ctx context.Context, dir string, a *mailflow.Attempt) (err error) {
	name := a.Delivery.ID + ".mailcaddy"
	tmp := filepath.Join(dir, "tmp", name)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	err = errors.Join(write(ctx, f, a), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, "new", name)); err != nil {
		return err
	}
	return syncDir(filepath.Join(dir, "new"))
}

// write writes the message behind the fields of a final delivery (RFC 5321
// section 4.4).
func write(ctx context.Context, w io.Writer, a *mailflow.Attempt) error {
	content, err := a.Content.Open(ctx, mailflow.EncodingAsIs)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(w)
	fmt.Fprintf(buffered, "Return-Path: %s\r\n", a.Delivery.Envelope.From.Path())
	for _, rcpt := range a.Delivery.Envelope.Recipients {
		fmt.Fprintf(buffered, "Delivered-To: %s\r\n", rcpt.Address)
	}
	_, err = io.Copy(buffered, content)
	return errors.Join(err, buffered.Flush(), content.Close(), ctx.Err())
}

// syncDir makes the names in a directory durable.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Test implements mailflow.Tester: it writes a file below tmp, where no reader
// looks, and removes it.
func (t *Maildir) Test(context.Context, mailflow.Address, mailflow.Address) mailflow.TestReport {
	begin := time.Now()
	step := mailflow.TestStep{Name: "connect", Detail: t.Path}
	dir, err := t.prepare()
	if err == nil {
		var f *os.File
		if f, err = os.CreateTemp(filepath.Join(dir, "tmp"), "test-*"); err == nil {
			err = errors.Join(f.Sync(), f.Close(), os.Remove(f.Name()))
		}
	}
	if err != nil {
		step.Error, step.Hint = err.Error(), "make the directory and give it to the user that the gateway runs as"
	}
	step.Took = time.Since(begin)
	return mailflow.TestReport{
		Steps: []mailflow.TestStep{step}, OK: err == nil,
		Unproven: []string{"Whether anybody reads the Maildir."},
	}
}

// UnmarshalCaddyfile reads the transport. Syntax:
//
//	via maildir <path>
func (t *Maildir) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume transport name
	if !d.AllArgs(&t.Path) {
		return d.ArgErr()
	}
	if d.NextBlock(0) {
		return d.Errf("unrecognized maildir option %q", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Validator       = (*Maildir)(nil)
	_ mailflow.Tester       = (*Maildir)(nil)
	_ caddyfile.Unmarshaler = (*Maildir)(nil)
)
