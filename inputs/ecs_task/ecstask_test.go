package ecstask

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/internal/ecs"
	"github.com/hermod-agent/hermod/internal/ecs/ecstest"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/componenttest"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cycleTime is when the cycles of tests begin.
const cycleTime = 1_740_633_800_123

// rig is an input that asks a fake endpoint.
type rig struct {
	t      testing.TB
	server *ecstest.Server
	in     *input
	batch  metrics.Batch
	source metrics.Source
	cycle  uint64
}

func newRig(t testing.TB, recorded string, change func(*Config)) *rig {
	t.Helper()
	server := ecstest.New(t, recorded)
	return &rig{t: t, server: server, in: openInput(t, server.FargateEndpoint(), change)}
}

func openInput(t testing.TB, endpoint string, change func(*Config)) *input {
	t.Helper()
	c := defaults()
	if endpoint != "" {
		u, err := config.ParseURL(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		c.Endpoint = u
	}
	if change != nil {
		change(&c)
	}
	env := componenttest.NewEnv(t, &Definition, nil, nil)
	env.Host.Sysfs = t.TempDir()
	if err := os.MkdirAll(filepath.Join(env.Host.Sysfs, "dev/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../devices/pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1", filepath.Join(env.Host.Sysfs, "dev/block/259:0")); err != nil {
		t.Fatal(err)
	}
	in, err := openWithin(env, &c, limits{atOpen: time.Minute, request: time.Minute}) // a busy machine may take its time
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return in
}

// collect runs a cycle.
func (r *rig) collect() error {
	r.cycle++
	r.batch.Begin(&r.source, r.cycle, cycleTime)
	return r.in.Collect(r.t.Context(), &r.batch)
}

// values runs a cycle that has to succeed, and returns what it gave.
func (r *rig) values() map[string]float64 {
	r.t.Helper()
	if err := r.collect(); err != nil {
		r.t.Fatal(err)
	}
	return r.given()
}

func (r *rig) given() map[string]float64 {
	r.t.Helper()
	out := map[string]float64{}
	for _, s := range r.batch.Samples {
		key := s.Series.Labels().String()
		if _, twice := out[key]; twice {
			r.t.Errorf("%s is there twice", key)
		}
		out[key] = s.Value
	}
	return out
}

// change edits a recorded document.
func (r *rig) change(path, document string, edit func(map[string]any)) {
	r.t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(ecstest.Document(r.t, document)), &doc); err != nil {
		r.t.Fatal(err)
	}
	edit(doc)
	text, err := json.Marshal(doc)
	if err != nil {
		r.t.Fatal(err)
	}
	r.server.Set(path, string(text))
}

// plain gives the labels of ecs_exporter alone.
func plain(c *Config) { c.TaskLabels = []string{} }

func withCAdvisor(c *Config) { c.CAdvisorNames = true }

// find returns the value of the only series whose name and labels are those given, whatever its other labels.
func find(t testing.TB, values map[string]float64, name string, pairs ...string) (float64, bool) {
	t.Helper()
	var found []string
	for key := range values {
		if !strings.Contains(key, `__name__="`+name+`"`) {
			continue
		}
		fits := true
		for i := 0; i < len(pairs); i += 2 {
			fits = fits && strings.Contains(key, pairs[i]+"="+strconv.Quote(pairs[i+1]))
		}
		if fits {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return 0, false
	case 1:
		return values[found[0]], true
	}
	t.Fatalf("%s %q is several series: %q", name, pairs, found)
	return 0, false
}

func expect(t testing.TB, values map[string]float64, want float64, name string, pairs ...string) {
	t.Helper()
	if got, ok := find(t, values, name, pairs...); !ok || got != want {
		t.Errorf("%s %q is %v (there: %v), want %v", name, pairs, got, ok, want)
	}
}

func expectNone(t testing.TB, values map[string]float64, name string, pairs ...string) {
	t.Helper()
	if got, ok := find(t, values, name, pairs...); ok {
		t.Errorf("%s %q is there, with %v", name, pairs, got)
	}
}

func TestNamesTypesLabelsAndHelpAreThoseOfECSExporter(t *testing.T) {
	text, err := os.ReadFile("testdata/ecs_exporter.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	r := newRig(t, "fargate", plain)
	r.change("/task", "fargate_task_metadata.json", func(task map[string]any) {
		task["Containers"].([]any)[1].(map[string]any)["RestartCount"] = 3
	})
	expect(t, r.values(), 3, "ecs_container_restarts_total", "container_name", "prometheus")
	var got []string
	for _, s := range r.batch.Samples {
		var names []string
		s.Series.Labels().Range(func(l labels.Label) {
			if l.Name != labels.MetricName {
				names = append(names, l.Name)
			}
		})
		d := s.Series.Desc
		got = append(got, fmt.Sprintf("%s|%s|%s|%s", d.Name, d.Kind, strings.Join(names, ","), d.Help))
	}
	slices.Sort(got)
	got = slices.Compact(got)
	if !slices.Equal(got, want) {
		t.Errorf("families:\n%s\nwant those of ecs_exporter:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRecordedTasks(t *testing.T) {
	for _, recorded := range []string{"fargate", "ec2"} {
		t.Run(recorded, func(t *testing.T) {
			r := newRig(t, recorded, func(c *Config) {
				c.CAdvisorNames, c.ContainerLabels = true, []string{"com.amazonaws.ecs.container-name"}
			})
			golden(t, recorded, r.values())
		})
	}
}

func golden(t *testing.T, name string, values map[string]float64) {
	t.Helper()
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&text, "%s %s\n", key, strconv.FormatFloat(values[key], 'f', -1, 64))
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text.String() == string(want) {
		return
	}
	got := strings.Split(text.String(), "\n")
	for _, line := range strings.Split(string(want), "\n") {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(strings.Split(string(want), "\n"), line) {
			t.Errorf("not in %s: %s", path, line)
		}
	}
	t.Errorf("%s differs; run the test with -update if that is meant", path)
}

func TestTheWorkingSetIsTheUsageWithoutInactiveFilePagesOnBothKindsOfCgroup(t *testing.T) {
	v1, v2 := newRig(t, "fargate", withCAdvisor).values(), newRig(t, "ec2", withCAdvisor).values()
	expect(t, v1, 127934464-52383744, "container_memory_working_set_bytes", "name", "prometheus")
	expect(t, v2, 65249280-17641472, "container_memory_working_set_bytes", "id", "/ecs/506f22fab0414cde856201584703fed9/01cf1f3208005cda71d5ac936ded65d2ecc0a8cc8ff8a82d2e00410bf4fbbd6d")
	expect(t, v1, 85426176, "ecs_container_memory_page_cache_size_bytes", "container_name", "prometheus")
	expect(t, v2, 25296896, "ecs_container_memory_page_cache_size_bytes", "container_name", "ecs-exporter")

	r := newRig(t, "fargate", withCAdvisor)
	r.change("/task/stats", "fargate_task_stats.json", func(stats map[string]any) {
		stats["bae32def0ab64f06818e8862e58f8d6d-1819985369"].(map[string]any)["memory_stats"].(map[string]any)["usage"] = 5
	})
	expect(t, r.values(), 0, "container_memory_working_set_bytes", "name", "prometheus")
}

func TestAContainerThatHasEndedHasNoNumbers(t *testing.T) {
	for _, recorded := range []string{"fargate", "ec2"} { // null, and an empty object
		values := newRig(t, recorded, withCAdvisor).values()
		for key := range values {
			if strings.Contains(key, "nonessential") {
				t.Errorf("%s: %s", recorded, key)
			}
		}
		if _, ok := find(t, values, "ecs_container_cpu_usage_seconds_total", "container_name", "prometheus"); !ok {
			t.Errorf("%s: the others are missing too", recorded)
		}
	}
}

func TestRestartsAreToldOfAContainerThatIsBetweenTwo(t *testing.T) {
	r := newRig(t, "fargate", nil)
	r.change("/task", "fargate_task_metadata.json", func(task map[string]any) {
		task["Containers"].([]any)[0].(map[string]any)["RestartCount"] = 2
	})
	values := r.values()
	expect(t, values, 2, "ecs_container_restarts_total", "container_name", "nonessential")
	expectNone(t, values, "ecs_container_cpu_usage_seconds_total", "container_name", "nonessential")
}

// Two containers of one name would give the same series twice: the one that runs counts.
func TestAContainerIsGivenOnce(t *testing.T) {
	r := newRig(t, "fargate", withCAdvisor)
	r.change("/task", "fargate_task_metadata.json", func(task map[string]any) {
		containers := task["Containers"].([]any)
		containers[0].(map[string]any)["Name"] = "prometheus"
		task["Containers"] = append(containers, containers[1], containers[2])
	})
	r.change("/task/stats", "fargate_task_stats.json", func(stats map[string]any) {
		blkio := stats["bae32def0ab64f06818e8862e58f8d6d-1819985369"].(map[string]any)["blkio_stats"].(map[string]any)
		entries := blkio["io_service_bytes_recursive"].([]any)
		blkio["io_service_bytes_recursive"] = append(entries, map[string]any{"major": 259, "minor": 1, "op": "read", "value": 1}, map[string]any{"op": "", "value": 1})
	})
	values := r.values() // a series that is there twice is a fault
	expect(t, values, 0.932439492, "ecs_container_cpu_usage_seconds_total", "container_name", "prometheus")
	expect(t, values, 23793664, "container_blkio_device_usage_total", "name", "prometheus", "minor", "1", "operation", "Read")
}

func TestAMemoryLimitIsTheContainersElseTheTasksElseNone(t *testing.T) {
	r := newRig(t, "fargate", withCAdvisor)
	expect(t, r.values(), 512<<20, "ecs_container_memory_limit_bytes", "container_name", "prometheus")
	r.change("/task", "fargate_task_metadata.json", func(task map[string]any) {
		task["Containers"].([]any)[1].(map[string]any)["Limits"] = map[string]any{"CPU": 2, "Memory": 100}
	})
	expect(t, r.values(), 100<<20, "ecs_container_memory_limit_bytes", "container_name", "prometheus")
	for _, limits := range []any{nil, map[string]any{}, map[string]any{"CPU": 0, "Memory": 0}} {
		r.change("/task", "fargate_task_metadata.json", func(task map[string]any) {
			task["Limits"] = limits
			for _, c := range task["Containers"].([]any) {
				c.(map[string]any)["Limits"] = limits
			}
		})
		values := r.values()
		for _, absent := range []string{"ecs_task_cpu_limit_vcpus", "ecs_task_memory_limit_bytes", "container_spec_cpu_shares"} {
			expectNone(t, values, absent)
		}
		expectNone(t, values, "ecs_container_memory_limit_bytes", "container_name", "prometheus")
		expect(t, values, 0, "container_spec_memory_limit_bytes", "name", "prometheus") // cAdvisor's way to say so
	}
}

func TestTheSharedInterfaceIsCountedOnceAndNeverStepsBack(t *testing.T) {
	const first, second = "bae32def0ab64f06818e8862e58f8d6d-4159844948", "bae32def0ab64f06818e8862e58f8d6d-1819985369" // ecs-exporter, prometheus
	r := newRig(t, "fargate", withCAdvisor)
	reading := func(first0, second0 any) {
		r.change("/task/stats", "fargate_task_stats.json", func(stats map[string]any) {
			for id, rx := range map[string]any{first: first0, second: second0} {
				if rx == nil {
					stats[id] = nil
					continue
				}
				stats[id].(map[string]any)["networks"].(map[string]any)["eth1"].(map[string]any)["rx_bytes"] = rx
			}
		})
	}
	check := func(want float64) {
		t.Helper()
		values := r.values()
		expect(t, values, want, "ecs_network_receive_bytes_total") // one series
		expect(t, values, want, "container_network_receive_bytes_total", "id", "/ecs/bae32def0ab64f06818e8862e58f8d6d", "name", "bae32def0ab64f06818e8862e58f8d6d")
	}
	check(129046293) // of the first by name
	reading(1000, 5000)
	check(1000) // of the same, also where the other has more
	reading(nil, 900)
	check(1000) // the recorded reading of the other is older
	check(1000)
	r.change("/task/stats", "fargate_task_stats.json", func(stats map[string]any) {
		stats[first] = nil
		stats[second].(map[string]any)["read"] = "2025-02-27T05:22:59.1Z"
		stats[second].(map[string]any)["networks"].(map[string]any)["eth1"].(map[string]any)["rx_bytes"] = 1200
	})
	check(1200)
	reading(1300, 1250)
	check(1250) // it goes on speaking for the task
}

func TestThePauseContainerSpeaksForTheNetworkThatItHolds(t *testing.T) {
	r := newRig(t, "fargate", nil)
	r.change("/task", "fargate_task_metadata.json", func(task map[string]any) {
		task["Containers"].([]any)[1].(map[string]any)["Name"] = "~internal~ecs~pause"
		task["Containers"].([]any)[1].(map[string]any)["Type"] = "CNI_PAUSE"
	})
	expect(t, r.values(), 129045374, "ecs_network_receive_bytes_total")
}

func TestInterfacesThatContainersHaveForThemselvesAreToldApart(t *testing.T) {
	values := newRig(t, "ec2", withCAdvisor).values()
	expect(t, values, 101869, "ecs_network_receive_bytes_total", "container_name", "ecs-exporter", "interface", "eth0")
	if _, ok := find(t, values, "ecs_network_receive_bytes_total", "container_name", "prometheus"); !ok {
		t.Error("the other one is missing")
	}
	expect(t, values, 101869, "container_network_receive_bytes_total", "image", "quay.io/prometheuscommunity/ecs-exporter:main")
}

func TestLabelsOfTheTaskAreOnEverySeries(t *testing.T) {
	r := newRig(t, "fargate", withCAdvisor)
	for key := range r.values() {
		if strings.Contains(key, "ecs_task_metadata_info") {
			continue
		}
		for _, want := range []string{
			`cluster="prom-ecs-exporter-sandbox"`, `family="prom-ecs-exporter-sandbox-main-fargate"`, `revision="9"`,
			`task="bae32def0ab64f06818e8862e58f8d6d"`, `availability_zone="us-east-1a"`,
		} {
			if !strings.Contains(key, want) {
				t.Errorf("%s lacks %s", key, want)
			}
		}
	}
	expect(t, r.given(), 1, "ecs_task_metadata_info", "cluster", "arn:aws:ecs:us-east-1:123456789012:cluster/prom-ecs-exporter-sandbox",
		"task", "bae32def0ab64f06818e8862e58f8d6d")

	r = newRig(t, "fargate", func(c *Config) { c.TaskLabels = []string{"task"} })
	if v, ok := r.values()[`{__name__="ecs_task_memory_limit_bytes", task="bae32def0ab64f06818e8862e58f8d6d"}`]; !ok || v != 512<<20 {
		t.Errorf("with one of them: %v %v", v, ok)
	}
}

func TestLabelsOfContainersArePicked(t *testing.T) {
	const name, family = "container_label_com_amazonaws_ecs_container_name", "container_label_com_amazonaws_ecs_task_definition_family"
	for _, c := range []struct {
		picked       []string
		name, family bool
	}{
		{nil, true, true},
		{[]string{}, false, false},
		{[]string{"com.amazonaws.ecs.container-name"}, true, false},
	} {
		r := newRig(t, "fargate", func(cfg *Config) { cfg.CAdvisorNames, cfg.ContainerLabels = true, c.picked })
		r.values()
		for _, s := range r.batch.Samples {
			if s.Series.Name() != "container_memory_rss" {
				continue
			}
			if got := s.Series.Labels().Has(name); got != c.name {
				t.Errorf("%q: %s is there: %v", c.picked, name, got)
			}
			if got := s.Series.Labels().Has(family); got != c.family {
				t.Errorf("%q: %s is there: %v", c.picked, family, got)
			}
		}
	}
}

func TestHealthIsToldAsByCAdvisor(t *testing.T) {
	r := newRig(t, "fargate", withCAdvisor)
	for status, want := range map[string]float64{"HEALTHY": 1, "UNHEALTHY": 0, "UNKNOWN": 0} {
		r.change("/task", "fargate_task_metadata.json", func(task map[string]any) {
			task["Containers"].([]any)[1].(map[string]any)["Health"] = map[string]any{"status": status, "statusSince": "2025-02-27T05:06:30Z"}
		})
		expect(t, r.values(), want, "container_health_state", "name", "prometheus")
	}
	r.server.Set("/task", ecstest.Document(t, "fargate_task_metadata.json"))
	expect(t, r.values(), -1, "container_health_state", "name", "prometheus")
}

func TestThrottlingIsThereWhereAQuotaIsEnforced(t *testing.T) {
	r := newRig(t, "ec2", withCAdvisor)
	expectNone(t, r.values(), "container_cpu_cfs_periods_total")
	r.change("/task/stats", "ec2_task_stats.json", func(stats map[string]any) {
		stats["01cf1f3208005cda71d5ac936ded65d2ecc0a8cc8ff8a82d2e00410bf4fbbd6d"].(map[string]any)["cpu_stats"].(map[string]any)["throttling_data"] =
			map[string]any{"periods": 40, "throttled_periods": 8, "throttled_time": 2500000000}
	})
	values := r.values()
	expect(t, values, 40, "container_cpu_cfs_periods_total")
	expect(t, values, 8, "container_cpu_cfs_throttled_periods_total")
	expect(t, values, 2.5, "container_cpu_cfs_throttled_seconds_total")
}

func TestOffECSTheInputSaysWhatToDo(t *testing.T) {
	t.Setenv(ecs.EndpointVariable, "")
	in := openInput(t, "", nil)
	var b metrics.Batch
	b.Begin(&metrics.Source{}, 1, cycleTime)
	err := in.Collect(t.Context(), &b)
	remedy, what := component.Remedy(err)
	if err == nil || !strings.Contains(what, ecs.EndpointVariable+" is not set") || !strings.Contains(remedy, "container of the task") {
		t.Errorf("%v", err)
	}
	if len(b.Samples) > 0 || in.Instance() != "" {
		t.Errorf("%d samples, instance %q", len(b.Samples), in.Instance())
	}
}

func TestACheckSaysWhichTaskItFound(t *testing.T) {
	check := func(in *input) (out []string) {
		in.Check(t.Context(), func(f component.Finding) { out = append(out, fmt.Sprintf("%s: %s, %v", f.What, f.Detail, f.Err)) })
		return out
	}
	r := newRig(t, "fargate", nil)
	want := []string{
		"ask ECS for the task: task bae32def0ab64f06818e8862e58f8d6d of prom-ecs-exporter-sandbox-main-fargate:9 in prom-ecs-exporter-sandbox (FARGATE), <nil>",
		"ask ECS for the numbers of the containers: 2 of 3 containers run, <nil>",
	}
	if got := check(r.in); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	r.server.Set("/task/stats", "nothing")
	if got := check(r.in); len(got) != 2 || !strings.Contains(got[1], "isn't what ECS gives") {
		t.Errorf("without numbers: %q", got)
	}
	r.server.Set("/task", "nothing")
	if got := check(r.in); len(got) != 1 || !strings.Contains(got[0], "isn't what ECS gives") {
		t.Errorf("without a task: %q", got)
	}
	t.Setenv(ecs.EndpointVariable, "")
	if got := check(openInput(t, "", nil)); len(got) != 1 || !strings.Contains(got[0], "is not set") {
		t.Errorf("off ECS: %q", got)
	}
}

func TestTheEndpointIsTheOneOfTheEnvironment(t *testing.T) {
	server := ecstest.New(t, "fargate")
	t.Setenv(ecs.EndpointVariable, server.FargateEndpoint())
	r := &rig{t: t, server: server, in: openInput(t, "", nil)}
	expect(t, r.values(), 0.25, "ecs_task_cpu_limit_vcpus")

	t.Setenv(ecs.EndpointVariable, "nonsense")
	r = &rig{t: t, server: server, in: openInput(t, "", nil)}
	if err := r.collect(); err == nil || !strings.Contains(err.Error(), ecs.EndpointVariable) {
		t.Errorf("%v", err)
	}
}

func TestTheInstanceIsTheTask(t *testing.T) {
	fargate := newRig(t, "fargate", nil)
	if got := fargate.in.Instance(); got != "bae32def0ab64f06818e8862e58f8d6d" || fargate.server.Asked("/task") > 0 {
		t.Errorf("on Fargate %q, asked %d times", got, fargate.server.Asked("/task"))
	}
	server := ecstest.New(t, "ec2")
	if got := openInput(t, server.Endpoint(), nil).Instance(); got != "506f22fab0414cde856201584703fed9" {
		t.Errorf("on EC2 %q", got)
	}
	server.Set("/task", "{}")
	if got := openInput(t, server.Endpoint(), nil).Instance(); got != "" {
		t.Errorf("without an answer %q", got)
	}
}

func TestAFaultyAnswerIsTold(t *testing.T) {
	serve := func(status int, text string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		}
	}
	for _, c := range []struct {
		name, path     string
		answer         func(http.ResponseWriter, *http.Request)
		what           string
		samplesOfATask bool
	}{
		{"not there", "/task", serve(404, "404 page\nnot found"), `answered 404 (Not Found): "404 page\nnot found"`, false},
		{"too often", "/task", serve(429, ""), "set a longer interval", false},
		{"a redirect", "/task", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, "answered 302", false},
		{"no JSON", "/task", serve(200, "<html>"), "isn't what ECS gives: invalid character '<'", false},
		{"nothing", "/task", serve(200, ""), "isn't what ECS gives", false},
		{"another document", "/task", serve(200, `{"DockerId": "x"}`), "no TaskARN in it", false},
		{"null", "/task", serve(200, `null`), "no TaskARN in it", false},
		{"endless", "/task", func(w http.ResponseWriter, _ *http.Request) {
			for range 5 {
				_, _ = w.Write(make([]byte, 1<<20))
			}
		}, "it has more than 4MiB", false},
		{"broken off", "/task", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("{"))
		}, "closed the connection", false},
		{"no numbers", "/task/stats", serve(500, "oh\x1b[31m"), `answered 500 (Internal Server Error): "oh\x1b[31m"`, true},
		{"numbers of another kind", "/task/stats", serve(200, `[1]`), "isn't what ECS gives", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "fargate", nil)
			r.server.Handle(c.path, c.answer)
			err := r.collect()
			if err == nil || !strings.Contains(err.Error(), c.what) {
				t.Errorf("%v, want %s", err, c.what)
			}
			if remedy, _ := component.Remedy(err); remedy == "" {
				t.Errorf("no remedy in %v", err)
			}
			if _, ok := find(t, r.given(), "ecs_task_cpu_limit_vcpus"); ok != c.samplesOfATask {
				t.Errorf("numbers of the task are there: %v", ok)
			}
		})
	}
}

