//go:build integration

package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

func TestInAContainerTheNumbersAreTheMachines(t *testing.T) {
	harness.RequireDocker(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	// The usual mounts, and no config at all.
	agent := harness.StartAgentContainer(t, []string{
		"-p", "127.0.0.1::9100", "-v", "/proc:/host/proc:ro", "-v", "/sys:/host/sys:ro", "-v", "/:/rootfs:ro",
		"-v", harness.DockerSocket + ":" + harness.DockerSocket + ":ro",
	}, "run")
	address := agent.Published("9100/tcp")
	var page string
	harness.Eventually(t, 30*time.Second, "the page is there", func() (bool, string) {
		var err error
		page, err = harness.Fetch("http://" + address + "/metrics")
		return err == nil, fmt.Sprint(err)
	})
	if faults, err := harness.CheckMetrics(t, page); err != nil {
		t.Errorf("promtool: %v: %.2000s", err, faults)
	}
	// docker0 is a device of the machine that no container sees in its own network.
	for _, want := range []string{
		`node_network_receive_bytes_total{device="docker0"} `, `nodename="` + host + `"`, `node_filesystem_size_bytes{`, "node_cpu_seconds_total{",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "node_filesystem_size_bytes{") && (strings.Contains(line, `mountpoint="/rootfs`) || strings.Contains(line, `mountpoint="/host`)) {
			t.Errorf("a mount point is told as the container sees it: %s", line)
		}
	}
	targets, err := harness.Fetch("http://" + address + "/sd")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(targets, `"`+host+`"`) {
		t.Errorf("the instance is not the machine's name %s: %s", host, targets)
	}
}

func TestInAContainerWithoutMountsTheUserIsWarned(t *testing.T) {
	harness.RequireDocker(t)
	agent := harness.StartAgentContainer(t, []string{"-p", "127.0.0.1::9100"}, "run")
	address := agent.Published("9100/tcp")
	harness.Eventually(t, 30*time.Second, "the page is there", func() (bool, string) {
		_, err := harness.Fetch("http://" + address + "/metrics")
		return err == nil, fmt.Sprint(err)
	})
	said := agent.Logs()
	for _, want := range []string{"/host/proc", "/rootfs", harness.DockerSocket} {
		if !strings.Contains(said, want) {
			t.Errorf("it doesn't say how to mount %s:\n%s", want, said)
		}
	}
}
