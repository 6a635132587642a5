//go:build integration

package integration

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/pipeline/graph"
)

// counters are what is a counter by its name.
const counters = `{__name__=~"(node|hermod)_.+_total"}[10m]`

// byLabels indexes series by their labels.
func byLabels(series []harness.Pushed) map[string]map[int64]float64 {
	out := make(map[string]map[int64]float64, len(series))
	for _, s := range series {
		samples := make(map[int64]float64, len(s.Samples))
		for _, p := range s.Samples {
			samples[p.Time] = p.Value
		}
		out[fmt.Sprint(s.Labels)] = samples
	}
	return out
}

// within says how many samples of a are not in b at the same time with the same value, with a few examples.
func within(a, b map[string]map[int64]float64) (total, absent int, examples []string) {
	for series, samples := range a {
		for at, v := range samples {
			total++
			if other, ok := b[series][at]; !ok || other != v {
				absent++
				if len(examples) < 5 {
					examples = append(examples, fmt.Sprintf("%s at %d: %v and %v", series, at, v, other))
				}
			}
		}
	}
	return total, absent, examples
}

// until cuts off what is newer than a time.
func until(series map[string]map[int64]float64, last int64) map[string]map[int64]float64 {
	for _, samples := range series {
		for at := range samples {
			if at > last {
				delete(samples, at)
			}
		}
	}
	return series
}

