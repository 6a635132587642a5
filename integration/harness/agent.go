//go:build integration

package harness

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/graph"
)

// Unprivileged is the user that the agent runs as where it isn't root.
const Unprivileged = 65532

// AgentOptions say how to run the agent.
type AgentOptions struct {
	// Agent are attributes of the agent block, besides data_dir and listen.
	Agent string
	// Config is everything else.
	Config string
	// User and Groups; 0 is root.
	User   uint32
	Groups []uint32
	// Environment besides PATH.
	Environment []string
	// Within is a command that runs the agent: it is given the agent's as its arguments, and has to become it. It begins as root.
	Within []string
}

// Agent is bin/hermod, run from a folder of its own.
type Agent struct {
	t       testing.TB
	options AgentOptions
	binary  string
	Dir     string
	admin   string
	output  *output
	process *process
	starts  int
}

// Binary is the agent under test.
func Binary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("HERMOD_BIN")
	if path == "" {
		path = filepath.Join(repository(t), "bin", "hermod")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no agent to test: make build: %v", err)
	}
	return path
}

// NewAgent writes its config; Start runs it. It ends with the test.
func NewAgent(t testing.TB, options AgentOptions) *Agent {
	t.Helper()
	a := &Agent{t: t, options: options, Dir: Dir(t), admin: FreeAddress(t), output: &output{}}
	// Where it is may be closed to the user that it runs as, and a build may replace it meanwhile.
	a.binary = filepath.Join(a.Dir, "hermod")
	// A process of its own copies it: what this one holds open for writing, a program that another test starts meanwhile holds open too,
	// and then it can't be run ("text file busy").
	_, err := try("install", "-m", "755", Binary(t), a.binary)
	if err == nil {
		err = os.Mkdir(a.DataDir(), 0o700)
	}
	if err == nil {
		err = os.Chown(a.DataDir(), int(options.User), int(options.User))
	}
	if err != nil {
		t.Fatal(err)
	}
	a.Configure(options.Config)
	t.Cleanup(func() {
		if a.process != nil {
			a.process.end(t, syscall.SIGTERM, 30*time.Second)
		}
		if t.Failed() {
			t.Logf("the agent of %s said, last:\n%s", t.Name(), a.output.tail(60))
		}
		if text := a.output.String(); strings.Contains(text, "panic:") || strings.Contains(text, "DATA RACE") || strings.Contains(text, "fatal error:") {
			t.Errorf("the agent panicked:\n%s", text[max(0, strings.Index(text, "panic:")-200):])
		}
	})
	return a
}

// DataDir is the agent's data_dir.
func (a *Agent) DataDir() string { return filepath.Join(a.Dir, "data") }

// QueueDir is where an output keeps what waits.
func (a *Agent) QueueDir(output string) string {
	return filepath.Join(a.DataDir(), "output", output, "queue")
}

// Pid is that of the process that runs, or ran last.
func (a *Agent) Pid() int { return a.process.cmd.Process.Pid }

// Signal sends the agent one.
func (a *Agent) Signal(s syscall.Signal) { a.process.signal(s) }

// SaveBeforeLast is when the positions were saved for the last time but one. All that was delivered before is in the last save.
func (a *Agent) SaveBeforeLast() (at time.Time, ok bool) {
	info, err := os.Stat(filepath.Join(a.DataDir(), "positions.previous"))
	if err != nil {
		return time.Time{}, false
	}
	return info.ModTime(), true
}

// ConfigFile is the path of its config.
func (a *Agent) ConfigFile() string { return filepath.Join(a.Dir, "agent.hcl") }

// Configure replaces all of the config but the agent block, in one step.
func (a *Agent) Configure(config string) {
	a.t.Helper()
	a.Overwrite(fmt.Sprintf("agent {\n  data_dir = %q\n  listen   = %q\n%s\n}\n\n%s", a.DataDir(), a.admin, a.options.Agent, config))
}

// Overwrite replaces the whole config by any bytes, in one step.
func (a *Agent) Overwrite(content string) {
	a.t.Helper()
	next := a.ConfigFile() + ".new"
	if err := os.WriteFile(next, []byte(content), 0o644); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(next, a.ConfigFile()); err != nil {
		a.t.Fatal(err)
	}
}

// Start runs it; it doesn't wait until it is ready.
func (a *Agent) Start() {
	a.t.Helper()
	if a.process != nil && a.process.running() {
		a.t.Fatal("the agent runs already")
	}
	a.starts++
	fmt.Fprintf(a.output, "--- start %d\n", a.starts)
	a.process = start(a.t, a.Command("run", a.ConfigFile()), a.output)
}

