package containers

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/docker/dockertest"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// machineOf is a machine made of files, and an engine that a test can tell what to do.
type machineOf struct {
	*dockertest.Machine
	t testing.TB
}

func newMachineOf(t testing.TB, v2 bool) *machineOf {
	return &machineOf{dockertest.NewMachine(t, v2), t}
}

func (m *machineOf) config() Config {
	return recording{root: m.Root, socket: m.Engine.Socket()}.config()
}

func (m *machineOf) start() *cycles { return newCycles(m.t, m.open(m.config())) }

// open starts an input that is told of what is there by the list alone, and then of what the test does: else each start is told once more, at any
// moment.
func (m *machineOf) open(c Config) *input {
	m.t.Helper()
	m.Engine.Forget()
	return start(m.t, testEnv(), c)
}

func versions(t *testing.T, f func(t *testing.T, v2 bool)) {
	t.Run("v1", func(t *testing.T) { f(t, false) })
	t.Run("v2", func(t *testing.T) { f(t, true) })
}

func TestAContainerIsThereFromItsStartToItsEnd(t *testing.T) {
	versions(t, func(t *testing.T, v2 bool) {
		m := newMachineOf(t, v2)
		c := m.start()
		if out := c.run(); count(out, "", "name", "web") != 0 || value(t, out, "container_cpu_user_seconds_total", "id", "/") != 2 {
			t.Errorf("%v", out)
		}
		id := m.Run("web", dockertest.Container{Labels: map[string]string{"a.b": "c"}})
		out := c.until("it runs", func(out map[string]float64) bool {
			return count(out, "container_memory_usage_bytes", "name", "web") == 1
		})
		labels := []string{"name", "web", "id", "/docker/" + id, "image", "web:1", "container_label_a_b", "c"}
		for name, want := range map[string]float64{
			"container_cpu_user_seconds_total": 2, "container_cpu_system_seconds_total": 1, "container_memory_usage_bytes": 2e6,
			"container_memory_working_set_bytes": 1.6e6, "container_memory_rss": 1e6, "container_memory_cache": 5e5, "container_memory_max_usage_bytes": 3e6,
			"container_spec_memory_limit_bytes": 0, "container_health_state": -1, "container_threads": 5, "container_oom_events_total": 0,
			"container_state": 1, "container_last_seen": float64(c.now / 1000),
		} {
			if got := value(t, out, name, labels...); got != want {
				t.Errorf("%s is %v, not %v", name, got, want)
			}
		}
		if got := value(t, out, "container_network_transmit_bytes_total", "name", "web", "interface", "eth0"); got != 2000 {
			t.Errorf("sent: %v", got)
		}
		if got := value(t, out, "container_fs_reads_bytes_total", "name", "web"); got != 4096 {
			t.Errorf("read: %v", got)
		}
		m.End(id, m.PIDs)
		m.Engine.End(id, 1)
		out = c.until("it has ended", func(out map[string]float64) bool {
			return count(out, "container_state", "name", "web", "state", "exited") == 1
		})
		if n := count(out, "", "name", "web"); n != 3 { // state, restarts, kills
			t.Errorf("%d series of one that has ended: %v", n, out)
		}
		m.Engine.Destroy(id)
		c.until("it is gone", func(out map[string]float64) bool { return count(out, "", "name", "web") == 0 })
		if f := c.in.env.Status.Faults(); len(f) > 0 {
			t.Errorf("%+v", f)
		}
	})
}

