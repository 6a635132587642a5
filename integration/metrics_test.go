//go:build integration

package integration

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

func scrapePage(address string) string {
	return fmt.Sprintf(`
input "host" {}

output "prometheus" "scrape" {
  from   = input.host
  listen = %q
}
`, address)
}

func TestPrometheusFindsTheHostThroughServiceDiscovery(t *testing.T) {
	page := harness.FreeAddress(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Config: scrapePage(page)})
	agent.Start()
	agent.AwaitReady()
	prometheus := harness.NewPrometheus(t, fmt.Sprintf("  - job_name: hermod\n    http_sd_configs: [{url: 'http://%s/sd', refresh_interval: 1s}]\n", page))

	query := func(expr string) []harness.Result {
		t.Helper()
		var got []harness.Result
		harness.Eventually(t, 30*time.Second, expr, func() (bool, string) {
			var err error
			got, err = prometheus.Query(expr)
			targets, _ := prometheus.Targets()
			return err == nil && len(got) > 0, fmt.Sprintf("%v; targets %+v", err, targets)
		})
		return got
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	up := query("up == 1")
	if len(up) != 1 || up[0].Labels["job"] != "node" || up[0].Labels["instance"] != host {
		t.Errorf("up is %v, want one with job=node and instance=%s", up, host)
	}
	for expr, want := range map[string]float64{
		"node_memory_MemTotal_bytes":                   1024 * field(t, "/proc/meminfo", "MemTotal:"),
		"node_memory_SwapTotal_bytes":                  1024 * field(t, "/proc/meminfo", "SwapTotal:"),
		"node_boot_time_seconds":                       field(t, "/proc/stat", "btime"),
		"count(node_cpu_seconds_total{mode=\"idle\"})": cpus(t),
		"node_filefd_maximum":                          number(t, "/proc/sys/fs/file-max"),
	} {
		if got := query(expr); len(got) != 1 || got[0].Value != want {
			t.Errorf("%s is %v, the kernel says %v", expr, got, want)
		}
	}
	uname := query("node_uname_info")
	for label, file := range map[string]string{"release": "osrelease", "version": "version", "nodename": "hostname"} {
		want, err := os.ReadFile("/proc/sys/kernel/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if uname[0].Labels[label] != strings.TrimSpace(string(want)) {
			t.Errorf("node_uname_info has %s=%q, the kernel says %q", label, uname[0].Labels[label], want)
		}
	}
	for _, counter := range []string{"node_context_switches_total", "sum(node_cpu_seconds_total)", "node_intr_total", "node_time_seconds"} {
		first := query(counter)[0].Value
		harness.Eventually(t, 20*time.Second, counter+" moves", func() (bool, string) {
			now := query(counter)[0].Value
			return now > first, fmt.Sprint(first, " ", now)
		})
	}
	// What the page says is a type for Prometheus, and no sample was refused or thrown away.
	if dropped := query("sum(scrape_samples_scraped - scrape_samples_post_metric_relabeling)"); dropped[0].Value != 0 {
		t.Errorf("Prometheus dropped %v samples", dropped[0].Value)
	}
	harness.Conserved(t, agent)
}

// field is the number after a word in a file of /proc.
func field(t *testing.T, path, word string) float64 {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == word {
			return parse(t, f[1])
		}
	}
	t.Fatalf("no %s in %s", word, path)
	return 0
}

func number(t *testing.T, path string) float64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, strings.TrimSpace(string(text)))
}

func parse(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func cpus(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "cpu") && !strings.HasPrefix(line, "cpu ") {
			n++
		}
	}
	return float64(n)
}

