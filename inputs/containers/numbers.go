package containers

import (
	"fmt"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Where each number comes from is told in the kernel's documents on cgroups; what cAdvisor makes of it in its
// lib/container/libcontainer/handler.go.

// v1 counts CPU time of user and system in ticks, whatever the kernel's own clock is.
const ticksASecond = 100

// cpuV1 reads cpuacct and cpu.
func (in *input) cpuV1(c *container, b *metrics.Batch) error {
	data, err := in.get(c.group, v1CPUSplit)
	if err != nil {
		return err
	}
	for rest := data; len(rest) > 0; {
		var line []byte
		line, rest = pseudofile.CutLine(rest)
		key, v, ok := parseKeyValue(line)
		switch {
		case !ok:
			in.badText(c.group, v1CPUSplit, line)
		case string(key) == "user":
			in.set(c, cpuUser, float64(v)/ticksASecond, b)
		case string(key) == "system":
			in.set(c, cpuSystem, float64(v)/ticksASecond, b)
		}
	}
	if data, err = in.get(c.group, v1CPUPerCPU); err != nil {
		return err
	}
	line, _ := pseudofile.CutLine(data)
	for i, rest := 0, line; ; i++ {
		var field []byte
		if field, rest = pseudofile.CutField(rest); len(field) == 0 {
			break
		}
		v, ok := pseudofile.ParseUint(field)
		if !ok {
			in.badText(c.group, v1CPUPerCPU, line)
			break
		}
		if v == 0 {
			continue // a CPU on which it never ran has no series
		}
		for i >= len(c.cpus) {
			c.cpus = append(c.cpus, nil)
		}
		if c.cpus[i] == nil {
			c.cpus[i] = c.series.New(cpuUsage, "cpu", fmt.Sprintf("cpu%02d", i))
		}
		b.Set(c.cpus[i], float64(v)/1e9)
	}
	if data == nil { // this kernel tells the sum alone
		v, ok, err := in.value(c.group, v1CPUTotal)
		if err != nil {
			return err
		}
		if ok && v > 0 {
			in.setCPUTotal(c, float64(v)/1e9, b)
		}
	}
	if data, err = in.get(c.group, v1Quota); err != nil {
		return err
	}
	if quota, ok := quotaV1(data); !ok || quota == 0 {
		return nil
	}
	return in.throttling(c, v1CPUStat, b)
}

// quotaV1 reads cpu.cfs_quota_us, in which -1 means none.
func quotaV1(data []byte) (quota uint64, ok bool) {
	if len(data) > 0 && data[0] == '-' {
		return 0, true
	}
	return parseValue(data)
}

func (in *input) setCPUTotal(c *container, seconds float64, b *metrics.Batch) {
	if c.cpu == nil {
		c.cpu = c.series.New(cpuUsage, "cpu", "total")
	}
	b.Set(c.cpu, seconds)
}

// throttling reads cpu.stat of either version: v1 counts nanoseconds, v2 microseconds.
func (in *input) throttling(c *container, id fileID, b *metrics.Batch) error {
	data, err := in.get(c.group, id)
	if err != nil {
		return err
	}
	var periods, throttled, bursts uint64
	var throttledTime, burstTime float64
	for rest := data; len(rest) > 0; {
		var line []byte
		line, rest = pseudofile.CutLine(rest)
		key, v, ok := parseKeyValue(line)
		if !ok {
			in.badText(c.group, id, line)
			continue
		}
		switch string(key) {
		case "nr_periods":
			periods = v
		case "nr_throttled":
			throttled = v
		case "nr_bursts":
			bursts = v
		case "throttled_time":
			throttledTime = float64(v) / 1e9
		case "throttled_usec":
			throttledTime = float64(v) / 1e6
		case "burst_time":
			burstTime = float64(v) / 1e9
		case "burst_usec":
			burstTime = float64(v) / 1e6
		}
	}
	in.set(c, cfsPeriods, float64(periods), b)
	in.set(c, cfsThrottled, float64(throttled), b)
	in.set(c, cfsThrottledTime, throttledTime, b)
	in.set(c, cfsBursts, float64(bursts), b)
	in.set(c, cfsBurstTime, burstTime, b)
	return nil
}

// cpuV2 reads cpu.stat, which there is without the controller too.
func (in *input) cpuV2(c *container, b *metrics.Batch) error {
	data, err := in.get(c.group, v2CPUStat)
	if err != nil {
		return err
	}
	for rest := data; len(rest) > 0; {
		var line []byte
		line, rest = pseudofile.CutLine(rest)
		key, v, ok := parseKeyValue(line)
		if !ok {
			in.badText(c.group, v2CPUStat, line)
			continue
		}
		switch string(key) {
		case "usage_usec":
			if v > 0 {
				in.setCPUTotal(c, float64(v)/1e6, b)
			}
		case "user_usec":
			in.set(c, cpuUser, float64(v)/1e6, b)
		case "system_usec":
			in.set(c, cpuSystem, float64(v)/1e6, b)
		}
	}
	if data, err = in.get(c.group, v2CPUMax); err != nil || data == nil {
		return err
	}
	if quota, _, ok := parseCPUMax(data); !ok || quota == 0 {
		return nil
	}
	return in.throttling(c, v2CPUStat, b)
}

// memory is what a collection finds out before it is set.
type memory struct {
	usage, peak, failures, kernel        uint64
	cache, rss, mapped, swap             uint64
	activeFile, inactiveFile             uint64
	faults, majorFaults                  uint64 // of the cgroup itself
	allFaults, allMajorFaults            uint64 // with those below it
	high, atMax, oomKills                uint64
	dirty, writeback, scanned, reclaimed uint64
	refaultFile, refaultAnon             uint64
}

func (in *input) setMemory(c *container, m *memory, b *metrics.Batch) {
	in.set(c, memCache, float64(m.cache), b)
	in.set(c, memRSS, float64(m.rss), b)
	in.set(c, memKernel, float64(m.kernel), b)
	in.set(c, memMapped, float64(m.mapped), b)
	in.set(c, memSwap, float64(m.swap), b)
	in.set(c, memFailcnt, float64(m.failures), b)
	in.set(c, memUsage, float64(m.usage), b)
	in.set(c, memMax, float64(m.peak), b)
	in.set(c, memWorkingSet, float64(m.usage-min(m.usage, m.inactiveFile)), b)
	in.set(c, memActiveFile, float64(m.activeFile), b)
	in.set(c, memInactiveFile, float64(m.inactiveFile), b)
	in.set(c, failPgfaultContainer, float64(m.faults), b)
	in.set(c, failPgmajfaultContainer, float64(m.majorFaults), b)
	in.set(c, failPgfaultHierarchy, float64(m.allFaults), b)
	in.set(c, failPgmajfaultHierarchy, float64(m.allMajorFaults), b)
	in.set(c, memHigh, float64(m.high), b)
	in.set(c, memAtMax, float64(m.atMax), b)
	in.set(c, memDirty, float64(m.dirty), b)
	in.set(c, memWriteback, float64(m.writeback), b)
	in.set(c, memScan, float64(m.scanned), b)
	in.set(c, memSteal, float64(m.reclaimed), b)
	in.set(c, memRefaultFile, float64(m.refaultFile), b)
	in.set(c, memRefaultAnon, float64(m.refaultAnon), b)
	c.kills = m.oomKills
}

// read puts a number of one file where it belongs.
func (in *input) read(g *cgroup, id fileID, into *uint64) error {
	v, ok, err := in.value(g, id)
	if ok {
		*into = v
	}
	return err
}

// memoryV1 reads the memory controller.
func (in *input) memoryV1(c *container, b *metrics.Batch) error {
	g := c.group
	if g.folders[ctlMemory].fd == 0 {
		return nil
	}
	var m memory
	for _, f := range [...]struct {
		id   fileID
		into *uint64
	}{{v1MemoryUsage, &m.usage}, {v1MemoryMax, &m.peak}, {v1MemoryFailures, &m.failures}, {v1MemoryKernel, &m.kernel}} {
		if err := in.read(g, f.id, f.into); err != nil {
			return err
		}
	}
	data, err := in.get(g, v1MemoryOOM)
	if err != nil {
		return err
	}
	for rest := data; len(rest) > 0; { // oom_kill came with Linux 4.13
		var line []byte
		line, rest = pseudofile.CutLine(rest)
		if key, v, ok := parseKeyValue(line); ok && string(key) == "oom_kill" {
			m.oomKills = v
		}
	}
	if data, err = in.get(g, v1MemoryStat); err != nil {
		return err
	}
	all := g.hierarchical
	pick := func(into *uint64, v uint64, total bool) {
		if total == all {
			*into = v
		}
	}
	for rest := data; len(rest) > 0; {
		var line []byte
		line, rest = pseudofile.CutLine(rest)
		key, v, ok := parseKeyValue(line)
		if !ok {
			in.badText(g, v1MemoryStat, line)
			continue
		}
		switch string(key) {
		case "cache":
			pick(&m.cache, v, false)
		case "total_cache":
			pick(&m.cache, v, true)
		case "rss":
			pick(&m.rss, v, false)
		case "total_rss":
			pick(&m.rss, v, true)
		case "mapped_file":
			pick(&m.mapped, v, false)
		case "total_mapped_file":
			pick(&m.mapped, v, true)
		case "swap":
			pick(&m.swap, v, false)
		case "total_swap":
			pick(&m.swap, v, true)
		case "dirty":
			pick(&m.dirty, v, false)
		case "total_dirty":
			pick(&m.dirty, v, true)
		case "writeback":
			pick(&m.writeback, v, false)
		case "total_writeback":
			pick(&m.writeback, v, true)
		case "workingset_refault_file":
			pick(&m.refaultFile, v, false)
		case "total_workingset_refault_file":
			pick(&m.refaultFile, v, true)
		case "workingset_refault_anon":
			pick(&m.refaultAnon, v, false)
		case "total_workingset_refault_anon":
			pick(&m.refaultAnon, v, true)
		case "pgfault":
			m.faults = v
		case "pgmajfault":
			m.majorFaults = v
		case "total_pgfault":
			m.allFaults = v
		case "total_pgmajfault":
			m.allMajorFaults = v
		case "total_active_file":
			m.activeFile = v
		case "total_inactive_file":
			m.inactiveFile = v
		}
	}
	in.setMemory(c, &m, b)
	return nil
}

// memoryV2 reads the memory controller; the root has its numbers in parts only.
func (in *input) memoryV2(c *container, b *metrics.Batch) error {
	g := c.group
	var m memory
	data, err := in.get(g, v2MemoryStat)
	if err != nil || data == nil {
		return err
	}
	for rest := data; len(rest) > 0; {
		var line []byte
		line, rest = pseudofile.CutLine(rest)
		key, v, ok := parseKeyValue(line)
		if !ok {
			in.badText(g, v2MemoryStat, line)
			continue
		}
		switch string(key) {
		case "file":
			m.cache = v
		case "anon":
			m.rss = v
		case "kernel": // Linux 5.18
			m.kernel = v
		case "file_mapped":
			m.mapped = v
		case "active_file":
			m.activeFile = v
		case "inactive_file":
			m.inactiveFile = v
		case "pgfault":
			m.faults, m.allFaults = v, v
		case "pgmajfault":
			m.majorFaults, m.allMajorFaults = v, v
		case "file_dirty":
			m.dirty = v
		case "file_writeback":
			m.writeback = v
		case "pgscan":
			m.scanned = v
		case "pgsteal":
			m.reclaimed = v
		case "workingset_refault_file":
			m.refaultFile = v
		case "workingset_refault_anon":
			m.refaultAnon = v
		}
	}
	if c == in.root {
		m.usage = m.rss + m.cache // as v1 counts it for the root; v2 has no number
		m.swap = in.machine.swapUsed()
	}
	for _, f := range [...]struct {
		id   fileID
		into *uint64
	}{{v2MemoryUsage, &m.usage}, {v2MemoryPeak, &m.peak}, {v2MemorySwap, &m.swap}} {
		if err := in.read(g, f.id, f.into); err != nil {
			return err
		}
	}
	if data, err = in.get(g, v2MemoryEvents); err != nil {
		return err
	}
	for rest := data; len(rest) > 0; {
		var line []byte
		line, rest = pseudofile.CutLine(rest)
		key, v, ok := parseKeyValue(line)
		if !ok {
			in.badText(g, v2MemoryEvents, line)
			continue
		}
		switch string(key) {
		case "high":
			m.high = v
		case "max":
			m.atMax = v
		case "oom_kill":
			m.oomKills = v
		}
	}
	in.setMemory(c, &m, b)
	return nil
}

// pressure reads how long tasks waited. A kernel without it leaves the series at 0, as cAdvisor does.
func (in *input) pressure(c *container, b *metrics.Batch) error {
	for _, p := range [...]struct {
		id   fileID
		some number
		full number
	}{
		{pressureCPU, pressCPUWaiting, pressCPUStalled},
		{pressureMemory, pressMemoryWaiting, pressMemoryStalled},
		{pressureIO, pressIOWaiting, pressIOStalled},
	} {
		data, err := in.get(c.group, p.id)
		if err != nil {
			return err
		}
		some, full, ok := parsePressure(data)
		if !ok && data != nil {
			in.badText(c.group, p.id, data)
			continue
		}
		in.set(c, p.some, float64(some)/1e6, b)
		in.set(c, p.full, float64(full)/1e6, b)
	}
	return nil
}

// pids reads how many threads there are.
func (in *input) pids(c *container, b *metrics.Batch) error {
	v, ok, err := in.value(c.group, pidsCurrent)
	if err != nil {
		return err
	}
	if ok {
		in.set(c, threads, float64(v), b)
	}
	if v, ok, err = in.value(c.group, pidsMax); err != nil {
		return err
	}
	if ok {
		in.set(c, threadsMax, orZero(v), b)
	}
	return nil
}

// orZero is how a limit is shown: none is 0, and so is what v1 writes for none, which is close to 2^63.
func orZero(v uint64) float64 {
	if v > 1<<62 {
		return 0
	}
	return float64(v)
}

// specV1 reads the limits.
func (in *input) specV1(c *container, b *metrics.Batch) error {
	if c.group.folders[ctlCPU].fd != 0 {
		var shares, period uint64
		if err := in.read(c.group, v1Shares, &shares); err != nil {
			return err
		}
		if err := in.read(c.group, v1Period, &period); err != nil {
			return err
		}
		data, err := in.get(c.group, v1Quota)
		if err != nil {
			return err
		}
		quota, ok := quotaV1(data)
		if !ok && data != nil {
			in.badText(c.group, v1Quota, data)
		}
		in.setCPUSpec(c, shares, period, quota, b)
	}
	if c.group.folders[ctlMemory].fd == 0 {
		return nil
	}
	return in.memorySpec(c, v1MemoryLimit, v1MemorySwapLimit, v1MemorySoftLimit, b)
}

// specV2 reads the limits.
func (in *input) specV2(c *container, b *metrics.Batch) error {
	weight, ok, err := in.value(c.group, v2Weight)
	if err != nil {
		return err
	}
	var shares uint64
	if ok && weight > 0 && weight <= 10_000 {
		shares = 2 + (weight-1)*262142/9999 // runc's way from shares to weights, backwards
	}
	data, err := in.get(c.group, v2CPUMax)
	if err != nil {
		return err
	}
	quota, period, ok := parseCPUMax(data)
	if !ok && data != nil {
		in.badText(c.group, v2CPUMax, data)
	}
	in.setCPUSpec(c, shares, period, quota, b)
	return in.memorySpec(c, v2MemoryLimit, v2MemorySwapLimit, v2MemoryMin, b)
}

func (in *input) setCPUSpec(c *container, shares, period, quota uint64, b *metrics.Batch) {
	in.set(c, specShares, float64(shares), b)
	in.set(c, specPeriod, float64(period), b)
	if quota != 0 {
		in.set(c, specQuota, float64(quota), b)
	}
}

func (in *input) memorySpec(c *container, limit, swap, reservation fileID, b *metrics.Batch) error {
	var v [3]uint64
	for i, id := range [...]fileID{limit, swap, reservation} {
		if err := in.read(c.group, id, &v[i]); err != nil {
			return err
		}
	}
	if c == in.root {
		v[0], v[1] = in.machine.memory, in.machine.swap
	}
	in.set(c, specMemory, orZero(v[0]), b)
	in.set(c, specSwap, orZero(v[1]), b)
	in.set(c, specReservation, orZero(v[2]), b)
	return nil
}
