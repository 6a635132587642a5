package host

import (
	"context"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// stat is the part of /proc/stat that isn't CPU time.
type stat struct {
	stat                                                    *procStat
	intr, ctxt, forks, bootTime, procsRunning, procsBlocked *metrics.Series
}

func newStat(m *machine) *stat {
	return &stat{
		stat:         m.stat,
		intr:         m.series.New(counter("node_intr_total", "Total number of interrupts serviced.")),
		ctxt:         m.series.New(counter("node_context_switches_total", "Total number of context switches.")),
		forks:        m.series.New(counter("node_forks_total", "Total number of forks.")),
		bootTime:     m.series.New(gauge("node_boot_time_seconds", "Node boot time, in unixtime.")),
		procsRunning: m.series.New(gauge("node_procs_running", "Number of processes in runnable state.")),
		procsBlocked: m.series.New(gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.")),
	}
}

func (c *stat) collect(_ context.Context, b *metrics.Batch) error {
	err := c.stat.update(b.Cycle)
	if !c.stat.ok {
		return err
	}
	b.Set(c.intr, float64(c.stat.intr))
	b.Set(c.ctxt, float64(c.stat.ctxt))
	b.Set(c.forks, float64(c.stat.forks))
	b.Set(c.bootTime, float64(c.stat.btime))
	b.Set(c.procsRunning, float64(c.stat.procsRun))
	b.Set(c.procsBlocked, float64(c.stat.procsBlock))
	return err
}

func (c *stat) close(context.Context) { c.stat.file.close() }
