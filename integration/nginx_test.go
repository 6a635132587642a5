//go:build integration

package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

// page is the agent's scrape page in a test: its address and the output that serves it.
func page(t *testing.T) (url, output string) {
	address := harness.FreeAddress(t)
	return "http://" + address + "/metrics", fmt.Sprintf("output \"prometheus\" {\n  from   = input\n  listen = %q\n}\n", address)
}

// What the exporter shows and the agent doesn't: both describe the exporter's own process and build.
var exportersOwn = []string{"go_", "process_", "promhttp_", "nginx_exporter_build_info"}

func TestNginxIsToldAsItsExporterTellsIt(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	network := harness.Network(t)
	nginx := harness.Nginx(t, harness.ContainerName("nginx"), "--network", network)
	exporter := harness.NginxExporter(t, fmt.Sprintf("http://%s:8080/stub_status", nginx.IP(network)))
	url, output := page(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Config: fmt.Sprintf("input \"nginx\" \"web\" {\n  url = \"container://%s:8080/stub_status\"\n}\n", nginx.Name) + output})
	agent.Start()
	agent.AwaitReady()

	awaitUp(t, url, "1", 7)
	// The agent first: what counts only rises until the exporter asks.
	got, want := harness.ReadPage(t, url), harness.ReadPage(t, exporter)
	for series := range got.Values {
		if strings.Contains(series, `__name__="hermod_`) {
			delete(got.Values, series)
		}
	}
	for series := range want.Values {
		if slices.ContainsFunc(exportersOwn, func(prefix string) bool { return strings.Contains(series, `__name__="`+prefix) }) {
			delete(want.Values, series)
		}
	}
	if a, b := slices.Sorted(maps.Keys(got.Values)), slices.Sorted(maps.Keys(want.Values)); !slices.Equal(a, b) || len(b) != 8 {
		t.Errorf("series of the agent:\n%s\nof the exporter:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	for family := range got.Type {
		if strings.HasPrefix(family, "hermod_") {
			continue
		}
		if got.Type[family] != want.Type[family] || got.Help[family] != want.Help[family] {
			t.Errorf("%s is a %s %q, for the exporter a %s %q", family, got.Type[family], got.Help[family], want.Type[family], want.Help[family])
		}
	}
	for series, v := range want.Values {
		switch {
		case strings.Contains(series, "nginx_up"), strings.Contains(series, "reading"), strings.Contains(series, "writing"):
			if got.Values[series] != v {
				t.Errorf("%s is %v, for the exporter %v", series, got.Values[series], v)
			}
		case strings.Contains(series, "requests_total"), strings.Contains(series, "accepted"), strings.Contains(series, "handled"):
			if got.Values[series] > v || got.Values[series] == 0 {
				t.Errorf("%s is %v, for the exporter %v afterwards", series, got.Values[series], v)
			}
		}
	}
}

// up says what the agent's page shows as nginx_up, and how many other series of nginx there are.
func up(url string) (value string, others int, err error) {
	body, err := harness.Fetch(url)
	for line := range strings.Lines(body) {
		switch name, v, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case name == "nginx_up":
			value = v
		case strings.HasPrefix(name, "nginx_"):
			others++
		}
	}
	return value, others, err
}

func awaitUp(t *testing.T, url, want string, others int) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, "nginx_up is "+want, func() (bool, string) {
		value, n, err := up(url)
		return value == want && n == others, fmt.Sprintf("nginx_up %s and %d others, %v", value, n, err)
	})
}

