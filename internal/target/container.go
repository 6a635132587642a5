package target

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// loopbackIP is where a server on the host's network is for a process that is there too.
const loopbackIP = "127.0.0.1"

// find asks Docker for the addresses at which the container can be reached from here, the most likely one first.
func (t *Target) find(ctx context.Context) ([]string, error) {
	c, err := t.container(ctx)
	if err != nil {
		return nil, err
	}
	if !c.Running {
		remedy := fmt.Sprintf("start it (docker start %s); docker logs %s says why it ended", c.Name, c.Name)
		return nil, component.WithRemedy(fmt.Errorf("the container %s of %s doesn't run (%s)", c.Name, t, c.State), remedy)
	}
	self, err := t.self(ctx)
	if err != nil {
		return nil, err
	}
	home, err := t.networksOf(ctx, &c)
	if err != nil {
		return nil, err
	}
	found, err := t.reach(ctx, &c, home, self)
	if errors.Is(err, errApart) && t.join && self.id != "" {
		return t.joinNetwork(ctx, &c, home, self)
	}
	return found, err
}

// errApart says that the agent and a container share no network.
var errApart = errors.New("they share no network")

// joinNetwork takes the agent to the container's network.
func (t *Target) joinNetwork(ctx context.Context, c, home *docker.Container, self place) ([]string, error) {
	for i := range home.Networks {
		n := &home.Networks[i]
		if len(n.Addresses()) == 0 {
			continue
		}
		j, err := t.joiner(self.id)
		if err == nil {
			err = j.Join(ctx, t, *n, c)
		}
		if err != nil {
			return nil, err
		}
		return n.Addresses(), nil
	}
	return nil, t.apart(c, home, self)
}

// joiner is the process' own, taken when it is needed first.
func (t *Target) joiner(own string) (*docker.Joiner, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, fmt.Errorf("%s: %w", t, component.ErrStopped)
	case t.joins == nil:
		j, release, err := docker.AcquireJoiner(t.pool, t.docker, own)
		if err != nil {
			return nil, err
		}
		t.joins, t.releaseJoins = j, release
	}
	return t.joins, nil
}

// container looks up which container the address means.
func (t *Target) container(ctx context.Context) (docker.Container, error) {
	if t.address.Kind == config.AddressContainer {
		c, err := t.docker.Inspect(ctx, t.address.Host)
		if notFound(err) {
			return c, component.WithRemedy(fmt.Errorf("there is no container %s", t.address.Host), "check the name: docker ps -a lists them all")
		}
		return c, t.asked(err)
	}
	ids, err := t.docker.Labelled(ctx, "com.docker.compose.project="+t.address.Project, "com.docker.compose.service="+t.address.Host)
	if err != nil {
		return docker.Container{}, t.asked(err)
	}
	// The one with the lowest number of those that run: it stays the same while the service is made larger.
	var best docker.Container
	for _, id := range ids {
		c, err := t.docker.Inspect(ctx, id)
		switch {
		case notFound(err):
		case err != nil:
			return c, t.asked(err)
		case c.Labels["com.docker.compose.oneoff"] == "True": // docker compose run
		case best.ID == "", c.Running && !best.Running, c.Running == best.Running && number(&c) < number(&best):
			best = c
		}
	}
	if best.ID == "" {
		return best, component.WithRemedy(fmt.Errorf("there is no container of service %s in project %s", t.address.Host, t.address.Project),
			fmt.Sprintf("start it (docker compose -p %s up -d %s), or check both names: docker ps shows projects with --format '{{.Label \"com.docker.compose.project\"}} {{.Label \"com.docker.compose.service\"}}'", t.address.Project, t.address.Host))
	}
	return best, nil
}

// asked adds to what Docker said what was asked.
func (t *Target) asked(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s can't be looked up: %w", t, err)
}

func notFound(err error) bool {
	var answer *docker.Error
	return errors.As(err, &answer) && answer.NotFound()
}

// number is the container's number within its Compose service.
func number(c *docker.Container) int {
	n, err := strconv.Atoi(c.Labels["com.docker.compose.container-number"])
	if err != nil {
		return 1 << 30
	}
	return n
}

// place is where this process is, as Docker sees it.
type place struct {
	known    bool
	onHost   bool   // in the host's network namespace
	id       string // of the container, where it has networks of its own
	name     string
	networks []docker.Network
}