// A field that AWS has changed costs that field and counts as a fault; the rest is given.
func TestAFieldOfAnotherTypeCostsThatFieldAlone(t *testing.T) {
	r := newRig(t, "fargate", withCAdvisor)
	r.change("/task", "fargate_task_metadata.json", func(task map[string]any) { task["LaunchType"] = 7 })
	r.change("/task/stats", "fargate_task_stats.json", func(stats map[string]any) {
		stats["bae32def0ab64f06818e8862e58f8d6d-1819985369"].(map[string]any)["memory_stats"].(map[string]any)["usage"] = []int{127934464}
	})
	if err := r.collect(); err == nil || !strings.Contains(err.Error(), "LaunchType") {
		t.Errorf("%v", err)
	}
	values := r.given()
	expect(t, values, 0.25, "ecs_task_cpu_limit_vcpus")
	expect(t, values, 0.932439492, "ecs_container_cpu_usage_seconds_total", "container_name", "prometheus")
	expect(t, values, 84111360, "ecs_container_memory_usage_bytes", "container_name", "ecs-exporter")
	expectNone(t, values, "ecs_container_memory_usage_bytes", "container_name", "prometheus")
	expectNone(t, values, "container_memory_working_set_bytes", "name", "prometheus")
}

func TestAnEndpointThatHangsIsGivenUp(t *testing.T) {
	r := newRig(t, "fargate", nil)
	release := make(chan struct{})
	r.server.Handle("/task", func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	})
	defer close(release)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan error)
	go func() {
		r.batch.Begin(&r.source, 1, cycleTime)
		done <- r.in.Collect(ctx, &r.batch)
	}()
	cancel(errors.New("the cycle's deadline"))
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

