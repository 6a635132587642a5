//go:build integration

package integration

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/integration/lines"
)

// users are the two ways to run the agent beside Docker: as root it reads json-file logs from disk, as somebody in the socket's group all
// through the API.
var users = []struct {
	name string
	root bool
}{{"root", true}, {"unprivileged", false}}

func as(t *testing.T, root bool, options harness.AgentOptions) harness.AgentOptions {
	if !root {
		options.User, options.Groups = harness.Unprivileged, []uint32{harness.DockerGroup(t)}
	} else if os.Getuid() != 0 {
		t.Skip("only root reads Docker's files")
	}
	return options
}

// ownContainers makes an output take the logs of this run's containers alone: the machine may have others.
const ownContainers = `where = { container = "~%s-.*" }`

func dockerToLoki(loki *harness.Loki) string {
	return fmt.Sprintf(`
input "docker_logs" "all" {}

output "loki" "main" {
  from  = input.docker_logs.all
  url   = %q
  `+ownContainers+`
}
`, loki.URL(), harness.RunID())
}

// plain keeps Docker from rotating: what it throws away no agent can read.
func plain(driver string) map[string]string {
	if driver == "local" {
		return map[string]string{"max-size": "500m", "max-file": "2", "compress": "false"}
	}
	return map[string]string{"max-size": "500m", "max-file": "2"}
}

// source is a container and how many numbered lines it writes.
type source struct {
	*harness.Container
	lines int
}

func (s source) match() map[string]string { return map[string]string{"container": s.Name} }

func startWriters(t *testing.T, writers ...harness.Writer) []source {
	t.Helper()
	var sources []source
	for _, w := range writers {
		sources = append(sources, source{w.Start(t), w.Lines})
	}
	return sources
}

// awaitAll waits until as many different records came of each source as it wrote.
func awaitAll(t *testing.T, loki *harness.Loki, within time.Duration, sources ...source) {
	t.Helper()
	harness.Eventually(t, within, "all lines arrive", func() (bool, string) {
		state, done := "", true
		for _, s := range sources {
			got := loki.Tally(s.match())
			state += fmt.Sprintf("%s: %d of %d; ", s.Name, got.Stored, lines.Count(s.lines))
			done = done && got.Stored >= lines.Count(s.lines)
		}
		return done, state + fmt.Sprintf("answers %v", loki.Answers())
	})
}

// exactly asserts that every line of the source came once.
func exactly(t *testing.T, loki *harness.Loki, s source) {
	t.Helper()
	tally := loki.Tally(s.match())
	missing, repeated, unknown, examples := tally.Compare(lines.Want(s.Source, s.lines))
	if missing+repeated+unknown != 0 {
		t.Errorf("%s: of %d lines %d are missing, %d came again, %d were never written: %v", s.Name, lines.Count(s.lines), missing, repeated, unknown, examples)
	}
	if tally.Late != 0 {
		t.Errorf("%s: %d lines came out of order", s.Name, tally.Late)
	}
}

// delivered asserts that the output knows of as many records as the server took since it had taken before, and lost none.
func delivered(t *testing.T, a *harness.Agent, loki *harness.Loki, output string, before int) {
	t.Helper()
	harness.Eventually(t, 15*time.Second, "the agent knows what it delivered", func() (bool, string) {
		n := harness.NodeOf(t, harness.Conserved(t, a), output)
		if n.Traffic == nil {
			return false, output + " tells no traffic"
		}
		if len(n.Losses) != 0 {
			t.Fatalf("%s lost %v", output, n.Losses)
		}
		return n.Traffic.Queued == 0 && int(n.Traffic.Delivered) == loki.Records()-before,
			fmt.Sprintf("delivered %d, queued %d; the server took %d", n.Traffic.Delivered, n.Traffic.Queued, loki.Records()-before)
	})
	if faults := loki.Faults(); len(faults) > 0 {
		t.Errorf("the server refused: %.5v", faults)
	}
}

