package ecstask

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/internal/cadvisor"
	"github.com/hermod-agent/hermod/internal/ecs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// cadvisorSeries are a container's under cAdvisor's names.
type cadvisorSeries struct {
	of func(name string, labels ...string) *metrics.Series // makes one
	// device names a block device by its numbers.
	device func(major, minor uint64) string

	lastSeen, created, started, health, shares, memoryLimit *metrics.Series

	cpuTotal                                    *metrics.Series
	cpus                                        []*metrics.Series // by number
	user, system                                *metrics.Series
	periods, throttledPeriods, throttledSeconds *metrics.Series

	usage, maxUsage, workingSet, cache, rss, swap, mapped, failcnt, activeFile, inactiveFile *metrics.Series
	dirty, writeback, pgscan, pgsteal, refaultFile, refaultAnon                              *metrics.Series
	faults, majorFaults, allFaults, allMajorFaults                                           *metrics.Series

	disks []diskSeries
}

// diskSeries are those of one kind of operation on one device, counted in bytes or in operations.
type diskSeries struct {
	major, minor uint64
	op           string // Read, Write, ...
	operations   bool
	blkio, fs    *metrics.Series // nil where cAdvisor has none
	cycle        uint64          // in which it was given last
}

// cadvisorLabels are those of a container, or, without one, of the task as a whole.
func (s *series) cadvisorLabels(task *ecs.Task, c *ecs.Container) []string {
	group := "/ecs/" + task.ID()
	if c == nil {
		return append(s.task.identity, "id", group, "name", task.ID())
	}
	labels := append(s.task.identity, "id", group+"/"+c.ID)
	if c.DockerName != "" {
		labels = append(labels, "name", c.DockerName)
	}
	if c.Image != "" {
		labels = append(labels, "image", c.Image)
	}
	return append(labels, cadvisor.Labels(c.Labels, s.picked)...)
}

func (s *series) newCAdvisor(task *ecs.Task, c *ecs.Container) *cadvisorSeries {
	base := s.cadvisorLabels(task, c)
	base = base[:len(base):len(base)]
	of := func(name string, labels ...string) *metrics.Series {
		return s.registry.New(s.cadvisor.Desc(name), append(base, labels...)...)
	}
	failures := func(kind, scope string) *metrics.Series {
		return of("container_memory_failures_total", "failure_type", kind, "scope", scope)
	}
	return &cadvisorSeries{
		of: of, device: s.deviceName,

		lastSeen: of("container_last_seen"), created: of("container_creation_time_seconds"), started: of("container_start_time_seconds"),
		health: of("container_health_state"), shares: of("container_spec_cpu_shares"), memoryLimit: of("container_spec_memory_limit_bytes"),

		cpuTotal: of("container_cpu_usage_seconds_total", "cpu", "total"),
		user:     of("container_cpu_user_seconds_total"), system: of("container_cpu_system_seconds_total"),
		periods: of("container_cpu_cfs_periods_total"), throttledPeriods: of("container_cpu_cfs_throttled_periods_total"),
		throttledSeconds: of("container_cpu_cfs_throttled_seconds_total"),

		usage: of("container_memory_usage_bytes"), maxUsage: of("container_memory_max_usage_bytes"), workingSet: of("container_memory_working_set_bytes"),
		cache: of("container_memory_cache"), rss: of("container_memory_rss"), swap: of("container_memory_swap"), mapped: of("container_memory_mapped_file"),
		failcnt: of("container_memory_failcnt"), activeFile: of("container_memory_total_active_file_bytes"),
		inactiveFile: of("container_memory_total_inactive_file_bytes"),
		dirty:        of("container_memory_file_dirty_bytes"), writeback: of("container_memory_file_writeback_bytes"),
		pgscan: of("container_memory_pgscan_total"), pgsteal: of("container_memory_pgsteal_total"),
		refaultFile: of("container_memory_workingset_refault_file_total"), refaultAnon: of("container_memory_workingset_refault_anon_total"),
		faults: failures("pgfault", "container"), majorFaults: failures("pgmajfault", "container"),
		allFaults: failures("pgfault", "hierarchy"), allMajorFaults: failures("pgmajfault", "hierarchy"),
	}
}

// set gives the numbers of a running container. limit is what it may use of memory, 0 when nothing is set, as in cAdvisor.
func (r *cadvisorSeries) set(b *metrics.Batch, c *ecs.Container, st *ecs.Stats, limit float64) {
	b.Set(r.lastSeen, float64(b.Time/1000))
	created, known := c.CreatedAt.Unix()
	if known {
		b.Set(r.created, float64(int64(created)))
	}
	if started, ok := c.StartedAt.Unix(); ok {
		b.Set(r.started, float64(int64(started)))
	} else if known {
		b.Set(r.started, float64(int64(created)))
	}
	b.Set(r.health, health(c))
	if c.Limits.CPU > 0 {
		b.Set(r.shares, c.Limits.CPU)
	}
	b.Set(r.memoryLimit, limit)
	r.setCPU(b, st)
	r.setMemory(b, st)
	for i := range st.Blkio.Bytes {
		r.setDisk(b, &st.Blkio.Bytes[i], false)
	}
	for i := range st.Blkio.Operations {
		r.setDisk(b, &st.Blkio.Operations[i], true)
	}
}

