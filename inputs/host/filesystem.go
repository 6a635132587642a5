package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// filesystem is the size and state of every mounted filesystem: the list from mountinfo of PID 1, which sees the machine's mounts, the
// numbers from statfs(2) below rootfs.
type filesystem struct {
	mounts, fallback file
	series           *metrics.Registry
	points, types    filter
	rootfs           string
	timeout          time.Duration
	statter          *statter

	rows     metrics.Table[mountRow] // by what identifies a line of mountinfo
	stats    map[fsLabels]*fsStats   // several lines may have the same labels
	asked    map[string]*mountPoint  // by path; several labels may have the same path
	rowKey   []byte
	shown    []*mountRow   // of this cycle
	askedNow []*mountPoint // in this cycle

	readonly, deviceError, info *metrics.Desc
	sizes                       [fsSizes]*metrics.Desc
}

// mountRow is a line of mountinfo.
type mountRow struct {
	ignored bool
	isRoot  bool // the mount of rootfs itself
	below   bool // at or below rootfs
	stats   *fsStats
	info    *metrics.Series
	cycle   uint64 // in which it was shown last
}

type fsLabels struct{ device, mountpoint, fsType string }

const fsSizes = 6

// fsStats is a filesystem at a mount point.
type fsStats struct {
	fsLabels
	point    *mountPoint
	readOnly bool
	seen     uint64 // cycle
	shown    uint64 // cycle

	readonly, deviceError *metrics.Series
	sizes                 [fsSizes]*metrics.Series

	// While the filesystem can't be asked the label device_error says why; these are made anew when that changes.
	why                               string
	failedReadonly, failedDeviceError *metrics.Series
}

// keepCycles is how long what belongs to a mount that has gone is kept; rows are kept as long by their Table.
const keepCycles = 5

func newFilesystem(m *machine) *filesystem {
	c := &filesystem{
		mounts: m.proc("1/mountinfo"), fallback: m.proc("self/mountinfo"), series: m.series, rootfs: m.rootfs,
		points:  newFilter(m.cfg.Filesystem.MountPointsExclude, m.cfg.Filesystem.MountPointsInclude),
		types:   newFilter(m.cfg.Filesystem.FSTypesExclude, m.cfg.Filesystem.FSTypesInclude),
		timeout: time.Duration(m.cfg.Filesystem.MountTimeout), statter: newStatter(statfs),
		stats: map[fsLabels]*fsStats{}, asked: map[string]*mountPoint{},
		readonly:    gauge("node_filesystem_readonly", "Filesystem read-only status."),
		deviceError: gauge("node_filesystem_device_error", "Whether an error occurred while getting statistics for the given device."),
		info:        gauge("node_filesystem_mount_info", "Filesystem mount information."),
		sizes: [...]*metrics.Desc{
			gauge("node_filesystem_size_bytes", "Filesystem size in bytes."),
			gauge("node_filesystem_free_bytes", "Filesystem free space in bytes."),
			gauge("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes."),
			gauge("node_filesystem_files", "Filesystem total file nodes."),
			gauge("node_filesystem_files_free", "Filesystem total free file nodes."),
			gauge("node_filesystem_purgeable_bytes", "Filesystem space available including purgeable space (MacOS specific)."),
		},
	}
	// The machine's list of mounts is no use where its root isn't mounted: the container's own folders of the same names would be
	// measured. The container's own mounts are at least true.
	if m.host.Container && m.rootfs == "/" && m.cfg.Procfs == "" {
		c.mounts.path, c.fallback.path = "/proc/self/mountinfo", "/proc/self/mountinfo"
	}
	return c
}

func (c *filesystem) collect(ctx context.Context, b *metrics.Batch) error {
	from := &c.mounts
	data, err := from.read()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		from = &c.fallback // PID 1 is hidden (hidepid)
		data, err = from.read()
	}
	if err != nil {
		return err
	}
	bad := c.parse(from.path, data, b.Cycle)
	c.askedNow = c.askedNow[:0]
	for _, r := range c.shown {
		if p := r.stats.point; p.listed != b.Cycle+1 {
			p.listed = b.Cycle + 1
			c.askedNow = append(c.askedNow, p)
		}
	}
	c.statter.ask(ctx, c.askedNow, c.patience(ctx))
	firstError(&bad, c.show(b))
	c.sweep(b.Cycle)
	return bad
}

// patience is how long mounts may take: mount_timeout, but a tenth of the cycle's time is kept for what follows.
func (c *filesystem) patience(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		return max(0, min(c.timeout, left-left/10))
	}
	return c.timeout
}

