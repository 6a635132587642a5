package ecstask

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/hermod-agent/hermod/internal/cadvisor"
	"github.com/hermod-agent/hermod/internal/ecs"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// mebibyte is the unit of ECS's limits and storage.
const mebibyte = 1 << 20

// series are those of ecs_exporter, and what is needed to make cAdvisor's.
type series struct {
	registry  *metrics.Registry
	descs     descs
	labels    []string          // task_labels
	cadvisor  cadvisor.Families // nil without cadvisor_names
	picked    []string          // container_labels; nil means all
	blockDevs string            // the folder in which block devices are found by their numbers

	task       taskSeries
	containers metrics.Table[containerSeries] // by name and id
	networks   metrics.Table[networkSeries]   // by interface, and by container where it has its own
	speaker    speaker
	key        []byte
	current    []*ecs.Container // of the cycle
}

// descs are ecs_exporter's families.
type descs struct {
	info, cpuLimit, memoryLimit, storageUsed, storageAllocated, pullStart, pullStop *metrics.Desc

	restarts, cpu, memory, containerMemoryLimit, pageCache *metrics.Desc

	network [counters]*metrics.Desc
}

// taskSeries are made anew when the task isn't the same any more, or in another state.
type taskSeries struct {
	identity []string // names and values of task_labels
	about    [8]string
	info     *metrics.Series

	cpuLimit, memoryLimit, storageUsed, storageAllocated, pullStart, pullStop *metrics.Series
}

type containerSeries struct {
	restarts, cpu, memory, memoryLimit, pageCache *metrics.Series

	cadvisor *cadvisorSeries // nil without cadvisor_names
}

func newSeries(env *component.Env, c *Config) series {
	s := series{
		registry: env.Series, descs: newDescs(), labels: c.TaskLabels,
		picked: c.ContainerLabels, blockDevs: filepath.Join(env.Host.Sysfs, "dev", "block"),
	}
	if c.CAdvisorNames {
		s.cadvisor = cadvisor.New()
	}
	return s
}

func newDescs() descs {
	gauge := func(name, help string) *metrics.Desc { return desc(name, help, metrics.Gauge) }
	counter := func(name, help string) *metrics.Desc { return desc(name, help, metrics.Counter) }
	return descs{
		info:             gauge("ecs_task_metadata_info", "ECS task metadata, sourced from the task metadata endpoint version 4."),
		cpuLimit:         gauge("ecs_task_cpu_limit_vcpus", "Configured task CPU limit in vCPUs (1 vCPU = 1024 CPU units). This is optional when running on EC2; if no limit is set, this metric has no value."),
		memoryLimit:      gauge("ecs_task_memory_limit_bytes", "Configured task memory limit in bytes. This is optional when running on EC2; if no limit is set, this metric has no value."),
		storageUsed:      gauge("ecs_task_ephemeral_storage_used_bytes", "Current Fargate task ephemeral storage usage in bytes."),
		storageAllocated: gauge("ecs_task_ephemeral_storage_allocated_bytes", "Configured Fargate task ephemeral storage allocated size in bytes."),
		pullStart:        gauge("ecs_task_image_pull_start_timestamp_seconds", "The time at which the task started pulling docker images for its containers."),
		pullStop:         gauge("ecs_task_image_pull_stop_timestamp_seconds", "The time at which the task stopped (i.e. completed) pulling docker images for its containers."),

		restarts:             counter("ecs_container_restarts_total", "Cumulative total count of container restarts. Only has a value if the container has been configured to restart on failure."),
		cpu:                  counter("ecs_container_cpu_usage_seconds_total", "Cumulative total container CPU usage in seconds."),
		memory:               gauge("ecs_container_memory_usage_bytes", "Current container memory usage in bytes."),
		containerMemoryLimit: gauge("ecs_container_memory_limit_bytes", "Configured container memory limit in bytes, set from the container-level limit in the task definition if any, otherwise the task-level limit."),
		pageCache:            gauge("ecs_container_memory_page_cache_size_bytes", "Current container memory page cache size in bytes. This is not a subset of used bytes."),

		network: [counters]*metrics.Desc{
			counter("ecs_network_receive_bytes_total", "Cumulative total size of network packets received in bytes."),
			counter("ecs_network_receive_packets_total", "Cumulative total count of network packets received."),
			counter("ecs_network_receive_packets_dropped_total", "Cumulative total count of network packets dropped in receiving."),
			counter("ecs_network_receive_errors_total", "Cumulative total count of network errors in receiving."),
			counter("ecs_network_transmit_bytes_total", "Cumulative total size of network packets transmitted in bytes."),
			counter("ecs_network_transmit_packets_total", "Cumulative total count of network packets transmitted."),
			counter("ecs_network_transmit_packets_dropped_total", "Cumulative total count of network packets dropped in transmit."),
			counter("ecs_network_transmit_errors_total", "Cumulative total count of network errors in transmit."),
		},
	}
}

