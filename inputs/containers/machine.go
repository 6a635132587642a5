package containers

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// refreshAfter is how many milliseconds what hardly ever changes is kept: the machine's parts and its mounts.
const refreshAfter = 5 * 60 * 1000

// machine is the machine_ series.
type machine struct {
	in           *input
	readAt       int64 // ms; 0 is never
	memory, swap uint64
	labels       []string
	values       []machineValue
	scrapeError  *metrics.Series
	failed       bool
}

type machineValue struct {
	series *metrics.Series
	value  float64
}

// Those that cAdvisor's defaults have. Books and drawers are parts of IBM's z machines, for which there is no agent.
var (
	machinePhysical = desc("machine_cpu_physical_cores", "Number of physical CPU cores.", metrics.Gauge)
	machineCores    = desc("machine_cpu_cores", "Number of logical CPU cores.", metrics.Gauge)
	machineSockets  = desc("machine_cpu_sockets", "Number of CPU sockets.", metrics.Gauge)
	machineBooks    = desc("machine_cpu_books", "Number of CPU books.", metrics.Gauge)
	machineDrawers  = desc("machine_cpu_drawers", "Number of CPU drawers.", metrics.Gauge)
	machineMemory   = desc("machine_memory_bytes", "Amount of memory installed on the machine.", metrics.Gauge)
	machineSwap     = desc("machine_swap_bytes", "Amount of swap memory available on the machine.", metrics.Gauge)
	machineDIMMs    = desc("machine_dimm_count", "Number of RAM DIMM (all types memory modules) value labeled by dimm type.", metrics.Gauge)
	machineDIMMSize = desc("machine_dimm_capacity_bytes", "Total RAM DIMM capacity (all types memory modules) value labeled by dimm type.", metrics.Gauge)
	machineNVM      = desc("machine_nvm_capacity", "NVM capacity value labeled by NVM mode (memory mode or app direct mode).", metrics.Gauge)
	machineNVMPower = desc("machine_nvm_avg_power_budget_watts", "NVM power budget.", metrics.Gauge)
)

func newMachine(in *input) *machine {
	return &machine{in: in, scrapeError: in.series.New(desc("machine_scrape_error", "1 if there was an error while getting machine metrics, 0 otherwise.", metrics.Gauge))}
}

func (m *machine) collect(b *metrics.Batch) {
	m.refresh(b.Time)
	for _, v := range m.values {
		b.Set(v.series, v.value)
	}
	b.Set(m.scrapeError, boolean(m.failed))
}

// refresh reads the machine's parts when that is due.
func (m *machine) refresh(now int64) {
	if m.readAt != 0 && now-m.readAt < refreshAfter {
		return
	}
	m.readAt = now
	in := m.in
	old := m.labels
	m.labels = nil
	m.failed = false
	text := func(paths ...string) string {
		for _, p := range paths {
			if data, err := os.ReadFile(p); err == nil {
				return strings.TrimRight(strings.TrimSpace(string(data)), "\x00")
			}
		}
		return ""
	}
	label := func(name, value string) {
		if value != "" {
			m.labels = append(m.labels, name, value)
		}
	}
	label("boot_id", text(in.procfs+"/sys/kernel/random/boot_id"))
	label("machine_id", text(in.inRoot("/etc/machine-id"), in.inRoot("/var/lib/dbus/machine-id")))
	label("system_uuid", text(in.sysfs+"/class/dmi/id/product_uuid", in.procfs+"/device-tree/system-id", in.procfs+"/device-tree/vm,uuid", in.inRoot("/etc/machine-id")))
	same := len(old) == len(m.labels)
	for i := range m.labels {
		same = same && old[i] == m.labels[i]
	}

	n := 0
	set := func(d *metrics.Desc, v float64, more ...string) {
		if n == len(m.values) {
			m.values = append(m.values, machineValue{})
		}
		x := &m.values[n]
		if x.series == nil || x.series.Desc != d || !same || len(more) > 0 && x.series.Get(more[0]) != more[1] {
			x.series = in.series.New(d, append(m.labels[:len(m.labels):len(m.labels)], more...)...)
		}
		x.value = v
		n++
	}
	cpus, err := os.ReadFile(in.procfs + "/cpuinfo")
	m.failed = err != nil
	set(machinePhysical, float64(m.parts(cpus, "core id", "core_id")))
	set(machineCores, float64(bytes.Count(append([]byte("\n"), cpus...), []byte("\nprocessor"))))
	set(machineSockets, float64(m.parts(cpus, "physical id", "physical_package_id")))
	set(machineBooks, 0)
	set(machineDrawers, 0)
	meminfo, err := os.ReadFile(in.procfs + "/meminfo")
	m.failed = m.failed || err != nil
	m.memory, m.swap = meminfoValue(meminfo, "MemTotal:"), meminfoValue(meminfo, "SwapTotal:")
	set(machineMemory, float64(m.memory))
	set(machineSwap, float64(m.swap))
	set(machineNVM, 0, "mode", "memory_mode") // cAdvisor's own images can't read them either
	set(machineNVM, 0, "mode", "app_direct_mode")
	set(machineNVMPower, 0)
	for _, d := range m.dimms() {
		set(machineDIMMs, d.count, "type", d.kind)
		set(machineDIMMSize, d.bytes, "type", d.kind)
	}
	m.values = m.values[:n]
}

