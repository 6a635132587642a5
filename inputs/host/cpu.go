package host

import (
	"context"
	"strconv"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// cpu is CPU time by mode, from /proc/stat, and what /sys says of CPUs.
type cpu struct {
	stat           *procStat
	topology       *topology
	series         *metrics.Registry
	seconds, guest *metrics.Desc
	rows           []*cpuRow // by number
}

// cpuRow is a CPU: its series, and the largest times seen.
type cpuRow struct {
	seconds [modeGuest]*metrics.Series
	guest   [modes - modeGuest]*metrics.Series
	ticks   [modes]uint64
	seen    uint64 // procStat.reads when it was there last
}

const ticksPerSecond = 100 // USER_HZ is 100 on every architecture that Go runs on

func newCPU(m *machine) *cpu {
	return &cpu{
		stat: m.stat, series: m.series, topology: newTopology(m),
		seconds: counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode."),
		guest:   counter("node_cpu_guest_seconds_total", "Seconds the CPUs spent in guests (VMs) for each mode."),
	}
}

func (c *cpu) collect(_ context.Context, b *metrics.Batch) error {
	err := c.stat.update(b.Cycle)
	if !c.stat.ok {
		return err
	}
	for i := range c.stat.cpus {
		t := &c.stat.cpus[i]
		row := c.row(t.id)
		row.rise(t, c.stat.reads)
		for mode, s := range row.seconds {
			b.Set(s, float64(row.ticks[mode])/ticksPerSecond)
		}
		for mode, s := range row.guest {
			b.Set(s, float64(row.ticks[modeGuest+mode])/ticksPerSecond)
		}
	}
	firstError(&err, c.topology.collect(b))
	return err
}

func (c *cpu) row(id int) *cpuRow {
	for id >= len(c.rows) {
		c.rows = append(c.rows, nil)
	}
	if c.rows[id] == nil {
		row, number := new(cpuRow), strconv.Itoa(id)
		for i, mode := range [...]string{"user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"} {
			row.seconds[i] = c.series.New(c.seconds, "cpu", number, "mode", mode)
		}
		for i, mode := range [...]string{"user", "nice"} {
			row.guest[i] = c.series.New(c.guest, "cpu", number, "mode", mode)
		}
		c.rows[id] = row
	}
	return c.rows[id]
}

// rise takes new times, each only if it isn't smaller than before: the kernel's idle and iowait of a CPU that sleeps step back by a
// little, which a counter must not. A CPU that was away, or whose idle time fell by 3 s and more, was unplugged and plugged in again and
// begins anew. These are node_exporter's rules.
func (r *cpuRow) rise(t *cpuTimes, reads uint64) {
	const jump = 3 * ticksPerSecond
	away := r.seen+1 != reads
	fell := r.ticks[modeIdle] >= t.ticks[modeIdle] && r.ticks[modeIdle]-t.ticks[modeIdle] >= jump
	if away || fell {
		r.ticks = [modes]uint64{}
	}
	for i, v := range t.ticks {
		r.ticks[i] = max(r.ticks[i], v)
	}
	r.seen = reads
}

func (c *cpu) close(context.Context) {
	c.stat.file.close()
	c.topology.close()
}
