package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermod-agent/hermod/internal/docker"
)

func TestAContainersCgroupIsFoundWhereverTheEngineKeepsIt(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for name, tt := range map[string]struct {
		path   string // of the cgroup
		proc   string // what /proc/PID/cgroup says
		driver string
		parent string
		v1     bool
		none   bool
	}{
		"cgroupfs":                                {path: "/docker/" + id, driver: "cgroupfs"},
		"cgroupfs with v1":                        {path: "/docker/" + id, driver: "cgroupfs", v1: true},
		"systemd":                                 {path: "/system.slice/docker-" + id + ".scope", driver: "systemd"},
		"systemd with v1":                         {path: "/system.slice/docker-" + id + ".scope", driver: "systemd", v1: true},
		"a parent":                                {path: "/shop/" + id, driver: "cgroupfs", parent: "/shop"},
		"a slice":                                 {path: "/shop.slice/shop-web.slice/docker-" + id + ".scope", driver: "systemd", parent: "shop-web.slice"},
		"rootless, by its process":                {path: "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope", proc: "0::/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope\n", driver: "systemd"},
		"rootless, without its process":           {path: "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-" + id + ".scope", driver: "systemd"},
		"an init of its own":                      {path: "/docker/" + id, proc: "12:memory:/docker/" + id + "/init.scope\n0::/docker/" + id + "/init.scope\n", driver: "cgroupfs"},
		"seen from another namespace":             {path: "/system.slice/docker-" + id + ".scope", proc: "0::/../docker-" + id + ".scope\n", driver: "systemd"},
		"an engine in a container":                {path: "/docker/" + strings.Repeat("cd", 32) + "/docker/" + id, driver: "cgroupfs"},
		"Podman":                                  {path: "/machine.slice/libpod-" + id + ".scope", driver: "systemd"},
		"Podman by its process":                   {path: "/machine.slice/libpod-" + id + ".scope", proc: "0::/machine.slice/libpod-" + id + ".scope/container\n", driver: "systemd"},
		"another machine's":                       {path: "/docker/" + strings.Repeat("ef", 32), driver: "cgroupfs", none: true},
		"a process with the number of an old one": {path: "/docker/" + id, proc: "0::/user.slice\n", driver: "cgroupfs"},
	} {
		t.Run(name, func(t *testing.T) {
			sysfs := t.TempDir()
			if tt.v1 {
				for _, c := range []string{"cpu,cpuacct", "memory"} {
					put(t, filepath.Join(sysfs, "fs/cgroup", c, tt.path, "cgroup.procs"), "1\n")
				}
			} else {
				put(t, filepath.Join(sysfs, "fs/cgroup/cgroup.controllers"), "cpu memory\n")
				put(t, filepath.Join(sysfs, "fs/cgroup", tt.path, "cgroup.procs"), "1\n")
			}
			h, err := findHierarchy(sysfs)
			if err != nil || h.v2 == tt.v1 {
				t.Fatalf("%+v, %v", h, err)
			}
			got, err := h.find(&docker.Container{ID: id, CgroupParent: tt.parent}, &docker.Info{CgroupDriver: tt.driver}, []byte(tt.proc), true)
			if tt.none {
				if err == nil {
					t.Errorf("found %s", got)
				}
				return
			}
			if err != nil || got != tt.path {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestControllersAreFoundAloneAndTogether(t *testing.T) {
	// A NAS: some alone, some together without links, no pids, and v2's tree beside them.
	sysfs := t.TempDir()
	for _, d := range []string{"cpu,cpuacct", "memory", "blkio", "unified", "net_cls,net_prio", "systemd"} {
		if err := os.MkdirAll(filepath.Join(sysfs, "fs/cgroup", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(sysfs, "fs/cgroup/unified/cgroup.controllers"), "\n")
	h, err := findHierarchy(sysfs)
	base := filepath.Join(sysfs, "fs/cgroup") + "/"
	want := [controllers]string{base + "cpu,cpuacct", base + "cpu,cpuacct", base + "memory", base + "blkio", "", base + "unified"}
	if err != nil || h.v2 || h.roots != want {
		t.Errorf("%+v, %v", h, err)
	}
	if _, err := findHierarchy(t.TempDir()); err == nil {
		t.Error("no cgroups at all, and no fault")
	}
}

// Linux 4.4 as it runs on NAS: no pressure, no CFS quota, no count of kills, the scheduler cfq.
func TestAnOldKernelGivesWhatItHas(t *testing.T) {
	m := newMachineOf(t, false)
	id := m.runOld("web")
	c := m.start()
	out := c.run()
	for name, want := range map[string]float64{
		"container_cpu_user_seconds_total": 2, "container_memory_working_set_bytes": 1.6e6, "container_spec_cpu_shares": 1024, "container_spec_cpu_period": 0,
		"container_pressure_cpu_waiting_seconds_total": 0, "container_oom_events_total": 0,
	} {
		if got := value(t, out, name, "name", "web"); got != want {
			t.Errorf("%s is %v", name, got)
		}
	}
	for _, name := range []string{"container_spec_cpu_quota", "container_cpu_cfs_periods_total", "container_threads"} {
		if count(out, name, "name", "web") != 0 {
			t.Errorf("there is %s", name)
		}
	}
	for name, want := range map[string]float64{
		"container_fs_reads_bytes_total": 8192, "container_fs_reads_total": 2, "container_fs_reads_merged_total": 1, "container_fs_read_seconds_total": 0.5,
		"container_fs_io_time_seconds_total": 0.75, "container_fs_io_current": 3,
	} {
		if got := value(t, out, name, "name", "web", "device", "/dev/sda"); got != want {
			t.Errorf("%s is %v", name, got)
		}
	}
	if got := value(t, out, "container_blkio_device_usage_total", "name", "web", "operation", "Read", "major", "8", "minor", "0"); got != 8192 {
		t.Errorf("%v", got)
	}
	// The kernel doesn't count kills; the engine's events do.
	m.Engine.OOM(id)
	c.until("the kill", func(out map[string]float64) bool {
		return value(t, out, "container_oom_events_total", "name", "web") == 1
	})
	if f := c.in.env.Status.Faults(); len(f) > 0 {
		t.Errorf("%+v", f)
	}
}

func TestAnAgentInAContainerSaysWhatItCannotSee(t *testing.T) {
	m := newMachineOf(t, true)
	m.Run("web", webContainer())
	cfg := m.config()
	cfg.Rootfs = "" // not mounted
	cfg.FSInterval = defaults().FSInterval
	env := testEnv()
	env.Host.Container = true
	// proc/2/comm is missing: another process namespace.
	c := newCycles(t, start(t, env, cfg))
	out := c.run()
	if count(out, "container_memory_rss", "name", "web") != 1 || count(out, "container_network_receive_bytes_total") != 0 {
		t.Errorf("%v", out)
	}
	notes := ""
	for _, f := range env.Status.Faults() {
		if !f.Note {
			t.Errorf("%+v", f)
		}
		notes += f.What + ": " + f.Remedy + "\n"
	}
	if !strings.Contains(notes, "-v /proc:/host/proc:ro") || !strings.Contains(notes, "-v /:/rootfs:ro,rslave") {
		t.Error(notes)
	}

	// With the machine's processes, whatever namespace the agent's own cgroup is in.
	m.Put("proc/2/comm", "kthreadd\n")
	cfg.FSInterval = 0
	env = testEnv()
	env.Host.Container = true
	out = newCycles(t, start(t, env, cfg)).run()
	if count(out, "container_network_receive_bytes_total", "name", "web") != 1 || count(out, "container_network_receive_bytes_total", "id", "/") != 1 {
		t.Errorf("%v", out)
	}
}

// An engine on another machine, or cgroups that aren't mounted: that is told, but not all folders are looked through in every cycle for each
// of its containers.
func TestACgroupThatIsNowhereIsNotLookedForEverywhereAllTheTime(t *testing.T) {
	m := newMachineOf(t, true)
	id := m.Run("web", webContainer())
	m.End(id, m.PIDs)
	c := m.start()
	c.until("it is missed", func(map[string]float64) bool { return len(c.in.containers) == 1 && c.in.containers[id].misses > 3 })
	m.Group("some.slice/docker-"+id+".scope", 1) // where only the search looks
	cycles := 1
	for ; count(c.run(), "container_memory_rss", "name", "web") == 0; cycles++ {
		if cycles > 20 {
			t.Fatal("it isn't found at all")
		}
	}
	if cycles < 10 {
		t.Errorf("it was looked for everywhere within %d cycles", cycles)
	}
}

func TestACgroupThatIsNowhereIsTold(t *testing.T) {
	m := newMachineOf(t, true)
	id := m.Run("web", webContainer())
	m.End(id, m.PIDs)
	c := m.start()
	c.until("the fault", func(map[string]float64) bool {
		f := c.in.env.Status.Faults()
		return len(f) == 1 && strings.Contains(f[0].What, "container web: its cgroup is not below") && f[0].Remedy != ""
	})
	m.Begin(id, m.PIDs, 1)
	c.until("it is right again", func(map[string]float64) bool { return len(c.in.env.Status.Faults()) == 0 })
}
