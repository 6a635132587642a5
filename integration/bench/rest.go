//go:build integration

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// restCommand runs a program for a while and tells what it cost: its resident memory at the end and at its peak, and CPU seconds.
func restCommand(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("rest", flag.ExitOnError)
	duration := flags.Duration("for", 5*time.Minute, "how long")
	_ = flags.Parse(args) // ExitOnError
	if flags.NArg() == 0 {
		return errors.New("rest takes the command to run")
	}
	cmd := exec.CommandContext(ctx, flags.Arg(0), flags.Args()[1:]...) //nolint:gosec // the command is the user's own
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(*duration):
	}
	resident, err := residentBytes(cmd.Process.Pid)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	waitErr := cmd.Wait()
	if err != nil {
		return errors.Join(fmt.Errorf("it ended before its time: %w", err), waitErr)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("this system tells no resource usage")
	}
	fmt.Printf("after %s: RSS %.1f MB, peak %.1f MB, %.2f CPU s\n", *duration, float64(resident)/1e6, float64(usage.Maxrss<<10)/1e6,
		seconds(usage.Utime)+seconds(usage.Stime))
	return nil
}

func residentBytes(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/%d/statm holds %q", pid, b)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}
