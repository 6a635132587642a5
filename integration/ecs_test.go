//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
	"github.com/hermod-agent/hermod/internal/ecs/ecstest"
)

// signedWrite is a remote_write server as AWS has it: requests without a signature of the right credentials are refused.
type signedWrite struct {
	*harness.RemoteWrite
	front *httptest.Server

	mu      sync.Mutex // guards what follows
	refused []string   // Authorization headers
}

func newSignedWrite(t *testing.T, key string) *signedWrite {
	w := &signedWrite{RemoteWrite: harness.NewRemoteWrite(t)}
	behind, err := url.Parse("http://" + w.Address())
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(behind)
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		sent := r.Header.Get("Authorization")
		if !strings.HasPrefix(sent, "AWS4-HMAC-SHA256 Credential="+key+"/") || !strings.Contains(sent, "/eu-central-1/aps/aws4_request") ||
			r.Header.Get("X-Amz-Security-Token") != "token-of-"+key {
			w.mu.Lock()
			w.refused = append(w.refused, sent)
			w.mu.Unlock()
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.front.Close)
	return w
}

func (w *signedWrite) url() string { return w.front.URL + "/api/v1/write" }

// check asserts that no request came unsigned and that the server had nothing to complain of.
func (w *signedWrite) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.refused) > 0 {
		t.Errorf("%d requests were not signed as they had to be: %q", len(w.refused), w.refused[0])
	}
}

