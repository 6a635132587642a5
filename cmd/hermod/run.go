package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"

	"github.com/hermod-agent/hermod/internal/hostinfo"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "run [FILE|DIR]",
		Short: "Run the agent",
		Long: "Run collects and delivers what the config says: a file, or a folder whose *.hcl files are read as one.\n\n" +
			"Without a config it shows this machine's metrics on a page for Prometheus to scrape and, on a terminal, the logs of its containers;\n" +
			"it tells what it found, what it could not open and why, and where to look.\n\n" +
			"SIGHUP reads the config anew; SIGTERM and SIGINT deliver what is queued and stop, a second one stops at once.",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeConfig,
		RunE: a.does(func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.runBuiltin(c.Context())
			}
			return a.run(c.Context(), &pathSource{path: args[0], options: a.configOptions(c.Context())}, nil)
		}),
	}
}

// processSignals are those that the agent answers to.
func processSignals() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 4)
	signal.Notify(c, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	return c, func() { signal.Stop(c) }
}

// run runs the agent until it is told to stop. here is what the built-in config found, nil with a config of the user's.
func (a *app) run(ctx context.Context, s source, here *situation) error {
	signals, ignore := a.signals()
	defer ignore()

	file, diags := s.load()
	if diags.HasErrors() {
		a.tell(diags, file)
		return faulty(s, diags)
	}
	level := new(slog.LevelVar)
	level.Set(logLevel(&file.Agent))
	log := newLog(a.stderr, file.Agent.LogFormat, level)
	a.limitMemory(log)

	var host component.Host
	if here != nil {
		host = here.host
	} else {
		host = a.host(ctx, file.Agent.Host)
	}
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g := &agent{
		running: running, app: a, source: s, log: log, level: level, contained: here != nil && host.Container, here: here,
		engine: graph.New(graph.Options{Definitions: a.definitions, Host: host, Version: version, Log: log, Config: s.name()}),
	}

	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	type started struct {
		diags hcl.Diagnostics
		err   error
	}
	up := make(chan started, 1)
	go func() {
		diags, err := g.start(starting, file)
		up <- started{diags, err}
	}()
	var result started
	stopped := false
	for waiting := true; waiting; {
		select {
		case result = <-up:
			waiting = false
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				stopped = true
				cancel()
			}
		case <-ctx.Done():
			stopped = true
			cancel()
			result = <-up
			waiting = false
		}
	}
	diags = config.Sort(append(diags, result.diags...))
	switch {
	case diags.HasErrors():
		a.tell(diags, file)
		return faulty(s, diags)
	case result.err != nil && stopped && errors.Is(result.err, context.Canceled):
		return nil
	case result.err != nil:
		return result.err
	}
	defer g.close()
	if here != nil {
		g.mu.Lock() // a reload looks around anew
		here.tell(a.stderr)
		g.mu.Unlock()
	}
	if a.stderrTerminal {
		a.tell(diags, file) // warnings
	} else {
		g.warn(diags)
	}
	log.Info("running", "version", version, "config", s.name(), "components", inventory(file), "listen", file.Agent.Listen)
	a.notify(daemon.SdNotifyReady)

	alive, rest := context.WithCancel(context.Background())
	var helpers sync.WaitGroup
	helpers.Go(func() { watchdog(alive, a.notify, g.Status) })
	defer helpers.Wait()
	defer rest()
	reloads := make(chan struct{}, 1)
	var reloader sync.WaitGroup
	reloader.Go(func() {
		for range reloads {
			_, _ = g.Reload(running) // the outcome is logged and on the status page
		}
	})
	settled := time.NewTimer(settles)
	defer settled.Stop()
	for !stopped {
		select {
		case <-ctx.Done():
			stopped = true
		case <-settled.C:
			debug.FreeOSMemory()
		case sig := <-signals:
			settled.Reset(settles)
			if sig != syscall.SIGHUP {
				log.Info("stopping: what is queued is sent first", "signal", sig.String(), "drain_timeout", time.Duration(file.Agent.DrainTimeout).String())
				stopped = true
				continue
			}
			select {
			case reloads <- struct{}{}:
			default: // one waits already, and will read what is there then
			}
		}
	}
	end()
	close(reloads)
	reloader.Wait()
	return a.drain(g, signals, time.Duration(file.Agent.DrainTimeout))
}

// settles is how long after a start or a reload what that took, lists of all containers among it, is given back to the system: the runtime
// would keep it as long as it fits what it expects to need at most, which an agent at rest never does. It costs one collection of garbage.
const settles = time.Minute

// drain stops the agent, which sends for its drain timeout; a second signal ends that.
func (a *app) drain(g *agent, signals <-chan os.Signal, timeout time.Duration) error {
	a.notify(daemon.SdNotifyStopping)
	const margin = 10 * time.Second // for what follows the sending: positions, listeners
	ctx, cancel := context.WithTimeout(context.Background(), timeout+margin)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- g.engine.Stop(ctx) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("stop: %w", err)
			}
			g.log.Info("stopped")
			return nil
		case sig := <-signals:
			if sig != syscall.SIGHUP {
				// The stop is still at work in its goroutine, which ends with the process.
				return fmt.Errorf("a second %s ended the stop before all was sent; logs are read again from the last saved positions", sig)
			}
		}
	}
}

// limitMemory makes the garbage collector work harder before the kernel ends a process that reaches its cgroup's limit.
func (a *app) limitMemory(log *slog.Logger) {
	if set, _ := a.getenv("GOMEMLIMIT"); set != "" {
		return
	}
	if limit, ok := hostinfo.MemoryLimit(hostinfo.Options{Getenv: a.getenv}); ok {
		debug.SetMemoryLimit(limit / 10 * 9)
		log.Debug("memory limit of the cgroup", "bytes", limit)
	}
}
