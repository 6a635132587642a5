package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/internal/access"
	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/admin"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

func (a *app) checkCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check FILE|DIR",
		Short: "Try everything that a config names once, and say what is wrong and what to do",
		Long: "Check opens what the config names, once: every server, file and socket that is read, and every backend that is pushed to, with a request\n" +
			"that writes nothing. It prints a line for each: ok, or what is wrong and what to do about it, in the words in which a running agent\n" +
			"logs it and shows it on its status page. It may run beside an agent with the same config.\n\n" +
			"Run it as the user, or in the container, in which the agent is to run. The exit code is 0 when all is well, 1 when anything failed, and 2\n" +
			"when the config itself has errors.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeConfig,
		RunE: a.does(func(c *cobra.Command, args []string) error {
			s := &pathSource{path: args[0], options: a.configOptions(c.Context())}
			file, diags := s.load()
			if diags.HasErrors() {
				a.tell(diags, file)
				return faulty(s, diags)
			}
			t := &tries{app: a, color: !asJSON && a.color(a.stdoutTerminal), json: asJSON}
			engine := graph.New(graph.Options{
				Definitions: a.definitions, Host: a.host(c.Context(), file.Agent.Host), Version: version, Log: slog.New(slog.DiscardHandler), Config: s.name(),
			})
			a.checkAgent(c.Context(), engine, &file.Agent, t.report)
			diags = config.Sort(append(diags, engine.Try(c.Context(), file, t.report)...))
			a.tell(diags, file)
			if diags.HasErrors() {
				return faulty(s, diags)
			}
			return t.finish()
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return c
}

// States of a finding.
const (
	stateOK     = "ok"
	stateNote   = "note"
	stateFailed = "failed"
)

// found is a finding as JSON.
type found struct {
	Component string `json:"component"`
	What      string `json:"what,omitempty"`
	State     string `json:"state"`
	Detail    string `json:"detail,omitempty"`
	Error     string `json:"error,omitempty"`
	Remedy    string `json:"remedy,omitempty"`
}

// tries gathers and prints findings.
type tries struct {
	app         *app
	color, json bool
	found       []found
}

func (t *tries) report(f graph.Finding) {
	out := found{Component: f.Address, What: admin.Clean(f.What), State: stateOK, Detail: admin.Clean(f.Detail)}
	if f.Err != nil {
		out.State = stateFailed
		if f.Note {
			out.State = stateNote
		}
		remedy, what := component.Remedy(f.Err)
		out.Error, out.Remedy = admin.Clean(what), admin.Clean(remedy)
	}
	t.found = append(t.found, out)
	if !t.json {
		t.print(&out)
	}
}

// print writes a finding as a line, and a second one with what to do.
func (t *tries) print(f *found) {
	word, paint := "ok    ", "32"
	switch f.State {
	case stateNote:
		word, paint = "note  ", "33"
	case stateFailed:
		word, paint = "FAILED", "31"
	}
	if t.color {
		word = "\x1b[" + paint + "m" + word + "\x1b[0m"
	}
	line := word + " " + f.Component
	for _, part := range []string{f.What, f.Error, f.Detail} {
		if part != "" {
			line += ": " + part
		}
	}
	fmt.Fprintln(t.app.stdout, line)
	if f.Remedy != "" {
		fmt.Fprintf(t.app.stdout, "       what to do: %s\n", f.Remedy)
	}
}

func (t *tries) finish() error {
	counts := map[string]int{}
	for i := range t.found {
		counts[t.found[i].State]++
	}
	if t.json {
		out := json.NewEncoder(t.app.stdout)
		out.SetIndent("", "  ")
		if err := out.Encode(map[string]any{"ok": counts[stateFailed] == 0, "findings": t.found}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(t.app.stdout, "\n%d ok, %d to note, %d failed\n", counts[stateOK], counts[stateNote], counts[stateFailed])
	}
	if counts[stateFailed] > 0 {
		return &exit{code: exitFailed} // all was told
	}
	return nil
}

// checkAgent tries what the agent itself needs.
func (a *app) checkAgent(ctx context.Context, engine *graph.Engine, c *config.Agent, report func(graph.Finding)) {
	tell := func(what string, detail string, note bool, err error) {
		f := graph.Finding{Address: "agent"}
		f.What, f.Detail, f.Note, f.Err = what, detail, note, err
		report(f)
	}
	if c.DataDir != "" {
		detail, note, err := checkDataDir(c.DataDir)
		tell("data_dir "+c.DataDir, detail, note, err)
	}
	if c.Listen != "off" {
		detail, note, err := a.checkListen(ctx, c.Listen)
		tell("listen "+c.Listen, detail, note, err)
	}
	if c.Docker.Endpoint != "" || c.Docker.JoinNetworks {
		detail, err := a.checkDocker(ctx, engine, c.Docker.Endpoint)
		tell("docker", detail, false, err)
	}
}

// checkListen finds out whether the admin listener could be opened. That an agent answers there is worth a note: check runs beside it.
func (a *app) checkListen(ctx context.Context, address string) (detail string, note bool, err error) {
	l, err := listenAdmin(address)
	if err == nil {
		return "free", false, l.Close()
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return "", false, err
	}
	if _, asked := ask(ctx, reachable(address), "/-/healthy", 1<<10, 2*time.Second); asked == nil {
		return "", true, fmt.Errorf("an agent answers there already")
	}
	return "", false, err
}

func (a *app) checkDocker(ctx context.Context, engine *graph.Engine, address string) (string, error) {
	e, err := docker.ParseEndpoint(address, a.getenv)
	if err != nil {
		return "", err
	}
	d, release, err := docker.Acquire(engine.Pool(), docker.Options{Endpoint: e, UserAgent: "hermod/" + version})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	detail, err := d.Ask(ctx)
	return detail, errors.Join(err, release())
}

// Free space of the data folder's filesystem.
const (
	fullBelow   = 64 << 20  // nothing can be queued
	nearlyBelow = 512 << 20 // an outage of some hours fills it
)

// checkDataDir finds out whether queues and positions could be written.
func checkDataDir(path string) (detail string, note bool, err error) {
	there := path // or the nearest folder above that is there, in which the agent would make it
	info, err := os.Stat(there)
	for errors.Is(err, fs.ErrNotExist) && there != filepath.Dir(there) {
		there = filepath.Dir(there)
		info, err = os.Stat(there)
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		what, remedy := access.Denied(path, access.Write)
		return "", false, component.WithRemedy(errors.New(what), remedy)
	case err != nil:
		return "", false, component.WithRemedy(err, "check the path")
	case !info.IsDir():
		return "", false, component.WithRemedy(fmt.Errorf("%s is not a folder", there), "name a folder, or remove the file that is in its place")
	}
	if unix.Access(there, unix.W_OK|unix.X_OK) != nil {
		what, remedy := access.Denied(there, access.Write)
		if errors.Is(unix.Access(there, unix.W_OK), unix.EROFS) {
			what, remedy = there+" lies on a filesystem that can't be written to", "mount it so that it can be written to (without :ro in docker run), or name another folder"
		}
		return "", false, component.WithRemedy(errors.New(what), remedy)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(there, &st); err != nil {
		return "", false, fmt.Errorf("ask for the free space of %s: %w", there, err)
	}
	free := config.Size(st.Bavail * uint64(st.Bsize))
	detail = fmt.Sprintf("%d MiB free", free>>20)
	if there != path {
		detail += fmt.Sprintf("; it will be made in %s", there)
	}
	const remedy = "make room on that filesystem, or name a folder on another one"
	switch {
	case free < fullBelow:
		return "", false, component.WithRemedy(fmt.Errorf("its filesystem is full: %d MiB are free", free>>20), remedy)
	case free < nearlyBelow:
		return detail, true, component.WithRemedy(fmt.Errorf("its filesystem is nearly full: %d MiB are free", free>>20), remedy)
	}
	return detail, false, nil
}
