//go:build integration

package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// debian finds a program of the prometheus package: the system's, or the one that setup unpacked.
func debian(t testing.TB, program string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	path := filepath.Join(cache(t), "prometheus", "usr", "bin", program)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run integration/setup/setup", program)
	}
	return path
}

// CheckMetrics hands a scrape page to promtool, which names what is wrong with it. Lints, which find fault with names that we keep for
// the sake of existing dashboards, are no errors.
func CheckMetrics(t testing.TB, page string) (faults string, err error) {
	t.Helper()
	cmd := exec.Command(debian(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(page)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 3 {
		err = nil // lints alone
	}
	return string(out), err
}

// Prometheus is a real one.
type Prometheus struct {
	t       testing.TB
	address string
	process *process
}

// NewPrometheus starts one with the scrape_configs given as YAML; it lives as long as the test.
func NewPrometheus(t testing.TB, scrapeConfigs string) *Prometheus {
	t.Helper()
	dir := Dir(t)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte("global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n"+scrapeConfigs), 0o644); err != nil {
		t.Fatal(err)
	}
	p := &Prometheus{t: t, address: FreeAddress(t)}
	out := &output{}
	p.process = start(t, exec.Command(debian(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=warn"), out)
	t.Cleanup(func() {
		p.process.end(t, syscall.SIGTERM, 20*time.Second)
		if t.Failed() {
			t.Logf("Prometheus said:\n%s", out.tail(30))
		}
	})
	Eventually(t, time.Minute, "Prometheus is ready", func() (bool, string) {
		if !p.process.running() {
			t.Fatalf("Prometheus ended:\n%s", out.tail(30))
		}
		_, err := p.get("/-/ready")
		return err == nil, fmt.Sprint(err)
	})
	return p
}

func (p *Prometheus) get(path string) ([]byte, error) { return get("http://" + p.address + path) }

// get fetches a page that must answer 200.
func get(address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.500s", address, response.Status, body)
	}
	return body, err
}

// Result is one series of an answer.
type Result struct {
	Labels map[string]string
	Value  float64
}

// Query asks for an instant vector.
func (p *Prometheus) Query(expr string) ([]Result, error) {
	body, err := p.get("/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	out := make([]Result, 0, len(answer.Data.Result))
	for _, r := range answer.Data.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, Result{r.Metric, v})
	}
	return out, nil
}

// Target is a scrape target as Prometheus sees it.
type Target struct {
	Labels    map[string]string `json:"labels"`
	ScrapeURL string            `json:"scrapeUrl"`
	LastError string            `json:"lastError"`
	Health    string            `json:"health"`
}

// Targets are the active ones.
func (p *Prometheus) Targets() ([]Target, error) {
	body, err := p.get("/api/v1/targets?state=active")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			ActiveTargets []Target `json:"activeTargets"`
		} `json:"data"`
	}
	err = json.Unmarshal(body, &answer)
	return answer.Data.ActiveTargets, err
}
