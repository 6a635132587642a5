//go:build integration

package torture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/pipeline/queue"
)

const disk = "Disk"

// tool runs a program of the system.
func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// mounted mounts something on the agent's data_dir for as long as the test lasts.
func mounted(a *harness.Agent, t testing.TB, args ...string) {
	t.Helper()
	dir := a.DataDir()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	tool(t, "mount", append(args, dir)...)
	t.Cleanup(func() {
		if a.Running() {
			a.Stop()
		}
		harness.Unmount(t, dir, "")
	})
	if err := errors.Join(os.Chown(dir, int(owner.Uid), int(owner.Gid)), os.Chmod(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
}

// ext4 makes a filesystem in a file.
func ext4(t testing.TB, megabytes int) (image string) {
	t.Helper()
	image = filepath.Join(harness.Dir(t), "image")
	tool(t, "truncate", "-s", fmt.Sprint(megabytes, "M"), image)
	tool(t, "mkfs.ext4", "-q", "-F", "-m", "0", "-I", "256", image)
	return image
}

// fill leaves no room on the filesystem of a folder; free gives it back.
func fill(t testing.TB, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zeros := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(zeros)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFullDisk(t *testing.T) {
	t.Parallel()
	everyPair(t, disk, "a small tmpfs as `data_dir` fills with the queue while the backend is away", pairOptions{}, func(p *pair) {
		mounted(p.agent, p.T, "-t", "tmpfs", "-o", "size=6m", "tmpfs")
		p.start()
		p.flows()
		p.loki.Gone()
		p.samples.Gone()
		p.noise(40_000, 600) // 24 MB, and as text 32: more than the disk and the memory of the queue hold
		p.why("output.loki.lines", "no space left")
		status, err := p.agent.Status()
		if err != nil {
			p.Fatal(err)
		}
		if tr := harness.NodeOf(p.T, status, "output.loki.lines").Traffic; tr == nil || tr.Queued >= 40_000 {
			p.Errorf("more was taken in than there is room for: %+v", tr)
		}
		tool(p.T, "mount", "-o", "remount,size=256m", p.agent.DataDir())
		p.while(200, func() {
			harness.Eventually(p.T, patience, "it goes on by itself", func() (bool, string) {
				status, err := p.agent.Status()
				if err != nil {
					return false, err.Error()
				}
				n := harness.NodeOf(p.T, status, "output.loki.lines")
				return n.Traffic != nil && n.Traffic.Queued >= 40_000, fmt.Sprintf("%+v %q", n.Traffic, n.Why)
			})
			p.loki.Back()
			p.samples.Back()
		})
		p.conclude(0)
		p.noneAgain()
		p.lines.Note = "what the disk and 8 MiB of memory don't hold waits in the file"
		p.healthy()
	}, 9)
}

func TestAFullQueueDropsTheOldestSamples(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, row{Group: disk, Case: "a full queue of samples drops the oldest", Source: "samples", User: u.name}).shows(9)
			server := harness.NewRemoteWrite(t)
			counters := make([]string, 40)
			for i := range counters {
				counters[i] = fmt.Sprintf("%q", harness.NewCounter(t).URL())
			}
			// Bodies of samples are small, and the smallest queue holds a mebibyte: labels make them larger.
			var labels strings.Builder
			random := rand.New(rand.NewPCG(1, 2))
			for i := range 8 {
				fmt.Fprintf(&labels, "    l%d = \"", i)
				for range 1000 {
					labels.WriteByte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[random.IntN(62)])
				}
				labels.WriteString("\"\n")
			}
			a := harness.NewAgent(t, harness.AgentOptions{User: u.id, Config: fmt.Sprintf(`
input "nginx" "numbers" {
  for_each = [%s]
  url      = each.value
  instance = each.value
  interval = "200ms"
  labels   = {
%s  }
}

output "remote_write" "samples" {
  from = input.nginx.numbers
  url  = %q
  queue {
    max_size = "1MiB"
  }
}
`, strings.Join(counters, ", "), labels.String(), server.URL())})
			w := (&world{T: t, agent: a}).start()
			server.Gone()
			var lost uint64
			harness.Eventually(t, patience, "the oldest are dropped", func() (bool, string) {
				lost = w.losses("output.remote_write.samples")["queue_full"]
				return lost > 2000, fmt.Sprint(w.losses("output.remote_write.samples"))
			})
			server.Back()
			harness.Eventually(t, patience, "the rest arrives", func() (bool, string) {
				status, err := a.Status()
				if err != nil {
					return false, err.Error()
				}
				tr := harness.NodeOf(t, status, "output.remote_write.samples").Traffic
				return tr.Queued < 1000, fmt.Sprintf("%+v", tr)
			})
			a.Stop()
			// Of each series the numbers behind the gap are there without another.
			missing, samples := 0, 0
			for _, s := range server.Series(map[string]string{"__name__": harness.CounterName}) {
				gaps, last := 0, 0.0
				for _, point := range s.Samples {
					if point.Value > last+1 {
						gaps++
						missing += int(point.Value-last) - 1
					}
					last = point.Value
					samples++
				}
				if gaps > 1 {
					t.Errorf("the numbers of %s have %d gaps: not the oldest were dropped", s.Labels["instance"], gaps)
				}
				if s.Late > 0 {
					t.Errorf("%d samples of %s came out of order", s.Late, s.Labels["instance"])
				}
			}
			if missing == 0 {
				t.Error("no number is missing though samples were dropped")
			}
			r.Written, r.Delivered = samples+missing, samples
			r.Note = fmt.Sprintf("%d samples of all series were dropped and counted; of each series one stretch is missing", lost)
		})
	}
}

