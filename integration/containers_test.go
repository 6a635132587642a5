//go:build integration

package integration

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/hermod-agent/hermod/integration/harness"
)

// shown is a page of metrics: what each series has, by its labels without empty ones, and what each family is.
type shown struct {
	series     map[string]sample
	kind, help map[string]string
	begun      time.Time // when it was asked for
	done       time.Time // when it was there
}

type sample struct {
	labels labels.Labels
	value  float64
	at     time.Time // when it says that it was taken; zero when it doesn't
}

func (s sample) name() string { return s.labels.Get(labels.MetricName) }

func show(t *testing.T, begun time.Time, page string) shown {
	t.Helper()
	out := shown{map[string]sample{}, map[string]string{}, map[string]string{}, begun, time.Now()}
	p := textparse.NewPromParser([]byte(page), labels.NewSymbolTable(), false)
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
			_, at, v := p.Series()
			var l labels.Labels
			p.Labels(&l)
			s := sample{labels: l.WithoutEmpty(), value: v}
			if at != nil {
				s.at = time.UnixMilli(*at)
			}
			if strings.HasPrefix(s.name(), "container_") || strings.HasPrefix(s.name(), "machine_") {
				out.series[s.labels.String()] = s
			}
		}
	}
}

// one is the value of the series that has these labels; there has to be one.
func (s shown) one(t *testing.T, name string, pairs ...string) float64 {
	t.Helper()
	v, n := 0.0, 0
	for _, x := range s.all(name, pairs...) {
		v, n = x.value, n+1
	}
	if n != 1 {
		t.Errorf("%d series %s%v", n, name, pairs)
	}
	return v
}

func (s shown) all(name string, pairs ...string) []sample {
	var out []sample
next:
	for _, x := range s.series {
		if x.name() != name {
			continue
		}
		for i := 0; i < len(pairs); i += 2 {
			if x.labels.Get(pairs[i]) != pairs[i+1] {
				continue next
			}
		}
		out = append(out, x)
	}
	return out
}

// containersAgent runs the agent with input "containers" and gives a function that scrapes it.
func containersAgent(t *testing.T, attributes string) (*harness.Agent, func() shown) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root sees the containers' processes and layers")
	}
	address := harness.FreeAddress(t)
	agent := harness.NewAgent(t, harness.AgentOptions{Config: fmt.Sprintf(`
input "containers" "all" {
  interval = "1h"
%s
}

output "prometheus" "scrape" {
  from   = input.containers
  listen = %q
}
`, attributes, address)})
	agent.Start()
	agent.AwaitReady()
	return agent, func() shown {
		t.Helper()
		begun := time.Now()
		page, err := harness.Fetch("http://" + address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		return show(t, begun, page)
	}
}

// deviation is a way in which the output differs from cAdvisor's on purpose: which series it is about, and what proves that it is right so. The
// proof is given what the agent showed before and after cAdvisor did.
type deviation struct {
	why    string
	covers func(l labels.Labels) bool
	proof  func(t *testing.T, key string, before, theirs, after shown)
}

func named(pattern string, pairs ...string) func(labels.Labels) bool {
	re := regexp.MustCompile("^(?:" + pattern + ")$")
	return func(l labels.Labels) bool {
		for i := 0; i < len(pairs); i += 2 {
			if l.Get(pairs[i]) != pairs[i+1] {
				return false
			}
		}
		return re.MatchString(l.Get(labels.MetricName))
	}
}

// bounded says that a value that rises lies between two others.
func bounded(t *testing.T, what string, low, v, high float64) {
	t.Helper()
	const rounding = 1e-9
	if v < low*(1-rounding) || v > high*(1+rounding) {
		t.Errorf("%s: %v is not between %v and %v", what, v, low, high)
	}
}

// requireKnownDeviations skips a comparison on a machine on which cAdvisor deviates in other ways than those that are listed and proven here.
func requireKnownDeviations(t *testing.T, c *harness.Container) {
	t.Helper()
	const instead = "; what the agent shows on cgroup v2, and on the storage driver overlay2, is held against cAdvisor's by TestTheOutputOverARecordingOfCgroupV2IsCAdvisors in inputs/containers"
	for what, path := range map[string]string{
		"cgroup v1 with Docker's driver cgroupfs":                       "/sys/fs/cgroup/memory/docker/" + c.ID + "/memory.stat",
		"cgroup v1's controller pids with Docker's driver cgroupfs":     "/sys/fs/cgroup/pids/docker/" + c.ID + "/pids.max",
		"cgroup v2's tree beside v1's (systemd's hybrid one), with PSI": "/sys/fs/cgroup/unified/docker/" + c.ID + "/cpu.pressure",
	} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("the proofs of this test are about %s, and here %v%s", what, err, instead)
		}
	}
	switch driver := c.Inspect("{{.GraphDriver.Name}}"); driver {
	case "aufs", "overlay", "overlay2", "vfs", "devicemapper", "zfs":
		t.Skipf("the proofs of this test are about a storage driver that cAdvisor doesn't know, and here it is %s%s", driver, instead)
	}
}

