//go:build integration

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server is a real backend, run as a process on loopback. What it stored outlives a stop.
type server struct {
	t       testing.TB
	name    string
	address string // host:port of its HTTP listener
	ready   string // the path that answers 200 when it takes and answers all
	command func() *exec.Cmd
	output  *output
	process *process
}

// run starts the server for as long as the test lasts.
func (s *server) run() {
	s.t.Helper()
	s.output = &output{}
	s.Start()
	s.t.Cleanup(func() {
		s.process.end(s.t, syscall.SIGKILL, 20*time.Second) // its folder goes as well: there is nothing to save
		if s.t.Failed() {
			s.t.Logf("%s of %s said, last:\n%s", s.name, s.t.Name(), s.output.tail(30))
		}
	})
}

// Start runs it, after a Stop again with what it stored, and waits until it is ready.
func (s *server) Start() {
	s.t.Helper()
	if s.process != nil && s.process.running() {
		s.t.Fatalf("%s runs already", s.name)
	}
	s.process = start(s.t, s.command(), s.output)
	Eventually(s.t, 90*time.Second, s.name+" is ready", func() (bool, string) {
		if !s.process.running() {
			// Its port was free a moment ago: another's connection has it for a moment.
			if strings.Contains(s.output.tail(30), "address already in use") {
				s.process = start(s.t, s.command(), s.output)
				return false, "its port is taken"
			}
			s.t.Fatalf("%s ended with code %d:\n%s", s.name, s.process.code, s.output.tail(30))
		}
		_, err := get("http://" + s.address + s.ready)
		return err == nil, fmt.Sprint(err)
	})
}

// Stop ends it by SIGTERM and waits until it has.
func (s *server) Stop() {
	s.t.Helper()
	s.process.end(s.t, syscall.SIGTERM, 30*time.Second)
}

// Address is host:port.
func (s *server) Address() string { return s.address }

// Log is what it printed.
func (s *server) Log() string { return s.output.String() }

// built finds a program that integration/backends/build made, or the one that the environment names instead.
func built(t testing.TB, program string) string {
	t.Helper()
	if path := os.Getenv("HERMOD_" + strings.ToUpper(program)); path != "" {
		return path
	}
	path := filepath.Join(cache(t), "backends", program)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run integration/backends/build", program)
	}
	return path
}

// template writes a file from a text in which the names in braces stand for values.
func template(t testing.TB, path, text string, values map[string]string) {
	t.Helper()
	for name, value := range values {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// indent puts the lines of a text under a key of a YAML file.
func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by)
}

// port of host:port.
func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
