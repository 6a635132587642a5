//go:build integration

package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Compose is a project of docker compose that was brought up.
type Compose struct {
	t       testing.TB
	command []string // compose with its file and project
	env     []string
}

// Images makes or finds the local images that stand in for the public ones, as variables for compose files. The agent under test is
// HERMOD_IMAGE.
func Images(t testing.TB) []string {
	t.Helper()
	build := exec.Command(filepath.Join(repository(t), "integration", "images", "build"))
	build.Env = append(os.Environ(), "HERMOD_CACHE="+cache(t))
	var stderr bytes.Buffer
	build.Stderr = &stderr
	out, err := build.Output()
	if err != nil {
		t.Fatalf("making images: %v\n%s", err, &stderr)
	}
	return append(strings.Fields(string(out)), "HERMOD_IMAGE="+BinaryImage(t))
}

// ComposeUp brings a compose file up, with variables for it, under a project name of this test's own. All of it leaves with the test.
func ComposeUp(t testing.TB, file string, env ...string) *Compose {
	t.Helper()
	return ComposeServices(t, file, nil, env...)
}

// ComposeServices is ComposeUp of some of a file's services; none are all.
func ComposeServices(t testing.TB, file string, services []string, env ...string) *Compose {
	t.Helper()
	c := &Compose{t: t, env: append(os.Environ(), env...)}
	// The plugin, or the program that was before it.
	if _, err := try("docker", "compose", "version"); err == nil {
		c.command = []string{"docker", "compose"}
	} else if _, err := exec.LookPath("docker-compose"); err == nil {
		c.command = []string{"docker-compose"}
	} else {
		t.Fatal("docker compose is missing: run integration/setup/setup as root")
	}
	project := fmt.Sprintf("%s-%d", RunID(), containers.Add(1))
	c.command = append(c.command, "-f", file, "-p", project)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := c.run("logs", "--tail=40", "--no-color")
			t.Logf("the services said, last:\n%.15000s", out)
		}
		if out, err := c.run("down", "-v", "--remove-orphans", "-t", "5"); err != nil {
			t.Errorf("cleaning up: %v\n%s", err, out)
		}
	})
	if out, err := c.run(append([]string{"up", "-d"}, services...)...); err != nil {
		t.Fatalf("docker compose up: %v\n%s", err, out)
	}
	return c
}

// Up brings the project up again after a Down.
func (c *Compose) Up() {
	c.t.Helper()
	if out, err := c.run("up", "-d"); err != nil {
		c.t.Fatalf("docker compose up: %v\n%s", err, out)
	}
}

// Down takes the project down and says what docker compose says of it.
func (c *Compose) Down() (said string, err error) { return c.run("down") }

// Project is the name under which Docker knows it.
func (c *Compose) Project() string { return c.command[len(c.command)-1] }

// Container is the one that a service runs in.
func (c *Compose) Container(service string) *Container {
	c.t.Helper()
	id, err := c.run("ps", "-q", service)
	if err != nil || id == "" {
		c.t.Fatalf("%s has no container: %v\n%s", service, err, id)
	}
	return &Container{Name: id, ID: id, t: c.t}
}

func (c *Compose) run(args ...string) (string, error) {
	cmd := exec.Command(c.command[0], append(c.command[1:], args...)...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Address is where a service's port can be reached from this machine.
func (c *Compose) Address(service string, port int) string {
	c.t.Helper()
	out, err := c.run("port", service, fmt.Sprint(port))
	if err != nil {
		c.t.Fatalf("port %d of %s: %v\n%s", port, service, err, out)
	}
	return out
}

// Networks are the networks that a service is in, without the project's name.
func (c *Compose) Networks(service string) []string {
	c.t.Helper()
	id, err := c.run("ps", "-q", service)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", service, err, id)
	}
	var out []string
	for _, name := range strings.Fields(command(c.t, "docker", "inspect", "--format", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}", id)) {
		out = append(out, name[strings.LastIndexByte(name, '_')+1:])
	}
	return out
}

// PromQL asks the Prometheus or Mimir at an address for an instant vector; prefix stands before /api/v1.
func PromQL(address, prefix, expr string) ([]Result, error) {
	return promQL{base: "http://" + address + prefix}.vector(expr)
}