func TestTwoHostInputsOnOnePageAreAccepted(t *testing.T) {
	for name, instances := range map[string][2]string{
		"of two instances": {"a", "b"},
		"of one instance":  {"same", "same"},
	} {
		t.Run(name, func(t *testing.T) {
			page := harness.FreeAddress(t)
			agent := harness.NewAgent(t, harness.AgentOptions{Config: fmt.Sprintf(`
input "host" "a" {
  instance = %q
}

input "host" "b" {
  instance = %q
}

output "prometheus" "scrape" {
  from   = input.host
  listen = %q
}
`, instances[0], instances[1], page)})
			agent.Start()
			agent.AwaitReady()
			text, err := harness.Fetch("http://" + page + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			if faults, err := harness.CheckMetrics(t, text); err != nil {
				t.Errorf("promtool: %v: %.2000s", err, faults)
			}
			prometheus := harness.NewPrometheus(t, fmt.Sprintf("  - job_name: hermod\n    honor_labels: true\n    static_configs: [{targets: ['%s']}]\n", page))
			harness.Eventually(t, 30*time.Second, "Prometheus has scraped", func() (bool, string) {
				targets, err := prometheus.Targets()
				return err == nil && len(targets) == 1 && targets[0].Health == "up", fmt.Sprintf("%v %+v", err, targets)
			})
			want := 2
			if instances[0] == instances[1] {
				want = 1
			}
			harness.Eventually(t, 20*time.Second, "the hosts are there", func() (bool, string) {
				got, err := prometheus.Query("node_uname_info")
				return err == nil && len(got) == want, fmt.Sprintf("%v %v", err, got)
			})
		})
	}
}

func TestPushedMetricsCarryJobInstanceAndMetadata(t *testing.T) {
	server := harness.NewRemoteWrite(t)
	agent := harness.NewAgent(t, harness.AgentOptions{
		Agent: "  interval = \"1s\"\n  labels   = { site = \"here\" }",
		Config: fmt.Sprintf(`
input "host" {}

output "remote_write" "mimir" {
  from = input.host
  url  = %q
}
`, server.URL()),
	})
	agent.Start()
	agent.AwaitReady()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"job": "node", "instance": host, "site": "here"}
	harness.Eventually(t, 30*time.Second, "five cycles arrive, with metadata", func() (bool, string) {
		got := server.Series(map[string]string{"__name__": "node_context_switches_total"})
		return len(got) == 1 && len(got[0].Samples) >= 5 && server.Metadata("node_memory_MemTotal_bytes") == "GAUGE",
			fmt.Sprintf("%+v; metadata %q; answers %v %v", got, server.Metadata("node_memory_MemTotal_bytes"), server.Answers(), server.Faults())
	})
	for _, s := range server.Series(nil) {
		for name, value := range all {
			if s.Labels[name] != value {
				t.Fatalf("%v has no %s=%q", s.Labels, name, value)
			}
		}
		if s.Late != 0 {
			t.Errorf("%v: %d samples out of order", s.Labels, s.Late)
		}
	}
	for _, name := range []string{"up", "scrape_duration_seconds", "scrape_samples_scraped"} {
		if got := server.Series(map[string]string{"__name__": name}); len(got) != 1 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := server.Series(map[string]string{"__name__": "node_memory_MemTotal_bytes"}); len(got) != 1 || got[0].Samples[0].Value != 1024*field(t, "/proc/meminfo", "MemTotal:") {
		t.Errorf("node_memory_MemTotal_bytes: %v", got)
	}
	harness.Eventually(t, 15*time.Second, "the agent knows what it delivered", func() (bool, string) {
		n := harness.NodeOf(t, harness.Conserved(t, agent), "output.remote_write.mimir")
		return n.Traffic != nil && int(n.Traffic.Delivered) >= server.Samples()*9/10, fmt.Sprintf("%+v of %d", n.Traffic, server.Samples())
	})
	if code := agent.Stop(); code != 0 {
		t.Errorf("stopped with code %d", code)
	}
	for _, s := range server.Series(nil) {
		// A device may have vanished, with a container; a stop makes nothing vanish.
		if s.Stale != 0 && s.Labels["device"] == "" {
			t.Errorf("%v: %d staleness markers at a stop", s.Labels, s.Stale)
		}
	}
}