func TestNoRoomForPositions(t *testing.T) {
	t.Parallel()
	everyPair(t, disk, "no room for the positions, then kill -9", pairOptions{outputs: "  queue {\n    storage = \"memory\"\n  }"}, func(p *pair) {
		mounted(p.agent, p.T, "-t", "tmpfs", "-o", "size=2m", "tmpfs")
		p.start()
		p.flows()
		positions := filepath.Join(p.agent.DataDir(), "positions")
		harness.Eventually(p.T, patience, "two saves", func() (bool, string) {
			_, err := os.Stat(positions + ".previous")
			p.log.write(1)
			return err == nil, fmt.Sprint(err)
		})
		free := fill(p.T, p.agent.DataDir())
		p.while(200, func() {
			harness.Eventually(p.T, patience, "the agent tells that positions can't be saved", func() (bool, string) {
				status, err := p.agent.Status()
				if err != nil {
					return false, err.Error()
				}
				told := fmt.Sprint(status.Faults)
				return strings.Contains(told, "no space left") && strings.Contains(told, "free space"), told
			})
			before := p.loki.Tally(p.app()).Total
			harness.Eventually(p.T, patience, "lines flow all the same", func() (bool, string) {
				return p.loki.Tally(p.app()).Total > before+200, ""
			})
			p.kill()
			p.agent.Start()
			p.agent.AwaitReady()
			free()
			harness.Eventually(p.T, patience, "positions are saved again", func() (bool, string) {
				status, err := p.agent.Status()
				return err == nil && len(status.Faults) == 0, fmt.Sprint(status.Faults, err)
			})
		})
		p.conclude(0)
		p.lines.Note = "what was read while nothing could be saved comes again"
		p.healthy()
	}, 10)
}

func TestAnFsyncThatFails(t *testing.T) {
	t.Parallel()
	everyPair(t, disk, "every fsync fails with EIO for a while, then kill -9", pairOptions{}, func(p *pair) {
		p.start()
		p.flows()
		p.loki.Gone()
		p.samples.Gone()
		p.while(200, func() {
			tracer := exec.Command("strace", "-f", "-qq", "-p", fmt.Sprint(p.agent.Pid()), "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO",
				"-o", filepath.Join(harness.Dir(p.T), "strace"))
			tracer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := tracer.Start(); err != nil {
				p.Fatalf("strace is missing: run integration/setup/setup: %v", err)
			}
			p.why("output.loki.lines", "input/output error")
			p.why("output.remote_write.samples", "input/output error")
			if err := tracer.Process.Signal(syscall.SIGINT); err != nil { // it lets the agent go
				p.Fatal(err)
			}
			tracer.Wait()
			harness.Eventually(p.T, patience, "what was in doubt is written anew", func() (bool, string) {
				status, err := p.agent.Status()
				if err != nil {
					return false, err.Error()
				}
				told := fmt.Sprint(harness.NodeOf(p.T, status, "output.loki.lines").Faults, harness.NodeOf(p.T, status, "output.remote_write.samples").Faults, status.Faults)
				return !strings.Contains(told, "input/output error"), told
			})
			p.kill()
			p.loki.Back()
			p.samples.Back()
			p.agent.Start()
		})
		p.conclude(1)
		p.healthy()
	}, 11)
}