// issued are credentials as AWS gives them to tasks and machines.
func issued(key string) string {
	text, err := json.Marshal(map[string]string{
		"Code": "Success", "AccessKeyId": key, "SecretAccessKey": "secret-of-" + key, "Token": "token-of-" + key,
		"Expiration": time.Now().Add(6 * time.Hour).UTC().Format(time.RFC3339),
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// last waits until one series with these labels was pushed whose newest value is the one wanted.
func (w *signedWrite) last(t *testing.T, want float64, match map[string]string) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, fmt.Sprint(match), func() (bool, string) {
		got := w.Series(match)
		if len(got) != 1 || len(got[0].Samples) == 0 {
			return false, fmt.Sprintf("%d series", len(got))
		}
		value := got[0].Samples[len(got[0].Samples)-1].Value
		return value == want, fmt.Sprintf("%v, want %v", value, want)
	})
}

// runExample runs the agent with an example's config, whose agent block gets what a test needs.
func runExample(t *testing.T, path string, environment ...string) *harness.Agent {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	agent := harness.NewAgent(t, harness.AgentOptions{
		User: harness.Unprivileged, Environment: environment,
	})
	head := fmt.Sprintf("agent {\n  interval = \"1s\"\n  listen = %q\n", agent.AdminAddress())
	config := strings.NewReplacer(
		"agent {\n", head,
		"  listen = env(\"HERMOD_LISTEN\", \"127.0.0.1:12345\")\n", "",
	).Replace(string(text))
	if !strings.Contains(config, head) || strings.Contains(config, "HERMOD_LISTEN") {
		t.Fatalf("the test knows another agent block:\n%s", config)
	}
	agent.Overwrite(config)
	return agent
}

// machine waits for a number of this machine under what newIMDS says.
func (w *signedWrite) machine(t *testing.T) {
	t.Helper()
	w.last(t, 1024*field(t, "/proc/meminfo", "MemTotal:"), map[string]string{
		"__name__": "node_memory_MemTotal_bytes", "job": "node", "instance": "i-0123456789abcdef0",
		"region": "eu-central-1", "zone": "eu-central-1b", "machine": "t4g.small", "service": "none",
	})
}

// newIMDS stands in for the metadata service of a machine with a role.
func newIMDS(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, known := map[string]string{
			"PUT /latest/api/token":                                  "session",
			"GET /latest/meta-data/instance-id":                      "i-0123456789abcdef0",
			"GET /latest/meta-data/instance-type":                    "t4g.small",
			"GET /latest/meta-data/placement/region":                 "eu-central-1",
			"GET /latest/meta-data/placement/availability-zone":      "eu-central-1b",
			"GET /latest/meta-data/iam/security-credentials/":        "metrics",
			"GET /latest/meta-data/iam/security-credentials/metrics": issued("AKIAMACHINE"),
		}[r.Method+" "+r.URL.Path]
		switch {
		case r.Method == http.MethodGet && r.Header.Get("X-Aws-Ec2-Metadata-Token") != "session":
			w.WriteHeader(http.StatusUnauthorized)
		case !known:
			w.WriteHeader(http.StatusNotFound)
		default:
			fmt.Fprint(w, text)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestTheFargateExamplePushesTheTaskSigned(t *testing.T) {
	t.Parallel()
	const task = "bae32def0ab64f06818e8862e58f8d6d"
	endpoint, write := ecstest.New(t, "fargate"), newSignedWrite(t, "AKIATASK")
	endpoint.Set("/credentials", issued("AKIATASK")) // where a task finds those of its role
	agent := runExample(t, "../examples/fargate/agent.hcl",
		"ECS_CONTAINER_METADATA_URI_V4="+endpoint.FargateEndpoint(), "AWS_CONTAINER_CREDENTIALS_FULL_URI="+endpoint.URL+"/v4/x/credentials",
		"AWS_REGION=eu-central-1", "METRICS_URL="+write.url())
	agent.Start()
	agent.AwaitReady()

	with := func(name string, pairs ...string) map[string]string {
		m := map[string]string{"__name__": name, "instance": task, "job": "ecs"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	write.last(t, 1, with("up", "zone", "us-east-1a", "cluster", "prom-ecs-exporter-sandbox"))
	write.last(t, 512<<20, with("ecs_task_memory_limit_bytes", "family", "prom-ecs-exporter-sandbox-main-fargate", "revision", "9"))
	write.last(t, 0.932439492, with("ecs_container_cpu_usage_seconds_total", "container_name", "prometheus"))
	write.last(t, 129046293, with("ecs_network_receive_bytes_total")) // one series: all containers share the interface
	write.last(t, 127934464-52383744, with("container_memory_working_set_bytes", "name", "prometheus", "image", "prom/prometheus:v3.1.0"))
	for _, p := range write.Series(nil) {
		if p.Labels["instance"] != task || p.Labels["zone"] != "us-east-1a" || p.Labels["cluster"] == "" {
			t.Errorf("without instance, cluster and zone: %v", p.Labels)
		}
		if strings.Contains(fmt.Sprint(p.Labels), "nonessential") {
			t.Errorf("of a container that has ended: %v", p.Labels)
		}
		if strings.Contains(fmt.Sprint(p.Labels), "container_label_") {
			t.Errorf("with labels of containers, of which the example wants none: %v", p.Labels)
		}
	}
	harness.Eventually(t, 2*time.Minute, "types are told", func() (bool, string) {
		cpu, info := write.Metadata("ecs_container_cpu_usage_seconds_total"), write.Metadata("container_memory_rss")
		return cpu == "COUNTER" && info == "GAUGE", cpu + " " + info
	})

	// The endpoint has a bad time: the input is down and what it gave before goes stale, and all is well afterwards.
	recorded := ecstest.Document(t, "fargate_task_metadata.json")
	endpoint.Handle("/task", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	write.last(t, 0, with("up"))
	harness.Eventually(t, 2*time.Minute, "the task's numbers go stale", func() (bool, string) {
		got := write.Series(with("ecs_task_memory_limit_bytes"))
		return len(got) == 1 && got[0].Stale > 0, fmt.Sprint(len(got))
	})
	harness.Eventually(t, 2*time.Minute, "the status says why", func() (bool, string) {
		_, status, stderr := agent.Run("status", "--address", agent.AdminAddress())
		return strings.Contains(status, "answered 500"), status + stderr
	})
	endpoint.Set("/task", recorded)
	write.last(t, 1, with("up"))
	write.last(t, 512<<20, with("ecs_task_memory_limit_bytes"))

	harness.Conserved(t, agent)
	if code := agent.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	write.check(t)
	if said := agent.Log(); strings.Contains(said, "secret-of") || strings.Contains(said, "token-of") {
		t.Errorf("a secret is in the log:\n%s", said)
	}
}

func TestTheEC2ExampleSaysWhichMachineItIs(t *testing.T) {
	t.Parallel()
	write := newSignedWrite(t, "AKIAMACHINE")
	imds := newIMDS(t)
	agent := runExample(t, "../examples/ec2/agent.hcl", "AWS_EC2_METADATA_SERVICE_ENDPOINT="+imds.URL, "METRICS_URL="+write.url())
	agent.Start()
	agent.AwaitReady()
	write.machine(t)
	harness.Conserved(t, agent)
	if code := agent.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	write.check(t)

	// Without the metadata nothing runs under a wrong name.
	const nobody = "http://127.0.0.1:1"
	agent = runExample(t, "../examples/ec2/agent.hcl", "AWS_EC2_METADATA_SERVICE_ENDPOINT="+nobody, "METRICS_URL="+write.url())
	code, stdout, stderr := agent.Run("run", agent.ConfigFile())
	if said := stdout + stderr; code != 2 || !strings.Contains(said, `ec2("instance-id") can't be had: no answer from `+nobody) || !strings.Contains(said, "Or give a default") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}

func TestTheEC2ExampleRunsByItsComposeFile(t *testing.T) {
	harness.RequireDocker(t)
	t.Parallel()
	write, imds := newSignedWrite(t, "AKIAMACHINE"), newIMDS(t)
	env := append(ports(t, "HERMOD_PORT"), "HERMOD_IMAGE="+harness.BinaryImage(t), "METRICS_URL="+write.url(), "AWS_EC2_METADATA_SERVICE_ENDPOINT="+imds.URL)
	harness.ComposeUp(t, filepath.Join("..", "examples", "ec2", "docker-compose.yml"), env...)
	write.machine(t)
	write.check(t)
}

// The image of the example has its config and reads it as the user of the task definition; what task it is, there is nobody to tell.
func TestTheFargateImageHasItsConfig(t *testing.T) {
	harness.RequireDocker(t)
	t.Parallel()
	image := harness.BuiltOn(t, filepath.Join("..", "examples", "fargate"), "HERMOD_IMAGE="+harness.BinaryImage(t))
	agent := harness.StartContainer(t, image, []string{"--network", "none", "--user", "65532:65532", "--read-only", "--cap-drop", "ALL", "-e", "METRICS_URL=http://127.0.0.1:1"})
	agent.Wait(2 * time.Minute)
	if code, said := agent.Inspect("{{.State.ExitCode}}"), agent.Logs(); code != "2" || !strings.Contains(said, `/etc/hermod/agent.hcl:5:`) ||
		!strings.Contains(said, `ecs("task") can't be had: ECS_CONTAINER_METADATA_URI_V4 is not set`) {
		t.Errorf("exit code %s:\n%s", code, said)
	}
}