// self finds out on which networks this process is.
func (t *Target) self(ctx context.Context) (place, error) {
	ref := t.own.Ref()
	if ref == "" {
		return place{known: !t.contained, onHost: !t.contained}, nil
	}
	c, err := t.docker.Inspect(ctx, ref)
	if notFound(err) {
		// A container of another engine, or a machine whose name looks like an id.
		return place{known: !t.contained, onHost: !t.contained}, nil
	}
	if err != nil {
		return place{}, t.asked(err)
	}
	home, err := t.networksOf(ctx, &c)
	if err != nil {
		return place{}, err
	}
	p := place{known: true, onHost: home.NetworkMode == "host", name: c.Name, networks: home.Networks}
	if home.ID == c.ID {
		p.id = c.ID
	}
	return p, nil
}

// networksOf is the container whose network namespace c uses: itself, or the one that it was started into (--network container:NAME).
func (t *Target) networksOf(ctx context.Context, c *docker.Container) (*docker.Container, error) {
	other, shares := strings.CutPrefix(c.NetworkMode, "container:")
	if !shares {
		return c, nil
	}
	home, err := t.docker.Inspect(ctx, other)
	if err != nil {
		return nil, t.asked(fmt.Errorf("the container whose network %s uses: %w", c.Name, err))
	}
	return &home, nil
}

// reach lists the addresses of a container that self can reach. home is the container whose networks it has.
func (t *Target) reach(ctx context.Context, c, home *docker.Container, self place) ([]string, error) {
	if home.NetworkMode == "host" {
		if self.onHost {
			return []string{loopbackIP}, nil
		}
		var gateways []string // the host, as it is seen from our networks
		for i := range self.networks {
			if g := self.networks[i].Gateway; g != "" {
				gateways = append(gateways, g)
			}
		}
		if len(gateways) == 0 {
			return nil, component.WithRemedy(fmt.Errorf("the container %s of %s is on the host's network, and from the agent no way leads there", c.Name, t),
				"run the agent on the host's network too (network_mode: host)")
		}
		return gateways, nil
	}
	var all, shared, joined []string
	var last *docker.Network // of joined
	for i := range home.Networks {
		n := &home.Networks[i]
		all = append(all, n.Addresses()...)
		at := slices.IndexFunc(self.networks, func(own docker.Network) bool { return own.ID == n.ID })
		switch {
		case at < 0 || len(n.Addresses()) == 0:
		case t.join && self.networks[at].Joined():
			joined, last = n.Addresses(), n
		default:
			shared = append(shared, n.Addresses()...)
		}
	}
	switch {
	case len(all) == 0:
		return nil, component.WithRemedy(fmt.Errorf("the container %s of %s is on no network with addresses", c.Name, t),
			fmt.Sprintf("give it one (docker network connect NETWORK %s), or let the server listen on a socket that the agent can open", c.Name))
	case self.onHost, !self.known:
		return all, nil // the host's network reaches every bridge
	case len(shared) > 0:
		return shared, nil
	case last == nil:
		return nil, t.apart(c, home, self)
	}
	// It was joined before, for this target or by this agent's process before.
	j, err := t.joiner(self.id)
	if err != nil {
		return nil, err
	}
	if err := j.Use(ctx, t, *last, c); err != nil {
		return nil, err
	}
	return joined, nil
}

// apart says that a container and the agent share no network.
func (t *Target) apart(c, home *docker.Container, self place) error {
	there, here := networkNames(home.Networks), networkNames(self.networks)
	remedy := fmt.Sprintf("run the agent on the host's network (network_mode: host), from where it reaches every container, or run: docker network connect %s %s", home.Networks[0].Name, self.name)
	if !t.join && self.id != "" {
		remedy += "; or let it do that by itself: docker { join_networks = true } in the agent block"
	}
	return component.WithRemedy(fmt.Errorf("the container %s of %s is on %s and the agent (container %s) is on %s: %w", c.Name, t, there, self.name, here, errApart), remedy)
}

// networkNames lists names for people.
func networkNames(networks []docker.Network) string {
	names := make([]string, 0, len(networks))
	for i := range networks {
		names = append(names, networks[i].Name)
	}
	switch len(names) {
	case 0:
		return "no network"
	case 1:
		return "the network " + names[0]
	}
	return "the networks " + strings.Join(names, ", ")
}
