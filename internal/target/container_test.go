package target

import (
	"net"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/internal/porttest"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// world is an engine with an environment in which targets use it.
func world(t *testing.T) (*dockertest.Engine, *component.Env) {
	t.Helper()
	e := dockertest.New(t)
	return e, &component.Env{Pool: component.NewPool(), Docker: component.Docker{Endpoint: "unix://" + e.Socket()}}
}

// within makes the target believe that this process runs in the container with this id.
func within(target *Target, id string) *Target {
	target.own, target.contained = docker.OwnID(id), id != ""
	return target
}

func network(name, ip string) dockertest.Network {
	return dockertest.Network{Name: name, ID: "id-of-" + name, IPv4: ip, Gateway: "127.0.0.1"}
}

// connects says at which address the target is reached.
func connects(t *testing.T, target *Target) string {
	t.Helper()
	c, err := target.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.RemoteAddr().String()
}

func fails(t *testing.T, target *Target, what, remedy string) {
	t.Helper()
	c, err := target.DialContext(t.Context())
	if err == nil {
		_ = c.Close()
		t.Errorf("%s was reached", target)
		return
	}
	gotRemedy, gotWhat := component.Remedy(err)
	if !strings.Contains(gotWhat, what) || !strings.Contains(gotRemedy, remedy) {
		t.Errorf("%q, remedy %q", gotWhat, gotRemedy)
	}
}

func TestAContainerIsReachedFromTheHostAtAnyOfItsAddresses(t *testing.T) {
	e, env := world(t)
	_, port, _ := net.SplitHostPort(listen(t, "tcp", "127.0.0.3:0"))
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{network("a", "127.0.0.2"), network("b", "127.0.0.3")}})
	target := mustOpen(t, env, "container://db:"+port, 0)
	fails(t, target, "the container db of container://db:"+port+" doesn't run (created)", "docker start db")
	e.Start("1")
	// The first address refuses, the second one takes the connection.
	if got := connects(t, target); got != "127.0.0.3:"+port {
		t.Error(got)
	}
	if target.String() != "container://db:"+port {
		t.Error(target)
	}
}

func TestAContainerThatWasMadeAnewIsFoundAtItsNewAddress(t *testing.T) {
	e, env := world(t)
	first := listen(t, "tcp", "127.0.0.2:0")
	_, port, _ := net.SplitHostPort(first)
	second := listen(t, "tcp", "127.0.0.3:"+port)
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{network("a", "127.0.0.2")}})
	e.Start("1")
	target := mustOpen(t, env, "container://db:"+port, 0)
	if got := connects(t, target); got != first {
		t.Error(got)
	}
	e.Die("1")
	e.Destroy("1")
	fails(t, target, "there is no container db", "docker ps -a")
	e.Create(dockertest.Container{ID: "2", Name: "db", Networks: []dockertest.Network{network("a", "127.0.0.3")}})
	e.Start("2")
	if got := connects(t, target); got != second {
		t.Error(got)
	}
}

func TestAComposeServiceIsFoundByItsLabels(t *testing.T) {
	e, env := world(t)
	address := listen(t, "tcp", "127.0.0.2:0")
	_, port, _ := net.SplitHostPort(address)
	target := mustOpen(t, env, "compose://shop/db:"+port, 0)
	fails(t, target, "there is no container of service db in project shop", "docker compose -p shop up -d db")
	labels := func(project, service, number string) map[string]string {
		return map[string]string{"com.docker.compose.project": project, "com.docker.compose.service": service, "com.docker.compose.container-number": number}
	}
	for _, c := range []dockertest.Container{
		{ID: "1", Name: "shop_db_3", Labels: labels("shop", "db", "3"), Networks: []dockertest.Network{network("a", "127.0.0.9")}},
		{ID: "2", Name: "shop_db_2", Labels: labels("shop", "db", "2"), Networks: []dockertest.Network{network("a", "127.0.0.2")}},
		{ID: "3", Name: "blog_db_1", Labels: labels("blog", "db", "1"), Networks: []dockertest.Network{network("b", "127.0.0.8")}},
		{ID: "4", Name: "shop_web_1", Labels: labels("shop", "web", "1"), Networks: []dockertest.Network{network("a", "127.0.0.7")}},
	} {
		e.Create(c)
		e.Start(c.ID)
	}
	e.Create(dockertest.Container{ID: "5", Name: "shop_db_1", Labels: labels("shop", "db", "1")}) // doesn't run
	if got := connects(t, target); got != address {
		t.Error(got)
	}
}

func TestAnAgentInAContainerUsesTheNetworkThatBothShare(t *testing.T) {
	e, env := world(t)
	address := listen(t, "tcp", "127.0.0.3:0")
	_, port, _ := net.SplitHostPort(address)
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{network("a", "127.0.0.2"), network("b", "127.0.0.3"), network("c", "127.0.0.4")}})
	e.Create(dockertest.Container{ID: "me", Name: "hermod", Networks: []dockertest.Network{network("b", "127.0.0.1"), network("bridge", "127.0.0.1")}})
	e.Start("1")
	e.Start("me")
	if got := connects(t, within(mustOpen(t, env, "container://db:"+port, 0), "me")); got != address {
		t.Error(got)
	}
}