// Command is any command of the agent as the agent's user, not started.
func (a *Agent) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(a.binary, args...)
	cmd.Dir = a.Dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + a.Dir}, a.options.Environment...)
	if within := a.options.Within; len(within) > 0 && len(args) > 0 && args[0] == "run" {
		whole := slices.Clone(within)
		if u := a.options.User; u != 0 {
			whole = append(whole, "setpriv", fmt.Sprint("--reuid=", u), fmt.Sprint("--regid=", u), "--clear-groups", "--pdeathsig=KILL")
		}
		whole = append(append(whole, a.binary), args...)
		path, err := exec.LookPath(whole[0])
		if err != nil {
			a.t.Fatal(err)
		}
		cmd.Path, cmd.Args = path, whole
		return cmd
	}
	if a.options.User != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: a.options.User, Gid: a.options.User, Groups: a.options.Groups}}
	}
	return cmd
}

// Run runs a command of the agent to its end and gives its exit code and what it printed.
func (a *Agent) Run(args ...string) (code int, stdout, stderr string) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	plain := a.Command(args...)
	cmd := exec.CommandContext(ctx, plain.Path, plain.Args[1:]...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = plain.Dir, plain.Env, plain.SysProcAttr
	var out, errors strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		a.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errors.String()
}

// Kill is kill -9.
func (a *Agent) Kill() {
	a.t.Helper()
	a.process.end(a.t, syscall.SIGKILL, 10*time.Second)
}

// Stop is SIGTERM; it gives the exit code.
func (a *Agent) Stop() int {
	a.t.Helper()
	return a.process.end(a.t, syscall.SIGTERM, 30*time.Second)
}

// Wait until it ends by itself; it gives the exit code.
func (a *Agent) Wait(within time.Duration) int {
	a.t.Helper()
	select {
	case <-a.process.done:
	case <-time.After(within):
		a.t.Fatalf("the agent still runs after %v", within)
	}
	return a.process.code
}

// Resources are what the agent holds.
type Resources struct {
	RSS         int64 // bytes
	Descriptors []string
	Goroutines  int
}

// Resources looks at the running agent.
func (a *Agent) Resources() (r Resources, err error) {
	proc := fmt.Sprintf("/proc/%d/", a.process.cmd.Process.Pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return r, err
	}
	if _, rest, ok := strings.Cut(string(status), "VmRSS:"); ok {
		fmt.Sscan(rest, &r.RSS) //nolint:errcheck // what isn't there stays 0
		r.RSS <<= 10
	}
	entries, err := os.ReadDir(proc + "fd")
	if err != nil {
		return r, err
	}
	for _, e := range entries {
		if target, err := os.Readlink(proc + "fd/" + e.Name()); err == nil {
			r.Descriptors = append(r.Descriptors, target)
		}
	}
	page, err := a.Get("/metrics")
	if err != nil {
		return r, err
	}
	if _, rest, ok := strings.Cut(page, "\ngo_goroutines "); ok {
		fmt.Sscan(rest, &r.Goroutines) //nolint:errcheck // likewise
	}
	return r, nil
}

// Running says whether the process lives.
func (a *Agent) Running() bool { return a.process != nil && a.process.running() }

// Hangup is SIGHUP: reload.
func (a *Agent) Hangup() { a.process.signal(syscall.SIGHUP) }

// Reload asks for it by POST /-/reload and gives the answer.
func (a *Agent) Reload() (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.AdminURL("/-/reload"), nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// Log is all that it printed over all its starts, to stdout and stderr.
func (a *Agent) Log() string { return a.output.String() }

// AdminURL is a page of the admin listener.
func (a *Agent) AdminURL(path string) string { return "http://" + a.admin + path }

// AdminAddress is host:port of the admin listener.
func (a *Agent) AdminAddress() string { return a.admin }

// Get fetches a page of the admin listener.
func (a *Agent) Get(path string) (string, error) {
	body, err := get(a.AdminURL(path))
	return string(body), err
}

// Fetch fetches any page, which must answer 200.
func Fetch(address string) (string, error) {
	body, err := get(address)
	return string(body), err
}

// AwaitReady waits until /-/ready says so.
func (a *Agent) AwaitReady() {
	a.t.Helper()
	Eventually(a.t, 30*time.Second, "the agent is ready", func() (bool, string) {
		if !a.process.running() {
			a.t.Fatalf("the agent ended with code %d", a.process.code)
		}
		_, err := a.Get("/-/ready")
		return err == nil, fmt.Sprint(err)
	})
}

// Status is /api/graph.
func (a *Agent) Status() (graph.Status, error) {
	body, err := a.Get("/api/graph")
	if err != nil {
		return graph.Status{}, err
	}
	var status graph.Status
	err = json.Unmarshal([]byte(body), &status)
	return status, err
}
