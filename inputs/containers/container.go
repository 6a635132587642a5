package containers

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// container is one of the engine's, or the machine itself.
type container struct {
	about  docker.Container
	group  *cgroup           // nil while it has none
	proc   folder            // of its first process
	misses int               // how many times in a row its cgroup could not be found
	id     string            // the cgroup's path, or where it will be
	series *metrics.Registry // makes series with the container's labels

	numbers [numbers]*metrics.Series
	state   *metrics.Series
	cpus    []*metrics.Series
	cpu     *metrics.Series // cpu="total"
	disks   []*disk
	nets    []*network

	oom   oomCount
	kills uint64 // what the kernel's counter says in this cycle
	used  fsSeries
}

// oomCount counts kills for want of memory. The kernel's counter begins at 0 with each start and is gone with the kill that ends the
// container; the engine's events tell of that one, but not all engines of every one, and none of those before the agent was there. Most
// kills are told by both, some moments apart.
type oomCount struct {
	total  uint64
	starts uint64 // the start that kernel is about
	kernel uint64 // the counter as it was last read
	events uint64 // how many had come when it was last looked
	// aloneKernel and aloneEvents are what one side alone has told, at the time since, and the other may still tell.
	aloneKernel, aloneEvents uint64
	since                    int64 // ms
	seen                     bool
}

// toldWithin is how many milliseconds may pass until both have told of a kill.
const toldWithin = 30_000

// cycle takes over what both say now. kernel is the counter of the cgroup while there is one.
func (o *oomCount) cycle(now int64, c *docker.Container, kernel uint64, running bool) {
	if o.starts != c.Starts {
		o.starts, o.kernel, o.aloneEvents = c.Starts, 0, 0
	}
	if !o.seen {
		// Of what was before the agent, the counter is all there is.
		o.seen = true
		o.total, o.events = c.OOMs, c.OOMs
		if running {
			o.total, o.kernel = max(o.total, kernel), kernel
		}
		return
	}
	var byKernel uint64
	if running && kernel > o.kernel {
		byKernel = kernel - o.kernel
		o.kernel = kernel
	}
	byEvents := c.OOMs - o.events
	o.events = c.OOMs
	if now-o.since > toldWithin {
		o.aloneKernel, o.aloneEvents = 0, 0
	}
	if byKernel+byEvents == 0 {
		return
	}
	k, e := byKernel+o.aloneKernel, byEvents+o.aloneEvents
	both := min(k, e)
	o.total += max(k, e) - max(o.aloneKernel, o.aloneEvents)
	o.aloneKernel, o.aloneEvents, o.since = k-both, e-both, now
}

// change takes over what is known of a container now.
func (in *input) change(c *container, now *docker.Container) {
	old := c.about
	c.about = *now
	if old.Starts != now.Starts || old.PID != now.PID || !now.Running {
		in.drop(c) // another cgroup, even where its path is the same
	}
	id := c.id
	if c.group == nil && id == "" {
		id = likely(now, &in.info)[0]
	}
	if id != c.id || old.Name != now.Name || old.Image != now.Image || old.Restarts != now.Restarts || !sameLabels(old.Labels, now.Labels) {
		in.relabel(c, id)
	}
	if old.Name != now.Name {
		in.noteLabels(old.Name, nil)
	}
	if c.state != nil && old.State != now.State {
		c.state = nil
	}
}

func sameLabels(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}

// drop closes the files of a container.
func (in *input) drop(c *container) {
	in.roots.close(&in.reader, c.group)
	c.group, c.misses = nil, 0
	in.reader.closeFolder(&c.proc)
}

// maxLabelValue is how long a value may be: Mimir refuses a series with a longer one.
const maxLabelValue = 2048

// relabel gives the container's series other labels. They are made anew when they have values.
func (in *input) relabel(c *container, id string) {
	c.id = id
	c.numbers, c.state, c.cpus, c.cpu, c.disks, c.nets = [numbers]*metrics.Series{}, nil, nil, nil, nil, nil
	c.used = fsSeries{}
	var labels []string
	add := func(name, value string) {
		if value != "" {
			labels = append(labels, name, value)
		}
	}
	add("id", id)
	add("name", c.about.Name)
	add("image", c.about.Image)
	seen := map[string]bool{}
	var long []string
	for _, name := range in.labelNames(&c.about) {
		value := c.about.Labels[name]
		if name == "restartcount" && c.about.Restarts > 0 {
			value = strconv.Itoa(c.about.Restarts) // as cAdvisor has it
		}
		label := "container_label_" + labelName(name)
		switch {
		case value == "" || seen[label]:
			continue
		case len(value) > maxLabelValue || len(label) > maxLabelValue/2:
			long = append(long, name[:min(len(name), 60)])
			continue
		}
		seen[label] = true
		add(label, value)
	}
	c.series = in.series.About(labels...)
	if len(long) > 0 {
		in.noteLabels(c.about.Name, component.WithRemedy(fmt.Errorf("container %s: its label %s is longer than %d bytes and left out", c.about.Name,
			strings.Join(long, ", "), maxLabelValue), "name the labels that you need in container_labels"))
	} else {
		in.noteLabels(c.about.Name, nil)
	}
}

func (in *input) noteLabels(name string, err error) { in.note("labels of "+name, err) }

