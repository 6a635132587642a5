package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// buffer is a stream that a test reads while the command writes.
type buffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// console is an app in a world of the test's own.
type console struct {
	*app
	out, err buffer
	env      map[string]string
	sent     chan os.Signal
	mu       sync.Mutex // guards told
	told     []string   // what the service manager was told
}

func newConsole() *console {
	c := &console{app: newApp(), env: map[string]string{}, sent: make(chan os.Signal, 4)}
	c.stdin, c.stdout, c.stderr = strings.NewReader(""), &c.out, &c.err
	c.stdoutTerminal, c.stderrTerminal, c.width = false, false, 0
	c.getenv = func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }
	c.notify = func(state string) {
		c.mu.Lock()
		defer c.mu.Unlock()
		state, _, _ = strings.Cut(state, "\n")
		c.told = append(c.told, state)
	}
	c.signals = func() (<-chan os.Signal, func()) { return c.sent, func() {} }
	return c
}

// run runs a command line to its end and returns the exit code.
func (c *console) run(t *testing.T, args ...string) int {
	t.Helper()
	return c.main(t.Context(), args)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it and run the test with -update\n%s", path, got)
	}
}

// file writes a file of the test's and returns its path.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// until waits for a condition that something else brings about.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("in a minute it did not come true that %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
