package main

import (
	"context"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/graph"
)

// notifySystemd tells the service manager, where there is one.
func notifySystemd(state string) { _, _ = daemon.SdNotify(false, state) }

// reloading is what a service of Type=notify-reload has to say: the time lets systemd tell this reload from the one before it.
func reloading() string {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return daemon.SdNotifyReloading
	}
	return daemon.SdNotifyReloading + "\nMONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10)
}

// watchdog tells systemd that the agent is alive, as often as the unit wants it, until ctx ends. Alive means that it can say how it is:
// an engine that is stuck stays silent and is restarted.
func watchdog(ctx context.Context, notify func(string), status func() graph.Status) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			status()
			notify(daemon.SdNotifyWatchdog)
		}
	}
}
