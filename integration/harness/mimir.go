//go:build integration

package harness

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
)

// Mimir is a real one in a single process that stores in a folder.
type Mimir struct {
	server
	overrides string // the file with the limits of tenants
}

const mimirConfig = `
multitenancy_enabled: true
target: all
server:
  http_listen_address: 127.0.0.1
  http_listen_port: {http}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {grpc}
  log_level: warn
usage_stats:
  enabled: false
blocks_storage:
  backend: filesystem
  filesystem:
    dir: {dir}/blocks
  bucket_store:
    sync_dir: {dir}/sync
  tsdb:
    dir: {dir}/tsdb
compactor:
  data_dir: {dir}/compactor
  sharding_ring:
    instance_addr: 127.0.0.1
    kvstore:
      store: inmemory
distributor:
  retry_after_header:
    min_backoff: 1s
    max_backoff: 2s
  ring:
    instance_addr: 127.0.0.1
    kvstore:
      store: inmemory
ingester:
  ring:
    instance_addr: 127.0.0.1
    kvstore:
      store: inmemory
    replication_factor: 1
    min_ready_duration: 0s
    final_sleep: 0s
ruler:
  rule_path: {dir}/ruler
  ring:
    instance_addr: 127.0.0.1
    kvstore:
      store: inmemory
ruler_storage:
  backend: filesystem
  filesystem:
    dir: {dir}/rules
store_gateway:
  sharding_ring:
    instance_addr: 127.0.0.1
    kvstore:
      store: inmemory
    replication_factor: 1
    wait_stability_min_duration: 0s
frontend:
  address: 127.0.0.1
querier:
  ring:
    instance_addr: 127.0.0.1
    kvstore:
      store: inmemory
query_scheduler:
  ring:
    instance_addr: 127.0.0.1
    kvstore:
      store: inmemory
# Nothing uses it, but it listens.
memberlist:
  bind_addr: [127.0.0.1]
  bind_port: {gossip}
activity_tracker:
  filepath: {dir}/activity.log
runtime_config:
  file: {dir}/overrides.yaml
`

// NewMimir starts one for the test.
func NewMimir(t testing.TB) *Mimir {
	t.Helper()
	dir, http, grpc := Dir(t), FreeAddress(t), FreeAddress(t)
	overrides := filepath.Join(dir, "overrides.yaml")
	template(t, overrides, "overrides: {}\n", nil)
	file := filepath.Join(dir, "mimir.yaml")
	template(t, file, mimirConfig, map[string]string{"dir": dir, "http": port(http), "grpc": port(grpc), "gossip": port(FreeAddress(t))})
	program := built(t, "mimir")
	m := &Mimir{overrides: overrides, server: server{
		t: t, name: "Mimir", address: http, ready: "/ready",
		command: func() *exec.Cmd { return exec.Command(program, "-config.file="+file) },
	}}
	m.run()
	return m
}

// Limit gives a tenant other limits than Mimir's defaults, lines of YAML, from the next Start on. Other tenants lose theirs.
func (m *Mimir) Limit(tenant, lines string) {
	m.t.Helper()
	template(m.t, m.overrides, fmt.Sprintf("overrides:\n  %s:\n%s\n", tenant, indent(lines, "    ")), nil)
}

// URL is where to push.
func (m *Mimir) URL() string { return "http://" + m.address + "/api/v1/push" }

// Query asks a tenant's data for an instant vector.
func (m *Mimir) Query(tenant, expr string) ([]Result, error) { return m.ask(tenant).vector(expr) }

// Samples asks a tenant's data for the samples of a range selector.
func (m *Mimir) Samples(tenant, selector string) ([]Pushed, error) {
	return m.ask(tenant).matrix(selector)
}

func (m *Mimir) ask(tenant string) promQL {
	return promQL{base: "http://" + m.address + "/prometheus", tenant: tenant}
}

// Discarded is how many samples Mimir says that it refused, by reason.
func (m *Mimir) Discarded() (map[string]int, error) {
	return selfMetric(m.address, "cortex_discarded_samples_total", "reason")
}

// Receiver is a real Prometheus that samples are pushed to.
type Receiver struct {
	server
	// Takes switches its remote-write receiver on, from the next Start on.
	Takes bool
}

// NewReceiver starts one for the test, with its receiver switched on or off.
func NewReceiver(t testing.TB, takes bool) *Receiver {
	t.Helper()
	dir, address := Dir(t), FreeAddress(t)
	file := filepath.Join(dir, "prometheus.yml")
	template(t, file, "global:\n  scrape_interval: 1m\n", nil)
	program := debian(t, "prometheus")
	p := &Receiver{Takes: takes}
	p.server = server{t: t, name: "Prometheus", address: address, ready: "/-/ready", command: func() *exec.Cmd {
		args := []string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--log.level=warn"}
		if p.Takes {
			args = append(args, "--web.enable-remote-write-receiver")
		}
		return exec.Command(program, args...)
	}}
	p.run()
	return p
}

// URL is where to push.
func (p *Receiver) URL() string { return "http://" + p.address + "/api/v1/write" }

// Query asks for an instant vector.
func (p *Receiver) Query(expr string) ([]Result, error) { return p.ask().vector(expr) }

// Samples asks for the samples of a range selector.
func (p *Receiver) Samples(selector string) ([]Pushed, error) { return p.ask().matrix(selector) }

func (p *Receiver) ask() promQL { return promQL{base: "http://" + p.address} }
