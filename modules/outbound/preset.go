// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/mailcaddy/mailcaddy/internal/rule/preset"
	"github.com/mailcaddy/mailcaddy/mailflow"
)

// usePreset sets what t does not say itself to what the preset says.
func (t *SMTP) usePreset() error {
	p, err := t.findPreset()
	if err != nil {
		return err
	}
	t.provider = &p
	if t.Address == "" {
		t.Address = presetAddress(&p, t.TLS)
	}
	if t.Auth != nil {
		if t.Auth.Mechanism == "" {
			t.Auth.Mechanism = p.Login.Mechanisms[0]
		}
		if t.Auth.User == "" {
			t.Auth.User = p.Login.User
		}
	}
	return nil
}

// findPreset returns the preset that t names, with the placeholders of now.
func (t *SMTP) findPreset() (preset.Preset, error) {
	args := make([]string, len(t.PresetArgs))
	for i, arg := range t.PresetArgs {
		var err error
		if args[i], err = resolve("argument of the preset", arg); err != nil {
			return preset.Preset{}, err
		}
	}
	return preset.Find(t.Preset, args)
}

// presetAddress returns the address of the preset's server. Where the operator
// wants another TLS mode than the preset's, the port is that of the mode.
func presetAddress(p *preset.Preset, mode TLSMode) string {
	if mode != "" && string(mode) != string(p.TLS) {
		return p.Host
	}
	return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port)))
}

// learnID notes the Message-Id that the provider gave each accepted message in
// place of ours, as its reply tells.
func learnID(p *preset.Preset, results []mailflow.Result) {
	for i := range results {
		if r := &results[i]; r.State == mailflow.StateSent && r.Reply != nil {
			r.MessageID = p.Learn(r.Reply.Text)
		}
	}
}

// keepID returns a with what asks the provider to keep our Message-Id.
func keepID(p *preset.Preset, a *mailflow.Attempt) *mailflow.Attempt {
	if p.MessageID.Keep == "" {
		return a
	}
	asking := *a
	asking.Content = fieldBefore{Content: a.Content, field: p.MessageID.Keep + "\r\n"}
	return &asking
}

// fieldBefore is content with a header field before its first.
type fieldBefore struct {
	mailflow.Content
	field string
}

// Size implements [mailflow.Content].
func (c fieldBefore) Size() int64 { return c.Content.Size() + int64(len(c.field)) }

// Open implements [mailflow.Content].
func (c fieldBefore) Open(ctx context.Context, enc mailflow.Encoding) (io.ReadCloser, error) {
	body, err := c.Content.Open(ctx, enc)
	if err != nil {
		return nil, fmt.Errorf("opening the message: %w", err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(c.field), body), body}, nil
}
