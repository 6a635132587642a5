//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/graph"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

// filesToLoki is an agent that pushes the files of a folder.
func filesToLoki(t *testing.T, loki *harness.Loki, queue string) (agent *harness.Agent, dir string) {
	dir = harness.Dir(t)
	return harness.NewAgent(t, harness.AgentOptions{Agent: "  drain_timeout = \"1s\"", Config: fromFiles(dir, loki, queue)}), dir
}

// fromFiles is its config.
func fromFiles(dir string, loki *harness.Loki, queue string) string {
	return fmt.Sprintf(`
input "files" "app" {
  paths  = ["%s/*.log*"]
  labels = { app = "a" }
}

output "loki" "main" {
  from            = input.files.app
  url             = %q
  request_timeout = "5s"
  %s
}
`, dir, loki.URL(), queue)
}

// queueDir is where the output of filesToLoki keeps what waits.
func queueDir(a *harness.Agent) string {
	return filepath.Join(a.DataDir(), "output", "output.loki.main", "queue")
}

// awaitQueued waits until all lines are on disk.
func awaitQueued(t *testing.T, a *harness.Agent, items int) {
	t.Helper()
	harness.Eventually(t, time.Minute, "all lines are in the queue on disk", func() (bool, string) {
		q, err := queue.Inspect(queueDir(a))
		if err != nil {
			return false, err.Error()
		}
		return q.Items == items, fmt.Sprintf("%d of %d", q.Items, items)
	})
}

func TestWhatWasReadOutlivesItsFileAndTheAgentWhileTheServerIsDown(t *testing.T) {
	t.Parallel()
	loki := harness.NewLoki(t)
	agent, dir := filesToLoki(t, loki, "")
	loki.Gone()
	agent.Start()
	agent.AwaitReady()
	const n = 20_000
	want := map[string]int{}
	for round, end := range []func(){agent.Kill, func() {
		if code := agent.Stop(); code != 0 {
			t.Errorf("the agent ended with %d", code)
		}
	}} {
		source := fmt.Sprintf("round%d", round)
		if err := writeRotating(filepath.Join(dir, source+".log"), source, n, 0, 5000); err != nil {
			t.Fatal(err)
		}
		for text, times := range lines.Want(source, n) {
			want[text] += times
		}
		awaitQueued(t, agent, (round+1)*lines.Count(n))
		end()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) < 4 {
			t.Fatal(files, err)
		}
		for _, f := range files { // and what was read is gone
			if err := os.Remove(f); err != nil {
				t.Fatal(err)
			}
		}
		agent.Start()
		agent.AwaitReady()
		restored := harness.NodeOf(t, harness.Conserved(t, agent), "output.loki.main").Traffic.Restored
		if restored != uint64((round+1)*lines.Count(n)) {
			t.Errorf("round %d: the agent found %d records", round, restored)
		}
	}
	loki.Back()
	awaitTexts(t, loki, map[string]string{"app": "a"}, want)
	delivered(t, agent, loki, "output.loki.main", 0)
	code, out, errors := agent.Run("queue", "ls", agent.DataDir())
	if fields := strings.Fields(out[strings.IndexByte(out, '\n')+1:]); code != 0 || len(fields) < 2 || fields[0] != "output.loki.main" || fields[1] != "0" {
		t.Errorf("hermod queue ls: %d\n%s%s", code, out, errors)
	}
}

func TestKillsWhileTheServerIsDownLoseNoLines(t *testing.T) {
	t.Parallel()
	random := harness.Seeded(t)
	loki := harness.NewLoki(t)
	agent, dir := filesToLoki(t, loki, "")
	loki.Gone()
	agent.Start()
	agent.AwaitReady()
	const n, rate = 30_000, 3000
	written := make(chan error, 1)
	go func() { written <- writeRotating(filepath.Join(dir, "app.log"), "files", n, rate, 5000) }()
	for i := range 6 {
		harness.Between(random, 20*time.Millisecond, 2500*time.Millisecond)
		agent.Kill()
		if i == 3 { // from here on a drain is interrupted
			loki.Back()
		}
		agent.Start()
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	want := lines.Want("files", n)
	harness.Eventually(t, time.Minute, "all lines arrive", func() (bool, string) {
		missing, repeated, _, examples := loki.Tally(map[string]string{"app": "a"}).Compare(want)
		return missing == 0, fmt.Sprintf("%d missing, %d came again: %v", missing, repeated, examples)
	})
	if _, _, unknown, examples := loki.Tally(map[string]string{"app": "a"}).Compare(want); unknown > 0 {
		t.Errorf("%d were never written: %v", unknown, examples)
	}
	agent.AwaitReady()
	harness.Conserved(t, agent)
}

func TestWhatWaitsGoesToTheServerThatTheConfigNamesNow(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(t *testing.T, agent *harness.Agent){
		"by a reload": func(t *testing.T, agent *harness.Agent) {
			if status, body, err := agent.Reload(); err != nil || status != 200 {
				t.Fatal(status, body, err)
			}
		},
		"by a restart": func(_ *testing.T, agent *harness.Agent) {
			agent.Stop()
			agent.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, now := harness.NewLoki(t), harness.NewLoki(t)
			agent, dir := filesToLoki(t, before, "")
			before.Gone()
			agent.Start()
			agent.AwaitReady()
			const n = 3000
			want := writeNoise(t, filepath.Join(dir, "noise.log"), "noise", n, 200)
			awaitQueued(t, agent, n)
			if err := os.Remove(filepath.Join(dir, "noise.log")); err != nil { // so that nothing is read again
				t.Fatal(err)
			}
			agent.Configure(fromFiles(dir, now, ""))
			change(t, agent)
			awaitTexts(t, now, map[string]string{"app": "a"}, want)
			delivered(t, agent, now, "output.loki.main", 0)
		})
	}
}

