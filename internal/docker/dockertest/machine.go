package dockertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Machine is a machine with containers, made of files: what its kernel shows of them below /proc and /sys, of cgroup v1 or v2. The numbers are
// as small as they can be told apart.
type Machine struct {
	Root   string
	Engine *Engine
	PIDs   int // the last that was given

	t  TB
	v2 bool
}

// NewMachine returns one without containers.
func NewMachine(t TB, v2 bool) *Machine {
	m := &Machine{t: t, Root: t.TempDir(), v2: v2, Engine: New(t), PIDs: 1000}
	m.Put("proc/stat", "cpu  1 2 3\nbtime 1700000000\n")
	m.Put("proc/meminfo", "MemTotal:       16000000 kB\nSwapTotal:       2000000 kB\nSwapFree:        1500000 kB\n")
	m.Put("proc/cpuinfo", "processor\t: 0\nphysical id\t: 0\ncore id\t\t: 0\n\nprocessor\t: 1\nphysical id\t: 0\ncore id\t\t: 1\n")
	m.Put("proc/diskstats", "   8       0 sda 10 1 800 5 20 2 1600 9 0 7 14\n")
	m.Put("proc/1/mountinfo", "")
	m.Put("proc/1/net/dev", netDev("eth0", 7))
	if v2 {
		m.Put("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n")
		m.Group("", 1)
	} else {
		for _, c := range []string{"cpu,cpuacct", "memory", "blkio", "pids"} {
			m.Dir("sys/fs/cgroup/" + c)
		}
		for _, c := range []string{"cpu", "cpuacct"} {
			if err := os.Symlink("cpu,cpuacct", filepath.Join(m.Root, "sys/fs/cgroup", c)); err != nil {
				m.t.Fatal(err)
			}
		}
		m.Group("", 1)
	}
	return m
}

