//go:build integration

package torture

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

func TestKillsWithSamples(t *testing.T) {
	t.Parallel()
	kills := times(4, 50)
	everyPair(t, crash, fmt.Sprintf("kill -9 at %d random moments, lines and samples at once", kills), pairOptions{}, func(p *pair) {
		random := harness.Seeded(p.T)
		p.start()
		p.flows()
		var safe int
		p.while(400, func() { safe = harness.KillOften(p.T, random, p.agent, p.loki, kills, p.killed) })
		p.conclude(kills)
		harness.WithinTheInterval(p.T, p.loki)
		p.lines.Note = fmt.Sprintf("none of %d lines that were saved before a kill came again", safe)
		p.healthy()
	}, 1)
}

func TestKillsWhileTheBackendIsAway(t *testing.T) {
	t.Parallel()
	kills, away := times(4, 30), length(0, 10*time.Minute)
	everyPair(t, crash, fmt.Sprintf("kill -9 at %d random moments while the backend is away and while it comes back", 2*kills), pairOptions{}, func(p *pair) {
		random := harness.Seeded(p.T)
		p.start()
		p.flows()
		p.while(800, func() {
			p.loki.Gone()
			p.samples.Gone()
			for i := range 2 * kills {
				harness.Between(random, 20*time.Millisecond, 2500*time.Millisecond)
				p.kill()
				if i == kills {
					lasts(away)
					p.loki.Back()
					p.samples.Back()
				}
				p.agent.Start()
			}
		})
		p.conclude(kills) // those after it was back
		if late := p.loki.Tally(p.app()).Late; late > p.lines.Repeated {
			p.Errorf("%d lines came out of order, and %d again", late, p.lines.Repeated)
		}
		p.healthy()
	}, 2)
}

func TestAStopWhileTheBackendIsAway(t *testing.T) {
	t.Parallel()
	const drain = time.Second
	everyPair(t, crash, "SIGTERM while the backend is away", pairOptions{agent: harness.AgentOptions{Agent: "  drain_timeout = \"1s\""}}, func(p *pair) {
		p.start()
		p.flows()
		var slowest time.Duration
		p.while(400, func() {
			for _, answer := range []*harness.Answer{nil, {Status: 503}, {Hang: true}, {Status: 401}} {
				if answer == nil {
					p.loki.Gone()
					p.samples.Gone()
				} else {
					p.loki.Answer(*answer)
					p.samples.Answer(*answer)
				}
				lasts(time.Second)
				began := time.Now()
				if code := p.agent.Stop(); code != 0 {
					p.Errorf("stopped with code %d", code)
				}
				slowest = max(slowest, time.Since(began))
				if answer == nil {
					p.loki.Back()
					p.samples.Back()
				}
				p.agent.Start()
				p.agent.AwaitReady()
			}
			p.loki.Answer(harness.Answer{})
			p.samples.Answer(harness.Answer{})
		})
		p.conclude(0)
		p.noneAgain()
		p.lines.Note = fmt.Sprintf("with a drain timeout of %v the longest of 4 stops took %v", drain, slowest.Round(100*time.Millisecond))
		p.healthy()
	}, 5)
}

func TestStopsThatAreCutShort(t *testing.T) {
	t.Parallel()
	stops := times(4, 30)
	everyPair(t, crash, fmt.Sprintf("SIGTERM and before it has ended another, or kill -9, %d times", stops), pairOptions{}, func(p *pair) {
		random := harness.Seeded(p.T)
		p.start()
		p.flows()
		p.while(400, func() {
			for i := range stops {
				p.loki.Answer(harness.Answer{Delay: 2 * time.Second})
				p.samples.Answer(harness.Answer{Delay: 2 * time.Second})
				harness.Between(random, 500*time.Millisecond, 2*time.Second)
				p.agent.Signal(syscall.SIGTERM)
				harness.Between(random, time.Millisecond, 300*time.Millisecond)
				if i%2 == 0 {
					p.agent.Signal(syscall.SIGTERM)
					p.agent.Wait(time.Minute)
				} else {
					p.agent.Kill()
				}
				p.killed()
				p.loki.Answer(harness.Answer{})
				p.samples.Answer(harness.Answer{})
				p.agent.Start()
				p.agent.AwaitReady()
			}
		})
		p.conclude(stops)
		p.healthy()
	}, 6)
}

func TestASignalAsSoonAsTheAgentStarts(t *testing.T) {
	requireRoot(t)
	t.Parallel()
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			r := begin(t, row{Group: crash, Case: "SIGTERM at the first thing that the program does", Source: "files", User: u.name}).shows(5)
			w := fileWorld(t, u, "app.log", "")
			l := w.log("app.log")
			l.write(1000)
			// It asks first of all whether somebody reads along.
			cmd := w.agent.Command("run", w.agent.ConfigFile())
			traced := exec.Command("strace", append([]string{"-f", "-qq", "-o", "/dev/null", "-e", "trace=ioctl", "-e", "inject=ioctl:signal=SIGTERM:when=1"},
				cmd.Args...)...)
			traced.Args[len(traced.Args)-len(cmd.Args)] = cmd.Path
			traced.Dir, traced.Env = cmd.Dir, cmd.Env
			traced.SysProcAttr = cmd.SysProcAttr
			if out, err := traced.CombinedOutput(); err != nil {
				t.Errorf("the agent ended with %v: %s", err, out)
			}
			w.start()
			w.came(r, app, l.want())
			w.once(r)
			w.healthy()
		})
	}
}

