package containers

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

var update = flag.Bool("update", false, "write the golden files anew")

// page is what a scrape gave: the values by series without empty labels, and the type and help text of each family.
type page struct {
	values     map[string]float64
	kind, help map[string]string
}

// parse reads cAdvisor's page.
func parse(t testing.TB, data []byte) page {
	t.Helper()
	out := page{map[string]float64{}, map[string]string{}, map[string]string{}}
	p := textparse.NewPromParser(data, labels.NewSymbolTable(), false)
	for {
		e, err := p.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e {
		case textparse.EntryHelp:
			name, help := p.Help()
			out.help[string(name)] = string(help)
		case textparse.EntryType:
			name, kind := p.Type()
			out.kind[string(name)] = string(kind)
		case textparse.EntrySeries:
			_, _, v := p.Series()
			var l labels.Labels
			p.Labels(&l)
			if name := l.Get(labels.MetricName); strings.HasPrefix(name, "container_") || strings.HasPrefix(name, "machine_") {
				out.values[l.WithoutEmpty().String()] = v
			}
		}
	}
}

// difference is something in which the output differs from cAdvisor's on purpose. reference.md tells users of each.
type difference struct {
	name   string // of a family, or how it begins when it ends in *
	labels []string
	why    string
	part   string // of the series' text, where labels alone don't say it
}

func (d *difference) covers(key string) bool {
	name := d.name
	if !strings.Contains(key, d.part) {
		return false
	}
	if prefix, ok := strings.CutSuffix(name, "*"); ok {
		return strings.Contains(key, `__name__="`+prefix) && has(key, "", d.labels...)
	}
	return has(key, name, d.labels...)
}

func covered(list []difference, key string, used map[int]bool) bool {
	for i := range list {
		if list[i].covers(key) {
			used[i] = true
			return true
		}
	}
	return false
}