func desc(name, help string, kind metrics.Kind) *metrics.Desc {
	d := &metrics.Desc{Name: name, Help: help, Kind: kind}
	for _, unit := range [...]string{"seconds", "bytes"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			d.Unit = unit
		}
	}
	return d
}

// set gives the numbers of the task and its containers.
func (s *series) set(b *metrics.Batch, task *ecs.Task, stats map[string]*ecs.Stats) {
	s.setTask(b, task)
	s.current = current(s.current[:0], task, stats)
	for _, c := range s.current {
		s.key = append(append(append(s.key[:0], c.Name...), 0xff), c.ID...)
		r := s.containers.Row(s.key, b.Cycle, func(string) containerSeries { return s.newContainer(task, c) })
		s.setContainer(b, r, task, c, stats[c.ID])
	}
	s.setNetworks(b, task, stats)
	s.containers.Sweep(b.Cycle)
	s.networks.Sweep(b.Cycle)
	clear(s.current) // the document needn't be kept
}

// maxContainers bounds what is taken from one document. A task has ten.
const maxContainers = 500

// current appends the containers of the task to list, those that run first, each name and each id once.
func current(list []*ecs.Container, task *ecs.Task, stats map[string]*ecs.Stats) []*ecs.Container {
	all := task.Containers[:min(len(task.Containers), maxContainers)]
	for _, running := range [...]bool{true, false} {
		for i := range all {
			c := &all[i]
			if (stats[c.ID] != nil) != running ||
				slices.ContainsFunc(list, func(other *ecs.Container) bool { return other.Name == c.Name || other.ID == c.ID }) {
				continue
			}
			list = append(list, c)
		}
	}
	return list
}

func (s *series) setTask(b *metrics.Batch, task *ecs.Task) {
	t := &s.task
	if !s.same(task) {
		// What is kept belongs to another task.
		s.task = taskSeries{identity: s.identity(task)}
		s.containers, s.networks = metrics.Table[containerSeries]{}, metrics.Table[networkSeries]{}
		s.speaker = speaker{}
		of := func(d *metrics.Desc) *metrics.Series { return s.registry.New(d, t.identity...) }
		t.cpuLimit, t.memoryLimit = of(s.descs.cpuLimit), of(s.descs.memoryLimit)
		t.storageUsed, t.storageAllocated = of(s.descs.storageUsed), of(s.descs.storageAllocated)
		t.pullStart, t.pullStop = of(s.descs.pullStart), of(s.descs.pullStop)
	}
	about := [8]string{task.Cluster, task.TaskARN, task.Family, task.Revision, task.DesiredStatus, task.KnownStatus, task.AvailabilityZone, task.LaunchType}
	if t.info == nil || t.about != about {
		t.about, t.info = about, s.newInfo(task)
	}
	b.Set(t.info, 1)
	if task.Limits.CPU > 0 {
		b.Set(t.cpuLimit, task.Limits.CPU)
	}
	if task.Limits.Memory > 0 {
		b.Set(t.memoryLimit, task.Limits.Memory*mebibyte)
	}
	if e := task.EphemeralStorage; e != nil {
		b.Set(t.storageUsed, e.Utilized*mebibyte)
		b.Set(t.storageAllocated, e.Reserved*mebibyte)
	}
	if at, ok := task.PullStartedAt.Unix(); ok {
		b.Set(t.pullStart, at)
	}
	if at, ok := task.PullStoppedAt.Unix(); ok {
		b.Set(t.pullStop, at)
	}
}