func TestKillsAmidReloads(t *testing.T) {
	rounds := times(5, 30)
	everySource(t, crash, fmt.Sprintf("kill -9 amid a reload, %d times", rounds), func(w *world, r *row, write writing) {
		r.shows(7)
		random := harness.Seeded(w.T)
		written := write(rounds*rate, rate)
		text := config(w)
		for i := range rounds {
			harness.Between(random, 300*time.Millisecond, 1500*time.Millisecond)
			w.agent.Overwrite(withAttribute(text, fmt.Sprintf("max_line_size = \"%dKiB\"", 100+i)))
			w.agent.Hangup()
			harness.Between(random, time.Microsecond, 40*time.Millisecond)
			w.agent.Kill()
			w.agent.Start()
			w.agent.AwaitReady()
		}
		match, want := written()
		w.came(r, match, want)
		if n := w.loki.Resent(); n > rounds {
			w.Errorf("%d requests came again over %d kills", n, rounds)
		}
		w.healthy()
	})
}

func TestLittleMemory(t *testing.T) {
	requireRoot(t)
	harness.RequireDocker(t)
	t.Parallel()
	for _, u := range users {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			n := times(60_000, 600_000)
			r := begin(t, row{Group: crash, Case: fmt.Sprintf("a backlog of %d MB in a container of 64 MB, and what the kernel does in one of less", n/1000), Source: "files", User: u.name}).shows(8)
			loki := harness.NewLoki(t)
			w := fileWorldTo(t, u, loki, "app.log", "", "")
			text := config(w)
			l := w.log("app.log")
			loki.Gone()
			image := harness.BinaryImage(t)
			// run is the agent in a container with so much memory; end tells whether the kernel has ended it.
			run := func(memory string) (c *harness.Container) {
				options := []string{
					"--network", "host", "--memory", memory, "--memory-swap", memory, "--user", fmt.Sprint(u.id, ":", u.id),
					"-v", w.agent.Dir + ":" + w.agent.Dir, "-v", w.dir + ":" + w.dir + ":ro",
				}
				return harness.StartContainer(t, image, options, "run", w.agent.ConfigFile())
			}
			killed := func(c *harness.Container) bool { return c.Inspect("{{.State.OOMKilled}}") == "true" }
			w.agent.Overwrite(text)
			c := run("64m")
			random := newNoise(7)
			for range n {
				l.extra(random(375)) // as text 750 bytes
			}
			taken := func(enough int) {
				harness.Eventually(t, patience, "the backlog is in the queue", func() (bool, string) {
					status, err := w.agent.Status()
					if err != nil {
						return false, err.Error()
					}
					tr := harness.NodeOf(t, status, "output.loki.main").Traffic
					return tr != nil && int(tr.Queued) >= enough, fmt.Sprintf("%+v, killed: %v", tr, killed(c))
				})
			}
			taken(n)
			// What the second save after that is about was noted after the first: the whole backlog.
			for i := range 2 {
				before := time.Now()
				l.extra(random(375))
				taken(n + i + 1)
				harness.Eventually(t, patience, "where it was read to is saved", func() (bool, string) {
					info, err := os.Stat(w.agent.DataDir() + "/positions")
					return err == nil && info.ModTime().After(before), fmt.Sprint(err)
				})
			}
			c.Signal("KILL")
			if killed(c) {
				t.Error("the kernel ended it though it had 64 MB")
			}
			c.Remove()
			// With less and less it is ended at last, some time while it takes the backlog up.
			ended := ""
			for _, memory := range []string{"16m", "12m", "9m", "6m"} {
				c = run(memory)
				over := time.Now().Add(10 * time.Second)
				for time.Now().Before(over) && c.Inspect("{{.State.Running}}") == "true" {
					<-time.After(100 * time.Millisecond)
				}
				if killed(c) {
					ended = memory
				}
				c.Remove()
				if ended != "" {
					break
				}
			}
			c = run("64m")
			harness.Eventually(t, patience, "the agent is ready", func() (bool, string) {
				_, err := w.agent.Get("/-/ready")
				return err == nil, fmt.Sprint(err)
			})
			loki.Back()
			w.came(r, app, l.want())
			if killed(c) {
				t.Error("the kernel ended it though it had 64 MB")
			}
			w.once(r)
			r.Note = "the kernel ended none"
			if ended != "" {
				r.Note = fmt.Sprintf("with %s the kernel ended it", ended)
			}
			harness.Conserved(t, w.agent)
		})
	}
}

// newNoise gives lines that don't compress.
func newNoise(seed byte) func(n int) string {
	source := rand.NewChaCha8([32]byte{seed})
	return func(n int) string { return hexOf(source, n) }
}