func TestAKillInTheMiddleOfADrainRepeatsWhatWasInFlightAlone(t *testing.T) {
	t.Parallel()
	random := harness.Seeded(t)
	loki := harness.NewLoki(t)
	const shards, batch, size = 8, 16 << 10, 1000
	agent, dir := filesToLoki(t, loki, fmt.Sprintf("shards = %d\n  batch_size = %d", shards, batch))
	loki.Gone()
	agent.Start()
	agent.AwaitReady()
	// Streams of different lengths: some shards are done long before others.
	want, lines := map[string]int{}, 0
	for i, n := range []int{20, 40, 60, 80, 100, 120, 150, 200, 250, 300, 600} {
		for text, times := range writeNoise(t, filepath.Join(dir, fmt.Sprintf("%d.log", i)), fmt.Sprint(i), n, size) {
			want[text] += times
		}
		lines += n
	}
	awaitQueued(t, agent, lines)
	if code := agent.Stop(); code != 0 { // so that nothing is read again
		t.Errorf("the agent ended with %d", code)
	}
	loki.Answer(harness.Answer{Delay: 40 * time.Millisecond})
	loki.Back()
	const kills = 6
	for range kills {
		agent.Start()
		harness.Between(random, 150*time.Millisecond, 500*time.Millisecond)
		agent.Kill()
	}
	agent.Start()
	repeated := 0
	harness.Eventually(t, time.Minute, "all lines arrive", func() (bool, string) {
		var missing int
		missing, repeated, _, _ = loki.Tally(map[string]string{"app": "a"}).Compare(want)
		q, err := queue.Inspect(queueDir(agent))
		return missing == 0 && err == nil && q.Items == 0, fmt.Sprintf("%d missing, %d wait (%v)", missing, q.Items, err)
	})
	_, repeated, _, _ = loki.Tally(map[string]string{"app": "a"}).Compare(want)
	t.Logf("%d of %d lines came again over %d kills", repeated, lines, kills)
	if most := kills * shards * (batch/size + 1); repeated > most {
		t.Errorf("%d lines came again; a request a shard and a kill are %d", repeated, most)
	}
}

// writeNoise writes lines that don't compress, and says how often each is to come.
func writeNoise(t *testing.T, path, source string, n, size int) map[string]int {
	t.Helper()
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	want := make(map[string]int, n)
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, size*3/4)
	for i := range n {
		random.Read(noise)
		line := fmt.Sprintf("%s %06d %s", source, i, base64.StdEncoding.EncodeToString(noise))
		want[line]++
		w.WriteString(line + "\n")
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return want
}

func mount(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "mount", args...).CombinedOutput(); err != nil {
		t.Fatalf("mount %v: %v: %s", args, err, out)
	}
}

func TestAFullDiskIsToldAndHoldsLogsBackUntilThereIsSpace(t *testing.T) {
	t.Parallel()
	loki := harness.NewLoki(t)
	agent, dir := filesToLoki(t, loki, "")
	mount(t, "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", agent.DataDir())
	t.Cleanup(func() {
		if agent.Running() {
			agent.Stop()
		}
		harness.Unmount(t, agent.DataDir(), "")
	})
	loki.Gone()
	agent.Start()
	agent.AwaitReady()
	const n, size = 40_000, 1000
	want := writeNoise(t, filepath.Join(dir, "noise.log"), "noise", n, size)
	output := func() (graph.Node, string) {
		status, err := agent.Status()
		if err != nil {
			return graph.Node{}, err.Error()
		}
		node := harness.NodeOf(t, status, "output.loki.main")
		return node, fmt.Sprintf("%s: %q, %q, %+v", node.State, node.Why, node.Remedy, node.Traffic)
	}
	full := func(n graph.Node) bool {
		return slices.ContainsFunc(n.Faults, func(f component.Fault) bool {
			return f.Key == "queue" && strings.Contains(f.What, "no space left") && strings.Contains(f.Remedy, "free space")
		})
	}
	harness.Eventually(t, time.Minute, "the agent tells that the disk is full", func() (bool, string) {
		node, state := output()
		return full(node), state
	})
	if node, state := output(); node.Traffic == nil || node.Traffic.Taken >= n {
		t.Errorf("more was taken in than there is room for: %s", state)
	}
	if _, err := agent.Get("/-/ready"); err != nil {
		t.Errorf("a full disk makes the agent unready: %v", err)
	}
	mount(t, "-o", "remount,size=128m", agent.DataDir())
	harness.Eventually(t, time.Minute, "the agent goes on by itself", func() (bool, string) {
		node, state := output()
		return !full(node) && node.Traffic != nil && node.Traffic.Taken == n, state
	})
	loki.Back()
	awaitTexts(t, loki, map[string]string{"app": "a"}, want)
	delivered(t, agent, loki, "output.loki.main", 0)
}

