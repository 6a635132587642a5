//go:build integration

package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// NewReceiver3 starts a Receiver of Prometheus 3, which speaks remote write 2.0, unlike that of NewReceiver. flags are further ones.
func NewReceiver3(t testing.TB, flags ...string) *Receiver {
	t.Helper()
	program := filepath.Join(cache(t), "prometheus3", "usr", "bin", "prometheus")
	if _, err := os.Stat(program); err != nil {
		t.Fatal("Prometheus 3 is missing: run integration/setup/setup")
	}
	dir, address := Dir(t), FreeAddress(t)
	file := filepath.Join(dir, "prometheus.yml")
	template(t, file, "global:\n  scrape_interval: 1m\n", nil)
	p := &Receiver{Takes: true}
	p.server = server{t: t, name: "Prometheus 3", address: address, ready: "/-/ready", command: func() *exec.Cmd {
		return exec.Command(program, append([]string{
			"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--log.level=warn",
			"--web.enable-remote-write-receiver",
		}, flags...)...)
	}}
	p.run()
	return p
}
