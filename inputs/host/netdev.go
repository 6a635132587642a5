package host

import (
	"bytes"
	"context"
	"slices"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// netdev is /proc/net/dev (proc_pid_net(5)). node_exporter asks netlink for the same numbers and adds several of them up; the kernel
// adds up the very same ones for this file (dev_seq_printf_stats), which unlike netlink can be read for another network namespace:
// the machine's, from inside a container. The one number that the file lacks, receive_nohandler, comes from /sys/class/net.
type netdev struct {
	file      file
	series    *metrics.Registry
	scratch   *scratch
	filter    filter
	sysfs     string // "" where it doesn't show the same network
	descs     [netFields]*metrics.Desc
	nohandler *metrics.Desc

	devices     metrics.Table[netDevice]
	makeRow     func(string) netDevice
	shown, last []*netDevice // of this cycle and of the one before
}

const netFields = 16

type netDevice struct {
	ignored   bool
	stats     [netFields]*metrics.Series
	nohandler *metrics.Series // nil where the number isn't to be had
	file      file
}

func newNetdev(m *machine) *netdev {
	c := &netdev{
		file: m.net("dev"), series: m.series, scratch: m.scratch, sysfs: m.sysfs,
		filter:    newFilter(m.cfg.Netdev.DeviceExclude, m.cfg.Netdev.DeviceInclude),
		nohandler: netDesc("receive_nohandler"),
	}
	if m.sysfsShowsOtherNetwork {
		c.sysfs = ""
	}
	// In the order of the file.
	for i, name := range [netFields]string{
		"receive_bytes", "receive_packets", "receive_errs", "receive_drop", "receive_fifo", "receive_frame", "receive_compressed", "receive_multicast",
		"transmit_bytes", "transmit_packets", "transmit_errs", "transmit_drop", "transmit_fifo", "transmit_colls", "transmit_carrier", "transmit_compressed",
	} {
		c.descs[i] = netDesc(name)
	}
	c.makeRow = c.newDevice
	return c
}

func netDesc(name string) *metrics.Desc {
	return counter("node_network_"+name+"_total", "Network device statistic "+name+".")
}

func (c *netdev) newDevice(name string) netDevice {
	if c.filter.ignores(name) {
		return netDevice{ignored: true}
	}
	var d netDevice
	for i, desc := range c.descs {
		d.stats[i] = c.series.New(desc, "device", name)
	}
	if c.sysfs != "" && name != "." && name != ".." && !bytes.ContainsRune([]byte(name), '/') {
		d.file = file{path: c.sysfs + "/class/net/" + name + "/statistics/rx_nohandler", scratch: c.scratch}
		d.nohandler = c.series.New(c.nohandler, "device", name)
	}
	return d
}

func (c *netdev) collect(_ context.Context, b *metrics.Batch) error {
	data, err := c.file.read()
	if err != nil {
		return err
	}
	c.shown, c.last = c.last, c.shown
	err = c.parse(data, b)
	if !slices.Equal(c.shown, c.last) {
		// A name may stand for another device now; the open files would go on speaking of the old one.
		for _, d := range c.last {
			d.file.close()
		}
		for _, d := range c.shown {
			d.file.close()
		}
	}
	for _, d := range c.shown {
		if d.nohandler == nil {
			continue
		}
		data, err := d.file.read()
		if err != nil {
			continue // the kernel is older than 4.6, or the device has just gone
		}
		if v, ok := readUint(data); ok {
			b.Set(d.nohandler, float64(v))
		}
	}
	c.devices.Sweep(b.Cycle)
	return err
}

func (c *netdev) parse(data []byte, b *metrics.Batch) error {
	var bad error
	c.shown = c.shown[:0]
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data = pseudofile.CutLine(data)
		if n <= 2 || len(line) == 0 {
			continue // two lines of headings
		}
		// An alias has a colon in its name; the numbers have none.
		colon := bytes.LastIndexByte(line, ':')
		if colon < 0 {
			firstError(&bad, badLine(c.file.path, n, line, "no colon after the device"))
			continue
		}
		name, _ := pseudofile.CutField(line[:colon])
		var values [netFields]uint64
		ok, rest := len(name) > 0, line[colon+1:]
		for i := 0; ok && i < netFields; i++ {
			var field []byte
			field, rest = pseudofile.CutField(rest)
			values[i], ok = pseudofile.ParseUint(field)
		}
		if !ok {
			firstError(&bad, badLine(c.file.path, n, line, "not the 16 numbers of a device"))
			continue
		}
		d := c.devices.Row(name, b.Cycle, c.makeRow)
		if d.ignored {
			continue
		}
		for i, v := range values {
			b.Set(d.stats[i], float64(v))
		}
		c.shown = append(c.shown, d)
	}
	return bad
}

func (c *netdev) close(context.Context) {
	c.file.close()
	for _, d := range c.shown {
		d.file.close()
	}
}