func TestDockerLogsArriveOnceFromEveryDriver(t *testing.T) {
	harness.RequireDocker(t)
	for _, user := range users {
		t.Run(user.name, func(t *testing.T) {
			loki := harness.NewLoki(t)
			agent := harness.NewAgent(t, as(t, user.root, harness.AgentOptions{Config: dockerToLoki(loki)}))
			agent.Start()
			agent.AwaitReady()
			const n = 100_000
			began := time.Now()
			sources := startWriters(t,
				harness.Writer{Driver: "json-file", Options: plain("json-file"), Lines: n, Stderr: true},
				harness.Writer{Driver: "local", Options: plain("local"), Lines: n, Hold: true},
			)
			awaitAll(t, loki, 2*time.Minute, sources...)
			t.Logf("2 containers, %d lines each, in %v", lines.Count(n), time.Since(began).Round(100*time.Millisecond))
			delivered(t, agent, loki, "output.loki.main", 0)
			for _, s := range sources {
				exactly(t, loki, s)
			}
			status, err := agent.Status()
			if err != nil {
				t.Fatal(err)
			}
			via := map[string]string{}
			for _, d := range harness.NodeOf(t, status, "input.docker_logs.all").Details {
				via[d.Name] = d.Via
			}
			for i, fromDisk := range []bool{user.root, false} {
				if got := via[sources[i].Name]; strings.HasPrefix(got, "file ") != fromDisk {
					t.Errorf("the log of driver %s was read via %q", []string{"json-file", "local"}[i], got)
				}
			}
			for stream, want := range map[string]bool{"stdout": true, "stderr": true} {
				match := sources[0].match()
				match["stream"] = stream
				if got := len(loki.Streams(match)) > 0; got != want {
					t.Errorf("stream=%s was there: %v", stream, got)
				}
			}
			if code := agent.Stop(); code != 0 {
				t.Errorf("stopped with code %d", code)
			}
		})
	}
}

func TestRotationByDockerLosesNothingThatIsRead(t *testing.T) {
	harness.RequireDocker(t)
	loki := harness.NewLoki(t)
	agent := harness.NewAgent(t, as(t, true, harness.AgentOptions{Config: dockerToLoki(loki)}))
	agent.Start()
	agent.AwaitReady()
	const n = 60_000
	sources := startWriters(t, harness.Writer{
		Driver: "json-file", Options: map[string]string{"max-size": "512k", "max-file": "40"}, Lines: n, Rate: 15_000,
	})
	awaitAll(t, loki, 2*time.Minute, sources...)
	delivered(t, agent, loki, "output.loki.main", 0)
	exactly(t, loki, sources[0])
}

func TestAContainerOfASecondIsReadWhole(t *testing.T) {
	harness.RequireDocker(t)
	for _, user := range users {
		t.Run(user.name, func(t *testing.T) {
			loki := harness.NewLoki(t)
			agent := harness.NewAgent(t, as(t, user.root, harness.AgentOptions{Config: dockerToLoki(loki)}))
			agent.Start()
			agent.AwaitReady()
			var writers []harness.Writer
			for _, driver := range []string{"json-file", "local"} {
				for range 3 {
					writers = append(writers, harness.Writer{Driver: driver, Lines: 20})
				}
			}
			sources := startWriters(t, writers...)
			awaitAll(t, loki, time.Minute, sources...)
			delivered(t, agent, loki, "output.loki.main", 0)
			for _, s := range sources {
				exactly(t, loki, s)
			}
		})
	}
}

func TestContainersCarryTheirLabels(t *testing.T) {
	harness.RequireDocker(t)
	loki := harness.NewLoki(t)
	agent := harness.NewAgent(t, as(t, false, harness.AgentOptions{Config: fmt.Sprintf(`
input "docker_logs" {
  container_labels = ["tier"]
}

output "loki" {
  from  = input.docker_logs
  url   = %q
  `+ownContainers+`
}
`, loki.URL(), harness.RunID())}))
	agent.Start()
	agent.AwaitReady()
	sources := startWriters(t, harness.Writer{Driver: "json-file", Lines: 10, Labels: map[string]string{
		"com.docker.compose.project": "lottery", "com.docker.compose.service": "web", "tier": "front", "other": "x",
	}})
	awaitAll(t, loki, time.Minute, sources...)
	want := map[string]string{
		"container": sources[0].Name, "compose_project": "lottery", "compose_service": "web", "tier": "front", "stream": "stdout",
	}
	got := loki.Streams(nil)
	if len(got) != 1 {
		t.Fatalf("streams %v", got)
	}
	if got[0]["image"] == "" {
		t.Errorf("no label image in %v", got[0])
	}
	have := maps.Clone(got[0])
	maps.DeleteFunc(have, func(name, _ string) bool { _, ok := want[name]; return !ok })
	if !maps.Equal(have, want) || got[0]["other"] != "" {
		t.Errorf("labels %v, want %v and image", got[0], want)
	}
}