func TestNginxThatStopsOrHangsIsDataAndIsFoundAgainWhenItIsMadeAnew(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	network := harness.Network(t)
	name := harness.ContainerName("nginx")
	nginx := harness.Nginx(t, name, "--network", network)
	url, output := page(t)
	agent := harness.NewAgent(t, harness.AgentOptions{
		Agent:  `  interval = "1s"`,
		Config: fmt.Sprintf("input \"nginx\" \"web\" {\n  url = \"container://%s:8080/stub_status\"\n}\ninput \"host\" {\n  collect = [\"loadavg\"]\n}\n", name) + output,
	})
	agent.Start()
	agent.AwaitReady()
	awaitUp(t, url, "1", 7)
	fault := func(what, remedy string) {
		t.Helper()
		harness.Eventually(t, 30*time.Second, "the page says why", func() (bool, string) {
			status, err := agent.Status()
			if err != nil {
				return false, err.Error()
			}
			for _, n := range status.Nodes {
				if n.Address == "input.nginx.web" {
					return strings.Contains(n.Why, what) && strings.Contains(n.Remedy, remedy), n.Why + "; " + n.Remedy
				}
			}
			return false, "there is no input.nginx.web"
		})
	}

	nginx.Pause() // it hangs: the other input goes on, and the page answers
	awaitUp(t, url, "0", 0)
	fault("in time", "")
	if body, err := harness.Fetch(url); err != nil || !strings.Contains(body, "\nnode_load1 ") {
		t.Errorf("beside a server that hangs: %v\n%s", err, body)
	}
	nginx.Unpause()
	awaitUp(t, url, "1", 7)

	nginx.Stop()
	awaitUp(t, url, "0", 0)
	fault("the container "+name, "docker start "+name)
	before := nginx.ID
	nginx.Remove()
	fault("there is no container "+name, "docker ps -a")
	// Another container takes the old address, so that the new one has another.
	harness.Nginx(t, harness.ContainerName("nginx"), "--network", network)
	if anew := harness.Nginx(t, name, "--network", network); anew.ID == before {
		t.Fatal("the same container")
	}
	awaitUp(t, url, "1", 7)
	if log := agent.Log(); !strings.Contains(log, "recovered") {
		t.Errorf("the log doesn't say that it is well again:\n%s", log)
	}
}

// A real nginx that shows its page on a socket, and over TLS to those who have a certificate and a password.
func TestNginxByItsSocketAndOverTLS(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	network, certs, dir := harness.Network(t), certificates(t), harness.Dir(t)
	socket := dir + "/status.sock"
	writeFile(t, dir+"/nginx.conf", fmt.Sprintf(`
pid /run/nginx.pid;
events {}
http {
	access_log off;
	server {
		listen unix:%[1]s;
		location = /stub_status { stub_status; }
	}
	server {
		listen 8443 ssl;
		server_name redis.test;
		ssl_certificate %[2]s/server.pem;
		ssl_certificate_key %[2]s/server.key;
		ssl_client_certificate %[2]s/ca.pem;
		ssl_verify_client on;
		location = /stub_status { stub_status; auth_basic status; auth_basic_user_file /etc/nginx/users; }
	}
}
`, socket, certs))
	nginx := harness.Nginx(t, harness.ContainerName("nginx"), "--network", network, "-v", dir+":"+dir, "-v", certs+":"+certs+":ro", "-v", dir+"/nginx.conf:/etc/nginx/nginx.conf:ro")
	block := func(name, address, more string) string {
		return fmt.Sprintf("input \"nginx\" %q {\n  url = %q\n  %s\n}\n", name, address, more)
	}
	verified := fmt.Sprintf("tls {\n    ca_file = \"%[1]s/ca.pem\"\n    cert_file = \"%[1]s/client.pem\"\n    key_file = \"%[1]s/client.key\"\n    server_name = \"redis.test\"\n  }\n", certs)
	user := "  basic_auth {\n    username = \"hermod\"\n    password = \"l3t-me-in\"\n  }"
	address := "https://" + nginx.IP(network) + ":8443/stub_status"
	_, output := page(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Config: block("socket", "http://localhost/stub_status", fmt.Sprintf("address = \"unix:%s\"", socket)) +
		block("tls", address, verified+user) + block("nobody", address, verified) + block("plain", strings.Replace(address, "https", "http", 1), "") +
		block("stranger", address, fmt.Sprintf("tls {\n    ca_file = \"%s/ca.pem\"\n    server_name = \"redis.test\"\n  }\n%s", certs, user)) + output})
	checkUntil(t, agent, 1, []string{"l3t-me-in"},
		expect("input.nginx.socket", "ok", "stub_status, 8 series"),
		expect("input.nginx.tls", "ok", "stub_status, 8 series"),
		expect("input.nginx.nobody", "failed", "answered 401", "the server wants credentials: add basic_auth"),
		expect("input.nginx.stranger", "failed", "answered 400", "No required SSL certificate was sent", "cert_file and key_file"),
		expect("input.nginx.plain", "failed", "answered 400", "The plain HTTP request was sent to HTTPS port", "https:// in place of http://"),
	)
}
