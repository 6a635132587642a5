//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/integration/harness"
)

const dockerSocketMount = harness.DockerSocket + ":" + harness.DockerSocket

// configMount writes a config for an agent in a container and gives the option that mounts it.
func configMount(t *testing.T, config string) string {
	t.Helper()
	path := filepath.Join(harness.Dir(t), "agent.hcl")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return path + ":/agent.hcl:ro"
}

func pageInContainer(name string) string {
	return fmt.Sprintf(`
agent {
  listen   = "0.0.0.0:12345"
  interval = "1s"
}
input "nginx" "web" {
  url = "container://%s:8080/stub_status"
}
output "prometheus" {
  from   = input
  listen = "0.0.0.0:9100"
}
`, name)
}

func TestAnAgentInAContainerReachesAServerOverTheNetworkThatBothShare(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	shared, other := harness.Network(t), harness.Network(t)
	nginx := harness.Nginx(t, harness.ContainerName("nginx"), "--network", other)
	harness.Connect(t, shared, nginx)
	agent := harness.StartAgentContainer(t, []string{
		"--network", shared, "-v", dockerSocketMount + ":ro", "-v", configMount(t, pageInContainer(nginx.Name)),
	}, "run", "/agent.hcl")
	awaitUp(t, "http://"+agent.IP(shared)+":9100/metrics", "1", 7)
}

func TestAnAgentOnTheHostsNetworkReachesEveryServer(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	project := harness.ContainerName("project")
	harness.Nginx(t, harness.ContainerName("nginx"), "--network", harness.Network(t), "--label", "com.docker.compose.project="+project,
		"--label", "com.docker.compose.service=web", "--label", "com.docker.compose.container-number=1")
	page := harness.FreeAddress(t)
	config := strings.NewReplacer("0.0.0.0:12345", harness.FreeAddress(t), "0.0.0.0:9100", page, "container://web", "compose://"+project+"/web").Replace(pageInContainer("web"))
	harness.StartAgentContainer(t, []string{"--network", "host", "-v", dockerSocketMount + ":ro", "-v", configMount(t, config)}, "run", "/agent.hcl")
	awaitUp(t, "http://"+page+"/metrics", "1", 7)
}

func TestAnAgentThatSharesNoNetworkSaysWhatToRunAndThatHelps(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	network, own := harness.Network(t), harness.Network(t)
	nginx := harness.Nginx(t, harness.ContainerName("nginx"), "--network", network)
	agent := harness.StartAgentContainer(t, []string{
		"--network", own, "-v", dockerSocketMount + ":ro", "-v", configMount(t, pageInContainer(nginx.Name)),
	}, "run", "/agent.hcl")
	url := "http://" + agent.IP(own) + ":9100/metrics"
	awaitUp(t, url, "0", 0)
	what := fmt.Sprintf("the container %[1]s of container://%[1]s:8080 is on the network %[2]s and the agent (container %[3]s) is on the network %[4]s: they share no network", nginx.Name, network, agent.Name, own)
	remedy := fmt.Sprintf("docker network connect %s %s", network, agent.Name)
	harness.Eventually(t, 30*time.Second, "the log says what to run", func() (bool, string) {
		log := agent.Logs()
		return strings.Contains(log, what) && strings.Contains(log, remedy) && strings.Contains(log, "network_mode: host"), log
	})
	harness.Connect(t, network, agent)
	awaitUp(t, url, "1", 7)
	harness.Disconnect(t, network, agent) // before the network goes
}

// joining is an agent in a container that may join networks. server is a container's name, or compose://PROJECT/SERVICE.
func joining(t *testing.T, server string) (agent *harness.Container, url, own string) {
	t.Helper()
	own = harness.Network(t)
	config := pageInContainer(server)
	if strings.Contains(server, "://") {
		config = strings.Replace(config, "container://compose://", "compose://", 1)
	}
	config = strings.Replace(config, "agent {", "agent {\n  docker {\n    join_networks = true\n  }", 1)
	agent = harness.StartAgentContainer(t, []string{"--network", own, "-v", dockerSocketMount, "-v", configMount(t, config)}, "run", "/agent.hcl")
	return agent, "http://" + agent.IP(own) + ":9100/metrics", own
}

func awaitNetworks(t *testing.T, agent *harness.Container, want ...string) {
	t.Helper()
	harness.Eventually(t, 60*time.Second, fmt.Sprintf("the agent is on %v", want), func() (bool, string) {
		got := agent.Networks()
		return len(got) == len(want) && fmt.Sprint(got) == fmt.Sprint(want), fmt.Sprint(got)
	})
}