func TestContainersAreWhatCAdvisorShows(t *testing.T) {
	harness.RequireDocker(t)
	web := harness.StartLoad(t, []string{"--memory", "64m", "--memory-reservation", "32m", "--cpus", "0.2", "--label", "com.docker.compose.project=shop", "--label", "empty="},
		"-cpu", "-memory", "8", "-file", "/file", "-send", "172.17.0.1:9")
	requireKnownDeviations(t, web)
	beside := harness.StartLoad(t, []string{"--network", "container:" + web.Name})
	onHost := harness.StartLoad(t, []string{"--network", "host", "--pids-limit", "50"})
	checked := harness.StartLoad(t, []string{"--network", "none", "--cpu-shares", "512", "--health-cmd", "none", "--health-interval", "1s", "--health-retries", "1"}, "-memory", "4")
	ended := harness.StartLoad(t, nil, "-exit", "1ms")
	running := []*harness.Container{web, beside, onHost, checked}
	all := append(slices.Clone(running), ended)

	_, scrape := containersAgent(t, `fs_interval = "10s"`)
	cadvisor := harness.NewCAdvisor(t)
	their := func() shown {
		begun := time.Now()
		page, err := cadvisor.Page()
		if err != nil {
			t.Fatal(err)
		}
		return show(t, begun, page)
	}
	harness.Eventually(t, 2*time.Minute, "both show every container, and what was written", func() (bool, string) {
		ours, theirs := scrape(), their()
		state, done := "", true
		for _, c := range running {
			a, b := len(ours.all("container_fs_usage_bytes", "name", c.Name)), len(theirs.all("container_memory_rss", "name", c.Name))
			state += fmt.Sprintf("%s: %d, %d; ", c.Name, a, b)
			done = done && a == 1 && b == 1
		}
		return done && checked.Inspect("{{.State.Health.Status}}") == "unhealthy", state // there is no shell in the image
	})

	// What cAdvisor took between two of our own collections: those of its samples whose time is in between.
	before := scrape()
	var theirs shown
	harness.Eventually(t, time.Minute, "cAdvisor has looked at every container again", func() (bool, string) {
		theirs = their()
		for _, c := range running {
			for _, s := range theirs.all("container_memory_rss", "name", c.Name) {
				if !s.at.After(before.done) {
					return false, c.Name + " was last seen " + s.at.String()
				}
			}
		}
		root := theirs.all("container_memory_rss", "id", "/")
		return len(root) == 1 && root[0].at.After(before.done), fmt.Sprint(root)
	})
	var after shown
	harness.Eventually(t, time.Minute, "a collection that began afterwards", func() (bool, string) {
		after = scrape()
		last := after.one(t, "container_last_seen", "id", "/")
		return last > float64(theirs.done.Unix()), fmt.Sprint(last)
	})

	isOurs := func(l labels.Labels) bool {
		name := l.Get("name")
		return name != "" && slices.ContainsFunc(all, func(c *harness.Container) bool { return c.Name == name }) || l.Get("id") == "/" ||
			strings.HasPrefix(l.Get(labels.MetricName), "machine_") || l.Get(labels.MetricName) == "container_scrape_error"
	}
	// What comes and goes on this machine while the test runs is no matter of the two.
	passing := func(l labels.Labels) bool {
		i, d := l.Get("interface"), l.Get("device")
		return l.Get("id") == "/" && (strings.HasPrefix(i, "br-") || d != "" && !strings.HasPrefix(d, "/dev/") || strings.HasPrefix(d, "/dev/loop"))
	}

	missing := []deviation{
		{"the interfaces of another container are counted with that one", named("container_network_.*", "name", beside.Name),
			func(t *testing.T, key string, _, theirs, _ shown) {
				x := theirs.series[key]
				bounded(t, key+" is what the container whose network it is has", 0, x.value, 2*theirs.one(t, x.name(), "name", web.Name, "interface", x.labels.Get("interface"))+1000)
			}},
		{"the interfaces of the host are counted with the host", named("container_network_.*", "name", onHost.Name),
			func(t *testing.T, key string, before, theirs, after shown) {
				x := theirs.series[key]
				if strings.HasPrefix(x.labels.Get("interface"), "br-") {
					return
				}
				bounded(t, key+" is what the host has", before.one(t, x.name(), "id", "/", "interface", x.labels.Get("interface")), x.value,
					after.one(t, x.name(), "id", "/", "interface", x.labels.Get("interface")))
			}},
	}
	extra := []deviation{
		{"the engine's own word on a container", named("container_state"),
			func(t *testing.T, key string, _, _, after shown) {
				for _, c := range all {
					if after.one(t, "container_state", "name", c.Name, "state", c.Inspect("{{.State.Status}}")) != 1 {
						t.Errorf("%s: %s", c.Name, key)
					}
				}
			}},
		{"the engine's count of restarts", named("container_restarts_total"),
			func(t *testing.T, _ string, _, _, after shown) {
				for _, c := range all {
					if got, want := fmt.Sprint(after.one(t, "container_restarts_total", "name", c.Name)), c.Inspect("{{.RestartCount}}"); got != want {
						t.Errorf("%s was restarted %s times, not %s", c.Name, want, got)
					}
				}
			}},
		{"kills are counted of containers that have ended, too", named("container_oom_events_total", "name", ended.Name),
			func(t *testing.T, key string, _, _, after shown) {
				if v := after.series[key].value; v != 0 {
					t.Errorf("%s %v", key, v)
				}
			}},
		{"threads, of a group that cAdvisor's defaults leave out", named("container_threads(_max)?"),
			func(t *testing.T, key string, _, _, after shown) {
				if got, want := after.one(t, "container_threads_max", "name", onHost.Name), number(t, "/sys/fs/cgroup/pids/docker/"+onHost.ID+"/pids.max"); got != want {
					t.Errorf("%v, not %v", got, want)
				}
			}},
		{"cAdvisor doesn't know the storage driver " + checked.Inspect("{{.GraphDriver.Name}}"), named("container_fs_(usage_bytes|usage_age_seconds|inodes_total|limit_bytes)"),
			func(t *testing.T, _ string, _, _, after shown) {
				upper, log := checked.Inspect("{{.GraphDriver.Data.UpperDir}}"), filepath.Dir(checked.Inspect("{{.LogPath}}"))
				if got, want := after.one(t, "container_fs_usage_bytes", "name", checked.Name), du(t, upper)+du(t, log); got != want {
					t.Errorf("%v bytes, du says %v", got, want)
				}
				if age := after.one(t, "container_fs_usage_age_seconds", "name", checked.Name); age < 0 || age > 60 {
					t.Errorf("it is %v seconds old", age)
				}
			}},
	}
	file := func(path, key string) float64 { return field(t, path, key) }
	root := "/sys/fs/cgroup/memory/memory.stat"
	differs := []deviation{
		{"cAdvisor has v2's name of the number alone", named("container_memory_file_(dirty|writeback)_bytes"),
			func(t *testing.T, key string, _, theirs, _ shown) {
				if theirs.series[key].value != 0 {
					t.Errorf("cAdvisor does have %s", key)
				}
				file(root, "total_dirty") // the kernel has it
			}},
		{"cAdvisor shows the root without those below it", named("container_memory_(failures_total|workingset_refault_.*)", "id", "/"),
			func(t *testing.T, key string, before, theirs, _ shown) {
				if before.series[key].labels.Get("scope") != "hierarchy" {
					return
				}
				bounded(t, "page faults of all", before.one(t, "container_memory_failures_total", "id", "/", "scope", "hierarchy", "failure_type", "pgfault"), file(root, "total_pgfault"), math.MaxFloat64)
			}},
		{"cAdvisor doesn't look into v2's tree beside v1's", named("container_pressure_.*"),
			func(t *testing.T, key string, before, theirs, _ shown) {
				if v := theirs.series[key].value; v != 0 {
					t.Errorf("cAdvisor does have %s %v", key, v)
				}
				now := pressureOf(t, "/sys/fs/cgroup/unified/docker/"+web.ID+"/cpu.pressure")
				bounded(t, "pressure of a container that may have a fifth of a CPU", before.one(t, "container_pressure_cpu_waiting_seconds_total", "name", web.Name), now, math.MaxFloat64)
			}},
		{"cAdvisor takes milliseconds for nanoseconds", named("container_fs_(read|write|io_time|io_time_weighted)_seconds_total", "id", "/"),
			func(t *testing.T, key string, before, theirs, after shown) {
				bounded(t, key, before.series[key].value, theirs.series[key].value*1e6, after.series[key].value)
			}},
		{"cAdvisor shows when the kernel last looked at the folder of cgroups", named("container_(creation|start)_time_seconds", "id", "/"),
			func(t *testing.T, key string, before, _, _ shown) {
				if got, want := before.series[key].value, field(t, "/proc/stat", "btime"); got != want {
					t.Errorf("%s is %v, the kernel was started %v", key, got, want)
				}
			}},
	}

	find := func(list []deviation, l labels.Labels, used map[int]string, key string) bool {
		for i := range list {
			if list[i].covers(l) {
				used[i] = key
				return true
			}
		}
		return false
	}
	used := [3]map[int]string{{}, {}, {}}
	compared := 0
	for key, x := range theirs.series {
		if !isOurs(x.labels) || passing(x.labels) {
			continue
		}
		a, there := before.series[key]
		b, still := after.series[key]
		switch {
		case !there || !still:
			if !find(missing, x.labels, used[0], key) {
				t.Errorf("cAdvisor alone has %s %v", key, x.value)
			}
			continue
		case find(differs, x.labels, used[2], key):
			continue
		}
		compared++
		compareValues(t, key, theirs.kind[x.name()], a.value, x.value, b.value)
	}
	for _, page := range []shown{before, after} {
		for key, x := range page.series {
			if _, there := theirs.series[key]; !there && isOurs(x.labels) && !passing(x.labels) && !find(extra, x.labels, used[1], key) {
				t.Errorf("cAdvisor doesn't have %s %v", key, x.value)
			}
		}
	}
	for i, list := range [...][]deviation{missing, extra, differs} {
		for j, d := range list {
			key, there := used[i][j]
			if !there {
				t.Errorf("nothing differs though it is listed that %s", d.why)
				continue
			}
			d.proof(t, key, before, theirs, after)
		}
	}
	for name, kind := range theirs.kind {
		if ours, there := after.kind[name]; there && (ours != kind || after.help[name] != theirs.help[name]) {
			t.Errorf("%s: %s, %q; cAdvisor has %s, %q", name, ours, after.help[name], kind, theirs.help[name])
		}
	}
	t.Logf("%d series of %d containers and the host have cAdvisor's values; %d, %d and %d kinds of series differ on purpose", compared, len(running), len(missing), len(extra), len(differs))
}

