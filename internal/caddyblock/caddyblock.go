// SPDX-License-Identifier: Apache-2.0

// Package caddyblock reads the body of a Caddyfile block into fields.
//
// A block is described by a table: the name of each option and its reader.
// The table gives every module the same manners. An option is refused, with
// its file and line, when it is unknown (with the name that was perhaps
// meant), when it stands twice and is no list, when it has too few or too
// many arguments, when its value is no such value, and when it opens a block
// that nobody reads.
//
//	func (g *LoopGuard) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
//		return caddyblock.Read(d, caddyblock.Options{
//			"window":    caddyblock.Duration(&g.Window),
//			"threshold": caddyblock.Int(&g.Threshold, 1, 1000),
//			"allow":     caddyblock.Strings(&g.Allow), // a list, adds up
//		})
//	}
//
// A directive with arguments, unknown names that somebody else knows, or a
// block that stands in several pieces is described by a [Block].
package caddyblock

import (
	"errors"
	"maps"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Options is the table of a block: the reader of each option by its name.
type Options map[string]Option

// Option reads one option of a block. The zero Option accepts a bare name.
type Option struct {
	read func(d *caddyfile.Dispenser) error // d stands on the option's name
	list bool                               // may stand more than once
}

// Many lets the option stand more than once; each time adds to the field.
func (o Option) Many() Option {
	o.list = true
	return o
}

// Once refuses the option when it stands a second time, also if it is a list.
func (o Option) Once() Option {
	o.list = false
	return o
}

// ErrUnknown is what [Block.Other] returns for a name that it does not know:
// the name is refused in the words of the block.
var ErrUnknown = errors.New("unknown name")

// Seen holds the single-valued options that have been read already.
type Seen map[string]bool

// Block describes a directive: what stands behind its name and in its body.
type Block struct {
	// Kind is what messages call the block. Default: the word at which
	// reading starts, which is the directive's name.
	Kind string

	// Args reads the arguments behind the directive's name. Default: none
	// are accepted.
	Args Option

	// Options are the options of the body.
	Options Options

	// Other reads a name that is not in Options; d stands on it. It consumes
	// the arguments and the block of the name, or returns [ErrUnknown] when
	// it does not know the name either. Default: such a name is refused.
	Other func(d *caddyfile.Dispenser) error

	// Seen is shared by the pieces of a block that may stand in several
	// places: a single-valued option of an earlier piece is refused in a
	// later one. Read adds to it. Default: the block stands alone.
	Seen Seen
}

// Read reads a directive that takes no arguments; d stands before its name,
// as in UnmarshalCaddyfile.
func Read(d *caddyfile.Dispenser, options Options) error {
	return Block{Options: options}.Read(d)
}

// Read reads the block at d, which stands before the directive's name, as in
// UnmarshalCaddyfile.
func (b Block) Read(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	return b.ReadRest(d)
}

// ReadRest reads the block at d, which stands on the directive's name or on
// the last argument that the caller has consumed itself. Where the caller has
// consumed arguments it sets b.Kind.
func (b Block) ReadRest(d *caddyfile.Dispenser) error {
	if b.Kind == "" {
		b.Kind = d.Val()
	}
	if b.Seen == nil {
		b.Seen = make(Seen)
	}
	if b.Args.read != nil {
		if err := b.Args.read(d); err != nil {
			return err
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	nesting := d.Nesting()
	for d.NextBlock(nesting) {
		if err := b.readOption(d); err != nil {
			return err
		}
	}
	if d.Nesting() > nesting {
		return d.Errf("the %s block is not closed", b.Kind)
	}
	return nil
}

// readOption reads the option that d stands on.
func (b Block) readOption(d *caddyfile.Dispenser) error {
	name := d.Val()
	option, ok := b.Options[name]
	if !ok {
		option = Func(b.readOther).Many()
	}
	if b.Seen[name] && !option.list {
		return d.Errf("duplicate %s option %q: it has a value already", b.Kind, name)
	}
	if !option.list {
		b.Seen[name] = true
	}
	if option.read != nil {
		if err := option.read(d); err != nil {
			return err
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	if opensBlock(d) {
		return d.Errf("%s option %q takes no block", b.Kind, name)
	}
	return nil
}

// readOther reads a name that is not in b.Options.
func (b Block) readOther(d *caddyfile.Dispenser) error {
	err := ErrUnknown
	if b.Other != nil {
		err = b.Other(d)
	}
	if errors.Is(err, ErrUnknown) {
		return unrecognized(d, b.Kind+" option", slices.Collect(maps.Keys(b.Options)))
	}
	return err
}

// opensBlock reports whether the token after d opens a block that the reader
// of the option has left unread.
func opensBlock(d *caddyfile.Dispenser) bool {
	if !d.Next() {
		return false
	}
	next := d.Token()
	d.Prev()
	return next.Text == "{" && !next.Quoted()
}

// unrecognized refuses the name that d stands on.
func unrecognized(d *caddyfile.Dispenser, what string, known []string) error {
	if meant := Suggest(d.Val(), known); meant != "" {
		return d.Errf("unrecognized %s %q; did you mean %q?", what, d.Val(), meant)
	}
	return d.Errf("unrecognized %s %q", what, d.Val())
}