// A network can be removed right after its containers, also where these take a while to stop: the agent leaves it when they are told to.
// On a machine whose Docker is busy with other tests that may take longer than they do, so the removal is tried again; how often it was gone at
// once is logged.
func TestJoinedNetworksDontKeepAProjectFromBeingTakenDown(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	const times = 5
	network, name := harness.Network(t), harness.ContainerName("nginx")
	agent, url, own := joining(t, name)
	atOnce := 0
	for i := range times {
		nginx := harness.SlowNginx(t, name, "--network", network)
		awaitUp(t, url, "1", 7)
		both := []string{own, network}
		if network < own {
			both = []string{network, own}
		}
		awaitNetworks(t, agent, both...)
		nginx.Stop()
		nginx.Remove()
		tries := 0
		harness.Eventually(t, 60*time.Second, fmt.Sprintf("the network goes, the %d. time", i+1), func() (bool, string) {
			tries++
			err := harness.RemoveNetwork(network)
			return err == nil, fmt.Sprint(err)
		})
		if tries == 1 {
			atOnce++
		}
		awaitNetworks(t, agent, own)
		awaitUp(t, url, "0", 0)
		harness.MakeNetwork(t, network)
	}
	t.Logf("%d of %d networks could be removed at once", atOnce, times)
	log := agent.Logs()
	if joined, left := strings.Count(log, "joined a network"), strings.Count(log, "left a network"); joined != times || left != times {
		t.Errorf("the log tells of %d networks joined and %d left:\n%s", joined, left, log)
	}
}

// The same by docker compose itself, whose server stops as soon as it is told to: down leaves nothing of the project.
func TestDockerComposeDownTakesAProjectWhoseNetworkWasJoined(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	const times = 20
	project := harness.ComposeUp(t, "compose/web.yml", "NGINX_IMAGE="+harness.NginxImage(t))
	agent, url, own := joining(t, "compose://"+project.Project()+"/web")
	network := project.Project() + "_default"
	both := []string{own, network}
	slices.Sort(both)
	atOnce := 0
	for i := range times {
		if i > 0 {
			project.Up()
		}
		awaitUp(t, url, "1", 7)
		awaitNetworks(t, agent, both...)
		tries := 0
		harness.Eventually(t, 60*time.Second, fmt.Sprintf("docker compose down works, the %d. time", i+1), func() (bool, string) {
			tries++
			said, err := project.Down()
			return err == nil && harness.NoNetwork(network), fmt.Sprint(said, err)
		})
		if tries == 1 {
			atOnce++
		}
		awaitNetworks(t, agent, own)
	}
	t.Logf("%d of %d times the first docker compose down did it", atOnce, times)
	log := agent.Logs()
	if joined, left := strings.Count(log, "joined a network"), strings.Count(log, "left a network"); joined != times || left != times {
		t.Errorf("the log tells of %d networks joined and %d left:\n%s", joined, left, log)
	}
}

func TestContainersBringTheirConfigByLabels(t *testing.T) {
	t.Parallel()
	harness.RequireDocker(t)
	one, two := harness.Network(t), harness.Network(t)
	plain := harness.Nginx(t, harness.ContainerName("nginx"), "--network", one, "--label", "hermod.nginx.port=8080")
	guarded := harness.Nginx(t, harness.ContainerName("nginx"), "--network", two, "--label", "hermod.nginx.port=8080",
		"--label", "hermod.nginx.path=/secret", "--label", "hermod.nginx.user=hermod", "--label", "hermod.nginx.secret=status")
	url, output := page(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Agent: `  interval = "1s"`, Config: `
input "nginx" "labelled" {
  discover = true
  secrets  = { status = "l3t-me-in" }
}
` + output})
	agent.Start()
	agent.AwaitReady()
	// Other tests' containers have no such labels; those of another run on this machine may.
	ups := func(want map[string]string) {
		t.Helper()
		harness.Eventually(t, 60*time.Second, fmt.Sprint("the targets are ", want), func() (bool, string) {
			body, err := harness.Fetch(url)
			if err != nil {
				return false, err.Error()
			}
			for name, value := range want {
				line := fmt.Sprintf("nginx_up{instance=%q} %s\n", name+":8080", value)
				if value == "" && strings.Contains(body, name) || value != "" && !strings.Contains(body, line) {
					return false, body
				}
				if series := fmt.Sprintf("nginx_http_requests_total{instance=%q} ", name+":8080"); strings.Contains(body, series) != (value == "1") {
					return false, body
				}
			}
			return true, ""
		})
	}
	ups(map[string]string{plain.Name: "1", guarded.Name: "1"})
	greedy := harness.Nginx(t, harness.ContainerName("nginx"), "--network", one, "--label", "hermod.nginx.port=8080", "--label", "hermod.nginx.secret=other")
	ups(map[string]string{plain.Name: "1", guarded.Name: "1", greedy.Name: "0"})
	status, err := agent.Status()
	if err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprint(status.Nodes)
	if !strings.Contains(said, `names the secret "other", which the agent doesn't offer`) {
		t.Errorf("the status page doesn't say why: %s", said)
	}
	checkUntil(t, agent, 1, []string{"l3t-me-in"},
		expect("input.nginx.labelled", "ok", plain.Name+":8080", "stub_status, 8 series"),
		expect("input.nginx.labelled", "ok", guarded.Name+":8080", "stub_status, 8 series"),
		expect("input.nginx.labelled", "failed", greedy.Name+":8080", "names the secret"),
	)
	plain.Remove()
	guarded.Stop()
	ups(map[string]string{plain.Name: "", guarded.Name: "0", greedy.Name: "0"})
	if strings.Contains(agent.Log(), "l3t-me-in") {
		t.Error("the secret is in the log")
	}
}