func TestAFilesystemThatGoesReadOnly(t *testing.T) {
	t.Parallel()
	everyPair(t, disk, "the filesystem of `data_dir` breaks and goes read-only, is mended, and the agent started again", pairOptions{}, func(p *pair) {
		image := ext4(p.T, 48)
		mounted(p.agent, p.T, "-o", "loop", image)
		p.start()
		p.flows()
		p.loki.Gone()
		p.samples.Gone()
		p.while(200, func() {
			tool(p.T, "mount", "-o", "remount,abort", p.agent.DataDir())  // what ext4 does to itself when it finds itself damaged
			p.why("output.loki.lines", "read-only", "input/output error") // which of the two depends on what it was about to do
			if _, err := p.agent.Get("/metrics"); err != nil {
				p.Errorf("the agent's own metrics: %v", err)
			}
			p.agent.AwaitReady()
			p.loki.Back()
			p.samples.Back()
			before := p.loki.Tally(p.app()).Total
			harness.Eventually(p.T, patience, "what is in memory is delivered", func() (bool, string) {
				return p.loki.Tally(p.app()).Total > before, fmt.Sprint(p.loki.Answers())
			})
			p.agent.Kill()
			harness.Unmount(p.T, p.agent.DataDir(), image)
			if out, err := exec.Command("e2fsck", "-fy", image).CombinedOutput(); err != nil && err.(*exec.ExitError).ExitCode() > 2 {
				p.Fatalf("e2fsck: %v: %s", err, out)
			}
			tool(p.T, "mount", "-o", "loop", image, p.agent.DataDir())
			p.killed()
			p.agent.Start()
		})
		p.conclude(1 << 20)
		p.lines.Note = "what was delivered while nothing could be written comes again"
		p.healthy()
	}, 12)
}

func TestADataDirThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, u := range users {
		for _, c := range []struct {
			name, says string
			number     int
			prepare    func(t *testing.T, a *harness.Agent)
		}{
			{"`data_dir` is read-only at the start", "writable", 12, func(t *testing.T, a *harness.Agent) {
				mounted(a, t, "-t", "tmpfs", "tmpfs")
				tool(t, "mount", "-o", "remount,ro", a.DataDir())
			}},
			{"`data_dir` is another user's", "writable", 16, func(t *testing.T, a *harness.Agent) {
				if u.id == 0 {
					t.Skip("root may write everywhere")
				}
				if err := os.Chown(a.DataDir(), 1, 1); err != nil {
					t.Fatal(err)
				}
			}},
			{"`data_dir` is in use by another agent", "in use", 16, nil},
		} {
			t.Run(c.name+" as "+u.name, func(t *testing.T) {
				t.Parallel()
				begin(t, row{Group: disk, Case: c.name, Source: "files", User: u.name}).shows(c.number)
				w := fileWorld(t, u, "app.log", "")
				if c.prepare != nil {
					c.prepare(t, w.agent)
				} else {
					w.agent.Start()
					w.agent.AwaitReady()
				}
				// A second one with another listener.
				other := filepath.Join(w.agent.Dir, "other.hcl")
				if err := os.WriteFile(other, []byte(strings.Replace(config(w), w.agent.AdminAddress(), harness.FreeAddress(t), 1)), 0o644); err != nil {
					t.Fatal(err)
				}
				code, out, errors := w.agent.Run("run", other)
				if said := out + errors; code == 0 || !strings.Contains(said, c.says) || !strings.Contains(said, w.agent.DataDir()) || strings.Contains(said, "panic") {
					t.Errorf("it ended with %d and said: %s", code, said)
				}
			})
		}
	}
}

