// Command hermod is the agent: it collects metrics and logs of a server and delivers them to Prometheus, Mimir and Loki.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/hermod-agent/hermod/inputs"
	"github.com/hermod-agent/hermod/outputs"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/processors"
)

// version is set by the linker: -ldflags "-X main.version=1.2.3".
var version = "dev" //nolint:gochecknoglobals // the linker can set nothing else

func main() {
	signals := processSignals
	if len(os.Args) > 1 && os.Args[1] == "run" {
		// Before all else, so that a stop that comes while the agent starts is a stop, and not the end by a signal.
		c, ignore := processSignals()
		signals = func() (<-chan os.Signal, func()) { return c, ignore }
	}
	a := newApp()
	a.signals = signals
	os.Exit(a.main(context.Background(), os.Args[1:]))
}

// app is what the subcommands know of the world outside; tests put theirs in its place.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// stdoutTerminal and stderrTerminal say whether a person reads along; width is that of stdout in columns, 0 when nobody knows.
	stdoutTerminal, stderrTerminal bool
	width                          int
	getenv                         func(string) (string, bool)
	definitions                    []component.Definition
	// notify tells the service manager.
	notify func(state string)
	// signals are those that the process got.
	signals func() (c <-chan os.Signal, stop func())
	// situation finds out what the built-in config can work with.
	look func(ctx context.Context) *situation
	// metadata is what a config can ask AWS of this machine or task.
	metadata func(ctx context.Context) func(function, item string) (string, error)
}

func newApp() *app {
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		stdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())), stderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		getenv: os.LookupEnv, notify: notifySystemd, signals: processSignals,
	}
	a.definitions = append(append(append(a.definitions, inputs.All()...), processors.All()...), outputs.All()...)
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		a.width = width
	}
	a.look, a.metadata = a.lookAround, a.cloudMetadata
	return a
}

// Exit codes.
const (
	exitFailed = 1 // something could not be done
	exitUsage  = 2 // the command line or the config is wrong
)

// exit is an error that knows the exit code. One without a text has been told already.
type exit struct {
	code int
	err  error
	hint bool // the command's help tells how it is done
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}
func (e *exit) Unwrap() error { return e.err }

// usage is a fault of the command line.
func usage(format string, args ...any) error {
	return &exit{code: exitUsage, err: fmt.Errorf(format, args...), hint: true}
}

// main runs one command line and returns the exit code.
func (a *app) main(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(singleDash(args))
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	e := &exit{code: exitUsage, err: err, hint: true} // what cobra finds are faults of the command line
	errors.As(err, &e)
	if e.Error() == "" {
		return e.code
	}
	remedy, what := component.Remedy(e.err)
	fmt.Fprintf(a.stderr, "hermod: %s\n", what)
	if remedy != "" {
		fmt.Fprintf(a.stderr, "  what to do: %s\n", remedy)
	} else if e.hint {
		fmt.Fprintf(a.stderr, "  see %s --help\n", command.CommandPath())
	}
	return e.code
}

// singleDash lets `hermod fmt -check` be written as gofmt's users do.
func singleDash(args []string) []string {
	if len(args) == 0 || args[0] != "fmt" {
		return args
	}
	out := append([]string(nil), args...)
	for i, arg := range out {
		if arg == "-check" {
			out[i] = "--check"
		}
	}
	return out
}
