// Package containers collects the numbers of Docker's and Podman's containers under the names of cAdvisor 0.60.
//
// Which containers there are and what they are called is told by the engine's events; nothing is asked of it at a collection. The numbers
// are read from the files of each container's cgroup, which stay open, into one buffer, and parsed as bytes. What is read is little: some
// twenty files a container.
//
// reference.md says where the output differs from cAdvisor's, and why. The integration tests hold it against the real one, on a machine with
// cgroup v1, and the unit tests against what it showed on one with v2.
package containers

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// input does everything in Collect, but for counting files, which walker does.
type input struct {
	env    *component.Env
	config Config
	series *metrics.Registry

	procfs, sysfs, rootfs string
	// hostPIDs says that procfs shows the machine's processes under the numbers that the engine gives them.
	hostPIDs bool
	own      docker.Own

	engine  *docker.Engine
	release func() error
	sub     *docker.Subscription
	walker  *walker

	busy    chan struct{} // holds a token while Collect or Stop runs; guards what follows
	stopped bool

	reader      reader
	roots       hierarchy
	rootsErr    error
	rootsFound  bool
	info        docker.Info
	containers  map[string]*container
	order       []*container
	root        *container
	machine     *machine
	mounts      []mountedFS
	mountsAt    int64 // ms; when they were read
	disksNow    map[device][11]uint64
	boot        float64
	deviceNames map[device]string
	scrapeError *metrics.Series
	fault       error // the first of a collection
	away        bool  // the engine can't be asked
	told        map[string]bool
}

var (
	_ component.Collector = (*input)(nil)
	_ component.Starter   = (*input)(nil)
	_ component.Stopper   = (*input)(nil)
)

func open(env *component.Env, c *Config) (*input, error) {
	in := &input{
		env: env, config: *c, series: env.Series, busy: make(chan struct{}, 1),
		procfs:     firstFolder(c.Procfs, env.Host.Procfs, "/proc"),
		sysfs:      firstFolder(c.Sysfs, env.Host.Sysfs, "/sys"),
		rootfs:     firstFolder(c.Rootfs, env.Host.Rootfs, "/"),
		containers: map[string]*container{}, deviceNames: map[device]string{}, told: map[string]bool{},
		scrapeError: env.Series.New(desc("container_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", metrics.Gauge)),
	}
	in.reader.most = descriptors()
	in.machine = newMachine(in)
	return in, nil
}

// descriptors is how many may be kept open: half of what the process may have.
func descriptors() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil || l.Cur > math.MaxInt32 {
		return 10_000
	}
	return int(l.Cur / 2)
}

func firstFolder(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			if c = strings.TrimRight(c, "/"); c == "" {
				return "/"
			}
			return c
		}
	}
	return "/"
}

// Start takes the process' connection to the engine and begins to listen. That nobody answers there isn't an error: the engine may come
// later.
func (in *input) Start(context.Context) error {
	if in.engine != nil {
		return nil
	}
	e, err := docker.ParseEndpoint(in.config.Endpoint, nil)
	if err != nil {
		return err
	}
	in.engine, in.release, err = docker.Acquire(in.env.Pool, docker.Options{Endpoint: e, UserAgent: "hermod/" + in.env.Version, Log: in.env.Log})
	if err != nil {
		return err
	}
	in.own = docker.FindOwn("/proc")
	in.sub = in.engine.Subscribe()
	if in.config.FSInterval > 0 {
		in.walker = newWalker(time.Duration(in.config.FSInterval))
	}
	return nil
}

// Stop implements component.Stopper. It waits for a collection that was abandoned.
func (in *input) Stop(ctx context.Context) error {
	if err := component.Enter(ctx, in.busy); err != nil {
		return err
	}
	defer func() { <-in.busy }()
	if in.stopped {
		return nil
	}
	in.stopped = true
	for _, c := range in.order {
		in.drop(c)
	}
	if in.root != nil {
		in.drop(in.root)
	}
	if in.walker != nil {
		in.walker.stop(ctx)
	}
	if in.sub != nil {
		in.sub.Close()
	}
	if in.release != nil {
		return in.release()
	}
	return nil
}

