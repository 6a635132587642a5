//go:build integration

package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

// kills is how often the agent is killed in a test.
const kills = 20

func TestKillsLoseNoDockerLogs(t *testing.T) {
	harness.RequireDocker(t)
	for _, user := range users {
		t.Run(user.name, func(t *testing.T) {
			t.Parallel()
			random := harness.Seeded(t)
			loki := harness.NewLoki(t)
			agent := harness.NewAgent(t, as(t, user.root, harness.AgentOptions{Config: harness.InMemory(dockerToLoki(loki))}))
			agent.Start()
			agent.AwaitReady()
			const n, rate = 100_000, 2200
			sources := startWriters(t,
				harness.Writer{Driver: "json-file", Options: plain("json-file"), Lines: n, Rate: rate, Stderr: true},
				harness.Writer{Driver: "local", Options: plain("local"), Lines: n, Rate: rate, Hold: true},
			)
			if safe := harness.KillOften(t, random, agent, loki, kills); safe == 0 {
				t.Error("no run saved twice: the agent saves too seldom")
			}
			awaitAll(t, loki, 3*time.Minute, sources...)
			for _, s := range sources {
				survived(t, loki, s)
				// Docker's own times make a repeat the same record for Loki, which keeps one.
				if stored := loki.Tally(s.match()).Stored; stored != lines.Count(n) {
					t.Errorf("%s: Loki would keep %d records of %d lines", s.Name, stored, lines.Count(n))
				}
			}
			harness.WithinTheInterval(t, loki)
			agent.AwaitReady()
			harness.Conserved(t, agent)
		})
	}
}

// survived asserts that nothing of a source is missing.
func survived(t *testing.T, loki *harness.Loki, s source) {
	t.Helper()
	missing, repeated, unknown, examples := loki.Tally(s.match()).Compare(lines.Want(s.Source, s.lines))
	t.Logf("%s: %d lines, %d came again over %d kills", s.Name, lines.Count(s.lines), repeated, kills)
	if missing+unknown != 0 {
		t.Errorf("%s: of %d lines %d are missing, %d were never written: %v", s.Name, lines.Count(s.lines), missing, unknown, examples)
	}
}

func TestKillsLoseNoLinesOfFilesThatRotate(t *testing.T) {
	t.Parallel()
	random := harness.Seeded(t)
	loki := harness.NewLoki(t)
	dir := harness.Dir(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Config: harness.InMemory(fmt.Sprintf(`
input "files" "app" {
  paths  = ["%s/*.log*"]
  labels = { app = "a" }
}

output "loki" "main" {
  from = input.files.app
  url  = %q
}
`, dir, loki.URL()))})
	agent.Start()
	agent.AwaitReady()
	const n, rate = 100_000, 2200
	written := make(chan error, 1)
	go func() { written <- writeRotating(dir+"/app.log", "files", n, rate, 5000) }()
	if safe := harness.KillOften(t, random, agent, loki, kills); safe == 0 {
		t.Error("no run saved twice: the agent saves too seldom")
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	want := lines.Want("files", n)
	harness.Eventually(t, time.Minute, "all lines arrive", func() (bool, string) {
		missing, repeated, _, examples := loki.Tally(map[string]string{"app": "a"}).Compare(want)
		return missing == 0, fmt.Sprintf("%d missing, %d came again: %v", missing, repeated, examples)
	})
	_, repeated, unknown, examples := loki.Tally(map[string]string{"app": "a"}).Compare(want)
	t.Logf("%d lines, %d came again over %d kills", lines.Count(n), repeated, kills)
	if unknown > 0 {
		t.Errorf("%d were never written: %v", unknown, examples)
	}
	harness.WithinTheInterval(t, loki)
	agent.AwaitReady()
	harness.Conserved(t, agent)
}

// The first moments of an agent on a new machine: it begins at the end of what is there, and that end must not move when it is killed.
func TestAKillRightAfterTheFirstStartLosesNothing(t *testing.T) {
	harness.RequireDocker(t)
	t.Parallel()
	for range 3 {
		loki := harness.NewLoki(t)
		dir := harness.Dir(t)
		agent := harness.NewAgent(t, as(t, true, harness.AgentOptions{Config: dockerToLoki(loki) + fmt.Sprintf(`
input "files" "app" {
  paths  = ["%s/*.log"]
  labels = { app = "a" }
}

output "loki" "files" {
  from = input.files.app
  url  = %q
}
`, dir, loki.URL())}))
		agent.Start()
		agent.AwaitReady()
		const n = 500
		if err := writeRotating(dir+"/app.log", "files", n, 0, 2*n); err != nil {
			t.Fatal(err)
		}
		agent.Kill()
		s := startWriters(t, harness.Writer{Driver: "json-file", Options: plain("json-file"), Lines: n, Hold: true})[0]
		agent.Start()
		for _, of := range []struct {
			match map[string]string
			want  map[string]int
		}{{s.match(), lines.Want(s.Source, n)}, {map[string]string{"app": "a"}, lines.Want("files", n)}} {
			harness.Eventually(t, time.Minute, "all lines arrive", func() (bool, string) {
				missing, repeated, unknown, examples := loki.Tally(of.match).Compare(of.want)
				return missing+unknown == 0, fmt.Sprintf("%v: %d missing, %d unknown, %d came again: %v", of.match, missing, unknown, repeated, examples)
			})
		}
		agent.AwaitReady()
		harness.Conserved(t, agent)
	}
}
