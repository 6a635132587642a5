// Package target connects to the servers that inputs read: by host and port, by a socket's path, or by the container in which they run.
//
// A Target belongs to one component, which dials through it and says its name in labels and errors. Its errors say what was tried and
// what to do. Where a container is to be reached is asked of Docker at each new connection, so that a container which was made anew, with
// another address, is found.
package target

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// Address is where a server listens; see config.Address.
type Address = config.Address

// dialTimeout bounds an attempt to connect, beside the caller's context.
const dialTimeout = 10 * time.Second

// Target is a server to connect to. It is safe for concurrent use.
type Target struct {
	address   Address
	contained bool // we run in a container
	dialer    net.Dialer

	// For servers in containers.
	docker  *docker.Engine
	own     docker.Own
	join    bool // this process may join networks
	pool    *component.Pool
	release func() error

	mu           sync.Mutex     // guards what follows
	joins        *docker.Joiner // nil before the first network that had to be joined
	releaseJoins func() error
	closed       bool
}

// Open readies a target. defaultPort is the one of an address without a port. No connection is made.
func Open(env *component.Env, a Address, defaultPort int) (*Target, error) {
	t := &Target{
		address: a.WithPort(defaultPort), contained: env.Host.Container,
		dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second},
	}
	if a.Kind != config.AddressContainer && a.Kind != config.AddressCompose {
		return t, nil
	}
	e, err := docker.ParseEndpoint(env.Docker.Endpoint, nil)
	if err != nil {
		return nil, err
	}
	t.own, t.join, t.pool = docker.FindOwn("/proc"), env.Docker.JoinNetworks, env.Pool
	t.docker, t.release, err = docker.Acquire(env.Pool, docker.Options{Endpoint: e, UserAgent: "hermod/" + env.Version, Log: env.Log})
	return t, err
}

// String is the address as the user wrote it, with the port that counts: the instance label, and the name in errors.
func (t *Target) String() string { return t.address.String() }

// DialContext connects to the server as it is to be reached now. Its errors carry a remedy.
func (t *Target) DialContext(ctx context.Context) (net.Conn, error) {
	switch t.address.Kind {
	case config.AddressUnix:
		return t.dial(ctx, "unix", t.address.Path)
	case config.AddressContainer, config.AddressCompose:
		return t.dialContainer(ctx)
	case config.AddressTCP:
	}
	return t.dial(ctx, "tcp", hostPort(t.address.Host, t.address.Port))
}

func (t *Target) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := t.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, t.explain(err, address)
	}
	return c, nil
}

// dialContainer tries the addresses that the container has for us, one after the other.
func (t *Target) dialContainer(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	found, err := t.find(ctx)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	for i, ip := range found {
		// One that doesn't answer must leave time for the rest.
		attempt, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(found)-i))
		var c net.Conn
		c, err = t.dial(attempt, "tcp", hostPort(ip, t.address.Port))
		cancel()
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

// Dial is DialContext for those that ask for a network and an address of their own, which don't count: http.Transport.DialContext and the
// like.
func (t *Target) Dial(ctx context.Context, _, _ string) (net.Conn, error) { return t.DialContext(ctx) }

// Close gives back what Open took, and leaves the network that was joined for this target alone. It may be called twice.
func (t *Target) Close() error {
	if t.release == nil {
		return nil
	}
	t.mu.Lock()
	j, release := t.joins, t.releaseJoins
	t.joins, t.closed = nil, true
	t.mu.Unlock()
	var err error
	if j != nil {
		j.Done(t)
		err = release()
	}
	return errors.Join(err, t.release())
}
