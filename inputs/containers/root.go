package containers

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/internal/hostinfo"
	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// inRoot is where a file of the machine can be found.
func (in *input) inRoot(path string) string {
	p, err := hostinfo.InRoot(in.rootfs, path)
	if err != nil {
		return in.rootfs + path
	}
	return p
}

// collectRoot gives the machine as a whole, the cgroup "/".
func (in *input) collectRoot(b *metrics.Batch) {
	if !in.rootsFound {
		return
	}
	c := in.root
	if c == nil {
		c = &container{id: "/", series: in.series.About("id", "/")}
		in.root = c
	}
	if c.group == nil {
		g, err := in.roots.open(&in.reader, "")
		if err != nil {
			in.bad(err)
			return
		}
		c.group = g
	}
	if c.proc.fd == 0 && in.hostPIDs {
		// The network of the first process is the machine's. /proc/net would be the agent's own.
		if f, err := in.reader.openFolder(in.procfs + "/1"); err == nil {
			c.proc = f
		}
	}
	for _, d := range c.disks {
		d.set = 0
	}
	if err := in.collectGroup(c, b); err != nil {
		in.drop(c)
		return
	}
	in.set(c, oomEvents, float64(c.kills), b)
	in.set(c, lastSeen, float64(b.Time/1000), b)
	in.set(c, healthState, -1, b)
	if boot := in.bootTime(); boot > 0 {
		in.set(c, creationTime, boot, b)
		in.set(c, startTime, boot, b)
	}
	in.collectNetwork(c, b)
	in.collectMounts(c, b)
}

// bootTime is the second in which the machine was started, by /proc/stat.
func (in *input) bootTime() float64 {
	if in.boot == 0 {
		data, err := in.reader.readPath(in.procfs + "/stat")
		if err != nil {
			in.bad(err)
			return 0
		}
		for len(data) > 0 {
			var line []byte
			line, data = pseudofile.CutLine(data)
			if key, v, ok := parseKeyValue(line); ok && string(key) == "btime" {
				in.boot = float64(v)
			}
		}
	}
	return in.boot
}

// mountedFS is a filesystem of the machine.
type mountedFS struct {
	source string // the label device
	path   string // where the agent sees it
	point  string // where the machine sees it
	device device
}

// localFS says whether a filesystem is on a disk or in memory of this machine. statfs of another one may hang.
func localFS(kind string) bool {
	switch kind {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "squashfs", "ntfs", "vfat", "exfat", "hfs", "hfsplus", "udf",
		"iso9660", "msdos", "tmpfs":
		return true
	}
	return false
}

// refreshMounts reads which filesystems the machine has, when that is due: one entry for each disk, and one for each place of a tmpfs.
func (in *input) refreshMounts(now int64) {
	if in.mountsAt != 0 && now-in.mountsAt < refreshAfter {
		return
	}
	in.mountsAt = now
	in.mounts = in.mounts[:0]
	if !in.hostPIDs || in.env.Host.Container && in.rootfs == "/" {
		return // they would be the agent's own container's
	}
	data, err := in.reader.readPath(in.procfs + "/1/mountinfo")
	if err != nil && !in.env.Host.Container {
		data, err = in.reader.readPath(in.procfs + "/self/mountinfo") // another user's is closed to us
	}
	if err != nil {
		in.bad(err)
		return
	}
	in.mounts = parseMounts(data)
	in.reader.shrink() // each container's layer is a line
	for i := range in.mounts {
		m := &in.mounts[i]
		m.path = in.inRoot(m.point)
		if m.device.major == 0 && strings.HasPrefix(m.source, "/dev/") { // btrfs numbers its volumes itself
			var st unix.Stat_t
			if unix.Stat(in.inRoot(m.source), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
				m.device = device{unix.Major(st.Rdev), unix.Minor(st.Rdev)}
			}
		}
	}
	if c := in.root; c != nil {
		c.disks = c.disks[:0] // their names may be others
	}
}