func TestAnAgentOnOtherNetworksSaysWhatToRun(t *testing.T) {
	e, env := world(t)
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{network("shop_default", "127.0.0.2"), network("shop_inner", "127.0.0.3")}})
	e.Create(dockertest.Container{ID: "me", Name: "hermod", Networks: []dockertest.Network{network("bridge", "127.0.0.1")}})
	e.Start("1")
	e.Start("me")
	target := within(mustOpen(t, env, "container://db:3306", 0), "me")
	fails(t, target, "the container db of container://db:3306 is on the networks shop_default, shop_inner and the agent (container hermod) is on the network bridge: they share no network",
		"docker network connect shop_default hermod")
	fails(t, target, "", "network_mode: host")
	fails(t, target, "", "join_networks = true")
}

func TestTheHostsNetwork(t *testing.T) {
	e, env := world(t)
	address := listen(t, "tcp", "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(address)
	e.Create(dockertest.Container{ID: "1", Name: "db", NetworkMode: "host", Networks: []dockertest.Network{{Name: "host", ID: "id-of-host"}}})
	e.Create(dockertest.Container{ID: "onhost", Name: "hermod", NetworkMode: "host", Networks: []dockertest.Network{{Name: "host", ID: "id-of-host"}}})
	e.Create(dockertest.Container{ID: "bridged", Name: "hermod2", Networks: []dockertest.Network{network("bridge", "127.0.0.5")}})
	e.Create(dockertest.Container{ID: "none", Name: "hermod3", NetworkMode: "none", Networks: []dockertest.Network{{Name: "none", ID: "id-of-none"}}})
	e.Create(dockertest.Container{ID: "2", Name: "other", Networks: []dockertest.Network{network("a", "127.0.0.1")}})
	for _, id := range []string{"1", "2", "onhost", "bridged", "none"} {
		e.Start(id)
	}
	for _, tt := range []struct{ own, container string }{
		{"", "db"}, {"onhost", "db"}, {"onhost", "other"},
		{"bridged", "db"}, // through the gateway, which is the host
	} {
		if got := connects(t, within(mustOpen(t, env, "container://"+tt.container+":"+port, 0), tt.own)); got != address {
			t.Errorf("%s from %q: %s", tt.container, tt.own, got)
		}
	}
	fails(t, within(mustOpen(t, env, "container://db:"+port, 0), "none"), "on the host's network", "network_mode: host")
}

func TestAContainerWithinTheNetworkOfAnother(t *testing.T) {
	e, env := world(t)
	address := listen(t, "tcp", "127.0.0.2:0")
	_, port, _ := net.SplitHostPort(address)
	e.Create(dockertest.Container{ID: "1", Name: "vpn", Networks: []dockertest.Network{network("a", "127.0.0.2")}})
	e.Create(dockertest.Container{ID: "2", Name: "db", NetworkMode: "container:1"})
	e.Create(dockertest.Container{ID: "3", Name: "lonely", NetworkMode: "none", Networks: []dockertest.Network{{Name: "none", ID: "n"}}})
	for _, id := range []string{"1", "2", "3"} {
		e.Start(id)
	}
	if got := connects(t, mustOpen(t, env, "container://db:"+port, 0)); got != address {
		t.Error(got)
	}
	fails(t, mustOpen(t, env, "container://lonely:1", 0), "is on no network with addresses", "docker network connect NETWORK lonely")
}

func TestWithoutDockerTheSocketIsExplained(t *testing.T) {
	e, env := world(t)
	e.Down()
	fails(t, mustOpen(t, env, "container://db:1", 0), "container://db:1 can't be looked up", "/var/run/docker.sock")
}

func TestAnEngineThatWasRestartedIsAskedAgain(t *testing.T) {
	e, env := world(t)
	address := listen(t, "tcp", "127.0.0.2:0")
	_, port, _ := net.SplitHostPort(address)
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{network("a", "127.0.0.2")}})
	e.Start("1")
	target := mustOpen(t, env, "container://db:"+port, 0)
	connects(t, target)
	e.Down()
	fails(t, target, "can't be looked up", "")
	e.Up()
	if got := connects(t, target); got != address {
		t.Error(got)
	}
}

func TestAServerThatListensForItselfAloneIsNamedAsThat(t *testing.T) {
	e, env := world(t)
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{network("a", "127.0.0.4")}})
	e.Start("1")
	_, port, _ := net.SplitHostPort(porttest.Reserve(t))
	fails(t, mustOpen(t, env, "container://db:"+port, 0), "nothing listens for container://db:"+port+" at 127.0.0.4:"+port+" (connection refused)", "not on 127.0.0.1 alone")
}
