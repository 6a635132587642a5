package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/admin"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

// agent is an engine together with its admin listener: what `hermod run` runs.
type agent struct {
	app       *app
	source    source
	log       *slog.Logger
	level     *slog.LevelVar
	contained bool       // see admin.Options
	here      *situation // of the built-in config; nil with a config of the user's
	engine    *graph.Engine

	running context.Context // ends when the agent stops: no reload goes on or begins then
	mu      sync.Mutex      // guards what follows; held while a config is taken, so that there is one reload at a time
	listen  string
	format  string
	stop    context.CancelFunc // of the admin server that answers now
	served  sync.WaitGroup     // the admin servers
}

var _ admin.Agent = (*agent)(nil)

// start runs the graph that file describes. On an error nothing runs.
func (g *agent) start(ctx context.Context, file *config.File) (hcl.Diagnostics, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	listener, err := listenAdmin(file.Agent.Listen)
	if err != nil {
		return nil, err
	}
	diags, err := g.engine.Start(ctx, file)
	if err != nil || diags.HasErrors() {
		if listener != nil {
			err = errors.Join(err, listener.Close())
		}
		return diags, err
	}
	g.listen, g.format = file.Agent.Listen, file.Agent.LogFormat
	g.tellHere()
	g.serve(listener)
	return diags, nil
}

// Status is how the graph is now.
func (g *agent) Status() graph.Status { return g.engine.Status() }

// Reload takes the config anew. On an error everything runs on as it was.
func (g *agent) Reload(ctx context.Context) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	defer context.AfterFunc(g.running, cancel)()
	if g.running.Err() != nil {
		return "", errors.New("the agent is stopping")
	}
	g.app.notify(reloading())
	defer g.app.notify(daemon.SdNotifyReady)

	file, diags := g.source.load()
	if diags.HasErrors() {
		report := render(diags, file, false)
		g.engine.RefuseReload(report)
		g.refused(diags, nil)
		return report, errors.New("the config has errors")
	}
	var listener net.Listener
	if file.Agent.Listen != g.listen {
		var err error
		if listener, err = listenAdmin(file.Agent.Listen); err != nil {
			g.engine.RefuseReload(err.Error())
			g.refused(nil, err)
			return err.Error() + "\n", err
		}
	}
	more, err := g.engine.Reload(ctx, file)
	diags = config.Sort(append(diags, more...))
	if err != nil || diags.HasErrors() {
		if listener != nil {
			_ = listener.Close() // nobody connected yet
		}
		g.refused(diags, err)
		report := render(diags, file, false)
		if err != nil {
			report += err.Error() + "\n"
		}
		return report, errors.Join(err, diagsError(diags))
	}

	g.level.Set(logLevel(&file.Agent))
	if file.Agent.LogFormat != g.format {
		g.log.Warn("agent.log_format changes at the next start only")
	}
	if file.Agent.Listen != g.listen {
		g.listen = file.Agent.Listen
		g.serve(listener)
	}
	g.tellHere()
	g.warn(diags)
	g.log.Info("reloaded", "config", g.source.name(), "components", inventory(file))
	return render(diags, file, false), nil
}

// tellHere shows on the status page what the built-in config could not open: the terminal that had the summary is soon elsewhere.
func (g *agent) tellHere() {
	if g.here != nil {
		g.engine.Tell("logs of containers", g.here.withoutLogs())
	}
}

func diagsError(diags hcl.Diagnostics) error {
	if diags.HasErrors() {
		return errors.New("the config has errors")
	}
	return nil
}

// refused logs why a reload had no effect: a line a fault.
func (g *agent) refused(diags hcl.Diagnostics, err error) {
	const most = 20
	for i, d := range diags {
		if i == most {
			g.log.Error("and more faults: hermod validate tells all", "count", len(diags)-most)
			break
		}
		g.log.Log(context.Background(), severity(d), d.Summary, "at", place(d), "detail", d.Detail)
	}
	args := []any{"config", g.source.name()}
	if err != nil {
		remedy, what := component.Remedy(err)
		args = append(args, "err", what)
		if remedy != "" {
			args = append(args, "remedy", remedy)
		}
	}
	g.log.Error("the reload was refused; the agent runs on with the config before it", args...)
}

// warn logs the warnings of a config that was taken.
func (g *agent) warn(diags hcl.Diagnostics) {
	for _, d := range diags {
		g.log.Log(context.Background(), severity(d), d.Summary, "at", place(d), "detail", d.Detail)
	}
}

func severity(d *hcl.Diagnostic) slog.Level {
	if d.Severity == hcl.DiagWarning {
		return slog.LevelWarn
	}
	return slog.LevelError
}

// place is where a fault stands: file:line:column.
func place(d *hcl.Diagnostic) string {
	if d.Subject == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d", d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column)
}

// serve answers on listener, which is nil when the config wants none, in place of the server before it. The caller holds mu.
func (g *agent) serve(listener net.Listener) {
	if g.stop != nil {
		g.stop() // it may be answering the very request that we are in, so nobody waits for it here
		g.stop = nil
	}
	if listener == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	server := admin.New(admin.Options{Agent: g, Gatherer: g.engine, Log: g.log, Address: g.listen, Contained: g.contained})
	g.served.Go(func() {
		if err := server.Serve(ctx, listener); err != nil {
			g.log.Error("the status page ended; a restart brings it back", "err", err)
		}
	})
}

// close ends the admin server.
func (g *agent) close() {
	g.mu.Lock()
	g.serve(nil)
	g.mu.Unlock()
	g.served.Wait()
}

// listenAdmin opens agent.listen; "off" opens nothing.
func listenAdmin(address string) (net.Listener, error) {
	if address == "off" {
		return nil, nil
	}
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	err = fmt.Errorf("agent.listen: %w", err)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, component.WithRemedy(err, "another agent may run already (see hermod status); otherwise choose another port with agent.listen")
	case errors.Is(err, os.ErrPermission):
		return nil, component.WithRemedy(err, "choose a port above 1023 with agent.listen")
	}
	return nil, component.WithRemedy(err, "set agent.listen to host:port of this machine")
}