// Put writes a file.
func (m *Machine) Put(name, content string) {
	path := filepath.Join(m.Root, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o644)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// Dir makes a folder.
func (m *Machine) Dir(name string) {
	if err := os.MkdirAll(filepath.Join(m.Root, name), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// Remove takes a file or a folder away.
func (m *Machine) Remove(name string) {
	if err := os.RemoveAll(filepath.Join(m.Root, name)); err != nil {
		m.t.Fatal(err)
	}
}

func netDev(name string, n int) string {
	return "Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
		"    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n" +
		fmt.Sprintf("%6s: %7d %7d    3    4    0     0          0         0  %7d %7d    5    6    0     0       0          0\n", name, n*1000, n*10, n*2000, n*20)
}

// Group writes the files of a cgroup whose numbers are n times something.
func (m *Machine) Group(path string, n int) {
	at := func(controller, file, format string, args ...any) {
		if m.v2 {
			controller = ""
		}
		m.Put(filepath.Join("sys/fs/cgroup", controller, path, file), fmt.Sprintf(format, args...))
	}
	if m.v2 {
		at("", "cgroup.procs", "1\n")
		at("", "cpu.stat", "usage_usec %d\nuser_usec %d\nsystem_usec %d\nnr_periods 10\nnr_throttled 2\nthrottled_usec 500000\nnr_bursts 1\nburst_usec 1000\n", n*3000000, n*2000000, n*1000000)
		at("", "cpu.weight", "100\n")
		at("", "cpu.max", "50000 100000\n")
		at("", "memory.stat", "anon %d\nfile %d\nkernel 4096\nfile_mapped 10\nfile_dirty 11\nfile_writeback 12\ninactive_file %d\nactive_file 4096\npgscan 13\npgsteal 14\npgfault 15\npgmajfault 16\nworkingset_refault_anon 17\nworkingset_refault_file 18\n",
			n*1000000, n*500000, n*400000)
		at("", "io.stat", "8:0 rbytes=%d wbytes=8192 rios=3 wios=4 dbytes=0 dios=0\n", n*4096)
		for _, p := range []string{"cpu", "memory", "io"} {
			at("", p+".pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n")
		}
		if path == "" {
			return
		}
		at("", "memory.current", "%d\n", n*2000000)
		at("", "memory.peak", "%d\n", n*3000000)
		at("", "memory.swap.current", "77\n")
		at("", "memory.events", "low 0\nhigh 1\nmax 2\noom 3\noom_kill 0\noom_group_kill 0\n")
		at("", "memory.max", "max\n")
		at("", "memory.swap.max", "max\n")
		at("", "memory.min", "0\n")
		at("", "pids.current", "5\n")
		at("", "pids.max", "max\n")
		return
	}
	for _, c := range []string{"cpu,cpuacct", "memory", "blkio", "pids"} {
		at(c, "cgroup.procs", "1\n")
	}
	at("cpu,cpuacct", "cpuacct.usage_percpu", "%d 0 1000000000 \n", n*2000000000)
	at("cpu,cpuacct", "cpuacct.stat", "user %d\nsystem %d\n", n*200, n*100)
	at("cpu,cpuacct", "cpu.stat", "nr_periods 10\nnr_throttled 2\nthrottled_time 500000000\n")
	at("cpu,cpuacct", "cpu.shares", "1024\n")
	at("cpu,cpuacct", "cpu.cfs_period_us", "100000\n")
	at("cpu,cpuacct", "cpu.cfs_quota_us", "-1\n")
	at("memory", "memory.use_hierarchy", "1\n")
	at("memory", "memory.stat", "cache 1\nrss 2\nmapped_file 3\nswap 4\npgfault 5\npgmajfault 6\ninactive_file 7\ntotal_cache %d\ntotal_rss %d\ntotal_mapped_file 30\ntotal_swap 40\ntotal_pgfault 50\ntotal_pgmajfault 60\ntotal_inactive_file %d\ntotal_active_file 80\n",
		n*500000, n*1000000, n*400000)
	at("memory", "memory.usage_in_bytes", "%d\n", n*2000000)
	at("memory", "memory.max_usage_in_bytes", "%d\n", n*3000000)
	at("memory", "memory.failcnt", "9\n")
	at("memory", "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
	at("memory", "memory.limit_in_bytes", "9223372036854771712\n")
	at("memory", "memory.soft_limit_in_bytes", "9223372036854771712\n")
	at("blkio", "blkio.throttle.io_service_bytes_recursive", "8:0 Read %d\n8:0 Write 8192\n8:0 Sync 12\n8:0 Async 13\n8:0 Discard 0\n8:0 Total 14\nTotal 14\n", n*4096)
	at("blkio", "blkio.throttle.io_serviced_recursive", "8:0 Read 3\n8:0 Write 4\n8:0 Total 7\nTotal 7\n")
	if path != "" {
		at("pids", "pids.current", "5\n")
		at("pids", "pids.max", "100\n")
	}
}

// IDOf is the id of the container that Run gives a name.
func IDOf(name string) string {
	id := fmt.Sprintf("%x", name)
	return id + strings.Repeat("0", max(0, 64-len(id)))
}

// Run makes a container and starts it.
func (m *Machine) Run(name string, c Container) (id string) {
	id = IDOf(name)
	m.PIDs++
	c.ID, c.Name, c.PID = id, name, m.PIDs
	if c.Image == "" {
		c.Image = name + ":1"
	}
	m.Begin(id, c.PID, 1)
	m.Engine.Create(c)
	m.Engine.Start(id)
	return id
}

// Begin makes what the kernel has of a container: its numbers are n times something.
func (m *Machine) Begin(id string, pid, n int) {
	m.Group("docker/"+id, n)
	m.Put(fmt.Sprintf("proc/%d/cgroup", pid), "0::/docker/"+id+"\n")
	m.Put(fmt.Sprintf("proc/%d/net/dev", pid), netDev("eth0", n))
}

// End takes away what the kernel has of a container.
func (m *Machine) End(id string, pid int) {
	if m.v2 {
		m.Remove("sys/fs/cgroup/docker/" + id)
	} else {
		for _, c := range []string{"cpu,cpuacct", "memory", "blkio", "pids"} {
			m.Remove("sys/fs/cgroup/" + c + "/docker/" + id)
		}
	}
	m.Remove("proc/" + strconv.Itoa(pid))
}

// Many makes containers that share the files of one.
func (m *Machine) Many(n int) {
	first := m.Run("c0000", Container{Image: "c0000:1", Labels: composeLabels(0)})
	link := func(path, target string) {
		if err := os.Symlink(target, filepath.Join(m.Root, path)); err != nil {
			m.t.Fatal(err)
		}
	}
	for i := 1; i < n; i++ {
		name := fmt.Sprintf("c%04d", i)
		id := IDOf(name)
		if m.v2 {
			link("sys/fs/cgroup/docker/"+id, first)
		} else {
			for _, c := range []string{"cpu,cpuacct", "memory", "blkio", "pids"} {
				link("sys/fs/cgroup/"+c+"/docker/"+id, first)
			}
		}
		m.Engine.Create(Container{ID: id, Name: name, Image: name + ":1", PID: 100_000 + i, Labels: composeLabels(i)})
		m.Put(fmt.Sprintf("proc/%d/cgroup", 100_000+i), "0::/docker/"+id+"\n")
		if err := os.Mkdir(filepath.Join(m.Root, fmt.Sprintf("proc/%d/net", 100_000+i)), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.Link(filepath.Join(m.Root, "proc/1/net/dev"), filepath.Join(m.Root, fmt.Sprintf("proc/%d/net/dev", 100_000+i))); err != nil {
			m.t.Fatal(err)
		}
		m.Engine.Start(id)
	}
}

// composeLabels are those that Compose gives a container.
func composeLabels(i int) map[string]string {
	return map[string]string{
		"com.docker.compose.project": "shop", "com.docker.compose.service": fmt.Sprint("service", i), "com.docker.compose.container-number": "1",
		"com.docker.compose.config-hash": strings.Repeat("0f", 32), "com.docker.compose.oneoff": "False", "com.docker.compose.version": "2.29.7",
		"com.docker.compose.project.working_dir": "/srv/shop", "com.docker.compose.project.config_files": "/srv/shop/compose.yaml",
		"com.docker.compose.image": "sha256:" + strings.Repeat("ab", 32),
	}
}