// newInfo makes ecs_task_metadata_info, which has the values as ECS gives them: a cluster may be an ARN.
func (s *series) newInfo(task *ecs.Task) *metrics.Series {
	pairs := []string{
		"cluster", task.Cluster, "task_arn", task.TaskARN, "family", task.Family, "revision", task.Revision,
		"desired_status", task.DesiredStatus, "known_status", task.KnownStatus,
		"availability_zone", task.AvailabilityZone, "launch_type", task.LaunchType,
	}
	if slices.Contains(s.labels, "task") {
		pairs = append(pairs, "task", task.ID())
	}
	return s.registry.New(s.descs.info, pairs...)
}

// identity are the labels about the task. What ECS doesn't say (the zone, for tasks outside of AWS) is left out.
func (s *series) identity(task *ecs.Task) []string {
	var pairs []string
	for _, name := range s.labels {
		if value := taskLabel(task, name); value != "" {
			pairs = append(pairs, name, value)
		}
	}
	return slices.Clip(pairs)
}

// same says whether the task's labels are those that the series have.
func (s *series) same(task *ecs.Task) bool {
	if s.task.cpuLimit == nil {
		return false
	}
	rest := s.task.identity
	for _, name := range s.labels {
		value := taskLabel(task, name)
		if value == "" {
			continue
		}
		if len(rest) < 2 || rest[0] != name || rest[1] != value {
			return false
		}
		rest = rest[2:]
	}
	return len(rest) == 0
}

func taskLabel(task *ecs.Task, name string) string {
	switch name {
	case "cluster":
		return task.ClusterName()
	case "family":
		return task.Family
	case "revision":
		return task.Revision
	case "task":
		return task.ID()
	}
	return task.AvailabilityZone
}

func (s *series) newContainer(task *ecs.Task, c *ecs.Container) containerSeries {
	of := func(d *metrics.Desc) *metrics.Series {
		return s.registry.New(d, append(s.task.identity, "container_name", c.Name)...)
	}
	r := containerSeries{
		restarts: of(s.descs.restarts), cpu: of(s.descs.cpu), memory: of(s.descs.memory),
		memoryLimit: of(s.descs.containerMemoryLimit), pageCache: of(s.descs.pageCache),
	}
	if s.cadvisor != nil {
		r.cadvisor = s.newCAdvisor(task, c)
	}
	return r
}

// setContainer gives a container's numbers. st is nil for one that doesn't run.
func (s *series) setContainer(b *metrics.Batch, r *containerSeries, task *ecs.Task, c *ecs.Container, st *ecs.Stats) {
	set(b, r.restarts, c.RestartCount)
	if st == nil {
		return
	}
	setSeconds(b, r.cpu, st.CPU.Usage.Total)
	set(b, r.memory, st.Memory.Usage)
	limit := memoryLimit(task, c)
	if limit > 0 {
		b.Set(r.memoryLimit, limit)
	}
	set(b, r.pageCache, st.Memory.Stats.CacheBytes())
	if r.cadvisor != nil {
		r.cadvisor.set(b, c, st, limit)
	}
}

// memoryLimit is what the container may use, in bytes: its own limit, else what the task has for all of them, else 0.
func memoryLimit(task *ecs.Task, c *ecs.Container) float64 {
	if c.Limits.Memory > 0 {
		return c.Limits.Memory * mebibyte
	}
	return max(0, task.Limits.Memory) * mebibyte
}

// set gives a number that may be missing.
func set(b *metrics.Batch, s *metrics.Series, n ecs.Number) {
	if n.Set {
		b.Set(s, n.Value)
	}
}

// setSeconds gives a number of nanoseconds that may be missing.
func setSeconds(b *metrics.Batch, s *metrics.Series, n ecs.Number) {
	if n.Set {
		b.Set(s, n.Value/1e9)
	}
}