// TestTheHostInMimirAndPrometheus pushes the same samples three times: to a Prometheus, to a tenant of Mimir, and to one whose ingestion limits
// are so low that what has piled up while Mimir was not there yet has to wait.
func TestTheHostInMimirAndPrometheus(t *testing.T) {
	t.Parallel()
	receiver := harness.NewReceiver(t, true)
	mimir := harness.NewMimir(t)
	mimir.Stop()
	agent := harness.NewAgent(t, harness.AgentOptions{
		Agent: "  interval = \"1s\"",
		Config: fmt.Sprintf(`
input "host" {}

input "self" {}

output "remote_write" "prometheus" {
  from = input
  url  = %q
}

output "remote_write" "mimir" {
  from   = input
  url    = %[2]q
  tenant = "free"
}

output "remote_write" "limited" {
  from   = input
  url    = %[2]q
  tenant = "limited"
}
`, receiver.URL(), mimir.URL()),
	})
	agent.Start()
	agent.AwaitReady()
	series := 0
	harness.Eventually(t, time.Minute, "fifteen cycles wait for Mimir", func() (bool, string) {
		status, err := agent.Status()
		if err != nil {
			return false, err.Error()
		}
		host, self := harness.NodeOf(t, status, "input.host"), harness.NodeOf(t, status, "input.self")
		series = host.Series + self.Series
		return host.Cycles >= 15 && self.Cycles > 0, fmt.Sprint(host.Cycles)
	})
	// Ten cycles at once and three a second: enough to catch up.
	mimir.Limit("limited", fmt.Sprintf("ingestion_rate: %d\ningestion_burst_size: %d", 3*series, 10*series))
	mimir.Start()
	harness.Eventually(t, 30*time.Second, "the status tells of Mimir's limit", func() (bool, string) {
		status, err := agent.Status()
		if err != nil {
			return false, err.Error()
		}
		out := harness.NodeOf(t, status, "output.remote_write.limited")
		said := fmt.Sprint(out.Why, out.Faults)
		return strings.Contains(said, "429") && strings.Contains(said, "ingestion rate limit"), fmt.Sprintf("%s: %s %s", out.State, said, out.Remedy)
	})
	outputs := []string{"prometheus", "mimir", "limited"}
	var last int64
	harness.Eventually(t, 90*time.Second, "all has been sent", func() (bool, string) {
		last = time.Now().UnixMilli() - 1500
		status, err := agent.Status()
		if err != nil {
			return false, err.Error()
		}
		state, done := "", true
		for _, name := range outputs {
			n := harness.NodeOf(t, status, "output.remote_write."+name)
			if len(n.Losses) > 0 {
				t.Fatalf("%s lost %v", name, n.Losses)
			}
			state += fmt.Sprintf("%s: %+v %s; ", name, *n.Traffic, n.Why)
			done = done && n.Traffic.Delivered > 0 && n.Traffic.Queued == 0
		}
		return done, state
	})
	harness.Conserved(t, agent)
	discarded, err := mimir.Discarded()
	if err != nil || discarded["rate_limited"] == 0 {
		t.Errorf("Mimir never limited it: %v, %v", discarded, err)
	}

	// Constants of the machine.
	instance, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	ask := map[string]func(expr string) ([]harness.Result, error){
		"Prometheus":       receiver.Query,
		"Mimir":            func(expr string) ([]harness.Result, error) { return mimir.Query("free", expr) },
		"Mimir, limited":   func(expr string) ([]harness.Result, error) { return mimir.Query("limited", expr) },
		"Mimir, elsewhere": func(expr string) ([]harness.Result, error) { return mimir.Query("other", "up") },
	}
	for name, query := range ask {
		if name == "Mimir, elsewhere" {
			if got, err := query(""); err != nil || len(got) != 0 {
				t.Errorf("a tenant that nobody writes to has %v, %v", got, err)
			}
			continue
		}
		for expr, want := range map[string]float64{
			"node_memory_MemTotal_bytes":                   1024 * field(t, "/proc/meminfo", "MemTotal:"),
			"node_memory_SwapTotal_bytes":                  1024 * field(t, "/proc/meminfo", "SwapTotal:"),
			"node_boot_time_seconds":                       field(t, "/proc/stat", "btime"),
			"count(node_cpu_seconds_total{mode=\"idle\"})": cpus(t),
			"node_filefd_maximum":                          number(t, "/proc/sys/fs/file-max"),
			`up{job="node",instance="` + instance + `"}`:   1,
			"count(up)":                         2,
			"count(up == 1)":                    2,
			"count(scrape_samples_scraped > 0)": 2,
			"count(node_uname_info)":            1,
		} {
			if got, err := query(expr); err != nil || len(got) != 1 || got[0].Value != want {
				t.Errorf("%s: %s is %v, want %v: %v", name, expr, got, want, err)
			}
		}
	}

	// Every sample of a counter is in all three, at the same time with the same value.
	samples := func(get func(selector string) ([]harness.Pushed, error)) map[string]map[int64]float64 {
		t.Helper()
		got, err := get(counters)
		if err != nil {
			t.Fatal(err)
		}
		return until(byLabels(got), last)
	}
	reference := samples(receiver.Samples)
	for _, tenant := range []string{"free", "limited"} {
		stored := samples(func(selector string) ([]harness.Pushed, error) { return mimir.Samples(tenant, selector) })
		total, absent, examples := within(stored, reference)
		if total == 0 || absent != 0 {
			t.Errorf("of %d samples of Mimir's tenant %s %d are not in Prometheus: %v", total, tenant, absent, examples)
		}
		reverse, absent, examples := within(reference, stored)
		if reverse == 0 || absent != 0 {
			t.Errorf("of %d samples of Prometheus %d are not in Mimir's tenant %s: %v", reverse, absent, tenant, examples)
		}
		t.Logf("%s: %d samples of %d counters in both", tenant, total, len(stored))
	}
	// A counter never goes back, and nothing was stored between the cycles. The one exception is the kernel's: what a veth device received is
	// what its other end sent, and when a container ends that is gone first.
	for series, stored := range reference {
		if strings.Contains(series, "device:veth") {
			continue
		}
		var first, newest int64 = math.MaxInt64, 0
		for at := range stored {
			first, newest = min(first, at), max(newest, at)
		}
		if stored[newest] < stored[first] {
			t.Errorf("%s went from %v back to %v", series, stored[first], stored[newest])
		}
	}
}

