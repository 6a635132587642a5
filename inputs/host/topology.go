package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// topology is what /sys/devices/system/cpu says: CPUs online and isolated, thermal throttling of cores and packages. Its folders are
// looked through again when the masks of present and online CPUs change; in between only the throttle counts are read.
//
// See https://docs.kernel.org/admin-guide/cputopology.html and
// https://www.kernel.org/doc/Documentation/ABI/testing/sysfs-devices-system-cpu.
type topology struct {
	dir             string
	series          *metrics.Registry
	scratch         *scratch
	online, present file

	known     string // the two masks of the last look
	looked    bool
	err       error // of the last look
	fixed     []fixedSample
	throttles []throttle

	onlineDesc, isolatedDesc, coreDesc, packageDesc *metrics.Desc
}

// fixedSample is a value that doesn't change until the next look.
type fixedSample struct {
	series *metrics.Series
	value  float64
}

type throttle struct {
	file   file
	series *metrics.Series
}

func newTopology(m *machine) *topology {
	const dir = "devices/system/cpu"
	return &topology{
		dir: m.sysfs + "/" + dir, series: m.series, scratch: m.scratch,
		online: m.sys(dir + "/online"), present: m.sys(dir + "/present"),
		onlineDesc:   gauge("node_cpu_online", "CPUs that are online and being scheduled."),
		isolatedDesc: gauge("node_cpu_isolated", "Whether each core is isolated, information from /sys/devices/system/cpu/isolated."),
		coreDesc:     counter("node_cpu_core_throttles_total", "Number of times this CPU core has been throttled."),
		packageDesc:  counter("node_cpu_package_throttles_total", "Number of times this CPU package has been throttled."),
	}
}

func (t *topology) collect(b *metrics.Batch) error {
	if t.changed() {
		t.err = t.look()
	}
	for _, f := range t.fixed {
		b.Set(f.series, f.value)
	}
	for i := range t.throttles {
		th := &t.throttles[i]
		data, err := th.file.read()
		if err != nil {
			t.looked = false // the CPU is being unplugged: look again in the next cycle
			continue
		}
		if n, ok := readUint(data); ok {
			b.Set(th.series, float64(n))
		}
	}
	return t.err
}

// changed reads the masks and says whether they differ from those of the last look. A system without them (no sysfs) never changes.
func (t *topology) changed() bool {
	same, at := t.looked, 0
	for _, f := range [...]*file{&t.online, &t.present} {
		data, err := f.read()
		if err != nil {
			continue
		}
		end := at + len(data)
		same = same && end <= len(t.known) && t.known[at:end] == string(data)
		at = end
	}
	return !same || at != len(t.known)
}

// look goes through the folders of the CPUs.
func (t *topology) look() error {
	t.close()
	t.looked, t.known = true, ""
	t.fixed, t.throttles = t.fixed[:0], nil
	online := map[int]bool{}
	for _, f := range [...]*file{&t.online, &t.present} {
		data, err := f.read()
		if err != nil {
			continue
		}
		t.known += string(data)
		if f == &t.online {
			cpus, err := parseCPUList(data)
			if err != nil {
				return fmt.Errorf("%s: %w", f.path, err)
			}
			for _, id := range cpus {
				online[id] = true
			}
		}
	}
	if err := t.lookIsolated(); err != nil {
		return err
	}

	entries, err := os.ReadDir(t.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var ids []int
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), "cpu"); ok {
			if id, err := strconv.Atoi(number); err == nil && id >= 0 && id < maxCPU {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	// A CPU that can't be taken offline has no file of that name. Where the first has none, CPUs can't be switched at all.
	if len(ids) > 0 && exists(t.cpuFile(ids[0], "online")) {
		for _, id := range ids {
			v := 0.0
			if online[id] {
				v = 1
			}
			t.fixed = append(t.fixed, fixedSample{t.series.New(t.onlineDesc, "cpu", strconv.Itoa(id)), v})
		}
	}
	t.lookThrottles(ids)
	return nil
}

func (t *topology) cpuFile(id int, name string) string {
	return t.dir + "/cpu" + strconv.Itoa(id) + "/" + name
}

func (t *topology) lookIsolated() error {
	path := t.dir + "/isolated"
	data, err := t.scratch.readOnce(path)
	if err != nil {
		return nil // older kernels don't have it
	}
	cpus, err := parseCPUList(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, id := range cpus {
		t.fixed = append(t.fixed, fixedSample{t.series.New(t.isolatedDesc, "cpu", strconv.Itoa(id)), 1})
	}
	return nil
}

// lookThrottles finds one file for each core and each package: the threads of a core, and the cores of a package, count alike.
func (t *topology) lookThrottles(ids []int) {
	type core struct{ pkg, core uint64 }
	cores, packages := map[core]bool{}, map[uint64]bool{}
	for _, id := range ids {
		pkg, ok := t.readCPU(id, "topology/physical_package_id")
		if !ok {
			continue
		}
		n, ok := t.readCPU(id, "topology/core_id")
		if !ok {
			continue
		}
		pkgLabel := strconv.FormatUint(pkg, 10)
		if at := (core{pkg, n}); !cores[at] {
			cores[at] = t.addThrottle(id, "core", t.coreDesc, "package", pkgLabel, "core", strconv.FormatUint(n, 10))
		}
		if !packages[pkg] {
			packages[pkg] = t.addThrottle(id, "package", t.packageDesc, "package", pkgLabel)
		}
	}
}

func (t *topology) addThrottle(id int, of string, d *metrics.Desc, nameValues ...string) bool {
	name := "thermal_throttle/" + of + "_throttle_count"
	if _, ok := t.readCPU(id, name); !ok {
		return false
	}
	t.throttles = append(t.throttles, throttle{file{path: t.cpuFile(id, name), scratch: t.scratch}, t.series.New(d, nameValues...)})
	return true
}

func (t *topology) readCPU(id int, name string) (uint64, bool) {
	data, err := t.scratch.readOnce(t.cpuFile(id, name))
	if err != nil {
		return 0, false
	}
	return readUint(data)
}

func (t *topology) close() {
	t.online.close()
	t.present.close()
	for i := range t.throttles {
		t.throttles[i].file.close()
	}
}

// readUint reads the one number of a file of /sys.
func readUint(data []byte) (uint64, bool) {
	line, _ := pseudofile.CutLine(data)
	field, _ := pseudofile.CutField(line)
	return pseudofile.ParseUint(field)
}

// parseCPUList reads a list as 0-3,8,10-11.
func parseCPUList(data []byte) ([]int, error) {
	var ids []int
	text := strings.TrimSpace(string(data))
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		a, errA := strconv.Atoi(from)
		z, errZ := strconv.Atoi(to)
		if errA != nil || errZ != nil || a < 0 || z < a || z >= maxCPU {
			return nil, fmt.Errorf("%q is not a list of CPUs", part)
		}
		for id := a; id <= z; id++ {
			ids = append(ids, id)
		}
		if len(ids) > maxCPU {
			return nil, errors.New("the list names a CPU more than once")
		}
	}
	return ids, nil
}
