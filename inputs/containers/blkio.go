package containers

import (
	"bytes"
	"os"
	"strconv"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// device is a block device by its numbers.
type device struct{ major, minor uint32 }

// unknownDevice stands in these files for a device that was taken away while there are still numbers of it.
const unknownDevice = "(unknown)"

// ioKind is what is counted for a device.
type ioKind int

const (
	ioBytes ioKind = iota
	ioServiced
	ioMerged
	ioTime
	ioQueued
	ioCostUsage
	ioCostWait
	ioCostIndebt
	ioCostIndelay
	ioKinds
)

// blkioFiles are the files of cgroup v1 for what is counted: which of them has numbers depends on the scheduler of the disk, and the first
// that has some counts (https://docs.kernel.org/admin-guide/cgroup-v1/blkio-controller.html).
var blkioFiles = [...]struct {
	kind  ioKind
	names []fileName
}{
	{ioBytes, []fileName{"blkio.bfq.io_service_bytes_recursive\x00", "blkio.io_service_bytes_recursive\x00",
		"blkio.throttle.io_service_bytes_recursive\x00", "blkio.throttle.io_service_bytes\x00"}},
	{ioServiced, []fileName{"blkio.bfq.io_serviced_recursive\x00", "blkio.io_serviced_recursive\x00",
		"blkio.throttle.io_serviced_recursive\x00", "blkio.throttle.io_serviced\x00"}},
	{ioMerged, []fileName{"blkio.bfq.io_merged_recursive\x00", "blkio.io_merged_recursive\x00"}},
	{ioTime, []fileName{"blkio.bfq.io_service_time_recursive\x00", "blkio.io_service_time_recursive\x00"}},
	{ioQueued, []fileName{"blkio.bfq.io_queued_recursive\x00", "blkio.io_queued_recursive\x00"}},
}

// ioOps are the operations that the kernel tells apart, as cAdvisor labels them.
var ioOps = [...]string{"Read", "Write", "Sync", "Async", "Discard", "Total"}

const (
	opRead = iota
	opWrite
	opSync
	opAsync
	opDiscard
	opTotal
	ioOpCount
)

func opOf(b []byte) (int, bool) {
	switch string(b) {
	case "Read":
		return opRead, true
	case "Write":
		return opWrite, true
	case "Sync":
		return opSync, true
	case "Async":
		return opAsync, true
	case "Discard":
		return opDiscard, true
	case "Total":
		return opTotal, true
	}
	return 0, false
}

// disk is a block device in a container's numbers.
type disk struct {
	device device
	name   string
	usage  [ioOpCount]*metrics.Series // container_blkio_device_usage_total
	fs     [fsFamilies]*metrics.Series
	set    uint32 // families that the cgroup has set in this cycle, a bit each; kept for the root alone
}

// disk returns the row of a device.
func (in *input) disk(c *container, d device) *disk {
	for _, k := range c.disks {
		if k.device == d {
			return k
		}
	}
	k := &disk{device: d, name: in.deviceName(c, d)}
	c.disks = append(c.disks, k)
	return k
}

// collectBlkio reads the files of v1.
func (in *input) collectBlkio(c *container, b *metrics.Batch) error {
	id := v1BlkioFirst
	for i := range blkioFiles {
		f := &blkioFiles[i]
		done := false
		for range f.names {
			if !done {
				data, err := in.get(c.group, id)
				if err != nil {
					return err
				}
				done = in.parseBlkio(c, f.kind, id, data, b)
			}
			id++
		}
	}
	return nil
}

// parseBlkio sets what one file tells. It returns false when there is no device in it.
func (in *input) parseBlkio(c *container, kind ioKind, id fileID, data []byte, b *metrics.Batch) bool {
	found := false
	for rest := data; len(rest) > 0; {
		var line []byte
		if line, rest = pseudofile.CutLine(rest); len(line) == 0 {
			continue
		}
		l, skip, ok := parseBlkioLine(line)
		if !ok {
			in.badText(c.group, id, line)
			return found
		}
		if skip {
			continue
		}
		found = true
		if op, known := opOf(l.op); known {
			in.setIO(c, in.disk(c, l.device), kind, op, l.value, b)
		}
	}
	return found
}

// collectIOStat reads io.stat of v2: lines as "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0".
func (in *input) collectIOStat(c *container, b *metrics.Batch) error {
	data, err := in.get(c.group, v2IO)
	if err != nil {
		return err
	}
	for len(data) > 0 {
		var line []byte
		if line, data = pseudofile.CutLine(data); len(line) == 0 {
			continue
		}
		first, rest := pseudofile.CutField(line)
		if string(first) == unknownDevice {
			continue
		}
		dev, ok := parseDevice(first)
		if !ok {
			in.badText(c.group, v2IO, line)
			continue
		}
		var d *disk
		for {
			var field []byte
			if field, rest = pseudofile.CutField(rest); len(field) == 0 {
				break
			}
			key, text, is := bytes.Cut(field, []byte("="))
			if !is {
				continue
			}
			kind, op := ioBytes, opRead
			switch string(key) {
			case "rbytes":
			case "wbytes":
				op = opWrite
			case "rios":
				kind = ioServiced
			case "wios":
				kind, op = ioServiced, opWrite
			case "cost.usage":
				kind = ioCostUsage
			case "cost.wait":
				kind = ioCostWait
			case "cost.indebt":
				kind = ioCostIndebt
			case "cost.indelay":
				kind = ioCostIndelay
			default:
				continue
			}
			v, ok := pseudofile.ParseUint(text)
			if !ok {
				in.badText(c.group, v2IO, line)
				continue
			}
			if d == nil {
				d = in.disk(c, dev)
			}
			in.setIO(c, d, kind, op, v, b)
		}
	}
	return nil
}

// setIO turns a number into the series that it belongs to.
func (in *input) setIO(c *container, d *disk, kind ioKind, op int, v uint64, b *metrics.Batch) {
	set := func(read, write fsFamily, factor float64) {
		switch op {
		case opRead:
			d.set |= 1 << read
			b.Set(in.fsSeries(c, d, read), float64(v)*factor)
		case opWrite:
			d.set |= 1 << write
			b.Set(in.fsSeries(c, d, write), float64(v)*factor)
		}
	}
	const perNano, perMicro = 1e-9, 1e-6
	switch kind {
	case ioBytes:
		if d.usage[op] == nil {
			d.usage[op] = c.series.New(blkioUsage, "device", d.name, "major", strconv.Itoa(int(d.device.major)), "minor", strconv.Itoa(int(d.device.minor)),
				"operation", ioOps[op])
		}
		b.Set(d.usage[op], float64(v))
		set(fsReadBytes, fsWriteBytes, 1)
	case ioServiced:
		set(fsReads, fsWrites, 1)
	case ioMerged:
		set(fsReadsMerged, fsWritesMerged, 1)
	case ioTime:
		set(fsReadSeconds, fsWriteSeconds, perNano)
		if op == opTotal {
			d.set |= 1 << fsIOTime
			b.Set(in.fsSeries(c, d, fsIOTime), float64(v)*perNano)
		}
	case ioQueued:
		if op == opTotal {
			d.set |= 1 << fsIONow
			b.Set(in.fsSeries(c, d, fsIONow), float64(v))
		}
	case ioCostUsage:
		b.Set(in.fsSeries(c, d, fsCostUsage), float64(v)*perMicro)
	case ioCostWait:
		b.Set(in.fsSeries(c, d, fsCostWait), float64(v)*perMicro)
	case ioCostIndebt:
		b.Set(in.fsSeries(c, d, fsCostIndebt), float64(v)*perMicro)
	case ioCostIndelay:
		b.Set(in.fsSeries(c, d, fsCostIndelay), float64(v)*perMicro)
	}
}

// deviceName is what cAdvisor labels a device with: /dev/ and the kernel's name. It is looked up once a device.
func (in *input) deviceName(c *container, d device) string {
	if c != nil && c == in.root {
		for i := range in.mounts {
			if in.mounts[i].device == d {
				return in.mounts[i].source
			}
		}
	}
	if name, ok := in.deviceNames[d]; ok {
		return name
	}
	name := ""
	path := in.sysfs + "/dev/block/" + strconv.Itoa(int(d.major)) + ":" + strconv.Itoa(int(d.minor)) + "/uevent"
	if data, err := os.ReadFile(path); err == nil { // not into the reader's buffer, in which there is what named the device
		for len(data) > 0 {
			var line []byte
			line, data = pseudofile.CutLine(data)
			if text, is := bytes.CutPrefix(line, []byte("DEVNAME=")); is {
				name = "/dev/" + string(text)
			}
		}
	}
	if len(in.deviceNames) > 4096 {
		clear(in.deviceNames) // devices that come and go
	}
	in.deviceNames[d] = name
	return name
}