// What Mimir refuses for good is lost, and counted under its reason; what it stores beside that is there.
func TestSeriesThatMimirRefusesAreCountedUnderTheirReason(t *testing.T) {
	t.Parallel()
	const most = 200
	mimir := harness.NewMimir(t)
	mimir.Stop()
	mimir.Limit("small", fmt.Sprintf("max_global_series_per_user: %d", most))
	mimir.Start()
	agent := harness.NewAgent(t, harness.AgentOptions{
		Agent: "  interval = \"1s\"",
		Config: fmt.Sprintf(`
input "host" {}

output "remote_write" "mimir" {
  from   = input.host
  url    = %q
  tenant = "small"
}
`, mimir.URL()),
	})
	agent.Start()
	agent.AwaitReady()
	var node graph.Node
	harness.Eventually(t, 30*time.Second, "the agent counts what Mimir refuses", func() (bool, string) {
		status, err := agent.Status()
		if err != nil {
			return false, err.Error()
		}
		node = harness.NodeOf(t, status, "output.remote_write.mimir")
		return node.Losses["rejected_series_limit"] > 0, fmt.Sprintf("%v %s %s", node.Losses, node.Why, node.Remedy)
	})
	if len(node.Losses) != 1 {
		t.Errorf("lost %v", node.Losses)
	}
	harness.Conserved(t, agent)
	got, err := mimir.Query("small", `count({__name__!=""})`)
	if err != nil || len(got) != 1 || got[0].Value < most/2 || got[0].Value > most {
		t.Errorf("Mimir has %v series, %v", got, err)
	}
	// Of a body that it stored in part Mimir doesn't say how much: the agent then counts the whole, which is more than the truth and never less.
	discarded, err := mimir.Discarded()
	if err != nil {
		t.Fatal(err)
	}
	node = harness.NodeOf(t, harness.Conserved(t, agent), "output.remote_write.mimir")
	if counted := node.Losses["rejected_series_limit"]; discarded["per_user_series_limit"] == 0 || counted < uint64(discarded["per_user_series_limit"]) {
		t.Errorf("the agent counts %d, Mimir discarded %v", counted, discarded)
	}
	t.Logf("the agent counts %v, delivered %d; Mimir discarded %v", node.Losses, node.Traffic.Delivered, discarded)
}

func TestAPrometheusWithoutTheReceiverIsToldToSwitchItOn(t *testing.T) {
	t.Parallel()
	receiver := harness.NewReceiver(t, false)
	agent := harness.NewAgent(t, harness.AgentOptions{
		Agent: "  interval = \"1s\"",
		Config: fmt.Sprintf(`
input "host" {}

output "remote_write" "prometheus" {
  from = input.host
  url  = %q
}
`, receiver.URL()),
	})
	agent.Start()
	agent.AwaitReady()
	const output = "output.remote_write.prometheus"
	harness.Eventually(t, 20*time.Second, "the status says what to do", func() (bool, string) {
		status, err := agent.Status()
		if err != nil {
			return false, err.Error()
		}
		out := harness.NodeOf(t, status, output)
		return out.State == graph.Failing && strings.Contains(out.Why, "404") && strings.Contains(out.Remedy, "--web.enable-remote-write-receiver") &&
			out.Traffic.Queued > 0, fmt.Sprintf("%s: %q, %q, %+v", out.State, out.Why, out.Remedy, out.Traffic)
	})
	if _, stdout, stderr := agent.Run("status", "--address", agent.AdminAddress()); !strings.Contains(stdout, "--web.enable-remote-write-receiver") {
		t.Errorf("hermod status doesn't tell: %s%s", stdout, stderr)
	}
	// What was collected meanwhile is there when the user has done so.
	receiver.Stop()
	receiver.Takes = true
	receiver.Start()
	harness.Eventually(t, time.Minute, "what waited arrives", func() (bool, string) {
		status, err := agent.Status()
		if err != nil {
			return false, err.Error()
		}
		cycles := harness.NodeOf(t, status, "input.host").Cycles
		got, err := receiver.Query("count_over_time(node_boot_time_seconds[10m])")
		return err == nil && len(got) == 1 && got[0].Value >= float64(cycles)-2, fmt.Sprintf("%v of %d cycles are there, %v", got, cycles, err)
	})
	if node := harness.NodeOf(t, harness.Conserved(t, agent), output); len(node.Losses) != 0 || node.State == graph.Failing {
		t.Errorf("%s, lost %v", node.State, node.Losses)
	}
}
