//go:build integration

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// The agent in a container pushes to Mimir and Loki through the network of one project, and is scraped, and reads an application's log, through
// that of another.
func TestComposeFileBringsDataThroughBothNetworks(t *testing.T) {
	harness.RequireDocker(t)
	t.Parallel()
	project := harness.ComposeUp(t, "compose.yaml", harness.Images(t)...)
	mimir, loki, prometheus := project.Address("mimir", 8080), project.Address("loki", 3100), project.Address("prometheus", 9090)
	for service, want := range map[string][]string{
		"agent": {"lottery", "monitoring"}, "mimir": {"monitoring"}, "loki": {"monitoring"}, "web": {"lottery"}, "prometheus": {"lottery"},
	} {
		if got := project.Networks(service); !slices.Equal(got, want) {
			t.Errorf("%s is in %v, want %v", service, got, want)
		}
	}
	began := time.Now()
	// Other tests' projects may have a service of this name.
	selector := fmt.Sprintf("{compose_service=\"web\", container=%q}", strings.TrimPrefix(project.Container("web").Inspect("{{.Name}}"), "/"))
	harness.Eventually(t, time.Minute, "the application's log is in Loki", func() (bool, string) {
		got, err := harness.LokiCount(loki, selector, began)
		return err == nil && got >= 1000, fmt.Sprint(got, err)
	})
	tally, err := harness.LokiLines(loki, selector, began)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for i := range 1000 {
		want[fmt.Sprintf("drawing %d", i+1)] = 1
	}
	if missing, repeated, unknown, examples := tally.Compare(want); missing+repeated+unknown != 0 {
		t.Errorf("%d lines are missing, %d are there more than once, %d were never written: %v", missing, repeated, unknown, examples)
	}
	for _, server := range []struct{ name, address, prefix string }{{"Mimir", mimir, "/prometheus"}, {"Prometheus", prometheus, ""}} {
		for expr, want := range map[string]float64{
			`up{job="node",instance="nas"}`:                         1,
			`node_memory_MemTotal_bytes{job="node",instance="nas"}`: 1024 * field(t, "/proc/meminfo", "MemTotal:"),
			`node_boot_time_seconds{job="node",instance="nas"}`:     field(t, "/proc/stat", "btime"),
		} {
			harness.Eventually(t, time.Minute, server.name+": "+expr, func() (bool, string) {
				got, err := harness.PromQL(server.address, server.prefix, expr)
				return err == nil && len(got) == 1 && got[0].Value == want, fmt.Sprintf("%v, want %v: %v", got, want, err)
			})
		}
	}
	status, err := harness.Fetch("http://" + project.Address("agent", 12345) + "/api/graph")
	if err != nil || strings.Contains(status, `"state":"failing"`) {
		t.Errorf("something fails: %.2000s %v", status, err)
	}
}
