package containers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// du is what the kernel says of the blocks of these paths.
func du(t *testing.T, paths ...string) (bytes uint64) {
	t.Helper()
	for _, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			t.Fatal(err)
		}
		bytes += uint64(st.Blocks) * 512
	}
	return bytes
}

func TestALayerIsCountedOnceAndNotLeft(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	put(t, dir+"/a/b/file", strings.Repeat("x", 100_000))
	put(t, outside+"/big", strings.Repeat("y", 1_000_000))
	for _, err := range []error{
		os.Link(dir+"/a/b/file", dir+"/a/again"), os.Symlink(outside, dir+"/out"), os.Symlink("/", dir+"/a/root"), unix.Mkfifo(dir+"/fifo", 0o600),
		os.Mkdir(dir+"/closed", 0o000),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	n, _, err := countFolder(t.Context(), dir)
	want := du(t, dir, dir+"/a", dir+"/a/b", dir+"/a/b/file", dir+"/out", dir+"/a/root", dir+"/fifo", dir+"/closed")
	if err != nil || n.inodes != 8 || n.bytes != want {
		t.Errorf("%d bytes and %d inodes, not %d and 8: %v", n.bytes, n.inodes, want, err)
	}
	if _, _, err := countFolder(t.Context(), dir+"/out"); err == nil {
		t.Error("a link was followed")
	}
	if _, _, err := countFolder(t.Context(), dir+"/none"); err == nil {
		t.Error("nothing was counted, without an error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := countFolder(ctx, dir); err == nil {
		t.Error("it goes on after its end")
	}
}

func TestVeryDeepFoldersEndTheWalkAndNotTheAgent(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_DIRECTORY, 0)
	for i := 0; i < maxDepth+50 && err == nil; i++ {
		if err = unix.Mkdirat(fd, "d", 0o755); err == nil {
			var next int
			next, err = unix.Openat(fd, "d", unix.O_DIRECTORY, 0)
			unix.Close(fd)
			fd = next
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	n, _, err := countFolder(t.Context(), dir)
	if err != nil || n.inodes < maxDepth || n.inodes > maxDepth+2 {
		t.Errorf("%d, %v", n.inodes, err)
	}
}

func TestUsageOfTheFilesystemIsCountedBesideAndTellsItsAge(t *testing.T) {
	m := newMachineOf(t, true)
	m.Engine.SetInfo(map[string]any{"DockerRootDir": "/volume1/@docker"})
	put(t, m.Root+"/volume1/@docker/overlay2/l1/diff/file", strings.Repeat("x", 50_000))
	id := dockertest.IDOf("web")
	put(t, m.Root+"/volume1/@docker/containers/"+id+"/"+id+"-json.log", strings.Repeat("l", 20_000))
	m.Run("web", dockertest.Container{UpperDir: "/volume1/@docker/overlay2/l1/diff", StoredBy: "overlay2"})
	cfg := m.config()
	cfg.FSInterval = config.Duration(5 * time.Minute)
	in := start(t, testEnv(), cfg)
	c := newCycles(t, in)
	if out := c.run(); count(out, "container_fs_usage_bytes", "name", "web") != 0 {
		t.Error("the collection waited for the walk")
	}
	<-in.walker.ended
	out := c.run()
	diff := m.Root + "/volume1/@docker/overlay2/l1/diff"
	log := m.Root + "/volume1/@docker/containers/" + id
	if got, want := value(t, out, "container_fs_usage_bytes", "name", "web"), float64(du(t, diff, diff+"/file", log, log+"/"+id+"-json.log")); got != want {
		t.Errorf("%v, not %v", got, want)
	}
	if got := value(t, out, "container_fs_inodes_total", "name", "web"); got != 2 {
		t.Errorf("%v inodes", got)
	}
	if got := value(t, out, "container_fs_limit_bytes", "name", "web"); got == 0 {
		t.Error("no limit")
	}
	if value(t, out, "container_fs_usage_age_seconds", "name", "web") < 0 {
		t.Error("it comes from the future")
	}
	// Not before its interval, and then again; what the container wrote meanwhile counts.
	ended := in.walker.ended
	c.now += 4 * 60_000
	if c.run(); in.walker.ended != ended {
		t.Error("another walk began too early")
	}
	put(t, diff+"/more", strings.Repeat("z", 90_000))
	c.now += 60_000
	c.run()
	if in.walker.ended == ended {
		t.Fatal("no other walk began")
	}
	<-in.walker.ended
	if got := value(t, c.run(), "container_fs_inodes_total", "name", "web"); got != 3 {
		t.Errorf("%v inodes", got)
	}
}

func TestThereIsNeverMoreThanOneWalk(t *testing.T) {
	w := newWalker(time.Minute)
	if !w.due(1000) {
		t.Fatal("the first isn't due")
	}
	w.ended = make(chan struct{}) // one that hangs
	w.begun = 1000
	if w.due(10_000_000) {
		t.Error("another one beside the first")
	}
	close(w.ended)
	if !w.due(10_000_000) || w.due(30_000) {
		t.Error("when it is due")
	}
	w.stop(t.Context())
}

func TestWhereAWalkWouldCountTheImageThereIsNone(t *testing.T) {
	for name, info := range map[string]map[string]any{
		"btrfs":              {"Driver": "btrfs"},
		"containerd's store": {"Driver": "overlayfs", "DriverStatus": [][2]string{{"driver-type", "io.containerd.snapshotter.v1"}}},
	} {
		m := newMachineOf(t, true)
		m.Engine.SetInfo(info)
		put(t, m.Root+"/layer/file", "x")
		m.Run("web", dockertest.Container{UpperDir: "/layer"})
		cfg := m.config()
		cfg.FSInterval = config.Duration(time.Minute)
		c := newCycles(t, start(t, testEnv(), cfg))
		c.run()
		c.now += 120_000
		if out := c.run(); count(out, "container_fs_usage_bytes", "name", "web") != 0 || c.in.walker.ended != nil {
			t.Errorf("%s: it was counted", name)
		}
		f := c.in.env.Status.Faults()
		if len(f) != 1 || !f[0].Note || !strings.Contains(f[0].What, "would count the image") || !strings.Contains(f[0].Remedy, "fs_interval") {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestMountsAreThoseOfDisksAndOfMemory(t *testing.T) {
	got := parseMounts([]byte(`27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
28 27 254:0 /var/lib/docker /var/lib/docker rw shared:1 - ext4 /dev/vda rw
29 27 0:27 / /dev/shm rw - tmpfs tmpfs rw
30 27 0:28 / /run rw - tmpfs tmpfs rw
31 27 0:40 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
32 27 0:41 / /mnt/share rw - nfs4 nas:/share rw
33 27 0:42 / /volume\0401 rw shared:9 master:2 - btrfs /dev/mapper/vg1-volume_1 rw
34 27 0:43 /broken
35 27 0:44 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
`))
	want := []mountedFS{
		{source: "/dev/vda", point: "/", device: device{254, 0}}, {source: "/dev/shm", point: "/dev/shm", device: device{0, 27}},
		{source: "/run", point: "/run", device: device{0, 28}}, {source: "/dev/mapper/vg1-volume_1", point: "/volume 1", device: device{0, 42}},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, not %+v", got[i], want[i])
		}
	}
}

func TestTheMachinesFilesystemsAreThere(t *testing.T) {
	m := newMachineOf(t, true)
	m.Put("proc/1/mountinfo", "27 1 8:0 / / rw - ext4 /dev/root rw\n28 1 0:30 / /tmp rw - tmpfs tmpfs rw\n")
	m.Dir("tmp")
	c := newCycles(t, start(t, testEnv(), m.config()))
	for range 2 {
		out := c.run() // fails when a series comes twice
		for name, want := range map[string]float64{
			"container_fs_reads_bytes_total": 4096, "container_fs_reads_total": 3, // of the cgroup
			"container_fs_sector_reads_total": 800, "container_fs_read_seconds_total": 0.005, "container_fs_io_time_weighted_seconds_total": 0.014, // of the disk
		} {
			if got := value(t, out, name, "id", "/", "device", "/dev/root"); got != want {
				t.Errorf("%s is %v", name, got)
			}
		}
		if value(t, out, "container_fs_limit_bytes", "id", "/", "device", "/dev/root") == 0 || count(out, "container_fs_limit_bytes", "id", "/", "device", "/tmp") != 1 {
			t.Error("no sizes")
		}
	}
	cfg := m.config()
	cfg.Root = false
	if out := newCycles(t, start(t, testEnv(), cfg)).run(); count(out, "", "id", "/") != 0 || count(out, "machine_memory_bytes") != 1 {
		t.Errorf("%v", out)
	}
}

func TestConfigFaultsAreNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"is not the address of a Docker engine": func(c *Config) { c.Endpoint = "docker.sock" },
		"a label's name is empty":               func(c *Config) { c.ContainerLabels = &[]string{"a", ""} },
		"is less than 10s":                      func(c *Config) { c.FSInterval = config.Duration(time.Second) },
	} {
		c := defaults()
		change(&c)
		errs := c.Validate()
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%v, not %s", errs, want)
		}
	}
	c := defaults()
	c.FSInterval = 0
	if errs := c.Validate(); len(errs) > 0 {
		t.Error(errs)
	}
}

func webContainer() dockertest.Container { return dockertest.Container{} }

// runOld makes a container as Linux 4.4 has it.
func (m *machineOf) runOld(name string) (id string) {
	id = m.Run(name, dockertest.Container{})
	dir := filepath.Join("sys/fs/cgroup")
	for _, f := range []string{"cpu,cpuacct", "memory", "blkio"} {
		m.Dir(dir + "/" + f)
	}
	m.Remove(dir + "/pids")
	for _, f := range []string{"cpu,cpuacct/docker/" + id + "/cpu.cfs_quota_us", "cpu,cpuacct/docker/" + id + "/cpu.cfs_period_us", "cpu,cpuacct/docker/" + id + "/cpu.stat",
		"blkio/docker/" + id + "/blkio.throttle.io_service_bytes_recursive", "blkio/docker/" + id + "/blkio.throttle.io_serviced_recursive"} {
		m.Remove(dir + "/" + f)
	}
	m.Put(dir+"/memory/docker/"+id+"/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n")
	blkio := func(file, text string) { m.Put(dir+"/blkio/docker/"+id+"/blkio."+file, text) }
	blkio("io_service_bytes_recursive", "8:0 Read 8192\n8:0 Write 0\n8:0 Sync 0\n8:0 Async 8192\n8:0 Total 8192\nTotal 8192\n")
	blkio("io_serviced_recursive", "8:0 Read 2\n8:0 Write 0\n8:0 Total 2\nTotal 2\n")
	blkio("io_merged_recursive", "8:0 Read 1\n8:0 Write 0\n8:0 Total 1\nTotal 1\n")
	blkio("io_service_time_recursive", "8:0 Read 500000000\n8:0 Write 250000000\n8:0 Total 750000000\nTotal 750000000\n")
	blkio("io_queued_recursive", "8:0 Read 3\n8:0 Write 0\n8:0 Total 3\nTotal 3\n")
	blkio("sectors_recursive", "8:0 16\n")
	m.Put("sys/dev/block/8:0/uevent", "MAJOR=8\nMINOR=0\nDEVNAME=sda\nDEVTYPE=disk\n")
	return id
}
