//go:build integration

package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// DockerSocket is where the engine listens.
const DockerSocket = "/var/run/docker.sock"

// RequireDocker fails the test with what to do when no engine answers.
func RequireDocker(t testing.TB) {
	t.Helper()
	if _, err := try("docker", "version", "--format", "{{.Server.Version}}"); err != nil {
		t.Fatalf("these tests need a Docker engine: run integration/setup/setup as root: %v", err)
	}
}

// DockerGroup is the group that may use the engine's socket.
func DockerGroup(t testing.TB) uint32 {
	t.Helper()
	info, err := os.Stat(DockerSocket)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Gid
}

// programImage makes the image of a program in integration: writer, load.
func programImage(t testing.TB, program string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), program)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./integration/"+program)
	build.Dir = repository(t)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the %s: %v\n%s", program, err, out)
	}
	return image(t, binary)
}

// image makes an image that holds one static program, or finds the one made before, and returns its name.
func image(t testing.TB, binary string) string {
	t.Helper()
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	program := filepath.Base(binary)
	name := "hermod-it-" + program + ":" + hex.EncodeToString(sum[:6])
	if _, err := try("docker", "image", "inspect", name); err == nil {
		return name
	}
	archive := filepath.Join(t.TempDir(), "image.tar")
	command(t, "tar", "-C", filepath.Dir(binary), "-cf", archive, program)
	command(t, "docker", "import", "--change", `ENTRYPOINT ["/`+program+`"]`, archive, name)
	return name
}

var containers atomic.Int64

// Writer is a container that writes the lines of package lines.
type Writer struct {
	Driver  string            // log driver
	Options map[string]string // of the driver
	Source  string            // what its lines begin with; its name when empty
	Lines   int
	Rate    int
	Stderr  bool
	Hold    bool
	Labels  map[string]string
	Name    string // made up when empty
	Remove  bool   // the engine removes it at its end
}

// Container runs.
type Container struct {
	Name, ID, Source string
	t                testing.TB
}

// Start runs the container; it leaves with the test.
func (w Writer) Start(t testing.TB) *Container {
	t.Helper()
	name := w.Name
	if name == "" {
		name = fmt.Sprintf("%s-writer-%d", RunID(), containers.Add(1))
	}
	if w.Source == "" {
		w.Source = name
	}
	args := []string{"run", "-d", "--name", name, "--network", "none", "--label", "hermod-it=" + RunID()}
	if w.Remove {
		args = append(args, "--rm")
	}
	if w.Driver != "" {
		args = append(args, "--log-driver", w.Driver)
	}
	for k, v := range w.Options {
		args = append(args, "--log-opt", k+"="+v)
	}
	for k, v := range w.Labels {
		args = append(args, "--label", k+"="+v)
	}
	args = append(args, programImage(t, "writer"), "-source", w.Source, "-lines", strconv.Itoa(w.Lines), "-rate", strconv.Itoa(w.Rate))
	if w.Stderr {
		args = append(args, "-stderr")
	}
	if w.Hold {
		args = append(args, "-hold")
	}
	removeAfter(t, name)
	return &Container{Name: name, ID: command(t, "docker", args...), Source: w.Source, t: t}
}

// StartLoad runs integration/load: options are those of docker run, args the program's. The container leaves with the test.
func StartLoad(t testing.TB, options []string, args ...string) *Container {
	t.Helper()
	name := fmt.Sprintf("%s-load-%d", RunID(), containers.Add(1))
	removeAfter(t, name)
	run := append([]string{"run", "-d", "--name", name, "--label", "hermod-it=" + RunID()}, options...)
	return &Container{Name: name, ID: command(t, "docker", append(append(run, programImage(t, "load")), args...)...), t: t}
}

// WatchEvents counts what the engine tells of containers from now on, by their ids.
func WatchEvents(t testing.TB, event string) (seen func() map[string]int) {
	t.Helper()
	out := &output{}
	p := start(t, exec.Command("docker", "events", "--filter", "event="+event, "--format", "{{.Actor.ID}}"), out)
	t.Cleanup(func() { p.end(t, syscall.SIGKILL, 10*time.Second) })
	return func() map[string]int {
		n := map[string]int{}
		for id := range strings.FieldsSeq(out.String()) {
			n[id]++
		}
		return n
	}
}

func removeAfter(t testing.TB, name string) {
	t.Cleanup(func() {
		if t.Failed() && !strings.Contains(name, "-writer-") && !strings.Contains(name, "-load-") {
			out, _ := exec.Command("docker", "logs", "--tail", "60", name).CombinedOutput()
			t.Logf("%s said, last:\n%.10000s", name, out)
		}
		if _, err := try("docker", "rm", "-f", "-v", name); err != nil && !strings.Contains(err.Error(), "No such container") {
			t.Errorf("cleaning up: %v", err)
		}
	})
}