// parseMounts reads mountinfo (proc_pid_mountinfo(5)).
func parseMounts(data []byte) []mountedFS {
	var out []mountedFS
	seen := map[string]bool{}
	for len(data) > 0 {
		var line []byte
		line, data = pseudofile.CutLine(data)
		before, after, ok := bytes.Cut(line, []byte(" - "))
		if !ok {
			continue
		}
		var f [5][]byte
		for i := range f {
			f[i], before = pseudofile.CutField(before)
		}
		kind, rest := pseudofile.CutField(after)
		source, _ := pseudofile.CutField(rest)
		d, ok := parseDevice(f[2])
		if !ok || !localFS(string(kind)) || len(source) == 0 || len(f[4]) == 0 {
			continue
		}
		m := mountedFS{source: unescape(source), point: unescape(f[4]), device: d}
		if string(kind) == "tmpfs" {
			m.source = m.point
		}
		if seen[m.source] {
			continue
		}
		seen[m.source] = true
		out = append(out, m)
	}
	return out
}

// unescape turns \040 and its like, which mountinfo writes for blanks, into what they stand for.
func unescape(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	var out strings.Builder
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) {
			if v, err := strconv.ParseUint(string(b[i+1:i+4]), 8, 8); err == nil {
				out.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		out.WriteByte(b[i])
	}
	return out.String()
}

// collectMounts gives the machine's filesystems, and what their disks did.
func (in *input) collectMounts(c *container, b *metrics.Batch) {
	if len(in.mounts) == 0 {
		return
	}
	stats := in.diskstats()
	for i := range in.mounts {
		m := &in.mounts[i]
		var st unix.Statfs_t
		if unix.Statfs(m.path, &st) != nil {
			continue // unmounted since
		}
		d := in.disk(c, m.device)
		if d.name != m.source {
			if d = c.diskNamed(m.source); d == nil {
				d = &disk{device: m.device, name: m.source}
				c.disks = append(c.disks, d)
			}
		}
		size := float64(st.Frsize)
		set := func(f fsFamily, v float64) {
			if d.set&(1<<f) == 0 { // else the cgroup's own number stands there
				b.Set(in.fsSeries(c, d, f), v)
			}
		}
		set(fsLimit, float64(st.Blocks)*size)
		set(fsUsageBytes, float64(st.Blocks-min(st.Bfree, st.Blocks))*size)
		set(fsInodes, float64(st.Files))
		set(fsInodesFree, float64(st.Ffree))
		s := stats[m.device]
		const perMilli = 1e-3
		set(fsReads, float64(s[0]))
		set(fsReadsMerged, float64(s[1]))
		set(fsSectorReads, float64(s[2]))
		set(fsReadSeconds, float64(s[3])*perMilli)
		set(fsWrites, float64(s[4]))
		set(fsWritesMerged, float64(s[5]))
		set(fsSectorWrites, float64(s[6]))
		set(fsWriteSeconds, float64(s[7])*perMilli)
		set(fsIONow, float64(s[8]))
		set(fsIOTime, float64(s[9])*perMilli)
		set(fsIOTimeWeighted, float64(s[10])*perMilli)
	}
}

func (c *container) diskNamed(name string) *disk {
	for _, d := range c.disks {
		if d.name == name {
			return d
		}
	}
	return nil
}

// diskstats reads the numbers of the machine's disks (https://docs.kernel.org/admin-guide/iostats.html).
func (in *input) diskstats() map[device][11]uint64 {
	data, err := in.reader.readPath(in.procfs + "/diskstats")
	if err != nil {
		in.bad(err)
		return nil
	}
	if in.disksNow == nil {
		in.disksNow = map[device][11]uint64{}
	}
	clear(in.disksNow)
	for len(data) > 0 {
		var line []byte
		line, data = pseudofile.CutLine(data)
		major, rest := pseudofile.CutField(line)
		minor, rest := pseudofile.CutField(rest)
		_, rest = pseudofile.CutField(rest)
		a, ok1 := pseudofile.ParseUint(major)
		i, ok2 := pseudofile.ParseUint(minor)
		var v [11]uint64
		ok := ok1 && ok2
		for n := range v {
			var field []byte
			field, rest = pseudofile.CutField(rest)
			if v[n], ok2 = pseudofile.ParseUint(field); !ok2 {
				ok = false
				break
			}
		}
		if !ok {
			if len(line) > 0 {
				in.bad(badFile(in.procfs, "diskstats\x00", line))
			}
			continue
		}
		in.disksNow[device{uint32(a), uint32(i)}] = v
	}
	return in.disksNow
}
