package docker

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Container is what the agent knows of a container. Its environment is not among it: it often holds secrets, and isn't even decoded.
type Container struct {
	ID     string
	Name   string // without the slash that the API writes before it
	Image  string // as the container was started with it
	Labels map[string]string

	Created  time.Time
	Started  time.Time // of the last start; zero when it never ran
	Finished time.Time // of the last end; zero while it never ended
	Running  bool
	// Stopping is when the container was told to stop, by docker stop and the like, while it still runs.
	Stopping time.Time
	// Starts counts the starts that were seen. It rises with each, so that who looks only now and then can tell that it ended and
	// started in between.
	Starts uint64
	// OOMs counts the events that a process of the container was killed because its memory was used up, as far as they were seen.
	OOMs uint64
	// Gone says that the container was removed. It is told once.
	Gone bool
	// Inspected says that what follows is known. It isn't for a container that was removed before it could be looked at.
	Inspected bool

	TTY         bool   // one stream without frames
	LogDriver   string // json-file, local, journald, ...
	LogOptions  map[string]string
	LogPath     string // of a json-file log, on the engine's machine
	Restarts    int    // restarts by Docker's restart policy
	PID         int    // of its first process, on the engine's machine; 0 when it isn't running
	NetworkMode string // bridge, host, none, container:ID, or a network's name or id
	Networks    []Network

	// State in a word of the engine's: created, running, paused, restarting, removing, exited, dead. One that ended is "exited" until the
	// next list says what follows.
	State string
	// Health is what the last health check found: starting, healthy, unhealthy; empty when the container has none.
	Health       string
	ExitCode     int    // of the last end
	CgroupParent string // as the user set it; usually empty
	// Driver is the storage driver, and UpperDir the folder of the writable layer where it has one, on the engine's machine.
	Driver   string
	UpperDir string
}

// Network is one that a container is on. The addresses are empty while it doesn't run.
type Network struct {
	Name, ID   string
	IPv4, IPv6 string
	Gateway    string // the engine's machine, as it is seen from there
	Aliases    []string
}

// Addresses are the container's on the network.
func (n *Network) Addresses() []string {
	var out []string
	for _, a := range []string{n.IPv4, n.IPv6} {
		if a != "" {
			out = append(out, a)
		}
	}
	return out
}

// Project is the Compose project that the container belongs to, or "".
func (c *Container) Project() string { return c.Labels["com.docker.compose.project"] }

// Service is the container's service in its Compose project, or "".
func (c *Container) Service() string { return c.Labels["com.docker.compose.service"] }

// EverStarted says whether the container has run at all.
func (c *Container) EverStarted() bool { return c.Running || !c.Started.IsZero() }

// ShortID is the id as the docker command prints it.
func ShortID(id string) string { return id[:min(len(id), 12)] }

// inspected is the part of the engine's answer that is decoded.
type inspected struct {
	ID           string `json:"Id"`
	Name         string
	Created      string
	LogPath      string
	RestartCount int
	Driver       string
	State        struct {
		Status     string
		Running    bool
		Pid        int
		ExitCode   int
		StartedAt  string
		FinishedAt string
		Health     *struct{ Status string }
	}
	Config struct {
		Image  string
		Tty    bool
		Labels map[string]string
	}
	HostConfig struct {
		NetworkMode  string
		CgroupParent string
		LogConfig    struct {
			Type   string
			Config map[string]string
		}
	}
	NetworkSettings struct {
		Networks map[string]*struct {
			NetworkID, IPAddress, GlobalIPv6Address, Gateway string
			Aliases                                          []string
		}
	}
	GraphDriver struct {
		Name string
		Data map[string]string
	}
}

func (i *inspected) container() Container {
	c := Container{
		ID: i.ID, Name: strings.TrimPrefix(i.Name, "/"), Image: i.Config.Image, Labels: i.Config.Labels,
		Created: parseTime(i.Created), Started: parseTime(i.State.StartedAt), Finished: parseTime(i.State.FinishedAt),
		Running: i.State.Running, Inspected: true,
		TTY: i.Config.Tty, LogDriver: i.HostConfig.LogConfig.Type, LogOptions: i.HostConfig.LogConfig.Config, LogPath: i.LogPath,
		Restarts: i.RestartCount, PID: i.State.Pid, NetworkMode: i.HostConfig.NetworkMode,
		State: i.State.Status, ExitCode: i.State.ExitCode, CgroupParent: i.HostConfig.CgroupParent,
		Driver: i.GraphDriver.Name, UpperDir: i.GraphDriver.Data["UpperDir"],
	}
	if c.Driver == "" {
		c.Driver = i.Driver // with the containerd image store there is no graph driver
	}
	if i.State.Health != nil && i.State.Health.Status != "none" {
		c.Health = i.State.Health.Status
	}
	for _, name := range slices.Sorted(maps.Keys(i.NetworkSettings.Networks)) {
		if n := i.NetworkSettings.Networks[name]; n != nil {
			c.Networks = append(c.Networks, Network{Name: name, ID: n.NetworkID, IPv4: n.IPAddress, IPv6: n.GlobalIPv6Address, Gateway: n.Gateway, Aliases: n.Aliases})
		}
	}
	return c
}

// parseTime reads the engine's times; it writes the year 1 for none.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() <= 1 {
		return time.Time{}
	}
	return t
}

// Error is an answer of the engine that is no success.
type Error struct {
	Status  int
	Message string // the engine's own words
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the engine answered status %d", e.Status)
	}
	return e.Message
}

// NotFound says that the container isn't there any more.
func (e *Error) NotFound() bool { return e.Status == 404 }