// snapshot copies an image as a power cut would leave it: twice, until nothing was written between the two.
func snapshot(t testing.TB, image, to string) {
	t.Helper()
	read := func() []byte {
		content, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	before := read()
	for range 100 {
		after := read()
		if bytes.Equal(before, after) {
			if err := os.WriteFile(to, after, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
		before = after
	}
	t.Fatal("the image is written to all the time")
}

func TestPowerCuts(t *testing.T) {
	t.Parallel()
	cuts := times(4, 50)
	everyPair(t, disk, fmt.Sprintf("%d power cuts, half of them with the backend away", cuts), pairOptions{}, func(p *pair) {
		image := ext4(p.T, 24)
		mounted(p.agent, p.T, "-o", "loop", image)
		random := harness.Seeded(p.T)
		p.start()
		p.flows()
		p.while(400, func() {
			for i := range cuts {
				if i%4 == 1 {
					p.loki.Gone()
					p.samples.Gone()
				}
				harness.Between(random, 300*time.Millisecond, 3*time.Second)
				// It stands still while the copy is made, and then it is gone: what it did between the two never was.
				p.agent.Signal(syscall.SIGSTOP)
				snapshot(p.T, image, image+".cut")
				p.agent.Kill()
				harness.Unmount(p.T, p.agent.DataDir(), image)
				if err := os.Rename(image+".cut", image); err != nil {
					p.Fatal(err)
				}
				tool(p.T, "mount", "-o", "loop", image, p.agent.DataDir())
				p.killed()
				if i%4 == 3 {
					p.loki.Back()
					p.samples.Back()
				}
				p.agent.Start()
				p.agent.AwaitReady()
			}
			if cuts%4 == 2 || cuts%4 == 3 {
				p.loki.Back()
				p.samples.Back()
			}
		})
		// What was delivered and not yet said to be by a synced cursor comes again.
		p.conclude(1 << 20)
		p.healthy()
	}, 4)
}

// damages are done to the queue's folder while the agent is down.
var damages = []struct {
	name   string
	number int
	// segments is how many there must be.
	segments int
	// loses says that lines are lost, which must be counted.
	loses bool
	do    func(t *testing.T, dir string, segments []string, random *rand.Rand)
}{
	{"a bit flips in a segment", 13, 1, true, func(t *testing.T, _ string, segments []string, random *rand.Rand) {
		change(t, segments[random.IntN(len(segments))], func(content []byte) []byte {
			content[random.IntN(len(content))] ^= 1 << random.IntN(8)
			return content
		})
	}},
	{"a segment is cut in half", 14, 1, true, func(t *testing.T, _ string, segments []string, _ *rand.Rand) {
		change(t, segments[0], func(content []byte) []byte { return content[:len(content)/2] })
	}},
	{"the end of a segment is full of zeros", 14, 1, true, func(t *testing.T, _ string, segments []string, _ *rand.Rand) {
		change(t, segments[0], func(content []byte) []byte {
			clear(content[len(content)/3*2:])
			return content
		})
	}},
	{"a segment is empty", 14, 3, true, func(t *testing.T, _ string, segments []string, _ *rand.Rand) {
		change(t, segments[1], func([]byte) []byte { return nil })
	}},
	{"a segment amid the others is deleted", 14, 3, true, func(t *testing.T, _ string, segments []string, _ *rand.Rand) {
		if err := os.Remove(segments[1]); err != nil {
			t.Fatal(err)
		}
	}},
	{"the queue's cursor is deleted", 14, 1, false, func(t *testing.T, dir string, _ []string, _ *rand.Rand) {
		if err := os.Remove(filepath.Join(dir, "cursor")); err != nil {
			t.Fatal(err)
		}
	}},
	{"both slots of the queue's cursor are damaged", 14, 1, false, func(t *testing.T, dir string, _ []string, _ *rand.Rand) {
		change(t, filepath.Join(dir, "cursor"), func(content []byte) []byte {
			for i := range content {
				content[i] ^= 0x55
			}
			return content
		})
	}},
}

// change rewrites a file in its place.
func change(t *testing.T, path string, do func(content []byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, do(content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestADamagedQueue(t *testing.T) {
	t.Parallel()
	requireRoot(t)
	for _, d := range damages {
		for _, u := range users {
			rounds, name := 1, d.name
			if d.number == 13 {
				rounds = times(6, 100)
				name = fmt.Sprintf("%s, at %d places in turn", name, rounds)
			}
			t.Run(d.name+" as "+u.name, func(t *testing.T) {
				t.Parallel()
				r := begin(t, row{Group: disk, Case: name, Source: "files", User: u.name}).shows(d.number)
				random := harness.Seeded(t)
				away := harness.NewLoki(t)
				away.Gone()
				// 16 segments are as large as the queue may be.
				w := fileWorldTo(t, u, away, "app.log", "", "  batch_size = \"64KiB\"\n  queue {\n    max_size = \"8MiB\"\n  }")
				text := config(w)
				l := w.log("app.log")
				w.start()
				lines := 1500
				if d.segments > 1 {
					lines = 4000
				}
				noise := rand.NewChaCha8([32]byte{3})
				for range lines {
					l.extra(fmt.Sprintf("%08d %s", len(l.others), hexOf(noise, 300)))
				}
				dir := w.agent.QueueDir("output.loki.main")
				harness.Eventually(t, patience, "all lines are in the queue on disk", func() (bool, string) {
					q, err := queue.Inspect(dir)
					return err == nil && q.Items == lines, fmt.Sprint(q.Items, err)
				})
				if code := w.agent.Stop(); code != 0 {
					t.Fatalf("stopped with code %d", code)
				}
				if err := os.Remove(l.path); err != nil { // nothing is read again
					t.Fatal(err)
				}
				whole := filepath.Join(harness.Dir(t), "whole")
				tool(t, "cp", "-a", w.agent.DataDir(), whole)
				total := 0
				for range rounds {
					tool(t, "rm", "-rf", w.agent.DataDir())
					tool(t, "cp", "-a", whole, w.agent.DataDir())
					segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
					if err != nil || len(segments) < d.segments {
						t.Fatal(len(segments), err)
					}
					slices.Sort(segments)
					d.do(t, dir, segments, random)
					loki := harness.NewLoki(t)
					w.agent.Overwrite(strings.ReplaceAll(text, away.URL(), loki.URL()))
					w.agent.Start()
					w.agent.AwaitReady()
					harness.Eventually(t, patience, "the queue is empty", func() (bool, string) {
						status, err := w.agent.Status()
						if err != nil {
							return false, err.Error()
						}
						tr := harness.NodeOf(t, status, "output.loki.main").Traffic
						return tr != nil && tr.Taken > 0 && tr.Queued == 0, fmt.Sprintf("%+v", tr)
					})
					node := harness.NodeOf(t, harness.Conserved(t, w.agent), "output.loki.main")
					missing, repeated, unknown, examples := loki.Tally(app).Compare(l.want())
					if uint64(missing) != node.Losses["queue_damaged"] || repeated+unknown > 0 || missing == lines || !d.loses && missing > 0 {
						t.Errorf("%d of %d are missing and %v counted, %d came again, %d were never written: %v", missing, lines, node.Losses, repeated, unknown, examples)
					}
					if aside, err := os.ReadDir(filepath.Join(dir, "aside")); missing > 0 && d.number == 13 && (err != nil || len(aside) == 0) {
						t.Errorf("what was damaged isn't kept aside: %v", err)
					}
					total += missing
					r.Written += lines
					r.Delivered += lines - missing
					w.agent.Kill()
				}
				if d.loses {
					r.Note = fmt.Sprintf("%d lines were in what was damaged, and counted", total)
				}
			})
		}
	}
}

func hexOf(r io.Reader, n int) string {
	raw := make([]byte, n)
	io.ReadFull(r, raw)
	return fmt.Sprintf("%x", raw)
}
