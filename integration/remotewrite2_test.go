//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// selfBy2 is an agent that pushes its own metrics by remote write 2.0.
func selfBy2(t *testing.T, url, tenant string) *harness.Agent {
	t.Helper()
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: `  interval = "1s"`, Config: fmt.Sprintf(`
input "self" {}

output "remote_write" "main" {
  from     = input.self
  url      = %q
  tenant   = %q
  protocol = "2.0"
}
`, url, tenant)})
	agent.Start()
	agent.AwaitReady()
	return agent
}

// awaitSeries waits until a server has some samples of each series that is asked for.
func awaitSeries(t *testing.T, what string, ask func(selector string) ([]harness.Pushed, error), selector string, samples int) []harness.Pushed {
	t.Helper()
	var found []harness.Pushed
	harness.Eventually(t, 30*time.Second, selector+" is at "+what, func() (bool, string) {
		var err error
		if found, err = ask(selector); err != nil {
			return false, err.Error()
		}
		short := slices.ContainsFunc(found, func(s harness.Pushed) bool { return len(s.Samples) < samples })
		return len(found) > 0 && !short, fmt.Sprint(found)
	})
	return found
}

// fellBack says that the agent tells that the server takes 1.0 alone.
func fellBack(t *testing.T, a *harness.Agent) bool {
	t.Helper()
	return slices.ContainsFunc(harness.NodeOf(t, harness.Conserved(t, a), "output.remote_write.main").Faults, func(f component.Fault) bool {
		return f.Note && f.Key == "protocol" && strings.Contains(f.Remedy, `protocol = "1.0"`)
	})
}

// arrivedBy2 holds what a server stored against what the agent shows itself.
func arrivedBy2(t *testing.T, what string, ask func(selector string) ([]harness.Pushed, error), agent *harness.Agent) {
	t.Helper()
	page, err := agent.Get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	start := awaitSeries(t, what, ask, `process_start_time_seconds[1h]`, 2)
	_, rest, _ := strings.Cut(page, "\nprocess_start_time_seconds ")
	text, _, _ := strings.Cut(rest, "\n")
	if want, err := strconv.ParseFloat(text, 64); err != nil || len(start) != 1 || want != start[0].Samples[0].Value || start[0].Labels["job"] != "hermod" {
		t.Errorf("%v is at %s, the agent's page says %q", start, what, text)
	}
	for _, s := range awaitSeries(t, what, ask, `hermod_collections_total[1h]`, 3) {
		for i := 1; i < len(s.Samples); i++ {
			if s.Samples[i].Time <= s.Samples[i-1].Time || s.Samples[i].Value != s.Samples[i-1].Value+1 {
				t.Errorf("%v: %v", s.Labels, s.Samples)
			}
		}
	}
	if fellBack(t, agent) { // as it does where an answer doesn't count what was stored
		t.Errorf("%s is said not to take 2.0", what)
	}
	if node := harness.NodeOf(t, harness.Conserved(t, agent), "output.remote_write.main"); node.Traffic.Rejected != 0 || node.Traffic.Delivered == 0 {
		t.Errorf("%+v, %v", node.Traffic, node.Losses)
	}
}

func TestPrometheus3TakesRemoteWrite2AndItsCreatedTimes(t *testing.T) {
	t.Parallel()
	server := harness.NewReceiver3(t, "--enable-feature=created-timestamp-zero-ingestion")
	arrivedBy2(t, "Prometheus", server.Samples, selfBy2(t, server.URL(), ""))
	// Of a created time Prometheus makes a zero at that time; what the agent itself sent is from the first request on, and more than zero.
	for _, s := range awaitSeries(t, "Prometheus", server.Samples, `hermod_output_requests_total{code="204"}[1h]`, 2) {
		if first := s.Samples[0]; first.Value != 0 || s.Samples[1].Value == 0 || first.Time >= s.Samples[1].Time {
			t.Errorf("%v begins with %v", s.Labels, s.Samples)
		}
	}
}

func TestMimirTakesRemoteWrite2AndKnowsTypesAndHelp(t *testing.T) {
	t.Parallel()
	server := harness.NewMimir(t)
	agent := selfBy2(t, server.URL(), "two")
	arrivedBy2(t, "Mimir", func(selector string) ([]harness.Pushed, error) { return server.Samples("two", selector) }, agent)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+server.Address()+"/prometheus/api/v1/metadata", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Scope-OrgID", "two")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Data map[string][]struct{ Type, Help, Unit string }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	for family, want := range map[string]string{
		"hermod_collections_total": "counter", "go_goroutines": "gauge", "go_gc_duration_seconds": "summary",
		"hermod_output_request_duration_seconds": "histogram",
	} {
		got := answer.Data[family]
		if len(got) != 1 || got[0].Type != want || got[0].Help == "" {
			t.Errorf("%s is a %s: %+v", family, want, got)
		}
	}
}

func TestServersThatDoNotTakeRemoteWrite2GetEverythingBy1(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(t *testing.T) *harness.Receiver{
		"Prometheus 2, which takes it for an empty request": func(t *testing.T) *harness.Receiver { return harness.NewReceiver(t, true) },
		"Prometheus 3 told to take 1.0 alone": func(t *testing.T) *harness.Receiver {
			return harness.NewReceiver3(t, "--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			agent := selfBy2(t, server.URL(), "")
			awaitSeries(t, "Prometheus", server.Samples, `hermod_collections_total[1h]`, 3)
			if !fellBack(t, agent) {
				t.Error("it isn't told that the server takes 1.0 alone")
			}
			if code := agent.Stop(); code != 0 {
				t.Errorf("the agent ended with %d", code)
			}
			// From the first cycle on, which was refused as 2.0, nothing is missing.
			for _, s := range awaitSeries(t, "Prometheus", server.Samples, `hermod_collections_total[1h]`, 3) {
				for i, x := range s.Samples {
					if x.Value != s.Samples[0].Value+float64(i) || s.Samples[0].Value > 1 {
						t.Errorf("a cycle is missing: %v", s.Samples)
					}
				}
			}
		})
	}
}