// labelNames are the labels that are wanted of a container, in order.
func (in *input) labelNames(about *docker.Container) []string {
	if in.config.ContainerLabels != nil {
		names := slices.Clone(*in.config.ContainerLabels)
		slices.Sort(names)
		return slices.Compact(names)
	}
	names := make([]string, 0, len(about.Labels)+1)
	for name := range about.Labels {
		names = append(names, name)
	}
	if _, own := about.Labels["restartcount"]; !own && about.Restarts > 0 {
		names = append(names, "restartcount")
	}
	slices.Sort(names)
	return names
}

// labelName is cAdvisor's way to make a label of a name.
func labelName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
}

// set sets one of the numbers that a container has once.
func (in *input) set(c *container, n number, value float64, b *metrics.Batch) {
	s := c.numbers[n]
	if s == nil {
		s = c.series.New(numberDescs[n], numberLabels[n]...)
		c.numbers[n] = s
	}
	b.Set(s, value)
}

// fsSeries returns the series of a disk.
func (in *input) fsSeries(c *container, d *disk, f fsFamily) *metrics.Series {
	if d.fs[f] == nil {
		d.fs[f] = c.series.New(fsDescs[f], "device", d.name)
	}
	return d.fs[f]
}

// collect reads what there is of a container. One that vanishes meanwhile keeps what was read before; that is no fault.
func (in *input) collect(c *container, b *metrics.Batch) {
	// While it waits for its restart the engine calls it running, without a process.
	c.kills = 0
	running := false
	if c.about.Running && c.about.PID > 0 && in.rootsFound {
		if c.group == nil {
			in.enter(c)
		}
		if c.group != nil {
			running = true
			in.collectRunning(c, b)
		}
	}
	c.oom.cycle(b.Time, &c.about, c.kills, running)
	if c.state == nil {
		state := c.about.State
		if state == "" {
			state = "unknown"
		}
		c.state = c.series.New(stateDesc, "state", state)
	}
	b.Set(c.state, 1)
	in.set(c, restarts, float64(c.about.Restarts), b)
	in.set(c, oomEvents, float64(c.oom.total), b)
}

// collectRunning reads the files of a container that runs.
func (in *input) collectRunning(c *container, b *metrics.Batch) {
	if err := in.collectGroup(c, b); err != nil {
		in.drop(c) // it has ended, or was started anew: the engine will tell, and the next cycle looks
		return
	}
	in.set(c, lastSeen, float64(b.Time/1000), b)
	in.set(c, creationTime, float64(c.about.Created.Unix()), b)
	started := c.about.Started
	if started.IsZero() {
		started = c.about.Created
	}
	in.set(c, startTime, float64(started.Unix()), b)
	health := 0.0
	switch c.about.Health {
	case "healthy":
		health = 1
	case "":
		health = -1
	}
	in.set(c, healthState, health, b)
	in.collectNetwork(c, b)
	in.setUsage(c, b)
}

// collectGroup reads the files of a cgroup.
func (in *input) collectGroup(c *container, b *metrics.Batch) error {
	for n := load; n <= tasksIowaiting; n++ {
		in.set(c, n, 0, b) // cAdvisor's load reader is off by default, and then they are 0
	}
	steps := &stepsV1
	if in.roots.v2 {
		steps = &stepsV2
	}
	for _, step := range steps {
		if err := step(in, c, b); err != nil {
			return err
		}
	}
	return nil
}

type step func(in *input, c *container, b *metrics.Batch) error

var (
	stepsV1 = [...]step{(*input).cpuV1, (*input).memoryV1, (*input).collectBlkio, (*input).pressure, (*input).pids, (*input).specV1}
	stepsV2 = [...]step{(*input).cpuV2, (*input).memoryV2, (*input).collectIOStat, (*input).pressure, (*input).pids, (*input).specV2}
)

// enter finds a container's cgroup and opens it.
func (in *input) enter(c *container) {
	var own []byte // of its first process
	if in.hostPIDs && c.about.PID > 0 {
		in.reader.closeFolder(&c.proc)
		if f, err := in.reader.openFolder(in.procfs + "/" + strconv.Itoa(c.about.PID)); err == nil {
			text, err := in.reader.readOnce(f, "cgroup\x00")
			if err == nil && (strings.Contains(string(text), c.about.ID) || in.own.Is(c.about.ID)) {
				own = slices.Clone(text)
				c.proc = f
			} else {
				in.reader.closeFolder(&f) // another process: the number was given anew, or isn't one of the machine's
			}
		}
	}
	path, err := in.roots.find(&c.about, &in.info, own, c.misses < 3 || c.misses%20 == 0)
	var g *cgroup
	if err == nil {
		g, err = in.roots.open(&in.reader, path)
	}
	switch {
	case errors.Is(err, errNoCgroup):
		// Right after a start or an end that is as it should be; what is missing for longer is told.
		if c.misses > 0 && !in.away {
			remedy := "see whether the engine runs on this machine"
			if in.env.Host.Container {
				remedy = "add -v /sys:/host/sys:ro to docker run, and see whether the engine runs on this machine"
			}
			in.bad(component.WithRemedy(fmt.Errorf("container %s: its cgroup is not below %s/fs/cgroup", c.about.Name, in.sysfs), remedy))
		}
		c.misses++
		return
	case err != nil:
		in.bad(fmt.Errorf("container %s: %w", c.about.Name, err))
		return
	}
	c.group, c.misses = g, 0
	if path != c.id {
		in.relabel(c, path)
	}
}