func TestSeriesAreMadeOnceAndInfoAnewWithTheState(t *testing.T) {
	r := newRig(t, "fargate", withCAdvisor)
	series := func() map[string]*metrics.Series {
		t.Helper()
		r.values()
		out := map[string]*metrics.Series{}
		for _, s := range r.batch.Samples {
			out[s.Series.Labels().String()] = s.Series
		}
		return out
	}
	before := series()
	for key, s := range series() {
		if before[key] != s {
			t.Errorf("%s was made anew", key)
		}
	}
	r.change("/task", "fargate_task_metadata.json", func(task map[string]any) { task["KnownStatus"] = "DEACTIVATING" })
	infos := 0
	for key, s := range series() {
		if s.Name() == "ecs_task_metadata_info" {
			infos++
			if s.Get("known_status") != "DEACTIVATING" {
				t.Errorf("%s", key)
			}
		} else if before[key] != s {
			t.Errorf("%s was made anew with the state", key)
		}
	}
	if infos != 1 {
		t.Errorf("%d infos", infos)
	}
	r.change("/task", "fargate_task_metadata.json", func(task map[string]any) { task["Revision"] = "10" })
	expect(t, r.values(), 0.25, "ecs_task_cpu_limit_vcpus", "revision", "10")
}

func TestMistakesInTheConfigAreTold(t *testing.T) {
	endpoint := func(s string) config.URL {
		u, err := config.ParseURL(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, c := range []struct {
		change func(*Config)
		want   string
	}{
		{func(c *Config) { c.Endpoint = endpoint("https://user:pw@169.254.170.2/v4/x") }, "has more than a host and a path"},
		{func(c *Config) { c.TaskLabels = []string{"cluster", "zone"} }, `"zone" is none of cluster, family, revision, task, availability_zone`},
		{func(c *Config) { c.TaskLabels = []string{"task", "task"} }, "stands there twice"},
		{func(c *Config) { c.ContainerLabels = []string{"x"} }, "cadvisor_names = true"},
		{func(c *Config) { c.CAdvisorNames, c.ContainerLabels = true, []string{""} }, "name is empty"},
	} {
		cfg := defaults()
		c.change(&cfg)
		if errs := cfg.Validate(); len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) || strings.Contains(errs[0].Error(), "pw") {
			t.Errorf("%v, want %s", errs, c.want)
		}
	}
	cfg := defaults()
	if errs := cfg.Validate(); len(errs) > 0 {
		t.Errorf("the defaults: %v", errs)
	}
}

func TestGivingTheNumbersOfASteadyTaskDoesNotAllocate(t *testing.T) {
	for _, recorded := range []string{"fargate", "ec2"} {
		r := newRig(t, recorded, withCAdvisor)
		r.values()
		task, stats := documents(t, recorded)
		if n := testing.AllocsPerRun(100, func() {
			r.cycle++
			r.batch.Begin(&r.source, r.cycle, cycleTime)
			r.in.series.set(&r.batch, task, stats)
		}); n != 0 {
			t.Errorf("%s: %v allocations a cycle", recorded, n)
		}
	}
}

func documents(t testing.TB, recorded string) (*ecs.Task, map[string]*ecs.Stats) {
	t.Helper()
	task, stats := new(ecs.Task), map[string]*ecs.Stats{}
	if err := json.Unmarshal([]byte(ecstest.Document(t, recorded+"_task_metadata.json")), task); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(ecstest.Document(t, recorded+"_task_stats.json")), &stats); err != nil {
		t.Fatal(err)
	}
	return task, stats
}

