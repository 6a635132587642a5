package host

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// aboutDisks knows what doesn't count: model, serial number, filesystem and more of a device, from udev's database, and whether it
// rotates, from /sys/block. These change when a device is plugged in or formatted, so they are read again once a minute.
//
// The database is a file for each device whose lines E:NAME=value are its properties (udevadm(8)).
type aboutDisks struct {
	dir     string
	sysfs   string
	scratch *scratch
	series  *metrics.Registry

	due   []*disk // to be read in this cycle
	shown []*disk // of this cycle

	info, filesystem, mapper *metrics.Desc
	ata                      [3]*metrics.Desc
}

// diskAbout is what was read about a device.
type diskAbout struct {
	known        bool
	major, minor uint64
	at           int64 // milliseconds, when it was read
	samples      []fixedSample
	labels       string // of all samples, to see whether anything changed
}

const aboutEvery = 60_000 // ms

func (a *diskAbout) stale(major, minor uint64, now int64) bool {
	if a.known && a.major == major && a.minor == minor && now >= a.at && now-a.at < aboutEvery {
		return false
	}
	a.major, a.minor = major, minor
	return true
}

func newAboutDisks(m *machine) *aboutDisks {
	a := &aboutDisks{
		dir: m.cfg.Diskstats.UdevData, sysfs: m.sysfs, scratch: m.scratch, series: m.series,
		info:       gauge("node_disk_info", "Info of /sys/block/<block_device>."),
		filesystem: gauge("node_disk_filesystem_info", "Info about disk filesystem."),
		mapper:     gauge("node_disk_device_mapper_info", "Info about disk device mapper."),
		ata: [...]*metrics.Desc{
			gauge("node_disk_ata_write_cache", "ATA disk has a write cache."),
			gauge("node_disk_ata_write_cache_enabled", "ATA disk has its write cache enabled."),
			gauge("node_disk_ata_rotation_rate_rpm", "ATA disk rotation rate in RPMs (0 for SSDs)."),
		},
	}
	if a.dir == "" {
		a.dir = filepath.Join(m.rootfs, "run/udev/data")
	}
	return a
}

// refresh reads about a device and makes its series where something changed.
func (a *aboutDisks) refresh(d *disk, now int64) {
	major, minor := strconv.FormatUint(d.about.major, 10), strconv.FormatUint(d.about.minor, 10)
	rotational := a.rotational(d.name)
	var p map[string]string
	data, err := a.scratch.readOnce(a.dir + "/b" + major + ":" + minor)
	if err == nil { // without udev only its labels are empty
		p = parseUdev(data)
	}
	d.about.known, d.about.at = true, now
	labels := major + ":" + minor + rotational + string(data)
	if labels == d.about.labels {
		return
	}
	d.about.labels = labels
	d.about.samples = a.samples(d.name, major, minor, rotational, p)
}

func (a *aboutDisks) samples(device, major, minor, rotational string, p map[string]string) []fixedSample {
	serial := p["SCSI_IDENT_SERIAL"] // what the label on the disk says
	if serial == "" {
		serial = p["ID_SERIAL_SHORT"]
	}
	if serial == "" {
		serial = p["ID_SERIAL"] // virtio
	}
	out := []fixedSample{{a.series.New(a.info, "device", device, "major", major, "minor", minor, "path", p["ID_PATH"], "wwn", p["ID_WWN"],
		"model", p["ID_MODEL"], "serial", serial, "revision", p["ID_REVISION"], "rotational", rotational), 1}}
	if p["ID_FS_TYPE"] != "" {
		out = append(out, fixedSample{a.series.New(a.filesystem, "device", device, "type", p["ID_FS_TYPE"], "usage", p["ID_FS_USAGE"],
			"uuid", p["ID_FS_UUID"], "version", p["ID_FS_VERSION"]), 1})
	}
	if p["DM_NAME"] != "" {
		out = append(out, fixedSample{a.series.New(a.mapper, "device", device, "name", p["DM_NAME"], "uuid", p["DM_UUID"],
			"vg_name", p["DM_VG_NAME"], "lv_name", p["DM_LV_NAME"], "lv_layer", p["DM_LV_LAYER"]), 1})
	}
	if p["ID_ATA"] != "" {
		for i, name := range [...]string{"ID_ATA_WRITE_CACHE", "ID_ATA_WRITE_CACHE_ENABLED", "ID_ATA_ROTATION_RATE_RPM"} {
			if v, err := strconv.ParseFloat(p[name], 64); err == nil {
				out = append(out, fixedSample{a.series.New(a.ata[i], "device", device), v})
			}
		}
	}
	return out
}

// rotational is "1" for a disk that turns. What can't be read is "0", as in node_exporter: partitions that aren't left out, for example.
func (a *aboutDisks) rotational(device string) string {
	name := strings.ReplaceAll(device, "/", "!") // cciss/c0d0 is cciss!c0d0 in /sys
	if name == "." || name == ".." {
		return "0"
	}
	data, err := a.scratch.readOnce(a.sysfs + "/block/" + name + "/queue/rotational")
	if err != nil {
		return "0"
	}
	if v, ok := readUint(data); ok && v == 1 {
		return "1"
	}
	return "0"
}

// parseUdev returns the properties of a device.
func parseUdev(data []byte) map[string]string {
	p := map[string]string{}
	for len(data) > 0 {
		var line []byte
		line, data = pseudofile.CutLine(data)
		property, ok := bytes.CutPrefix(line, []byte("E:"))
		if !ok {
			continue
		}
		if name, value, ok := bytes.Cut(property, []byte("=")); ok {
			p[string(name)] = strings.ToValidUTF8(string(value), "\uFFFD")
		}
	}
	return p
}
