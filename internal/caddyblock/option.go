// SPDX-License-Identifier: Apache-2.0

package caddyblock

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// Func reads an option by read. The dispenser stands on the option's name
// (as [Block.Args]: on the last word before the arguments); read consumes the
// arguments and the block, and leaves nothing that it has not understood.
func Func(read func(d *caddyfile.Dispenser) error) Option {
	return Option{read: read}
}

// Sub reads an option that is a block of its own and takes no arguments.
func Sub(options Options) Option {
	return Func(Block{Options: options}.ReadRest)
}

// Flag reads an option that takes no argument: its presence sets field.
func Flag(field *bool) Option {
	return Func(func(*caddyfile.Dispenser) error {
		*field = true
		return nil
	})
}

// String reads one argument, which is not empty, into field.
func String(field *string) Option {
	return one(func(arg string) error {
		if arg == "" {
			return errors.New("the value is empty")
		}
		*field = arg
		return nil
	})
}

// Words reads exactly one argument into each field, in order.
func Words(fields ...*string) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		if !d.Args(fields...) {
			return d.ArgErr()
		}
		return nil
	})
}

// Strings reads one or more arguments and appends them to field. It is a
// list: it may stand more than once, unless it is limited by [Option.Once].
func Strings(field *[]string) Option {
	return list(field, func(arg string) (string, error) { return arg, nil })
}

// Pairs reads a key and a value into field. It is a list: it may stand more
// than once, but not with the same key.
func Pairs(field *map[string]string) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var key, value string
		if !d.Args(&key, &value) {
			return d.ArgErr()
		}
		if _, ok := (*field)[key]; ok {
			return d.Errf("option %s: %q has a value already", name, key)
		}
		if *field == nil {
			*field = make(map[string]string)
		}
		(*field)[key] = value
		return nil
	}).Many()
}

// Duration reads one positive duration into field, in Go's form or in days
// ("90s", "1h30m", "7d"). Zero is refused, since an unset field has its
// default.
func Duration(field *caddy.Duration) Option {
	return one(func(arg string) (err error) {
		*field, err = parseDuration(arg)
		return err
	})
}

// Durations reads one or more positive durations and appends them to field.
// The order is the meaning, so it may stand only once.
func Durations(field *[]caddy.Duration) Option {
	return list(field, parseDuration).Once()
}

// Int reads one whole number between lowest and highest into field.
func Int(field *int, lowest, highest int) Option {
	return one(func(arg string) error {
		n, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", arg)
		}
		if n < lowest || n > highest {
			return fmt.Errorf("%d is not between %d and %d", n, lowest, highest)
		}
		*field = n
		return nil
	})
}

// Size reads one positive size into field, in bytes. Units may be decimal or
// binary ("500", "10MB", "35MiB").
func Size(field *int64) Option {
	return one(func(arg string) error {
		n, err := humanize.ParseBytes(arg)
		if err != nil {
			return fmt.Errorf("%q is not a size such as 35MiB", arg)
		}
		if n == 0 || n > math.MaxInt64 {
			return fmt.Errorf("%q is not between one byte and 8EiB", arg)
		}
		*field = int64(n)
		return nil
	})
}

// Enum reads one of values into field.
func Enum[T ~string](field *T, values ...T) Option {
	return one(func(arg string) error {
		if slices.Contains(values, T(arg)) {
			*field = T(arg)
			return nil
		}
		names := make([]string, len(values))
		for i, value := range values {
			names[i] = string(value)
		}
		if meant := Suggest(arg, names); meant != "" {
			return fmt.Errorf("%q is none of %q; did you mean %q?", arg, names, meant)
		}
		return fmt.Errorf("%q is none of %q", arg, names)
	})
}

// YesNo reads "yes" or "no" into field, which stays nil, the default, as long
// as the option does not stand.
func YesNo(field **bool) Option {
	return one(func(arg string) error {
		if arg != "yes" && arg != "no" {
			return fmt.Errorf("%q is neither yes nor no", arg)
		}
		yes := arg == "yes"
		*field = &yes
		return nil
	})
}

// one reads exactly one argument.
func one(set func(arg string) error) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		name := d.Val()
		var arg string
		if !d.Args(&arg) {
			return d.ArgErr()
		}
		if err := set(arg); err != nil {
			return d.Errf("option %s: %w", name, err)
		}
		return nil
	})
}

// list reads one or more arguments and appends them to field.
func list[T any](field *[]T, parse func(arg string) (T, error)) Option {
	return Func(func(d *caddyfile.Dispenser) error {
		name := d.Val()
		args := d.RemainingArgs()
		if len(args) == 0 {
			return d.ArgErr()
		}
		for _, arg := range args {
			value, err := parse(arg)
			if err == nil && arg == "" {
				err = errors.New("a value is empty")
			}
			if err != nil {
				return d.Errf("option %s: %w", name, err)
			}
			*field = append(*field, value)
		}
		return nil
	}).Many()
}

// parseDuration reads a positive duration.
func parseDuration(arg string) (caddy.Duration, error) {
	dur, err := caddy.ParseDuration(arg)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 90s, 5m or 7d", arg)
	}
	if dur <= 0 {
		return 0, fmt.Errorf("%q is not a positive duration of at most %d days", arg, math.MaxInt64/(24*time.Hour))
	}
	return caddy.Duration(dur), nil
}