// FuzzAnswers holds that whatever the endpoint answers neither ends the agent nor gives a series twice.
func FuzzAnswers(f *testing.F) {
	for _, recorded := range []string{"fargate", "ec2"} {
		f.Add(ecstest.Document(f, recorded+"_task_metadata.json"), ecstest.Document(f, recorded+"_task_stats.json"))
	}
	f.Add(`{"TaskARN":"a/b","Containers":[{"DockerId":"x"},{"DockerId":"x"}]}`, `{"x":{"read":"2025-02-27T05:22:49Z","networks":{"":{}},"blkio_stats":{"io_service_bytes_recursive":[{},{"op":"é"}]}}}`)
	f.Fuzz(func(t *testing.T, taskText, statsText string) {
		c := defaults()
		c.CAdvisorNames = true
		r := &rig{t: t, in: &input{series: newSeries(&component.Env{Series: metrics.NewRegistry(), Host: component.Host{Sysfs: "/nowhere"}}, &c)}}
		for range 2 {
			task, stats := new(ecs.Task), map[string]*ecs.Stats{}
			if json.Unmarshal([]byte(taskText), task) != nil || json.Unmarshal([]byte(statsText), &stats) != nil {
				return
			}
			r.cycle++
			r.batch.Begin(&r.source, r.cycle, cycleTime)
			r.in.series.set(&r.batch, task, stats)
			r.given()
		}
	})
}

func BenchmarkCollect(b *testing.B) {
	for _, recorded := range []string{"fargate", "ec2"} {
		b.Run(recorded, func(b *testing.B) {
			r := newRig(b, recorded, withCAdvisor)
			b.ReportAllocs()
			for b.Loop() {
				if err := r.collect(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
