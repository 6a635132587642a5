//go:build integration

package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// RealLoki is a real one in a single process that stores in a folder.
type RealLoki struct {
	server
	began time.Time
}

const lokiConfig = `
auth_enabled: false
server:
  http_listen_address: 127.0.0.1
  http_listen_port: {http}
  grpc_listen_address: 127.0.0.1
  grpc_listen_port: {grpc}
  grpc_server_max_recv_msg_size: 67108864
  grpc_server_max_send_msg_size: 67108864
  log_level: warn
common:
  instance_addr: 127.0.0.1
  path_prefix: {dir}
  storage:
    filesystem:
      chunks_directory: {dir}/chunks
      rules_directory: {dir}/rules
  replication_factor: 1
  ring:
    kvstore:
      store: inmemory
ingester:
  lifecycler:
    min_ready_duration: 0s
    final_sleep: 0s
# By these addresses it is ready at once: it looks for them in a ring every ten seconds only.
frontend:
  scheduler_address: 127.0.0.1:{grpc}
frontend_worker:
  scheduler_address: 127.0.0.1:{grpc}
schema_config:
  configs:
    - from: 2024-01-01
      store: tsdb
      object_store: filesystem
      schema: v13
      index:
        prefix: index_
        period: 24h
analytics:
  reporting_enabled: false
limits_config:
{limits}
`

// lokiPage is how many entries are fetched at a time: Loki's default for the most.
const lokiPage = 5000

// LokiTakesAll are limits that a test doesn't reach.
const LokiTakesAll = `
ingestion_rate_mb: 1000
ingestion_burst_size_mb: 1000
per_stream_rate_limit: 1GB
per_stream_rate_limit_burst: 1GB
`

// NewRealLoki starts one for the test with lines of its limits_config and flags; what isn't given is its default.
func NewRealLoki(t testing.TB, limits string, flags ...string) *RealLoki {
	t.Helper()
	dir, address, grpc := Dir(t), FreeAddress(t), FreeAddress(t)
	file := filepath.Join(dir, "loki.yaml")
	template(t, file, lokiConfig, map[string]string{
		"dir": dir, "http": port(address), "grpc": port(grpc), "limits": indent(limits, "  "),
	})
	program := built(t, "loki")
	l := &RealLoki{began: time.Now(), server: server{
		t: t, name: "Loki", address: address, ready: "/ready",
		command: func() *exec.Cmd { return exec.Command(program, append([]string{"-config.file=" + file}, flags...)...) },
	}}
	l.run()
	return l
}

// URL is where to push.
func (l *RealLoki) URL() string { return "http://" + l.address + "/loki/api/v1/push" }

// lokiStreams is the answer to a query for lines.
type lokiStreams struct {
	Data struct {
		Result []struct {
			Stream map[string]string
			Values [][2]string
		}
	}
}

// Lines are the entries that LogQL gives for a selector, page by page, from an hour before the test on.
func (l *RealLoki) Lines(selector string) (Tally, error) {
	return LokiLines(l.address, selector, l.began)
}

// Count is how many entries LogQL counts for a selector.
func (l *RealLoki) Count(selector string) (int, error) {
	return LokiCount(l.address, selector, l.began)
}

// LokiCount asks the Loki at an address how many entries it has since an hour before a time.
func LokiCount(address, selector string, began time.Time) (int, error) {
	since := time.Since(began.Add(-time.Hour)).Round(time.Second)
	v, err := promQL{base: "http://" + address + "/loki"}.vector(fmt.Sprintf("sum(count_over_time(%s[%s]))", selector, since))
	if err != nil || len(v) == 0 {
		return 0, err
	}
	return int(v[0].Value), nil
}

// LokiLines asks the Loki at an address for all entries of a selector since an hour before a time. What it gives twice counts twice; Stored are
// those that differ in time or text.
func LokiLines(address, selector string, began time.Time) (Tally, error) {
	tally := Tally{Texts: map[string]int{}}
	seen := map[entry]bool{}
	from, to := began.Add(-time.Hour).UnixNano(), time.Now().Add(time.Hour).UnixNano()
	for {
		begin := from
		body, err := get("http://" + address + "/loki/api/v1/query_range?" + url.Values{
			"query": {selector}, "direction": {"forward"}, "limit": {strconv.Itoa(lokiPage)},
			"start": {strconv.FormatInt(from, 10)}, "end": {strconv.FormatInt(to, 10)},
		}.Encode())
		if err != nil {
			return tally, err
		}
		var answer lokiStreams
		if err := json.Unmarshal(body, &answer); err != nil {
			return tally, err
		}
		got, fresh := 0, 0
		for _, s := range answer.Data.Result {
			for _, v := range s.Values {
				at, err := strconv.ParseInt(v[0], 10, 64)
				if err != nil {
					return tally, err
				}
				from = max(from, at)
				got++
				e := entry{at, v[1]}
				if at == begin && seen[e] { // the last of the page before
					continue
				}
				fresh++
				tally.Texts[e.line]++
				tally.Total++
				if !seen[e] {
					seen[e] = true
					tally.Stored++
				}
			}
		}
		// The next page begins at the time of the last entry, which comes again.
		if got < lokiPage || fresh == 0 {
			return tally, nil
		}
	}
}

// Push stores an entry as the test itself.
func (l *RealLoki) Push(labels map[string]string, at time.Time, line string) {
	l.t.Helper()
	type stream struct {
		Stream map[string]string `json:"stream"`
		Values [][2]string       `json:"values"`
	}
	body, err := json.Marshal(map[string][]stream{"streams": {{labels, [][2]string{{strconv.FormatInt(at.UnixNano(), 10), line}}}}})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.URL(), bytes.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		words, _ := io.ReadAll(response.Body)
		l.t.Fatalf("Loki answers %s: %s", response.Status, words)
	}
}

// Discarded is how many entries Loki says that it refused for good or for now, by reason.
func (l *RealLoki) Discarded() (map[string]int, error) {
	return selfMetric(l.address, "loki_discarded_samples_total", "reason")
}
