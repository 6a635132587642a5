//go:build integration

package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/internal/docker/dockertest"
)

// BenchmarkContainersMemory gives by how much the resident memory of an agent grows when there are 100 containers and not none, and what that
// is for each of their series: with a scrape page that is asked as Prometheus asks, with remote_write, and with both; with the two labels of our
// examples, and with all nine that Compose gives a container. The containers are files and a fake engine, so it runs on any Linux. Its budget
// is 5 MB.
//
//	make build && HERMOD_BIN=$PWD/bin/hermod go test -tags integration -run xxx -bench ContainersMemory -benchtime 3x ./integration
func BenchmarkContainersMemory(b *testing.B) {
	const containers = 100
	machines := [...]*dockertest.Machine{dockertest.NewMachine(b, true), dockertest.NewMachine(b, true)}
	machines[1].Many(containers)
	const two = `container_labels = ["com.docker.compose.project", "com.docker.compose.service"]`
	for _, c := range []struct {
		name, labels  string
		paged, pushed bool
	}{
		{"page/two labels", two, true, false},
		{"page/all labels", "", true, false},
		{"remote_write/two labels", two, false, true},
		{"remote_write/all labels", "", false, true},
		{"both/two labels", two, true, true},
		{"both/all labels", "", true, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			var grown, anonymous, series float64
			for range b.N {
				var rss, anon, lines [2]float64
				for i, m := range machines {
					rss[i], anon[i], lines[i] = restingContainers(b, m, c.labels, c.paged, c.pushed)
				}
				grown += rss[1] - rss[0]
				anonymous += anon[1] - anon[0]
				series += lines[1] - lines[0]
			}
			n := float64(b.N)
			b.ReportMetric(grown/n/1e6, "MB")
			b.ReportMetric(anonymous/n/1e6, "heap-MB")
			b.ReportMetric(grown/series, "B/series")
			b.ReportMetric(series/n, "series")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// restingContainers runs an agent on a machine until it has settled, which takes it a minute, and returns that, the part of it that no file is
// behind, in bytes, and how many series it has.
func restingContainers(b *testing.B, m *dockertest.Machine, labels string, paged, pushed bool) (rss, anonymous, series float64) {
	listen, outputs := harness.FreeAddress(b), ""
	if paged {
		outputs += fmt.Sprintf("output \"prometheus\" \"scrape\" {\n  from   = input\n  listen = %q\n}\n", listen)
	}
	if pushed {
		outputs += fmt.Sprintf("output \"remote_write\" \"w\" {\n  from = input\n  url  = \"http://%s/api/v1/write\"\n}\n", harness.NewRemoteWrite(b).Address())
	}
	agent := harness.NewAgent(b, harness.AgentOptions{Config: fmt.Sprintf(`
input "containers" "all" {
  interval    = "1s"
  endpoint    = "unix://%s"
  procfs      = "%s/proc"
  sysfs       = "%s/sys"
  rootfs      = %q
  fs_interval = "0s"
  root        = false
  %s
}
%s`, m.Engine.Socket(), m.Root, m.Root, m.Root, labels, outputs)})
	agent.Start()
	defer agent.Stop()
	agent.AwaitReady()
	for range 150 {
		if paged {
			if _, err := harness.Fetch("http://" + listen + "/metrics"); err != nil {
				b.Fatal(err)
			}
		}
		time.Sleep(500 * time.Millisecond) // so that it is scraped between its cycles too
	}
	status, err := agent.Status()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range status.Nodes {
		series += float64(n.Series)
	}
	rss, anonymous = memoryOf(b, agent.PID())
	return rss, anonymous, series
}

// memoryOf is the resident memory of a process and the part of it that is its own, in bytes (proc_pid_smaps(5)).
func memoryOf(b *testing.B, pid int) (rss, anonymous float64) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "Rss:" && f[0] != "Anonymous:" {
			continue
		}
		kib, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		if f[0] == "Rss:" {
			rss = kib * 1024
		} else {
			anonymous = kib * 1024
		}
	}
	return rss, anonymous
}