func TestDamageCostsItsBlocksAloneAndIsCounted(t *testing.T) {
	t.Parallel()
	damages := map[string]func(t *testing.T, segment string){
		"a flipped bit": func(t *testing.T, segment string) {
			content, err := os.ReadFile(segment)
			if err != nil {
				t.Fatal(err)
			}
			content[len(content)/2] ^= 4
			if err := os.WriteFile(segment, content, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a truncated segment": func(t *testing.T, segment string) {
			info, err := os.Stat(segment)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(segment, info.Size()/2); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			loki := harness.NewLoki(t)
			agent, dir := filesToLoki(t, loki, "batch_size = \"64KiB\"")
			loki.Gone()
			agent.Start()
			agent.AwaitReady()
			const n = 2000
			want := writeNoise(t, filepath.Join(dir, "noise.log"), "noise", n, 1000)
			awaitQueued(t, agent, n)
			agent.Stop() // so that all of it counts as safe
			segments, err := filepath.Glob(filepath.Join(queueDir(agent), "*.segment"))
			if err != nil || len(segments) == 0 {
				t.Fatal(segments, err)
			}
			damage(t, segments[0])
			if err := os.Remove(filepath.Join(dir, "noise.log")); err != nil { // so that nothing is read again
				t.Fatal(err)
			}
			loki.Back()
			agent.Start()
			agent.AwaitReady()
			harness.Eventually(t, time.Minute, "the queue is empty", func() (bool, string) {
				status, err := agent.Status()
				if err != nil {
					return false, err.Error()
				}
				tr := harness.NodeOf(t, status, "output.loki.main").Traffic
				return tr != nil && tr.Taken > 0 && tr.Queued == 0, fmt.Sprintf("%+v", tr)
			})
			node := harness.NodeOf(t, harness.Conserved(t, agent), "output.loki.main")
			missing, repeated, unknown, examples := loki.Tally(map[string]string{"app": "a"}).Compare(want)
			t.Logf("%d of %d lines are lost", missing, n)
			if lost := node.Losses["queue_damaged"]; missing == 0 || missing == n || lost != uint64(missing) || repeated+unknown > 0 {
				t.Errorf("%d missing and %d counted, %d came again, %d were never written: %v", missing, lost, repeated, unknown, examples)
			}
			aside, err := os.ReadDir(filepath.Join(queueDir(agent), "aside"))
			if err != nil || len(aside) == 0 {
				t.Errorf("what was damaged isn't kept aside: %v", err)
			}
		})
	}
}

func TestSamplesScrapedWhileTheServerIsDownOutliveAKill(t *testing.T) {
	t.Parallel()
	server := harness.NewRemoteWrite(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: `  interval = "1s"`, Config: fmt.Sprintf(`
input "self" {}

output "remote_write" "main" {
  from = input.self
  url  = %q
}
`, server.URL())})
	server.Gone()
	agent.Start()
	agent.AwaitReady()
	began := time.Now()
	harness.Eventually(t, time.Minute, "some cycles wait", func() (bool, string) {
		status, err := agent.Status()
		if err != nil {
			return false, err.Error()
		}
		tr := harness.NodeOf(t, status, "output.remote_write.main").Traffic
		return tr != nil && time.Since(began) > 6*time.Second && tr.Queued > 0, fmt.Sprintf("%+v", tr)
	})
	agent.Kill()
	killed := time.Now()
	agent.Start()
	agent.AwaitReady()
	server.Back()
	up := func() []harness.Point {
		series := server.Series(map[string]string{"__name__": "up"})
		if len(series) == 0 {
			return nil
		}
		if late := series[0].Late; late > 0 {
			t.Errorf("%d samples came out of order", late)
		}
		return series[0].Samples
	}
	harness.Eventually(t, time.Minute, "samples from before and after the kill arrive", func() (bool, string) {
		points := up()
		return len(points) > 0 && points[0].Time < began.Add(3*time.Second).UnixMilli() && points[len(points)-1].Time > killed.UnixMilli(), fmt.Sprint(points)
	})
	// What the second before the kill held may have been in an open batch.
	last := int64(0)
	for _, p := range up() {
		if p.Time < killed.UnixMilli() {
			last = p.Time
		}
	}
	if gap := killed.UnixMilli() - last; gap > 5000 {
		t.Errorf("the last sample before the kill is %d ms older than it", gap)
	}
	harness.Conserved(t, agent)
}
