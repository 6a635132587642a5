//go:build integration

package integration

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// platter is an ext4 filesystem in a file, mounted at an agent's data_dir. What the agent forced onto it is in the file; what the system still holds in
// memory isn't, as on a disk.
type platter struct {
	t     *testing.T
	agent *harness.Agent
	image string
	cuts  int
	took  int // cuts after which what was never synced is gone; where other programs write much the system may have written it by itself
}

func newPlatter(t *testing.T, agent *harness.Agent) *platter {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts a filesystem")
	}
	p := &platter{t: t, agent: agent, image: filepath.Join(harness.Dir(t), "image")}
	if err := os.WriteFile(p.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p.image, 48<<20); err != nil {
		t.Fatal(err)
	}
	// Everything at once: what would be initialised later moves the image under the copies.
	p.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", p.image)
	p.mount()
	t.Cleanup(func() {
		if agent.Running() {
			agent.Stop()
		}
		harness.Unmount(t, agent.DataDir(), "")
	})
	return p
}

func (p *platter) run(name string, args ...string) {
	p.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func (p *platter) mount() {
	p.t.Helper()
	p.run("mount", "-t", "ext4", "-o", "loop", p.image, p.agent.DataDir())
}

// cut ends the agent as a power cut does: it is stopped in the middle of what it does, and what the disk holds at that moment is all that there is
// afterwards. look sees what the agent had written until then.
func (p *platter) cut(look func()) {
	p.t.Helper()
	content, err := os.ReadFile(filepath.Join(p.agent.DataDir(), "lock"))
	if err != nil {
		p.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		p.t.Fatal(err)
	}
	// A file that nobody syncs, each time another: ext4 writes one that takes the place of another's content at once.
	p.cuts++
	unsynced := filepath.Join(p.agent.DataDir(), fmt.Sprint("unsynced", p.cuts))
	if err := os.WriteFile(unsynced, []byte("in the system's memory alone"), 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	left := p.copy()
	look()
	p.agent.Kill()
	harness.Unmount(p.t, p.agent.DataDir(), p.image)
	if err := os.WriteFile(p.image, left, 0o600); err != nil {
		p.t.Fatal(err)
	}
	p.mount()
	if content, err := os.ReadFile(unsynced); err != nil || len(content) == 0 {
		p.took++
	}
}

// copy reads the image as it is at one moment: it reads until it reads the same twice, since the system writes by itself now and then.
func (p *platter) copy() []byte {
	p.t.Helper()
	var last []byte
	for range 100 {
		f, err := os.Open(p.image)
		if err != nil {
			p.t.Fatal(err)
		}
		content, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			p.t.Fatal(err)
		}
		if bytes.Equal(content, last) {
			return content
		}
		last = content
	}
	p.t.Fatal("the image doesn't come to rest")
	return nil
}

func TestAPowerCutLosesNoLinesAndTheNewestSamplesAlone(t *testing.T) {
	t.Parallel()
	random := harness.Seeded(t)
	loki, server := harness.NewLoki(t), harness.NewRemoteWrite(t)
	dir := harness.Dir(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: "  interval      = \"1s\"\n  drain_timeout = \"1s\"", Config: fmt.Sprintf(`
input "files" "app" {
  paths  = ["%s/*.log*"]
  labels = { app = "a" }
}

input "self" {}

output "loki" "main" {
  from       = input.files.app
  url        = %q
  batch_wait = "50ms"
}

output "remote_write" "main" {
  from       = input.self
  url        = %q
  batch_wait = "50ms"
}
`, dir, loki.URL(), server.URL())})
	disk := newPlatter(t, agent)
	loki.Gone()
	server.Gone()
	agent.Start()
	agent.AwaitReady()
	const n, rate, cuts = 15_000, 3000, 4
	written := make(chan error, 1)
	go func() { written <- writeRotating(filepath.Join(dir, "app.log"), "files", n, rate, 5000) }()
	samples := filepath.Join(agent.DataDir(), "output", "output.remote_write.main", "queue")
	kept := 0
	for i := range cuts {
		harness.Between(random, 300*time.Millisecond, 1500*time.Millisecond)
		var before, after queue.Contents
		var at time.Time
		disk.cut(func() {
			at = time.Now()
			before = inspect(t, samples)
		})
		after = inspect(t, samples)
		// A power cut takes what was written last: nothing is missing before something that is there.
		missing := slices.DeleteFunc(slices.Clone(before.Blocks), func(b queue.BlockInfo) bool {
			return slices.ContainsFunc(after.Blocks, func(a queue.BlockInfo) bool { return a.Seq == b.Seq })
		})
		for j, b := range missing {
			if j == 0 {
				t.Logf("power cut %d took %d blocks of samples, the oldest of which was queued %s before it", i, len(missing), at.Sub(b.Queued).Round(time.Millisecond))
			}
			if len(after.Blocks) > 0 && b.Seq < after.Blocks[len(after.Blocks)-1].Seq {
				t.Errorf("power cut %d took block %d and left block %d", i, b.Seq, after.Blocks[len(after.Blocks)-1].Seq)
			}
		}
		kept = after.Items
		if i == cuts-2 {
			loki.Back() // the last one interrupts a drain
		}
		agent.Start()
		agent.AwaitReady()
	}
	if kept == 0 {
		t.Error("no samples outlived a power cut")
	}
	if disk.took == 0 {
		t.Error("no power cut took anything: what was never synced is there after each")
	}
	server.Back()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	want := lines.Want("files", n)
	repeated := 0
	harness.Eventually(t, time.Minute, "all lines arrive", func() (bool, string) {
		var missing int
		var examples []string
		missing, repeated, _, examples = loki.Tally(map[string]string{"app": "a"}).Compare(want)
		return missing == 0, fmt.Sprintf("%d missing, %d came again: %v", missing, repeated, examples)
	})
	t.Logf("%d of %d lines came again", repeated, n)
	harness.Eventually(t, time.Minute, "the samples that outlived the power cuts arrive", func() (bool, string) {
		return server.Samples() >= kept, fmt.Sprintf("%d of %d", server.Samples(), kept)
	})
	harness.Conserved(t, agent)
}

func inspect(t *testing.T, dir string) queue.Contents {
	t.Helper()
	c, err := queue.Inspect(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	return c
}
