package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hermod-agent/hermod/internal/hostinfo"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// clock is the time of the cycle, the time zone, and the kernel's clock sources.
type clock struct {
	rootfs string
	series *metrics.Registry
	now    *metrics.Series

	zoneDesc *metrics.Desc
	zoneName string
	zone     *metrics.Series
	location *time.Location
	zoneAt   int64 // milliseconds, when location was read

	sourceDir                  string
	looked                     bool
	sources                    []clockSource
	availableDesc, currentDesc *metrics.Desc
}

// clockSource is a folder of /sys/devices/system/clocksource. Its label is its place among them.
type clockSource struct {
	label           string
	available, used file
	availableText   string
	currentText     string
	availableSeries []*metrics.Series
	currentSeries   *metrics.Series
}

func newTime(m *machine) *clock {
	return &clock{
		rootfs: m.rootfs, series: m.series,
		now:       m.series.New(gauge("node_time_seconds", "System time in seconds since epoch (1970).")),
		zoneDesc:  gauge("node_time_zone_offset_seconds", "System time zone offset in seconds."),
		sourceDir: m.sysfs + "/devices/system/clocksource",
		availableDesc: gauge("node_time_clocksource_available_info",
			"Available clocksources read from '/sys/devices/system/clocksource'."),
		currentDesc: gauge("node_time_clocksource_current_info",
			"Current clocksource read from '/sys/devices/system/clocksource'."),
	}
}

func (c *clock) collect(_ context.Context, b *metrics.Batch) error {
	b.Set(c.now, float64(b.Time)/1000)
	c.readZone(b.Time)
	name, offset := time.UnixMilli(b.Time).In(c.location).Zone()
	if c.zone == nil || name != c.zoneName {
		c.zoneName = name
		c.zone = c.series.New(c.zoneDesc, "time_zone", name)
	}
	b.Set(c.zone, float64(offset))
	return c.collectSources(b)
}

// readZone takes the zone from the machine's /etc/localtime, once in ten minutes. Without a mounted root the process' own is right.
func (c *clock) readZone(now int64) {
	const every = 10 * 60_000
	if c.location != nil && (c.rootfs == "/" || now >= c.zoneAt && now-c.zoneAt < every) {
		return
	}
	c.zoneAt = now
	c.location = time.Local
	if c.rootfs == "/" {
		return
	}
	path, err := hostinfo.InRoot(c.rootfs, "/etc/localtime")
	if err != nil {
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return
	}
	if l, err := time.LoadLocationFromTZData("Local", data); err == nil {
		c.location = l
	}
}

func (c *clock) collectSources(b *metrics.Batch) error {
	if !c.looked {
		if err := c.look(); err != nil {
			return err
		}
	}
	for i := range c.sources {
		if err := c.sources[i].collect(c, b); err != nil {
			return err
		}
	}
	return nil
}

// look finds the folders. They don't come and go while the kernel runs.
func (c *clock) look() error {
	entries, err := os.ReadDir(c.sourceDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.looked = true
	var names []string
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), "clocksource"); ok && number != "" && number[0] >= '0' && number[0] <= '9' {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	scratch := new(scratch)
	for i, name := range names {
		dir := filepath.Join(c.sourceDir, name)
		c.sources = append(c.sources, clockSource{
			label:     strconv.Itoa(i),
			available: file{path: dir + "/available_clocksource", scratch: scratch},
			used:      file{path: dir + "/current_clocksource", scratch: scratch},
		})
	}
	return nil
}

func (s *clockSource) collect(c *clock, b *metrics.Batch) error {
	data, err := s.available.read()
	if err != nil {
		return err
	}
	if string(data) != s.availableText {
		s.availableText, s.availableSeries = string(data), nil
		for _, name := range strings.Fields(s.availableText) {
			s.availableSeries = append(s.availableSeries, c.series.New(c.availableDesc, "device", s.label, "clocksource", name))
		}
	}
	if data, err = s.used.read(); err != nil {
		return err
	}
	if s.currentSeries == nil || string(data) != s.currentText {
		s.currentText = string(data)
		s.currentSeries = c.series.New(c.currentDesc, "device", s.label, "clocksource", strings.TrimSpace(s.currentText))
	}
	for _, series := range s.availableSeries {
		b.Set(series, 1)
	}
	b.Set(s.currentSeries, 1)
	return nil
}

func (c *clock) close(context.Context) {
	for i := range c.sources {
		c.sources[i].available.close()
		c.sources[i].used.close()
	}
}
