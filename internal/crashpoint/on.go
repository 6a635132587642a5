//go:build crashpoints

// Package crashpoint marks places at which a test ends the process with SIGKILL, to see what a start makes of what is then on disk.
package crashpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled says that the marks do something.
const Enabled = true

var passed atomic.Int64

// Pass kills the process when it comes to a place for the nth time, as HERMOD_CRASH says: "queue/fsync:3".
func Pass(what, step string) {
	name, times, _ := strings.Cut(os.Getenv("HERMOD_CRASH"), ":") //nolint:forbidigo // in builds for tests alone
	if name != what+"/"+step {
		return
	}
	if n, err := strconv.ParseInt(times, 10, 64); err == nil && passed.Add(1) == n {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it arrives
	}
}