// The files that are open answer as the kernel's do when the cgroup was removed: here by a file that has gone, since one that is open
// on a disk can still be read.
func TestAContainerThatVanishesInTheMiddleKeepsWhatWasReadAndIsNoFault(t *testing.T) {
	versions(t, func(t *testing.T, v2 bool) {
		m := newMachineOf(t, v2)
		id := m.Run("web", dockertest.Container{})
		c := m.start()
		c.until("it runs", func(out map[string]float64) bool {
			return count(out, "container_memory_usage_bytes", "name", "web") == 1
		})
		k := c.in.containers[id]
		for _, behind := range []fileID{pressureCPU, pressureMemory, pressureIO, pidsCurrent, pidsMax, v1Shares, v2Weight} {
			c.in.reader.close(&k.group.files[behind])
		}
		m.End(id, m.PIDs)
		c.batch.Begin(&metrics.Source{}, 100, c.now)
		c.in.collect(k, &c.batch)
		out := c.samples()
		if count(out, "container_cpu_user_seconds_total", "name", "web") != 1 || count(out, "container_memory_usage_bytes", "name", "web") != 1 {
			t.Errorf("what was read is lost: %v", out)
		}
		if n := count(out, "container_last_seen", "name", "web"); n != 0 {
			t.Error("it counts as seen")
		}
		if c.in.fault != nil {
			t.Errorf("a fault: %v", c.in.fault)
		}
	})
}

func TestARestartBeginsAnewUnderTheSameName(t *testing.T) {
	m := newMachineOf(t, true)
	id := m.Run("web", dockertest.Container{})
	c := m.start()
	c.until("it runs", func(out map[string]float64) bool {
		return count(out, "container_memory_usage_bytes", "name", "web") == 1
	})
	m.End(id, m.PIDs)
	m.Engine.End(id, 1)
	m.Begin(id, m.PIDs, 7)
	m.Engine.Start(id)
	c.until("the new cgroup's numbers", func(out map[string]float64) bool {
		return count(out, "container_cpu_user_seconds_total", "name", "web") == 1 && value(t, out, "container_cpu_user_seconds_total", "name", "web") == 14
	})
}

func TestKillsAddUpOverRestarts(t *testing.T) {
	m := newMachineOf(t, true)
	id := m.Run("web", dockertest.Container{})
	c := m.start()
	kills := func(out map[string]float64) float64 {
		for key, v := range out {
			if has(key, "container_oom_events_total", "name", "web") {
				return v
			}
		}
		return -1
	}
	events := func(n int) {
		m.Put("sys/fs/cgroup/docker/"+id+"/memory.events", fmt.Sprintf("low 0\nhigh 0\nmax 9\noom 9\noom_kill %d\n", n))
	}
	c.until("no kill", func(out map[string]float64) bool { return kills(out) == 0 })
	// A child is killed; the kernel counts, and the engine tells.
	events(1)
	m.Engine.OOM(id)
	c.until("one kill", func(out map[string]float64) bool { return kills(out) == 1 && c.in.containers[id].about.OOMs == 1 })
	// The container itself is: only the engine tells.
	m.Engine.OOM(id)
	m.End(id, m.PIDs)
	m.Engine.End(id, 137)
	c.until("the one that ended it", func(out map[string]float64) bool {
		return kills(out) == 2 && count(out, "container_state", "name", "web", "state", "exited") == 1
	})
	m.Begin(id, m.PIDs, 1)
	m.Engine.Start(id)
	c.until("they stay", func(out map[string]float64) bool {
		return kills(out) == 2 && count(out, "container_memory_rss", "name", "web") == 1
	})
	events(3)
	c.until("and those of the new one", func(out map[string]float64) bool { return kills(out) == 5 })
}

