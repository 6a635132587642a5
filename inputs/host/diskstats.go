package host

import (
	"context"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// diskstats is /proc/diskstats (https://docs.kernel.org/admin-guide/iostats.html), and what udev knows of each device.
type diskstats struct {
	file    file
	series  *metrics.Registry
	filter  filter
	about   *aboutDisks
	descs   [diskFields]*metrics.Desc
	disks   metrics.Table[disk]
	makeRow func(string) disk
}

// diskFields is how many numbers of a device are known; Linux before 4.18 has 11, before 5.5 has 15.
const (
	diskFields    = 17
	leastFields   = 11
	sectorSize    = 512          // of every device, whatever it says of itself
	secondsAMilli = 1.0 / 1000.0 // a factor, not a divisor: the last digits are then node_exporter's
)

// disk is a device. stats are made when a number is first seen.
type disk struct {
	ignored bool
	name    string
	stats   [diskFields]*metrics.Series
	about   diskAbout
}

func newDiskstats(m *machine) *diskstats {
	c := &diskstats{
		file: m.proc("diskstats"), series: m.series, about: newAboutDisks(m),
		filter: newFilter(m.cfg.Diskstats.DeviceExclude, m.cfg.Diskstats.DeviceInclude),
		descs: [...]*metrics.Desc{
			counter("node_disk_reads_completed_total", "The total number of reads completed successfully."),
			counter("node_disk_reads_merged_total", "The total number of reads merged."),
			counter("node_disk_read_bytes_total", "The total number of bytes read successfully."),
			counter("node_disk_read_time_seconds_total", "The total number of seconds spent by all reads."),
			counter("node_disk_writes_completed_total", "The total number of writes completed successfully."),
			counter("node_disk_writes_merged_total", "The number of writes merged."),
			counter("node_disk_written_bytes_total", "The total number of bytes written successfully."),
			counter("node_disk_write_time_seconds_total", "This is the total number of seconds spent by all writes."),
			gauge("node_disk_io_now", "The number of I/Os currently in progress."),
			counter("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os."),
			counter("node_disk_io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os."),
			counter("node_disk_discards_completed_total", "The total number of discards completed successfully."),
			counter("node_disk_discards_merged_total", "The total number of discards merged."),
			counter("node_disk_discarded_sectors_total", "The total number of sectors discarded successfully."),
			counter("node_disk_discard_time_seconds_total", "This is the total number of seconds spent by all discards."),
			counter("node_disk_flush_requests_total", "The total number of flush requests completed successfully"),
			counter("node_disk_flush_requests_time_seconds_total", "This is the total number of seconds spent by all flush requests."),
		},
	}
	c.makeRow = func(name string) disk { return disk{name: name, ignored: c.filter.ignores(name)} }
	return c
}

func (c *diskstats) collect(_ context.Context, b *metrics.Batch) error {
	data, err := c.file.read()
	if err != nil {
		return err
	}
	// What is read about a device goes through the same buffer, so the file is parsed first.
	c.about.due = c.about.due[:0]
	err = c.parse(data, b)
	for _, d := range c.about.due {
		c.about.refresh(d, b.Time)
	}
	for _, d := range c.about.shown {
		for _, f := range d.about.samples {
			b.Set(f.series, f.value)
		}
	}
	c.disks.Sweep(b.Cycle)
	return err
}

func (c *diskstats) parse(data []byte, b *metrics.Batch) error {
	var bad error
	c.about.shown = c.about.shown[:0]
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data = pseudofile.CutLine(data)
		majorText, rest := pseudofile.CutField(line)
		minorText, rest := pseudofile.CutField(rest)
		name, rest := pseudofile.CutField(rest)
		if len(name) == 0 {
			continue
		}
		d := c.disks.Row(name, b.Cycle, c.makeRow)
		if d.ignored {
			continue
		}
		var values [diskFields]uint64
		count, good := 0, true
		for count < diskFields {
			var field []byte
			if field, rest = pseudofile.CutField(rest); len(field) == 0 {
				break
			}
			if values[count], good = pseudofile.ParseUint(field); !good {
				break
			}
			count++
		}
		major, ok := pseudofile.ParseUint(majorText)
		minor, ok2 := pseudofile.ParseUint(minorText)
		if !good || !ok || !ok2 {
			firstError(&bad, badLine(c.file.path, n, line, "not the statistics of a device"))
			continue
		}
		if count < leastFields {
			continue // a partition in the short form of Linux before 2.6.25
		}
		for i, v := range values[:count] {
			if d.stats[i] == nil {
				d.stats[i] = c.series.New(c.descs[i], "device", d.name)
			}
			b.Set(d.stats[i], diskValue(i, v))
		}
		c.about.shown = append(c.about.shown, d)
		if d.about.stale(major, minor, b.Time) {
			c.about.due = append(c.about.due, d)
		}
	}
	return bad
}

// diskValue gives number i of a device its unit: the kernel counts sectors and milliseconds.
func diskValue(i int, v uint64) float64 {
	switch i {
	case 2, 6: // sectors read and written; discarded ones stay sectors
		return float64(v) * sectorSize
	case 3, 7, 9, 10, 14, 16:
		return float64(v) * secondsAMilli
	}
	return float64(v)
}

func (c *diskstats) close(context.Context) { c.file.close() }