// Collect implements component.Collector.
func (in *input) Collect(ctx context.Context, b *metrics.Batch) error {
	in.busy <- struct{}{} // never waits but for a Stop
	defer func() { <-in.busy }()
	if in.stopped {
		return component.ErrStopped
	}
	if in.engine == nil {
		if err := in.Start(ctx); err != nil {
			return err
		}
	}
	in.fault = nil
	engineErr := in.await(ctx)
	in.away = engineErr != nil
	in.status("engine", engineErr)
	in.update(b.Time)
	in.findRoots()
	in.refreshMounts(b.Time)
	in.machine.collect(b)
	if in.config.Root {
		in.collectRoot(b)
	}
	for _, c := range in.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		in.collect(c, b)
	}
	in.walk(b.Time)
	failed := in.fault != nil || engineErr != nil
	b.Set(in.scrapeError, boolean(failed))
	in.status("numbers", in.fault)
	if engineErr != nil && !in.engine.Synced() {
		return engineErr
	}
	return nil
}

// status shows a fault, or that it is right again. It isn't called for what was never wrong, which would take the status' lock.
func (in *input) status(key string, err error) {
	if in.env.Status == nil || err == nil && !in.told[key] {
		return
	}
	in.told[key] = err != nil
	in.env.Status.Fault(key, err)
}

// note is status for what the user should know while everything works.
func (in *input) note(key string, err error) {
	if in.env.Status == nil || err == nil && !in.told[key] {
		return
	}
	in.told[key] = err != nil
	in.env.Status.Note(key, err)
}

// await waits in the first cycles until the engine has told of its containers, and returns why it doesn't.
func (in *input) await(ctx context.Context) error {
	for !in.engine.Synced() {
		if err := in.engine.Err(); err != nil {
			return err
		}
		select {
		case <-in.sub.C():
		case <-ctx.Done():
			return fmt.Errorf("the engine has not told of its containers yet: %w", ctx.Err())
		}
	}
	return in.engine.Err()
}

// update takes over what has happened since the last cycle.
func (in *input) update(now int64) {
	changed := in.sub.Take()
	if len(changed) == 0 {
		return
	}
	in.info = in.engine.Info()
	for i := range changed {
		k := &changed[i]
		c := in.containers[k.ID]
		switch {
		case k.Gone && c == nil:
		case k.Gone:
			in.drop(c)
			in.noteLabels(c.about.Name, nil)
			delete(in.containers, k.ID)
			in.removeFromOrder(c)
		case c == nil:
			c = &container{}
			in.containers[k.ID] = c
			in.order = append(in.order, c)
			in.change(c, k)
		default:
			in.change(c, k)
		}
	}
}

func (in *input) removeFromOrder(c *container) {
	for i, other := range in.order {
		if other == c {
			in.order = append(in.order[:i], in.order[i+1:]...)
			return
		}
	}
}

// findRoots looks once where the cgroups are.
func (in *input) findRoots() {
	if in.rootsFound {
		return
	}
	in.hostPIDs = in.seesHostPIDs()
	in.roots, in.rootsErr = findHierarchy(in.sysfs)
	if in.rootsErr != nil {
		remedy := "mount the cgroup filesystems"
		if in.env.Host.Container {
			remedy = "add -v /sys:/host/sys:ro to docker run"
		}
		in.bad(component.WithRemedy(in.rootsErr, remedy))
		return
	}
	in.rootsFound = true
	if !in.hostPIDs {
		in.note("the host's /proc", component.WithRemedy(errors.New("the host's processes can't be seen: containers have no network series"),
			"add -v /proc:/host/proc:ro or --pid=host to docker run"))
	}
}

// seesHostPIDs says whether procfs shows the machine's process namespace: its second process is the kernel's thread daemon. Outside a
// container it always does for whoever is on the machine.
func (in *input) seesHostPIDs() bool {
	if !in.env.Host.Container {
		return true
	}
	comm, err := in.reader.readPath(in.procfs + "/2/comm")
	return err == nil && strings.TrimSpace(string(comm)) == "kthreadd"
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