// parse fills shown with the lines that are not left out.
func (c *filesystem) parse(path string, data []byte, cycle uint64) error {
	var bad error
	c.shown = c.shown[:0]
	inside := false // the list is a container's: rootfs is one of its mounts
	for n := 1; len(data) > 0; n++ {
		var line []byte
		line, data = pseudofile.CutLine(data)
		if len(line) == 0 {
			continue
		}
		m, ok := parseMountLine(line)
		if !ok {
			firstError(&bad, badLine(path, n, line, "not a mount"))
			continue
		}
		c.rowKey = c.rowKey[:0]
		for _, part := range [...][]byte{m.device, m.point, m.fsType, m.source} { // none has a blank in it
			c.rowKey = append(append(c.rowKey, part...), ' ')
		}
		r := c.rows.Row(c.rowKey, cycle, func(string) mountRow { return c.newRow(&m) })
		inside = inside || r.isRoot
		if r.ignored {
			continue
		}
		// A line covers those above it at the same place: the last one is what a user of the mount point meets.
		r.stats.readOnly = m.readOnly()
		r.stats.seen, r.stats.point.seen = cycle, cycle
		c.shown = append(c.shown, r)
	}
	if inside {
		kept := c.shown[:0]
		for _, r := range c.shown {
			if r.below {
				kept = append(kept, r)
			}
		}
		c.shown = kept
	}
	return bad
}

func (c *filesystem) newRow(m *mountLine) mountRow {
	r := mountRow{}
	point := c.strip(unescape(m.point), &r)
	// The label is node_exporter's, which knows two of the escapes only.
	label := bytes.ReplaceAll(bytes.ReplaceAll(m.point, []byte(`\040`), []byte(" ")), []byte(`\011`), []byte("\t"))
	labels := fsLabels{valid(m.source), strings.ToValidUTF8(c.strip(string(label), &r), "\uFFFD"), valid(m.fsType)}
	if c.points.ignores(labels.mountpoint) || c.types.ignores(labels.fsType) {
		r.ignored = true
		return r
	}
	r.stats = c.stats[labels]
	if r.stats == nil {
		r.stats = c.newStats(labels, filepath.Join(c.rootfs, point))
		c.stats[labels] = r.stats
	}
	major, minor, _ := strings.Cut(string(m.device), ":")
	r.info = c.series.New(c.info, "device", labels.device, "major", major, "minor", minor, "mountpoint", labels.mountpoint)
	return r
}

func valid(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// strip takes rootfs off a mount point, which has it where the list is seen from inside a container.
func (c *filesystem) strip(point string, r *mountRow) string {
	if c.rootfs == "/" {
		return point
	}
	rest, ok := strings.CutPrefix(point, c.rootfs)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return point
	case rest == "":
		r.isRoot, r.below = true, true
		return "/"
	}
	r.below = true
	return rest
}

func (c *filesystem) newStats(l fsLabels, path string) *fsStats {
	p := c.asked[path]
	if p == nil {
		p = &mountPoint{path: path}
		c.asked[path] = p
	}
	s := &fsStats{
		fsLabels: l, point: p,
		readonly: c.newSeries(c.readonly, l, ""), deviceError: c.newSeries(c.deviceError, l, ""),
	}
	for i, d := range c.sizes {
		s.sizes[i] = c.newSeries(d, l, "")
	}
	return s
}

func (c *filesystem) newSeries(d *metrics.Desc, l fsLabels, why string) *metrics.Series {
	return c.series.New(d, "device", l.device, "mountpoint", l.mountpoint, "fstype", l.fsType, "device_error", why)
}

// show sets the series of the cycle.
func (c *filesystem) show(b *metrics.Batch) error {
	missed := 0
	for _, r := range c.shown {
		s := r.stats
		why := ""
		switch c.statter.result(s.point) {
		case notAsked:
			missed++
			continue
		case notAnswered:
			why = "mountpoint timeout"
		case answered:
			if err := s.point.err; err != nil {
				why = err.Error()
			}
		}
		if why == "" && r.cycle != b.Cycle+1 {
			r.cycle = b.Cycle + 1
			b.Set(r.info, 1)
		}
		if s.shown == b.Cycle+1 {
			continue
		}
		s.shown = b.Cycle + 1
		readOnly := 0.0
		if s.readOnly {
			readOnly = 1
		}
		if why != "" {
			if s.why != why {
				s.why = why
				s.failedReadonly, s.failedDeviceError = c.newSeries(c.readonly, s.fsLabels, why), c.newSeries(c.deviceError, s.fsLabels, why)
			}
			b.Set(s.failedDeviceError, 1)
			b.Set(s.failedReadonly, readOnly)
			continue
		}
		st := &s.point.stat
		block := float64(st.Bsize)
		b.Set(s.deviceError, 0)
		b.Set(s.readonly, readOnly)
		for i, v := range [fsSizes]float64{
			float64(st.Blocks) * block, float64(st.Bfree) * block, float64(st.Bavail) * block, float64(st.Files), float64(st.Ffree),
			0, // node_exporter shows it on Linux too, always 0
		} {
			b.Set(s.sizes[i], v)
		}
	}
	if missed > 0 {
		return errNotAsked(missed)
	}
	return nil
}

// sweep forgets what belongs to mounts that have gone. A mount point that a helper is still with stays: if it is mounted again it must
// not be asked a second time.
func (c *filesystem) sweep(cycle uint64) {
	c.rows.Sweep(cycle)
	maps.DeleteFunc(c.stats, func(_ fsLabels, s *fsStats) bool { return s.seen+keepCycles < cycle })
	maps.DeleteFunc(c.asked, func(_ string, p *mountPoint) bool {
		return p.seen+keepCycles < cycle && c.statter.result(p) != notAnswered
	})
}

func (c *filesystem) close(ctx context.Context) {
	c.mounts.close()
	c.fallback.close()
	c.statter.stop(ctx)
}