// compareValues holds a value of cAdvisor's against what the agent showed before and after: a counter can't lie elsewhere than between, and a
// gauge not far from both.
func compareValues(t *testing.T, key, kind string, before, theirs, after float64) {
	t.Helper()
	switch {
	case strings.Contains(key, "container_last_seen"):
		bounded(t, key, before-1, theirs, after+1)
	case kind == "counter":
		bounded(t, key, before, theirs, after)
	case strings.Contains(key, "container_memory_") && strings.Contains(key, `id="/"`):
		// The machine's own memory moves with all that runs on it, and not in one direction: what is asked is the order of magnitude.
		bounded(t, key, min(before, after)/4-256<<20, theirs, 4*max(before, after)+256<<20)
	case strings.Contains(key, "container_memory_") || strings.Contains(key, "container_fs_"):
		slack := max(8<<20, 0.2*max(before, after))
		bounded(t, key, min(before, after)-slack, theirs, max(before, after)+slack)
	default: // limits, times, states
		if before == after && theirs != before {
			t.Errorf("%s: cAdvisor has %v, not %v", key, theirs, before)
		}
	}
}

func pressureOf(t *testing.T, path string) (seconds float64) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`some .*total=(\d+)`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s: %s", path, text)
	}
	us, _ := strconv.ParseFloat(string(m[1]), 64)
	return us / 1e6
}

