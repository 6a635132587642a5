package target

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/pipeline/component"
)

// ids as Docker has them.
var (
	ownID = strings.Repeat("a1", 32)
	shop  = dockertest.Network{Name: "shop_default", ID: strings.Repeat("5b", 32), IPv4: "127.0.0.2"}
	home  = dockertest.Network{Name: "bridge", ID: strings.Repeat("b7", 32), IPv4: "127.0.0.1"}
)

// joinable is a world in which the agent runs in a container and may join networks.
func joinable(t *testing.T) (*dockertest.Engine, *component.Env) {
	t.Helper()
	e, env := world(t)
	env.Docker.JoinNetworks = true
	e.Create(dockertest.Container{ID: ownID, Name: "hermod", Networks: []dockertest.Network{home}})
	e.Start(ownID)
	return e, env
}

func on(t *testing.T, e *dockertest.Engine, want ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !slices.Equal(e.NetworksOf(ownID), want) {
		if time.Now().After(deadline) {
			t.Fatalf("the agent is on %v and not on %v", e.NetworksOf(ownID), want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func TestAnAgentThatMayJoinsTheNetworkAndLeavesItWithTheLastServer(t *testing.T) {
	e, env := joinable(t)
	address := listen(t, "tcp", "127.0.0.2:0")
	_, port, _ := net.SplitHostPort(address)
	for _, id := range []string{"1", "2"} {
		e.Create(dockertest.Container{ID: id, Name: "db" + id, Networks: []dockertest.Network{shop}})
		e.Start(id)
	}
	one, two := within(mustOpen(t, env, "container://db1:"+port, 0), ownID), within(mustOpen(t, env, "container://db2:"+port, 0), ownID)
	if got := connects(t, one); got != address {
		t.Error(got)
	}
	on(t, e, "bridge", "shop_default")
	connects(t, two)
	connects(t, one) // joined already

	e.Kill("1", "15")
	e.Die("1")
	connects(t, two)
	on(t, e, "bridge", "shop_default")
	e.Kill("2", "1") // a SIGHUP ends nothing
	connects(t, two)
	on(t, e, "bridge", "shop_default")
	e.Kill("2", "15") // docker stop: left before it has ended
	on(t, e, "bridge")
	fails(t, two, "is being stopped", "docker start db2")
	on(t, e, "bridge")
	e.Die("2")
	fails(t, two, "doesn't run", "")
	e.Start("2")
	connects(t, two)
	on(t, e, "bridge", "shop_default")
}

// A server may be told to stop, and be gone, after it was looked up and before its network is joined: then nobody tells us to leave any more.
func TestTheNetworkOfAServerThatEndsMeanwhileIsNotKept(t *testing.T) {
	gone := func(e *dockertest.Engine, id string) {
		e.Kill(id, "15")
		e.Die(id)
		e.Destroy(id)
	}
	for name, end := range map[string]func(t *testing.T, e *dockertest.Engine, late *Target, now func() error) error{
		"before": func(t *testing.T, e *dockertest.Engine, late *Target, now func() error) error {
			gone(e, "1")
			on(t, e, "bridge") // which was told
			return now()
		},
		"while it is joined": func(t *testing.T, e *dockertest.Engine, late *Target, now func() error) error {
			gone(e, "2")
			on(t, e, "bridge")
			sub := late.docker.Subscribe()
			defer sub.Close()
			e.WhileJoining(func() {
				gone(e, "1")
				for told := false; !told; {
					<-sub.C()
					for _, c := range sub.Take() {
						told = told || c.ID == "1" && c.Gone
					}
				}
				time.Sleep(50 * time.Millisecond) // most likely whoever joins has heard of it too
			})
			return now()
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, env := joinable(t)
			_, port, _ := net.SplitHostPort(listen(t, "tcp", "127.0.0.2:0"))
			for _, id := range []string{"1", "2", "3"} {
				e.Create(dockertest.Container{ID: id, Name: "db" + id, Networks: []dockertest.Network{shop}})
			}
			e.Start("1")
			e.Start("2")
			other, late := within(mustOpen(t, env, "container://db2:"+port, 0), ownID), within(mustOpen(t, env, "container://db1:"+port, 0), ownID)
			if name == "before" {
				other = within(mustOpen(t, env, "container://db1:"+port, 0), ownID)
			}
			c, err := late.container(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			self, err := late.self(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			connects(t, other)
			on(t, e, "bridge", "shop_default")
			err = end(t, e, late, func() error {
				_, err := late.joinNetwork(t.Context(), &c, &c, self)
				return err
			})
			if err != nil && !strings.Contains(err.Error(), "is being stopped") || err == nil && name == "before" {
				t.Errorf("%v", err)
			}
			on(t, e, "bridge")
			time.Sleep(20 * time.Millisecond) // nothing comes after it
			on(t, e, "bridge")
		})
	}
}

func TestANetworkIsLeftWithItsTarget(t *testing.T) {
	e, env := joinable(t)
	_, port, _ := net.SplitHostPort(listen(t, "tcp", "127.0.0.2:0"))
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{shop}})
	e.Start("1")
	target, again := within(mustOpen(t, env, "container://db:"+port, 0), ownID), within(mustOpen(t, env, "container://db:"+port, 0), ownID)
	connects(t, target)
	connects(t, again)
	if err := target.Close(); err != nil {
		t.Fatal(err)
	}
	on(t, e, "bridge", "shop_default") // the other one needs it
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	on(t, e, "bridge")
}

func TestANetworkThatAProcessBeforeJoinedIsLeftToo(t *testing.T) {
	e, env := joinable(t)
	_, port, _ := net.SplitHostPort(listen(t, "tcp", "127.0.0.2:0"))
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{shop}})
	e.Start("1")
	e.Destroy(ownID)
	marked := shop
	marked.IPv4, marked.Aliases = "127.0.0.9", []string{"hermod-joined"}
	e.Create(dockertest.Container{ID: ownID, Name: "hermod", Networks: []dockertest.Network{home, marked}})
	e.Start(ownID)
	connects(t, within(mustOpen(t, env, "container://db:"+port, 0), ownID))
	on(t, e, "bridge", "shop_default")
	e.Destroy("1")
	on(t, e, "bridge")
}

func TestANetworkThatTheUserJoinedStays(t *testing.T) {
	e, env := joinable(t)
	_, port, _ := net.SplitHostPort(listen(t, "tcp", "127.0.0.2:0"))
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{home, shop}})
	e.Start("1")
	e.Destroy(ownID)
	e.Create(dockertest.Container{ID: ownID, Name: "hermod", Networks: []dockertest.Network{shop}})
	e.Start(ownID)
	target := within(mustOpen(t, env, "container://db:"+port, 0), ownID)
	connects(t, target)
	e.Kill("1", "15")
	e.Die("1")
	e.Destroy("1")
	_ = target.Close()
	on(t, e, "shop_default")
	for _, r := range e.Requests() {
		if strings.HasPrefix(r, "POST") {
			t.Errorf("%s was sent", r)
		}
	}
}

func TestWithoutPermissionNothingIsJoined(t *testing.T) {
	e, env := joinable(t)
	env.Docker.JoinNetworks = false
	e.Create(dockertest.Container{ID: "1", Name: "db", Networks: []dockertest.Network{shop}})
	e.Start("1")
	fails(t, within(mustOpen(t, env, "container://db:1", 0), ownID), "they share no network", "join_networks = true")
	on(t, e, "bridge")
}
