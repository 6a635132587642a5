//go:build integration

package integration

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// finding is what hermod check --json says of one thing.
type finding struct {
	Component, What, State, Detail, Error, Remedy string
}

func (f finding) String() string {
	return fmt.Sprintf("%s %s: %s: %s%s; %s", f.State, f.Component, f.What, f.Detail, f.Error, f.Remedy)
}

// check runs hermod check over the agent's config, once in each form.
func check(t *testing.T, agent *harness.Agent, secrets ...string) (code int, findings []finding) {
	t.Helper()
	_, plain, _ := agent.Run("check", agent.ConfigFile())
	code, out, stderr := agent.Run("check", "--json", agent.ConfigFile())
	var report struct {
		OK       bool
		Findings []finding
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return code, nil // it was cut off by the harness' limit, or the config is faulty: nothing will be as expected
	}
	if report.OK != (code == 0) {
		t.Errorf("ok is %v and the exit code %d", report.OK, code)
	}
	for _, f := range report.Findings {
		if !strings.Contains(plain, " "+f.Component+": ") {
			t.Errorf("the plain form lacks %s:\n%s", f.Component, plain)
		}
	}
	for _, secret := range secrets {
		if strings.Contains(plain+out+stderr, secret) {
			t.Errorf("%q is shown:\n%s", secret, plain)
		}
	}
	return code, report.Findings
}

// expected is a finding of a component, found by its first text.
type expected struct {
	component, state string
	texts            []string
}

func expect(component, state string, texts ...string) expected {
	return expected{component, state, texts}
}

// checkUntil checks until all findings are as expected: a machine that is busy may leave no time for one of them.
func checkUntil(t *testing.T, agent *harness.Agent, code int, secrets []string, want ...expected) {
	t.Helper()
	harness.Eventually(t, 2*time.Minute, "hermod check finds what it should", func() (bool, string) {
		got, found := check(t, agent, secrets...)
		faults := ""
		if got != code {
			faults = fmt.Sprintf("exit code %d, want %d\n", got, code)
		}
		for _, w := range want {
			faults += w.fault(found)
		}
		return faults == "", faults
	})
}

// fault says what is not as expected, or "".
func (w expected) fault(findings []finding) string {
	for _, f := range findings {
		if f.Component != w.component || !strings.Contains(f.String(), w.texts[0]) {
			continue
		}
		if f.State != w.state {
			return fmt.Sprintf("%s is not %s\n", f, w.state)
		}
		for _, text := range w.texts {
			if !strings.Contains(f.String(), text) {
				return fmt.Sprintf("it lacks %q: %s\n", text, f)
			}
		}
		return ""
	}
	return fmt.Sprintf("there is nothing of %s with %q: %v\n", w.component, w.texts[0], findings)
}