// du is what the files below a folder take.
func du(t *testing.T, dir string) float64 {
	t.Helper()
	return float64(harness.DiskUsage(t, dir))
}

func TestRestartsKillsAndShortLivesOfContainersAreTold(t *testing.T) {
	harness.RequireDocker(t)
	agent, scrape := containersAgent(t, `fs_interval = "0s"`+"\n  root = false")
	engineSaw := harness.WatchEvents(t, "oom")
	loop := harness.StartLoad(t, []string{"--network", "none", "--restart", "always"}, "-exit", "3s", "-memory", "4")
	short := harness.StartLoad(t, []string{"--network", "none"}, "-exit", "1s", "-memory", "4")
	greedy := harness.StartLoad(t, []string{"--network", "none", "--memory", "16m", "--memory-swap", "16m"}, "-memory", "4000")
	again := harness.StartLoad(t, []string{"--network", "none", "--memory", "16m", "--memory-swap", "16m", "--restart", "on-failure:2"}, "-memory", "4000")

	seen := map[string]bool{}
	harness.Eventually(t, 2*time.Minute, "all of it is told", func() (bool, string) {
		page := scrape()
		if len(page.all("container_state", "name", again.Name)) != 1 {
			return false, "not all are known yet"
		}
		ended := func(c *harness.Container) bool {
			return len(page.all("container_state", "name", c.Name, "state", "exited")) == 1
		}
		if len(page.all("container_memory_rss", "name", loop.Name)) == 1 {
			seen["the loop while it runs"] = true
		}
		if len(page.all("container_memory_rss", "name", short.Name)) == 0 && ended(short) {
			seen["the short one's end"] = true
		}
		if sum(page.all("container_restarts_total", "name", loop.Name)) >= 3 {
			seen["restarts"] = true
		}
		// The engine doesn't always notice a kill before all is over, and sometimes tells of one twice. What it noticed is told, and no more than
		// it and the kernel can have counted.
		told, state := engineSaw(), ""
		for c, runs := range map[*harness.Container]int{greedy: 1, again: 3} {
			kills := int(sum(page.all("container_oom_events_total", "name", c.Name)))
			state += fmt.Sprintf("; of %s %d kills, the engine saw %d", c.Name, kills, told[c.ID])
			if ended(c) && c.Inspect("{{.State.Status}} {{.RestartCount}}") == fmt.Sprint("exited ", runs-1) && kills >= told[c.ID] && kills <= told[c.ID]+runs {
				seen["the kills of "+c.Name] = true
			}
		}
		return len(seen) == 5, fmt.Sprint(slices.Sorted(maps.Keys(seen))) + state
	})
	if told := engineSaw(); told[greedy.ID]+told[again.ID] == 0 {
		t.Error("the engine saw no kill at all")
	}
	status, err := agent.Status()
	if err != nil {
		t.Fatal(err)
	}
	if n := harness.NodeOf(t, status, "input.containers.all"); len(n.Faults) > 0 {
		t.Errorf("%+v", n.Faults)
	}
	if strings.Contains(agent.Log(), "level=ERROR") || strings.Contains(agent.Log(), "level=WARN") {
		t.Errorf("it complained:\n%s", agent.Log())
	}
}

