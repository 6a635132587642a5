//go:build integration

package harness

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// CAdvisor is a real one with its defaults and --docker_only, and a housekeeping every second.
type CAdvisor struct{ server }

// NewCAdvisor starts one for the test.
func NewCAdvisor(t testing.TB) *CAdvisor {
	t.Helper()
	address := FreeAddress(t)
	program := built(t, "cadvisor")
	c := &CAdvisor{server{
		t: t, name: "cAdvisor", address: address, ready: "/metrics",
		command: func() *exec.Cmd {
			return exec.Command(program, "-docker_only", "-allow_dynamic_housekeeping=false", "-listen", address)
		},
	}}
	c.run()
	return c
}

// Page is its /metrics.
func (c *CAdvisor) Page() (string, error) {
	body, err := get("http://" + c.address + "/metrics")
	return string(body), err
}

// DiskUsage is what du says of a folder, in bytes.
func DiskUsage(t testing.TB, dir string) int64 {
	t.Helper()
	text, _, _ := strings.Cut(command(t, "du", "-s", "--block-size=1", dir), "\t")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