func TestCheckFindsWhatIsWrongBeforeTheAgentRuns(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	network := harness.Network(t)
	nginx := harness.Nginx(t, harness.ContainerName("nginx"), "--network", network)
	stopped := harness.Nginx(t, harness.ContainerName("nginx"), "--network", network)
	stopped.Stop()
	loki := harness.NewLoki(t)
	refusing := harness.NewLoki(t)
	refusing.Answer(harness.Answer{Status: 401, Body: "who are you"})
	refused := harness.FreeAddress(t)
	locked := filepath.Join(harness.Dir(t), "locked.log")
	if err := os.WriteFile(locked, []byte("a line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	authority := filepath.Join(harness.Dir(t), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the system takes connections for it, and nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	const password = "wr0ng-p4ssword"
	_, output := page(t)
	options := harness.AgentOptions{
		User: harness.Unprivileged, Groups: []uint32{harness.DockerGroup(t)},
		Config: fmt.Sprintf(`
input "nginx" "well" {
  url = "container://%[1]s:8080/stub_status"
}
input "nginx" "lost" {
  url = "container://%[1]s:8080/status"
}
input "nginx" "shut" {
  url = "container://%[1]s:8080/shut"
}
input "nginx" "secret" {
  url = "container://%[1]s:8080/secret"
  basic_auth {
    username = "hermod"
    password = %[2]q
  }
}
input "nginx" "stopped" {
  url = "container://%[3]s:8080/stub_status"
}
input "nginx" "nobody" {
  url = "http://%[4]s/stub_status"
}
input "nginx" "unknown" {
  url = "http://no-such-host.invalid/stub_status"
}
input "nginx" "silent" {
  url     = "http://%[11]s/stub_status"
  timeout = "1s"
}
input "nginx" "plain" {
  url = "https://%[5]s/stub_status"
}
input "nginx" "untrusted" {
  url = %[9]q
}
input "nginx" "misnamed" {
  url = %[9]q
  tls {
    ca_file     = %[10]q
    server_name = "other.example.net"
  }
}
input "files" "locked" {
  paths = [%[6]q]
}
input "docker_logs" {}
output "loki" "well" {
  from = [input.files, input.docker_logs]
  url  = %[7]q
}
output "loki" "refusing" {
  from = [input.files, input.docker_logs]
  url  = %[8]q
  basic_auth {
    username = "hermod"
    password = %[2]q
  }
}
`, nginx.Name, password, stopped.Name, refused, loki.Address(), locked, loki.URL(), refusing.URL(), secure.URL+"/stub_status", authority, silent.Addr()) + strings.Replace(output, "from   = input", "from   = input.nginx", 1),
	}
	if os.Getuid() != 0 {
		t.Skip("only root starts the agent as somebody else")
	}
	agent := harness.NewAgent(t, options)
	checkUntil(t, agent, 1, []string{password},
		expect("agent", "ok", "data_dir", "MiB free"),
		expect("agent", "ok", "listen", "free"),
		expect("input.nginx.well", "ok", "stub_status, 8 series"),
		expect("input.nginx.lost", "failed", "answered 404", "location = /status { stub_status; allow 127.0.0.1; deny all; }"),
		expect("input.nginx.shut", "failed", "answered 403", "location = /shut { stub_status; allow ADDRESS; deny all; }"),
		expect("input.nginx.secret", "failed", "answered 401", `user "hermod"`, "check username and password in basic_auth"),
		expect("input.nginx.stopped", "failed", "doesn't run (exited)", "docker start "+stopped.Name),
		expect("input.nginx.nobody", "failed", "connection refused", "start the server"),
		expect("input.nginx.unknown", "failed", "no-such-host.invalid"),
		expect("input.nginx.silent", "failed", "no answer from", "in time", "longer timeout"),
		expect("input.nginx.plain", "failed", "doesn't speak TLS", "http:// in place of https://"),
		expect("input.files.locked", "failed", locked, "permission denied", fmt.Sprintf("user %d may not read", harness.Unprivileged), "belongs to root:root with mode 0600", "CAP_DAC_READ_SEARCH"),
		expect("input.nginx.untrusted", "failed", "an authority that isn't trusted here", "O=Acme Co", "ca_file"),
		expect("input.nginx.misnamed", "failed", "is for another name", "not other.example.net", "server_name"),
		expect("input.docker_logs", "ok", "source"),
		expect("output.loki.well", "ok", "push to "+loki.URL(), "nothing was written"),
		expect("output.loki.refusing", "failed", "answered 401", "check username and password"),
		expect("output.prometheus", "ok", "listen on"),
	)
	if n := len(loki.Faults()); n > 0 {
		t.Errorf("the test push: %v", loki.Faults())
	}
}

func TestCheckBesideTheAgentThatRunsTheSameConfig(t *testing.T) {
	t.Parallel()
	url, output := page(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Config: "input \"host\" {\n  collect = [\"loadavg\"]\n}\n" + output})
	agent.Start()
	agent.AwaitReady()
	checkUntil(t, agent, 0, nil,
		expect("agent", "note", "listen", "an agent answers there already"),
		expect("output.prometheus", "note", "an agent serves its page"),
		expect("input.host", "ok", "series"),
	)
	if _, err := harness.Fetch(url); err != nil {
		t.Errorf("the running agent: %v", err)
	}
}

func TestCheckWithoutTheDockerSocketOrItsGroup(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	if os.Getuid() != 0 {
		t.Skip("only root starts the agent as somebody else")
	}
	config := "input \"docker_logs\" {}\ninput \"nginx\" {\n  url = \"container://web:80/stub_status\"\n}\noutput \"stdout\" {\n  from = input\n}\n"
	agent := harness.NewAgent(t, harness.AgentOptions{User: harness.Unprivileged, Config: config})
	group := fmt.Sprintf("--group-add %d", harness.DockerGroup(t))
	checkUntil(t, agent, 1, nil,
		expect("input.docker_logs", "failed", "may not use the Docker socket", group),
		expect("input.nginx", "failed", "may not use the Docker socket", group),
	)

	missing := harness.NewAgent(t, harness.AgentOptions{Config: config, Environment: []string{"DOCKER_HOST=unix:///nowhere/docker.sock"}})
	checkUntil(t, missing, 1, nil,
		expect("input.docker_logs", "failed", "no Docker socket at /nowhere/docker.sock", "-v /var/run/docker.sock"),
		expect("input.nginx", "failed", "no Docker socket at /nowhere/docker.sock", "-v /var/run/docker.sock"),
	)
}

// What real backends, and token servers, say to the test push, which holds nothing.
func TestCheckPushesToRealBackendsAndWritesNothing(t *testing.T) {
	t.Parallel()
	loki := harness.NewRealLoki(t, harness.LokiTakesAll)
	takes, doesnt, mimir := harness.NewReceiver(t, true), harness.NewReceiver(t, false), harness.NewMimir(t)
	guarded := harness.NewRemoteWrite(t)
	guarded.Answer(harness.Answer{Status: http.StatusUnauthorized, Body: "this token is not for us"})
	const secret = "t0ken-server-s3cret"
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/token":
			_, _ = io.WriteString(w, `{"access_token": "t0ken-of-an-hour", "token_type": "Bearer", "expires_in": 3600}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error": "invalid_client", "error_description": "there is no such client as shop with `+secret+`"}`)
		}
	}))
	t.Cleanup(tokens.Close)
	oauth := func(path string) string {
		return fmt.Sprintf("oauth2 {\n    client_id     = \"shop\"\n    client_secret = %q\n    token_url     = %q\n  }", secret, tokens.URL+path)
	}
	agent := harness.NewAgent(t, harness.AgentOptions{Config: fmt.Sprintf(`
input "self" {}
input "files" "none" {
  paths = ["/nowhere/*.log"]
}
output "loki" "real" {
  from = input.files
  url  = %q
}
output "loki" "no_token" {
  from = input.files
  url  = %[1]q
  %[6]s
}
output "remote_write" "takes" {
  from = input.self
  url  = %[2]q
}
output "remote_write" "does_not" {
  from = input.self
  url  = %[3]q
}
output "remote_write" "mimir" {
  from   = input.self
  url    = %[4]q
  tenant = "checked"
}
output "remote_write" "mimir_elsewhere" {
  from   = input.self
  url    = %[7]q
  tenant = "checked"
}
output "remote_write" "no_token" {
  from = input.self
  url  = %[2]q
  %[6]s
}
output "remote_write" "token_of_another" {
  from = input.self
  url  = %[8]q
  %[5]s
}
`, "http://"+loki.Address()+"/loki/api/v1/push", takes.URL(), doesnt.URL(), mimir.URL(), oauth("/token"), oauth("/refused"), strings.TrimSuffix(mimir.URL(), "push")+"elsewhere", guarded.URL())})
	checkUntil(t, agent, 1, []string{secret, "t0ken-of-an-hour"},
		expect("output.loki.real", "ok", "push to", "nothing was written"),
		expect("output.loki.no_token", "failed", "invalid_client", "client_id"),
		expect("output.remote_write.takes", "ok", "push to", "nothing was written"),
		expect("output.remote_write.does_not", "failed", "answered 404"),
		expect("output.remote_write.mimir", "ok", "push to", "nothing was written"),
		expect("output.remote_write.mimir_elsewhere", "failed", "answered 404", "check the path"),
		expect("output.remote_write.no_token", "failed", "invalid_client", "client_id"),
		expect("output.remote_write.token_of_another", "failed", "answered 401", `the token for client "shop"`, "check scopes and endpoint_params"),
	)
	if got, err := mimir.Samples("checked", `{__name__=~".+"}[1h]`); err != nil || len(got) != 0 {
		t.Errorf("Mimir has %v of a check that writes nothing, %v", got, err)
	}
	if got, err := takes.Samples(`{__name__=~"hermod_.+"}[1h]`); err != nil || len(got) != 0 {
		t.Errorf("Prometheus has %v of a check that writes nothing, %v", got, err)
	}
}

// What the folder of queues and positions lies on: too little room, nearly too little, and nothing that can be written to.
func TestCheckTellsOfTheRoomForItsData(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	config := "agent {\n  data_dir = \"/data\"\n}\ninput \"self\" {}\noutput \"stdout\" {\n  from = input\n}\n"
	for _, c := range []struct {
		options []string
		said    string
	}{
		{[]string{"--tmpfs", "/data:size=8m"}, "FAILED agent: data_dir /data: its filesystem is full: 8 MiB are free"},
		{[]string{"--tmpfs", "/data:size=200m"}, "note   agent: data_dir /data: its filesystem is nearly full: 200 MiB are free"},
		{[]string{"--read-only"}, "FAILED agent: data_dir /data: / lies on a filesystem that can't be written to"},
	} {
		agent := harness.StartAgentContainer(t, append([]string{"--network", "none", "-v", configMount(t, config)}, c.options...), "check", "/agent.hcl")
		agent.Wait(time.Minute)
		if said := agent.Logs(); !strings.Contains(said, c.said) {
			t.Errorf("%v: no %q in\n%s", c.options, c.said, said)
		}
	}
}