// golden compares what is collected with a file, in the form of a page.
func golden(t *testing.T, name string, c *cycles) {
	t.Helper()
	var lines []string
	families := map[string]string{}
	for _, s := range c.batch.Samples {
		d := s.Series.Desc
		families[d.Name] = fmt.Sprintf("# HELP %s %s\n# TYPE %s %s\n", d.Name, d.Help, d.Name, d.Kind)
		l := s.Series.Labels().MatchLabels(false, labels.MetricName)
		v := fmt.Sprint(s.Value)
		if strings.HasPrefix(d.Name, "container_fs_inodes") || strings.HasPrefix(d.Name, "container_fs_limit") || strings.HasPrefix(d.Name, "container_fs_usage") {
			v = "*" // statfs asks the disk on which the test runs
		}
		lines = append(lines, d.Name+l.String()+" "+v+"\n")
	}
	slices.Sort(lines)
	var out bytes.Buffer
	for _, family := range slices.Sorted(maps.Keys(families)) {
		out.WriteString(families[family])
		for _, l := range lines {
			if strings.HasPrefix(l, family+"{") {
				out.WriteString(l)
			}
		}
	}
	path := "testdata/" + name + ".golden"
	if *update {
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(want, out.Bytes()) {
		return
	}
	had := map[string]bool{}
	for l := range strings.Lines(string(want)) {
		had[l] = true
	}
	for l := range strings.Lines(out.String()) {
		if !had[l] {
			t.Errorf("not in %s: %s", path, l)
		}
		delete(had, l)
	}
	for l := range had {
		t.Errorf("missing of %s: %s", path, l)
	}
}

// compare holds the output over a recording against cAdvisor's page of the same moment. tolerance is by how much counters may have gone on
// between the page and the files.
func compare(t *testing.T, r recording, c *cycles, got map[string]float64, missing, extra, values []difference) {
	t.Helper()
	want := parse(t, r.cadvisor)
	used := [3]map[int]bool{{}, {}, {}}
	for key, v := range want.values {
		x, there := got[key]
		switch {
		case !there && !covered(missing, key, used[0]):
			t.Errorf("cAdvisor alone has %s %v", key, v)
		case there && !covered(values, key, used[2]) && !near(key, v, x):
			t.Errorf("%s is %v, cAdvisor says %v", key, x, v)
		}
	}
	for key := range got {
		if _, there := want.values[key]; !there && !covered(extra, key, used[1]) {
			t.Errorf("cAdvisor doesn't have %s", key)
		}
	}
	for i, list := range [...][]difference{missing, extra, values} {
		for j := range list {
			if !used[i][j] {
				t.Errorf("nothing differs as it is listed: %+v", list[j])
			}
		}
	}
	for _, s := range c.batch.Samples {
		d := s.Series.Desc
		if kind, known := want.kind[d.Name]; known && (kind != d.Kind.String() || want.help[d.Name] != d.Help) {
			t.Errorf("%s is %s (%s), cAdvisor says %s (%s)", d.Name, d.Kind, d.Help, kind, want.help[d.Name])
		}
	}
}

// near says whether two values differ by no more than the seconds that lie between the page and the files: the machine of v2 was a slow one.
func near(key string, a, b float64) bool {
	if a == b {
		return true
	}
	allowed := 0.0
	switch {
	case has(key, "container_last_seen"):
		return true // now
	case has(key, "", "id", "/") && strings.Contains(key, "container_memory_file_"): // what waits to be written at the moment
		allowed = 16 << 20
	case has(key, "", "id", "/"): // the recording itself makes the machine busy
		allowed = 20 + 0.5*max(a, b)
	case strings.Contains(key, `_seconds_total"`):
		allowed = 3 // of two CPUs, or a pressure
	case strings.Contains(key, "_memory_"):
		allowed = max(16<<20, 0.15*max(a, b)) // one of them writes and reads a file of 4 MiB all the time
		if strings.Contains(key, "failures") || strings.Contains(key, "pg") {
			allowed = max(30_000, 0.3*max(a, b))
		}
	case strings.Contains(key, "_cfs_"):
		allowed = 60
	default: // counts of packets, bytes, blocks
		allowed = 0.4 * max(a, b)
	}
	return math.Abs(a-b) <= allowed
}

// What our own output has beside cAdvisor's.
var alwaysExtra = []difference{
	{"container_state", nil, "the state, by the engine", ""},
	{"container_restarts_total", nil, "the restarts, by the engine", ""},
	{"container_threads_max", nil, "of a group that cAdvisor's defaults leave out; it costs nothing", ""},
	{"container_threads", nil, "likewise", ""},
	{"container_oom_events_total", []string{"name", "ended"}, "kills are still told when the container has ended", ""},
}

// What cAdvisor counts several times: the interfaces of the host, and of another container.
func sharedNetworks(beside, onHost string) []difference {
	return []difference{
		{"container_network_*", []string{"name", beside}, "they are those of the container whose network it uses, which has them as well", ""},
		{"container_network_*", []string{"name", onHost}, "they are the host's, which has them as well", ""},
	}
}

func TestTheOutputOverARecordingOfCgroupV1IsCAdvisors(t *testing.T) {
	r := loadRecording(t, "v1")
	put(t, r.root+"/dev/shm/.keep", "")
	c := newCycles(t, start(t, testEnv(), r.config()))
	got := c.run()
	if f := c.in.env.Status.Faults(); len(f) > 0 {
		t.Errorf("%+v", f)
	}
	extra := slices.Clone(alwaysExtra)
	for i := range extra {
		if extra[i].labels != nil {
			extra[i].labels = []string{"name", "record-ended"}
		}
	}
	compare(t, r, c, got, sharedNetworks("record-beside", "record-onhost"), extra, []difference{
		{"container_memory_file_dirty_bytes", nil, "cAdvisor knows v2's name of the number alone", ""},
		{"container_memory_file_writeback_bytes", nil, "likewise", ""},
		{"container_oom_events_total", nil, "cAdvisor reads the kernel's log, to which it has no access here", ""},
		{"container_memory_failures_total", []string{"id", "/", "scope", "hierarchy"}, "cAdvisor shows those of the root without those below", ""},
		{"container_memory_workingset_refault*", []string{"id", "/"}, "likewise", ""},
		{"container_pressure_*", nil, "cAdvisor doesn't look into v2's tree beside v1's", ""},
		{"container_fs_read_seconds_total", []string{"id", "/"}, "cAdvisor takes milliseconds for nanoseconds", ""},
		{"container_fs_write_seconds_total", []string{"id", "/"}, "likewise", ""},
		{"container_fs_io_time_seconds_total", []string{"id", "/"}, "likewise", ""},
		{"container_fs_io_time_weighted_seconds_total", []string{"id", "/"}, "likewise", ""},
		{"container_creation_time_seconds", []string{"id", "/"}, "cAdvisor shows when the kernel last made the inode of the folder", ""},
		{"container_start_time_seconds", []string{"id", "/"}, "likewise", ""},
		{"container_fs_limit_bytes", []string{"id", "/"}, "statfs asks the disk on which the test runs", ""},
		{"container_fs_usage_bytes", []string{"id", "/"}, "likewise", ""},
		{"container_fs_inodes_total", []string{"id", "/"}, "likewise", ""},
		{"container_fs_inodes_free", []string{"id", "/"}, "likewise", ""},
	})
	golden(t, "v1", c)
}

func TestTheOutputOverARecordingOfCgroupV2IsCAdvisors(t *testing.T) {
	r := loadRecording(t, "v2")
	for _, dir := range []string{"/dev/shm", "/run/lock"} {
		put(t, r.root+dir+"/.keep", "")
	}
	cfg := r.config()
	cfg.FSInterval = defaults().FSInterval
	in := start(t, testEnv(), cfg)
	c := newCycles(t, in)
	// The layers, which weren't recorded: there is something to count in each.
	reach(t, in)
	in.update(c.now)
	for _, k := range in.order {
		put(t, r.root+k.about.UpperDir+"/file", "x")
	}
	c.run()
	<-in.walker.ended
	got := c.run()
	if f := in.env.Status.Faults(); len(f) > 0 {
		t.Errorf("%+v", f)
	}
	const ofContainers, layers, wholeDisk = `name="`, `device="overlay_`, "cAdvisor shows what the whole disk did, for want of the container's own number"
	missing := append(sharedNetworks("beside", "onhost"),
		difference{"container_fs_inodes_free", nil, "it is 0 of every container", ofContainers},
		difference{"container_fs_reads_total", nil, wholeDisk, ofContainers},
		difference{"container_fs_writes_total", nil, wholeDisk, ofContainers},
		difference{"container_fs_sector_*", nil, wholeDisk, ofContainers},
		difference{"container_fs_reads_merged_total", nil, wholeDisk, ofContainers},
		difference{"container_fs_writes_merged_total", nil, wholeDisk, ofContainers},
		difference{"container_fs_read_seconds_total", nil, wholeDisk, ofContainers},
		difference{"container_fs_write_seconds_total", nil, wholeDisk, ofContainers},
		difference{"container_fs_io_*", nil, wholeDisk, ofContainers},
		difference{"container_fs_*", []string{"id", "/"}, "they are the disk of the containers' layers once more", layers},
	)
	extra := append(slices.Clone(alwaysExtra), difference{"container_fs_usage_age_seconds", nil, "when the files were counted", ""})
	compare(t, r, c, got, missing, extra, []difference{
		{"container_memory_kernel_usage", nil, "cAdvisor reads v1's file alone", ""},
		{"container_oom_events_total", []string{"name", "greedy"}, "cAdvisor counts from its own start on", ""},
		{"container_fs_read_seconds_total", []string{"id", "/"}, "cAdvisor takes milliseconds for nanoseconds", ""},
		{"container_fs_write_seconds_total", []string{"id", "/"}, "likewise", ""},
		{"container_fs_io_time_seconds_total", []string{"id", "/"}, "likewise", ""},
		{"container_fs_io_time_weighted_seconds_total", []string{"id", "/"}, "likewise", ""},
		{"container_creation_time_seconds", []string{"id", "/"}, "cAdvisor shows when the kernel last made the inode of the folder", ""},
		{"container_start_time_seconds", []string{"id", "/"}, "likewise", ""},
		{"container_fs_limit_bytes", nil, "statfs asks the disk on which the test runs", ""},
		{"container_fs_usage_bytes", nil, "likewise", ""},
		{"container_fs_inodes_total", nil, "likewise", ""},
		{"container_fs_inodes_free", nil, "likewise", ""},
	})

	// That cAdvisor shows the whole disk, and the layers' disk again, is what its own page says.
	theirs := parse(t, r.cadvisor)
	for key, v := range theirs.values {
		switch {
		case strings.Contains(key, ofContainers) && (has(key, "container_fs_sector_reads_total") || has(key, "container_fs_reads_merged_total")):
			family := "container_fs_sector_reads_total"
			if !has(key, family) {
				family = "container_fs_reads_merged_total"
			}
			if disk := value(t, theirs.values, family, "id", "/", "device", "/dev/vda"); math.Abs(disk-v) > 0.01*disk {
				t.Errorf("%s is %v, the disk's is %v", key, v, disk)
			}
		case strings.Contains(key, layers) && has(key, "container_fs_limit_bytes"):
			if disk := value(t, theirs.values, "container_fs_limit_bytes", "id", "/", "device", "/dev/vda"); disk != v {
				t.Errorf("%s is %v, the disk's is %v", key, v, disk)
			}
		case strings.Contains(key, ofContainers) && has(key, "container_fs_inodes_free") && v != 0:
			t.Errorf("%s is %v", key, v)
		}
	}
	golden(t, "v2", c)
}

// Grafana's dashboard 193 asks for these, with {image!=""}, and calls them by their name.
func TestADashboardOfDockerFindsItsSeries(t *testing.T) {
	for recorded, name := range map[string]string{"v1": "record-web", "v2": "web"} {
		r := loadRecording(t, recorded)
		out := newCycles(t, start(t, testEnv(), r.config())).run()
		for _, family := range []string{
			"container_cpu_user_seconds_total", "container_last_seen", "container_memory_usage_bytes", "container_network_receive_bytes_total",
			"container_network_transmit_bytes_total",
		} {
			value(t, out, family, "name", name)
			for key := range out {
				if has(key, family, "name", name) && (!strings.Contains(key, `image="`) || strings.Contains(key, `image=""`)) {
					t.Errorf("%s has no image", key)
				}
			}
		}
	}
}