func sum(all []sample) (v float64) {
	for _, s := range all {
		v += s.value
	}
	return v
}

func TestAnAgentInAContainerShowsTheSameContainers(t *testing.T) {
	harness.RequireDocker(t)
	web := harness.StartLoad(t, nil, "-memory", "4", "-send", "172.17.0.1:9")
	_, scrape := containersAgent(t, `fs_interval = "10s"`)
	keys := func(page shown) []string {
		var out []string
		for key, s := range page.series {
			if s.labels.Get("name") == web.Name {
				out = append(out, key)
			}
		}
		slices.Sort(out)
		return out
	}
	var want []string
	harness.Eventually(t, time.Minute, "all is there outside", func() (bool, string) {
		want = keys(scrape())
		return strings.Contains(fmt.Sprint(want), "container_fs_usage_bytes"), fmt.Sprint(len(want))
	})
	dir := harness.Dir(t)
	config := filepath.Join(dir, "agent.hcl")
	if err := os.WriteFile(config, []byte(`
input "containers" "all" {
  fs_interval = "10s"
}

output "prometheus" "scrape" {
  from   = input.containers
  listen = "0.0.0.0:9100"
}
`), 0o644); err != nil {
		t.Fatal(err)
	}
	common := []string{"-p", "127.0.0.1::9100", "-v", "/sys:/host/sys:ro", "-v", "/:/rootfs:ro", "-v", harness.DockerSocket + ":" + harness.DockerSocket + ":ro", "-v", config + ":/agent.hcl:ro"}
	for name, options := range map[string][]string{
		"the host's proc": {"-v", "/proc:/host/proc:ro"},
		"the host's pids": {"--pid", "host"},
	} {
		t.Run(name, func(t *testing.T) {
			agent := harness.StartAgentContainer(t, append(slices.Clone(common), options...), "run", "/agent.hcl")
			address := agent.Published("9100/tcp")
			harness.Eventually(t, time.Minute, "the same series", func() (bool, string) {
				begun := time.Now()
				page, err := harness.Fetch("http://" + address + "/metrics")
				if err != nil {
					return false, err.Error()
				}
				got := keys(show(t, begun, page))
				return slices.Equal(got, want), unlike(got, want)
			})
		})
	}
}

// unlike is what one list has and the other hasn't.
func unlike(got, want []string) string {
	out := ""
	for _, k := range got {
		if !slices.Contains(want, k) {
			out += "+" + k + " "
		}
	}
	for _, k := range want {
		if !slices.Contains(got, k) {
			out += "-" + k + " "
		}
	}
	return out
}