func TestAKillIsCountedOnceWhoeverTellsOfItAndWhen(t *testing.T) {
	type step struct {
		starts, kernel, events uint64
		running                bool
		want                   uint64
	}
	for name, steps := range map[string][]step{
		"both at once":                     {{1, 0, 0, true, 0}, {1, 1, 1, true, 1}, {1, 1, 1, true, 1}},
		"the event comes later":            {{1, 0, 0, true, 0}, {1, 1, 0, true, 1}, {1, 1, 1, true, 1}, {1, 2, 2, true, 2}},
		"the event comes after a restart":  {{1, 0, 0, true, 0}, {1, 1, 0, true, 1}, {2, 0, 1, true, 1}, {2, 1, 2, true, 2}},
		"the kernel is read later":         {{1, 0, 0, true, 0}, {1, 0, 1, true, 1}, {1, 1, 1, true, 1}},
		"the kill that ends it":            {{1, 0, 0, true, 0}, {1, 0, 1, false, 1}, {2, 0, 1, true, 1}, {2, 0, 2, false, 2}},
		"no events at all":                 {{1, 0, 0, true, 0}, {1, 3, 0, true, 3}, {1, 4, 0, true, 4}, {2, 0, 0, true, 4}, {2, 2, 0, true, 6}},
		"one event for three kills":        {{1, 0, 0, true, 0}, {1, 3, 1, true, 3}, {1, 3, 1, true, 3}, {1, 3, 1, true, 3}, {1, 3, 2, false, 4}},
		"no counter":                       {{1, 0, 0, true, 0}, {1, 0, 1, true, 1}, {1, 0, 2, true, 2}, {2, 0, 2, true, 2}},
		"kills from before the agent":      {{1, 5, 0, true, 5}, {1, 5, 1, false, 6}},
		"events from before the container": {{0, 0, 2, false, 2}, {1, 0, 2, true, 2}},
	} {
		var o oomCount
		for i, s := range steps {
			o.cycle(int64(i)*20_000, &docker.Container{Starts: s.starts, OOMs: s.events}, s.kernel, s.running)
			if o.total != s.want {
				t.Errorf("%s, step %d: %d, not %d", name, i+1, o.total, s.want)
				break
			}
		}
	}
}

func TestHealthStateAndRestartsAreTold(t *testing.T) {
	m := newMachineOf(t, true)
	id := m.Run("web", dockertest.Container{Restarts: 3})
	c := m.start()
	out := c.until("it runs", func(out map[string]float64) bool { return count(out, "container_health_state", "name", "web") == 1 })
	if v := value(t, out, "container_restarts_total", "name", "web", "container_label_restartcount", "3"); v != 3 {
		t.Errorf("restarts: %v", v)
	}
	m.Engine.Health(id, "starting")
	c.until("its check begins", func(out map[string]float64) bool { return value(t, out, "container_health_state", "name", "web") == 0 })
	m.Engine.Health(id, "healthy")
	c.until("it is well", func(out map[string]float64) bool { return value(t, out, "container_health_state", "name", "web") == 1 })
	m.Engine.Pause(id, true)
	out = c.until("it pauses", func(out map[string]float64) bool {
		return count(out, "container_state", "name", "web", "state", "paused") == 1
	})
	if count(out, "container_state", "name", "web") != 1 || count(out, "container_memory_rss", "name", "web") != 1 {
		t.Errorf("while it pauses: %v", out)
	}
}

func TestASharedNetworkIsCountedOnce(t *testing.T) {
	m := newMachineOf(t, true)
	m.Run("web", dockertest.Container{})
	m.Run("beside", dockertest.Container{NetworkMode: "container:" + dockertest.IDOf("web")})
	m.Run("onhost", dockertest.Container{NetworkMode: "host"})
	out := m.start().run()
	for name, want := range map[string]int{"web": 1, "beside": 0, "onhost": 0} {
		if n := count(out, "container_network_receive_bytes_total", "name", name); n != want {
			t.Errorf("%s has %d interfaces", name, n)
		}
	}
	if v := value(t, out, "container_network_receive_bytes_total", "id", "/", "interface", "eth0"); v != 7000 {
		t.Errorf("the host's: %v", v)
	}
}

