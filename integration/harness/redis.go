//go:build integration

package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// RedisImages are images of integration/images/redis.
type RedisImages struct {
	Redis7 string
	Redis8 string // with Valkey and redis_exporter
}

// Redis makes the images once a run.
func Redis(t testing.TB) RedisImages {
	t.Helper()
	RequireDocker(t)
	images, err := redisImages(repository(t))
	if err != nil {
		t.Fatal(err)
	}
	return images
}

var redisImages = func() func(string) (RedisImages, error) {
	var once sync.Once
	var images RedisImages
	var err error
	return func(repository string) (RedisImages, error) {
		once.Do(func() {
			var out []byte
			cmd := exec.Command(filepath.Join(repository, "integration", "images", "redis"))
			cmd.Env = os.Environ()
			if out, err = cmd.Output(); err != nil {
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					err = fmt.Errorf("integration/images/redis: %w\n%s", err, exit.Stderr)
				}
				return
			}
			for line := range strings.Lines(string(out)) {
				switch name, image, _ := strings.Cut(strings.TrimSpace(line), "="); name {
				case "REDIS7_IMAGE":
					images.Redis7 = image
				case "REDIS8_IMAGE":
					images.Redis8 = image
				}
			}
		})
		return images, err
	}
}()

// RedisNetwork makes a network of Docker's that leaves with the test.
func RedisNetwork(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("%s-net-%d", RunID(), containers.Add(1))
	command(t, "docker", "network", "create", "--label", "hermod-it="+RunID(), name)
	t.Cleanup(func() {
		if _, err := try("docker", "network", "rm", name); err != nil {
			t.Errorf("cleaning up: %v", err)
		}
	})
	return name
}

// RunRedis runs a program of an image on a network; the container leaves with the test. options are those of docker run.
func RunRedis(t testing.TB, image, network string, options []string, program ...string) *Container {
	t.Helper()
	name := fmt.Sprintf("%s-%s-%d", RunID(), program[0], containers.Add(1))
	removeAfter(t, name)
	run := append([]string{"run", "-d", "--name", name, "--network", network, "--label", "hermod-it=" + RunID()}, options...)
	return &Container{Name: name, ID: command(t, "docker", append(append(run, image), program...)...), t: t}
}

// Cli runs redis-cli in the container and gives what it prints. A server that doesn't answer yet is waited for.
func (c *Container) Cli(args ...string) string {
	c.t.Helper()
	var out string
	Eventually(c.t, 120*time.Second, c.Name+" answers", func() (bool, string) {
		var err error
		out, err = try("docker", append([]string{"exec", c.Name, "redis-cli"}, args...)...)
		return err == nil && !strings.Contains(out, "Connection refused"), fmt.Sprint(out, err)
	})
	return out
}

// Docker runs a command of docker's on the container: pause, unpause, stop, start.
func (c *Container) Docker(verb string, options ...string) {
	c.t.Helper()
	command(c.t, "docker", append(append([]string{verb}, options...), c.Name)...)
}

// Thaw is unpause, for a container that may not be paused.
func (c *Container) Thaw() { try("docker", "unpause", c.Name) } //nolint:errcheck // it says so when it isn't paused

// PID is that of the container's program on this machine.
func (c *Container) PID() int {
	c.t.Helper()
	pid, err := strconv.Atoi(command(c.t, "docker", "inspect", "--format", "{{.State.Pid}}", c.Name))
	if err != nil {
		c.t.Fatal(err)
	}
	return pid
}

// PID is that of the agent's process.
func (a *Agent) PID() int { return a.process.cmd.Process.Pid }