// health is cAdvisor's number for it: -1 without a check.
func health(c *ecs.Container) float64 {
	switch {
	case c.Health == nil:
		return -1
	case c.Health.Status == "HEALTHY":
		return 1
	}
	return 0
}

// maxCPUs bounds how many processors are told apart.
const maxCPUs = 1024

func (r *cadvisorSeries) setCPU(b *metrics.Batch, st *ecs.Stats) {
	usage := &st.CPU.Usage
	switch {
	case len(usage.PerCPU) == 0 && usage.Total.Value > 0:
		setSeconds(b, r.cpuTotal, usage.Total)
	default:
		for i, used := range usage.PerCPU[:min(len(usage.PerCPU), maxCPUs)] {
			if len(r.cpus) == i {
				r.cpus = append(r.cpus, r.of("container_cpu_usage_seconds_total", "cpu", fmt.Sprintf("cpu%02d", i)))
			}
			if used > 0 {
				b.Set(r.cpus[i], used/1e9)
			}
		}
	}
	setSeconds(b, r.user, usage.User)
	setSeconds(b, r.system, usage.Kernel)
	// ECS doesn't say whether there is a quota. Where there is one, periods pass.
	if t := &st.CPU.Throttling; t.Periods > 0 {
		b.Set(r.periods, t.Periods)
		b.Set(r.throttledPeriods, t.ThrottledPeriods)
		b.Set(r.throttledSeconds, t.ThrottledTime/1e9)
	}
}

func (r *cadvisorSeries) setMemory(b *metrics.Batch, st *ecs.Stats) {
	if !st.Memory.Usage.Set {
		return
	}
	m := &st.Memory.Stats
	set(b, r.usage, st.Memory.Usage)
	set(b, r.maxUsage, st.Memory.MaxUsage)
	workingSet, _ := st.WorkingSet()
	b.Set(r.workingSet, workingSet)
	set(b, r.cache, m.CacheBytes())
	set(b, r.rss, m.RSSBytes())
	set(b, r.swap, m.SwapBytes())
	set(b, r.mapped, m.MappedBytes())
	set(b, r.activeFile, m.ActiveFileBytes())
	set(b, r.inactiveFile, m.InactiveFileBytes())
	set(b, r.faults, m.Pgfault)
	set(b, r.majorFaults, m.Pgmajfault)
	if !st.V2() {
		b.Set(r.failcnt, st.Memory.Failcnt) // left out where it is 0
		set(b, r.allFaults, m.TotalPgfault)
		set(b, r.allMajorFaults, m.TotalPgmajfault)
		return
	}
	// A cgroup of version 2 counts what lies below it everywhere.
	set(b, r.allFaults, m.Pgfault)
	set(b, r.allMajorFaults, m.Pgmajfault)
	set(b, r.dirty, m.FileDirty)
	set(b, r.writeback, m.FileWriteback)
	set(b, r.pgscan, m.Pgscan)
	set(b, r.pgsteal, m.Pgsteal)
	set(b, r.refaultFile, m.RefaultFile)
	set(b, r.refaultAnon, m.RefaultAnon)
}

// maxDisks bounds how many kinds of operations on devices are kept of a container.
const maxDisks = 512

func (r *cadvisorSeries) setDisk(b *metrics.Batch, e *ecs.BlkioEntry, operations bool) {
	d := r.disk(e, operations)
	if d == nil || d.cycle == b.Cycle {
		return
	}
	d.cycle = b.Cycle
	if d.blkio != nil {
		b.Set(d.blkio, e.Value)
	}
	if d.fs != nil {
		b.Set(d.fs, e.Value)
	}
}

func (r *cadvisorSeries) disk(e *ecs.BlkioEntry, operations bool) *diskSeries {
	for i := range r.disks {
		if d := &r.disks[i]; d.major == e.Major && d.minor == e.Minor && d.operations == operations && strings.EqualFold(d.op, e.Op) {
			return d
		}
	}
	if len(r.disks) == maxDisks || strings.Trim(e.Op, letters) != "" || e.Op == "" {
		return nil
	}
	// cgroup v2 writes them in lower case, cAdvisor both alike.
	op := strings.ToUpper(e.Op[:1]) + strings.ToLower(e.Op[1:])
	d := diskSeries{major: e.Major, minor: e.Minor, op: op, operations: operations}
	device := r.device(e.Major, e.Minor)
	if !operations {
		d.blkio = r.of("container_blkio_device_usage_total", "device", device,
			"major", strconv.FormatUint(e.Major, 10), "minor", strconv.FormatUint(e.Minor, 10), "operation", op)
	}
	name := map[string]string{"Read": "container_fs_reads", "Write": "container_fs_writes"}[op]
	switch {
	case name != "" && operations:
		d.fs = r.of(name+"_total", "device", device)
	case name != "":
		d.fs = r.of(name+"_bytes_total", "device", device)
	}
	r.disks = append(r.disks, d)
	return &r.disks[len(r.disks)-1]
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// deviceName is the path of a block device, which the machine's /sys knows by its numbers, or else the numbers. A container sees the machine's
// devices there.
func (s *series) deviceName(major, minor uint64) string {
	numbers := fmt.Sprintf("%d:%d", major, minor)
	target, err := os.Readlink(filepath.Join(s.blockDevs, numbers))
	if err != nil {
		return numbers
	}
	return "/dev/" + filepath.Base(target)
}