// StartAgentContainer runs the agent under test in a container: options are those of docker run, args the agent's. The image is removed
// with the test.
func StartAgentContainer(t testing.TB, options []string, args ...string) *Container {
	t.Helper()
	return StartContainer(t, BinaryImage(t), options, args...)
}

// imageUsers counts the tests that use an image, which leaves with the last of them: a test that has the image and no container of it yet
// would else lose it to one that ends.
var imageUsers = struct {
	sync.Mutex
	of map[string]int
}{of: map[string]int{}}

// BinaryImage is an image of the agent under test and nothing else. It is removed with the last test that uses it.
func BinaryImage(t testing.TB) string {
	t.Helper()
	imageUsers.Lock()
	defer imageUsers.Unlock()
	agent := image(t, Binary(t))
	imageUsers.of[agent]++
	t.Cleanup(func() {
		imageUsers.Lock()
		defer imageUsers.Unlock()
		if imageUsers.of[agent]--; imageUsers.of[agent] == 0 {
			try("docker", "rmi", agent) //nolint:errcheck // a container that another run left may still use it
		}
	})
	return agent
}

// BuiltOn makes an image of a folder with a Dockerfile, without a network; args are build arguments, NAME=VALUE. It leaves with the test.
func BuiltOn(t testing.TB, folder string, args ...string) string {
	t.Helper()
	name := fmt.Sprintf("%s-built-%d", RunID(), containers.Add(1))
	build := []string{"build", "-q", "--network", "none", "-t", name}
	for _, arg := range args {
		build = append(build, "--build-arg", arg)
	}
	command(t, "docker", append(build, folder)...)
	t.Cleanup(func() {
		if _, err := try("docker", "rmi", name); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return name
}

// StartContainer runs any image; options are those of docker run, args the command. It leaves with the test.
func StartContainer(t testing.TB, image string, options []string, args ...string) *Container {
	t.Helper()
	name := fmt.Sprintf("%s-agent-%d", RunID(), containers.Add(1))
	removeAfter(t, name)
	run := append([]string{"run", "-d", "--name", name, "--label", "hermod-it=" + RunID()}, options...)
	return &Container{Name: name, ID: command(t, "docker", append(append(run, image), args...)...), t: t}
}

// Exec runs a command in the container and gives what it printed.
func (c *Container) Exec(args ...string) (string, error) {
	return try("docker", append([]string{"exec", c.Name}, args...)...)
}

// CopyIn copies a file or folder of this machine to a path in the container.
func (c *Container) CopyIn(from, to string) {
	c.t.Helper()
	command(c.t, "docker", "cp", from, c.Name+":"+to)
}

// Inspect gives what docker inspect says by a template.
func (c *Container) Inspect(template string) string {
	c.t.Helper()
	return command(c.t, "docker", "inspect", "--format", template, c.Name)
}

// Restart stops the container as docker stop does, and starts it again.
func (c *Container) Restart() {
	c.t.Helper()
	command(c.t, "docker", "restart", "-t", "20", c.Name)
}

// Signal sends a signal to the container's first process.
func (c *Container) Signal(name string) {
	c.t.Helper()
	command(c.t, "docker", "kill", "-s", name, c.Name)
}

// Published is where a port of the container can be reached from this machine.
func (c *Container) Published(port string) string {
	c.t.Helper()
	first, _, _ := strings.Cut(command(c.t, "docker", "port", c.Name, port), "\n")
	return first
}

// Logs is what the container printed.
func (c *Container) Logs() string {
	c.t.Helper()
	out, err := exec.Command("docker", "logs", c.Name).CombinedOutput()
	if err != nil {
		c.t.Fatal(err)
	}
	return string(out)
}

// Again starts the container anew once it has ended.
func (c *Container) Again() {
	c.t.Helper()
	command(c.t, "docker", "start", c.Name)
}

// Remove removes the container, running or not.
func (c *Container) Remove() {
	c.t.Helper()
	command(c.t, "docker", "rm", "-f", "-v", c.Name)
}

// Wait until the container has ended.
func (c *Container) Wait(within time.Duration) {
	c.t.Helper()
	Eventually(c.t, within, c.Name+" ends", func() (bool, string) {
		state, err := try("docker", "inspect", "--format", "{{.State.Status}}", c.Name)
		return state == "exited", fmt.Sprint(state, err)
	})
}