func TestLabelsAreCAdvisorsWithoutEmptyOnes(t *testing.T) {
	m := newMachineOf(t, true)
	big := strings.Repeat("x", 1<<20)
	m.Run("web", dockertest.Container{Labels: map[string]string{
		"a.b": "first", "a_b": "second", "a-b": "", "empty": "", "big": big, "ünï": "u", "com.example/x": `quo"te\`,
	}})
	c := m.start()
	out := c.run()
	for key := range out {
		if !has(key, "", "name", "web") {
			continue
		}
		if !strings.Contains(key, `container_label_a_b="first"`) || strings.Contains(key, `"second"`) || strings.Contains(key, "empty") || strings.Contains(key, "xxxx") ||
			!strings.Contains(key, `container_label__n_="u"`) || !strings.Contains(key, `container_label_com_example_x="quo\"te\\"`) {
			t.Fatal(key)
		}
	}
	f := c.in.env.Status.Faults()
	if len(f) != 1 || !f[0].Note || !strings.Contains(f[0].What, "container web: its label big") || !strings.Contains(f[0].Remedy, "container_labels") {
		t.Errorf("%+v", f)
	}
	picked := m.config()
	picked.ContainerLabels = &[]string{"a_b", "no such"}
	out = newCycles(t, start(t, testEnv(), picked)).run()
	if count(out, "container_last_seen", "container_label_a_b", "second") != 1 {
		t.Errorf("%v", out)
	}
	none := m.config()
	none.ContainerLabels = &[]string{}
	out = newCycles(t, start(t, testEnv(), none)).run()
	if count(out, "container_last_seen", "name", "web") != 1 {
		t.Errorf("%v", out)
	}
	for key := range out {
		if strings.Contains(key, "container_label") {
			t.Errorf("%s", key)
		}
	}
}

// The id of a container that has ended before the agent came is where its cgroup will be when it is started again.
func TestAContainerThatHasEndedHasTheIDThatItsEngineGivesIt(t *testing.T) {
	for name, podman := range map[string]bool{"docker/": false, "libpod_parent/libpod-": true} {
		m := newMachineOf(t, true)
		if podman {
			m.Engine.Podman()
		}
		id := m.Run("web", dockertest.Container{})
		m.End(id, m.PIDs)
		m.Engine.End(id, 0)
		out := m.start().run()
		if count(out, "container_state", "id", "/"+name+id, "state", "exited") != 1 {
			t.Errorf("%s: %v", name, out)
		}
	}
}

// Linux 7.2 shows such a line for the root.
func TestADiskThatWasTakenAwayIsNoFault(t *testing.T) {
	versions(t, func(t *testing.T, v2 bool) {
		m := newMachineOf(t, v2)
		if v2 {
			m.Put("sys/fs/cgroup/io.stat", "(unknown) \n8:0 rbytes=4096 wbytes=1 rios=2 wios=3 dbytes=0 dios=0\n(unknown) rbytes=7 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n")
		} else {
			m.Put("sys/fs/cgroup/blkio/blkio.throttle.io_service_bytes_recursive", "(unknown) Read 7\n8:0 Read 4096\nTotal 4103\n")
		}
		c := m.start()
		if got := value(t, c.run(), "container_blkio_device_usage_total", "id", "/", "operation", "Read"); got != 4096 {
			t.Errorf("%v", got)
		}
		if f := c.in.env.Status.Faults(); len(f) > 0 {
			t.Errorf("%+v", f)
		}
	})
}

func TestARenamedContainerHasItsNewName(t *testing.T) {
	m := newMachineOf(t, true)
	id := m.Run("web", dockertest.Container{Labels: map[string]string{"long": strings.Repeat("x", 3000)}})
	c := m.start()
	c.run()
	m.Engine.Rename(id, "shop")
	out := c.until("the new name", func(out map[string]float64) bool { return count(out, "container_memory_rss", "name", "shop") == 1 })
	if count(out, "", "name", "web") != 0 {
		t.Errorf("%v", out)
	}
	if f := c.in.env.Status.Faults(); len(f) != 1 || !strings.Contains(f[0].What, "container shop: its label long") {
		t.Errorf("%+v", f)
	}
}

func TestGarbageInAFileCostsItsNumbersAloneAndIsTold(t *testing.T) {
	versions(t, func(t *testing.T, v2 bool) {
		m := newMachineOf(t, v2)
		id := m.Run("web", dockertest.Container{})
		m.Run("other", dockertest.Container{})
		broken, dir := "memory.usage_in_bytes", "sys/fs/cgroup/memory/docker/"
		if v2 {
			broken, dir = "memory.current", "sys/fs/cgroup/docker/"
		}
		m.Put(dir+id+"/"+broken, "\x00\xff not a number\n")
		c := m.start()
		out := c.run()
		if count(out, "container_cpu_user_seconds_total", "name", "web") != 1 || value(t, out, "container_memory_rss", "name", "web") != 1e6 ||
			value(t, out, "container_memory_usage_bytes", "name", "other") != 2e6 {
			t.Error("it cost more")
		}
		if value(t, out, "container_scrape_error") != 1 {
			t.Error("no error is shown")
		}
		f := c.in.env.Status.Faults()
		if len(f) != 1 || !strings.Contains(f[0].What, broken) || !strings.Contains(f[0].What, `\x00\xff not a number`) {
			t.Errorf("%+v", f)
		}
		m.Put(dir+id+"/"+broken, "5\n")
		c.until("it is right again", func(out map[string]float64) bool {
			return value(t, out, "container_memory_usage_bytes", "name", "web") == 5 && value(t, out, "container_scrape_error") == 0
		})
		if f := c.in.env.Status.Faults(); len(f) != 0 {
			t.Errorf("%+v", f)
		}
	})
}

func TestNumbersGoOnWhileTheEngineIsAway(t *testing.T) {
	m := newMachineOf(t, true)
	id := m.Run("web", dockertest.Container{})
	c := m.start()
	c.run()
	m.Engine.Down()
	out := c.until("the fault", func(out map[string]float64) bool { return len(c.in.env.Status.Faults()) > 0 })
	if count(out, "container_memory_rss", "name", "web") != 1 || value(t, out, "container_scrape_error") != 1 {
		t.Errorf("%v", out)
	}
	if f := c.in.env.Status.Faults(); f[0].Key != "engine" || f[0].Remedy == "" {
		t.Errorf("%+v", f)
	}
	m.End(id, m.PIDs)
	for i := range c.in.containers[id].group.files {
		c.in.reader.close(&c.in.containers[id].group.files[i])
	}
	if out := c.run(); count(out, "container_memory_rss", "name", "web") != 0 {
		t.Error("one that ended meanwhile still has memory")
	}
	if f := c.in.env.Status.Faults(); len(f) != 1 {
		t.Errorf("one that has ended, as the engine will tell, is a fault: %+v", f)
	}
	m.Engine.End(id, 0)
	m.Engine.Up()
	m.Run("new", dockertest.Container{})
	c.until("it is back", func(out map[string]float64) bool {
		return len(c.in.env.Status.Faults()) == 0 && count(out, "container_memory_rss", "name", "new") == 1
	})
}

func TestAnEngineThatNeverAnsweredIsAFault(t *testing.T) {
	m := newMachineOf(t, true)
	m.Engine.Down()
	c := m.start()
	out, err := c.try()
	if err == nil || value(t, out, "machine_cpu_cores") != 2 || count(out, "container_memory_rss", "id", "/") != 1 {
		t.Errorf("%v, %v", err, out)
	}
	m.Engine.Up()
	m.Run("web", dockertest.Container{})
	c.until("it comes", func(out map[string]float64) bool { return count(out, "container_memory_rss", "name", "web") == 1 })
}

func TestTwoThousandContainers(t *testing.T) {
	m := newMachineOf(t, true)
	const n = 2000
	m.Many(n)
	c := m.start()
	c.in.reader.most = 5000 // less than they would take; nothing reads yet
	reach(t, c.in)
	for range 2 {
		c.batch.Begin(&metrics.Source{}, c.batch.Cycle+1, c.now)
		if err := c.in.Collect(t.Context(), &c.batch); err != nil {
			t.Fatal(err)
		}
		got := 0
		for i := range c.batch.Samples {
			if c.batch.Samples[i].Series.Desc == numberDescs[memRSS] {
				got++
			}
		}
		if got != n+1 {
			t.Errorf("%d", got)
		}
	}
	if c.in.reader.open > 5000+2*n+2 { // folders are always open
		t.Errorf("%d descriptors", c.in.reader.open)
	}
}

func TestStopDuringACollectionWaitsForItsEnd(t *testing.T) {
	m := newMachineOf(t, true)
	c := m.start()
	c.run()
	c.in.busy <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.in.Stop(ctx); err == nil {
		t.Error("stopped while busy")
	}
	<-c.in.busy
}