// parts counts what different values a line of cpuinfo has ("core id : 3"); where there is no such line, as on ARM, those of a file of each CPU.
// Cores of different sockets with one number count once, as cAdvisor counts them.
func (m *machine) parts(cpuinfo []byte, line, file string) int {
	seen := map[string]bool{}
	for l := range bytes.Lines(cpuinfo) {
		key, value, ok := bytes.Cut(l, []byte(":"))
		if ok && string(bytes.TrimSpace(key)) == line {
			seen[string(bytes.TrimSpace(value))] = true
		}
	}
	if len(seen) > 0 {
		return len(seen)
	}
	files, _ := filepath.Glob(m.in.sysfs + "/devices/system/cpu/cpu[0-9]*/topology/" + file) // the pattern is well formed
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil {
			seen[strings.TrimSpace(string(data))] = true
		}
	}
	return len(seen)
}

// meminfoValue is a line of /proc/meminfo in bytes.
func meminfoValue(text []byte, key string) uint64 {
	for len(text) > 0 {
		var line []byte
		line, text = pseudofile.CutLine(text)
		if rest, ok := bytes.CutPrefix(line, []byte(key)); ok {
			number, _ := pseudofile.CutField(rest)
			v, _ := pseudofile.ParseUint(number)
			return v * 1024
		}
	}
	return 0
}

// swapUsed is how much swap the machine uses now.
func (m *machine) swapUsed() uint64 {
	if m.swap == 0 {
		return 0
	}
	data, err := m.in.reader.readPath(m.in.procfs + "/meminfo")
	if err != nil {
		m.in.bad(err)
		return 0
	}
	total, free := meminfoValue(data, "SwapTotal:"), meminfoValue(data, "SwapFree:")
	return total - min(free, total)
}

type dimmKind struct {
	kind         string
	count, bytes float64
}

// dimms are the memory modules by kind (https://docs.kernel.org/admin-guide/RAS/main.html). Most machines tell of none.
func (m *machine) dimms() []dimmKind {
	var out []dimmKind
	dirs, _ := filepath.Glob(m.in.sysfs + "/devices/system/edac/mc/mc[0-9]*/dimm[0-9]*") // the pattern is well formed
	for _, d := range dirs {
		kind, err := os.ReadFile(d + "/dimm_mem_type")
		if err != nil {
			continue
		}
		size, _ := os.ReadFile(d + "/size") // MB
		mb, _ := pseudofile.ParseUint(bytes.TrimSpace(size))
		name := strings.TrimSpace(string(kind))
		i := 0
		for i < len(out) && out[i].kind != name {
			i++
		}
		if i == len(out) {
			out = append(out, dimmKind{kind: name})
		}
		out[i].count++
		out[i].bytes += float64(mb) * (1 << 20)
	}
	return out
}
