package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/internal/ecs/ecstest"
	"github.com/hermod-agent/hermod/internal/porttest"
)

// imds stands in for the metadata service of an EC2 machine, version 2.
func imds(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, known := map[string]string{
			"PUT /latest/api/token":                               "secret-token",
			"GET /latest/meta-data/instance-id":                   "i-0123456789abcdef0",
			"GET /latest/meta-data/placement/availability-zone":   "eu-central-1a",
			"GET /latest/meta-data/tags/instance/aws:autoscaling": "web",
		}[r.Method+" "+r.URL.Path]
		switch {
		case r.Method == http.MethodGet && r.Header.Get("X-Aws-Ec2-Metadata-Token") != "secret-token":
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

const cloudy = `
agent {
  host   = ec2("instance-id")
  labels = {
    zone    = ec2("placement/availability-zone")
    role    = ec2("tags/instance/Role", "none")
    cluster = ecs("cluster")
    task    = ecs("task")
  }
}
input "host" {}
output "prometheus" {
  from   = input.host
  listen = "127.0.0.1:0"
}
`

func TestAConfigAsksAWSWhatThisMachineAndThisTaskAre(t *testing.T) {
	k := newConsole()
	k.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = imds(t).URL
	k.env["ECS_CONTAINER_METADATA_URI_V4"] = ecstest.New(t, "fargate").Endpoint()
	s := &textSource{file: "cloud.hcl", text: cloudy, options: k.configOptions(t.Context())}
	f, diags := s.load()
	if diags.HasErrors() {
		t.Fatal(render(diags, f, false))
	}
	want := map[string]string{"zone": "eu-central-1a", "role": "none", "cluster": "prom-ecs-exporter-sandbox", "task": "bae32def0ab64f06818e8862e58f8d6d"}
	if got := f.Agent.Labels; f.Agent.Host != "i-0123456789abcdef0" || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s, %v", f.Agent.Host, got)
	}
}

func TestOffAWSTheFaultsSayWhereTheyStandAndWhatToDo(t *testing.T) {
	nobody := "http://" + porttest.Reserve(t)
	k := newConsole()
	k.env["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = nobody
	s := &textSource{file: "cloud.hcl", text: cloudy, options: k.configOptions(t.Context())}
	f, diags := s.load()
	text := render(diags, f, false)
	for _, want := range []string{
		`cloud.hcl:3:`, `ec2("instance-id") can't be had: no answer from ` + nobody + ": connection refused",
		"This works on EC2 machines alone", `Or give a default: ec2("instance-id", "...").`,
		`cloud.hcl:5:`, `cloud.hcl:7:`, `ecs("cluster") can't be had: ECS_CONTAINER_METADATA_URI_V4 is not set`, "Run the agent as a container of the task",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s isn't said:\n%s", want, text)
		}
	}
	if strings.Contains(text, "cloud.hcl:6:") {
		t.Errorf("a default doesn't count:\n%s", text)
	}
}
