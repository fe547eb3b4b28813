// SPDX-License-Identifier: Apache-2.0

// Package peer finds the programs of others that tests talk to, such as swaks
// and smtp-sink.
//
// A missing program skips the test on a developer's machine. Where the
// environment says MAILCADDY_REQUIRE=all, as in continuous integration, it
// fails the test: what is never run there would be run nowhere.
package peer

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// adminPath is where Debian installs servers; it is missing in the PATH of
// users other than root.
const adminPath = "/usr/sbin"

// Required reports whether the environment forbids that a test is skipped.
func Required() bool { return os.Getenv("MAILCADDY_REQUIRE") == "all" }

// Path returns where program is installed. The error says how to install it.
func Path(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	if path, err := exec.LookPath(adminPath + "/" + program); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("finding a peer: %w; `.ci/run install` installs it", err)
}

// Require returns where program is installed. Without it the test is skipped,
// or fails if the environment requires all.
func Require(tb testing.TB, program string) string {
	tb.Helper()
	path, err := Path(program)
	switch {
	case err == nil:
	case Required():
		tb.Fatal(err)
	default:
		tb.Skip(err)
	}
	return path
}
