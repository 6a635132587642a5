package host

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"

	"github.com/prometheus/prometheus/model/labels"
)

var update = flag.Bool("update", false, "write the golden files anew")

// cycleTime is the time of the first cycle of a test: 2026-01-02T03:04:05Z.
const cycleTime = 1767323045000

func testEnv() *component.Env {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return &component.Env{Address: "input.host", Type: "host", Log: log, Status: component.NewStatus(log), Series: metrics.NewRegistry(),
		Host: component.Host{Name: "nas", Procfs: "/proc", Sysfs: "/sys", Rootfs: "/"}}
}

// fixtureConfig reads the tree below testdata/fixture.
func fixtureConfig(root string, collect ...string) *Config {
	cfg := defaults()
	cfg.Procfs, cfg.Sysfs, cfg.Rootfs = root+"/proc", root+"/sys", root+"/rootfs"
	cfg.Filesystem.MountTimeout = config.Duration(time.Minute) // also where a busy machine takes its time, all mounts answer
	if len(collect) > 0 {
		cfg.Collect = collect
	}
	return &cfg
}

func mustOpen(t testing.TB, env *component.Env, cfg *Config) *input {
	t.Helper()
	if errs := cfg.Validate(); len(errs) > 0 {
		t.Fatal(errs)
	}
	in, err := open(env, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return in
}

// part returns one of the collectors.
func part[T collector](t testing.TB, in *input) T {
	t.Helper()
	for _, j := range in.collectors {
		if c, ok := j.c.(T); ok {
			return c
		}
	}
	t.Fatalf("there is no %T", *new(T))
	panic("unreachable")
}

// cycles collects one cycle after the other.
type cycles struct {
	in *input
	b  metrics.Batch
	n  uint64
}

func (c *cycles) run(t testing.TB) error {
	c.n++
	c.b.Begin(&metrics.Source{}, c.n, cycleTime+int64(c.n-1)*15_000)
	return c.in.Collect(t.Context(), &c.b)
}

// values returns what was collected, by series as the text format writes it.
func (c *cycles) values(t testing.TB) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, s := range c.b.Samples {
		if s.Time != c.b.Time {
			t.Errorf("%s has the time %d", s.Series.Labels(), s.Time)
		}
		key := s.Series.Labels().String()
		if _, twice := out[key]; twice {
			t.Errorf("%s was set twice", key)
		}
		out[key] = s.Value
	}
	return out
}

// text renders the batch as a scrape page would, sorted.
func (c *cycles) text() string {
	byName := map[string][]metrics.Sample{}
	for _, s := range c.b.Samples {
		byName[s.Series.Name()] = append(byName[s.Series.Name()], s)
	}
	var names []string
	for name := range byName {
		names = append(names, name)
	}
	slices.Sort(names)
	var out strings.Builder
	for _, name := range names {
		samples := byName[name]
		d := samples[0].Series.Desc
		kind := d.Kind.String()
		if d.Kind == metrics.Unknown {
			kind = "untyped"
		}
		fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", name, d.Help, name, kind)
		var lines []string
		for _, s := range samples {
			lines = append(lines, renderSample(s))
		}
		slices.Sort(lines)
		out.WriteString(strings.Join(lines, ""))
	}
	return out.String()
}

func renderSample(s metrics.Sample) string {
	var pairs []string
	s.Series.Labels().Range(func(l labels.Label) {
		if l.Name != labels.MetricName {
			pairs = append(pairs, l.Name+"="+strconv.Quote(l.Value))
		}
	})
	name := s.Series.Name()
	if len(pairs) > 0 {
		name += "{" + strings.Join(pairs, ",") + "}"
	}
	return name + " " + strconv.FormatFloat(s.Value, 'g', -1, 64) + "\n"
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for _, l := range gotLines {
			if !slices.Contains(wantLines, l) {
				t.Errorf("not in %s: %s", path, l)
			}
		}
		for _, l := range wantLines {
			if !slices.Contains(gotLines, l) {
				t.Errorf("only in %s: %s", path, l)
			}
		}
		t.Errorf("%s differs; run the test with -update if that is meant", path)
	}
}

// fakeStatfs gives every mount its own numbers, made from its path below root, so that the golden file is the same everywhere.
func fakeStatfs(root string) statfsFunc {
	return func(path string, out *unix.Statfs_t) error {
		below := strings.TrimPrefix(path, filepath.Join(root, "rootfs"))
		switch below {
		case "/mnt/nfs":
			return unix.ESTALE
		case "/srv/locked":
			return unix.EACCES
		}
		n := uint64(len(below) + 1)
		*out = unix.Statfs_t{Bsize: 4096, Blocks: 1000 * n, Bfree: 500 * n, Bavail: 400 * n, Files: 100 * n, Ffree: 50 * n}
		return nil
	}
}

func TestWholeOutputOverTheFixture(t *testing.T) {
	root := fixture(t)
	in := mustOpen(t, testEnv(), fixtureConfig(root))
	part[*filesystem](t, in).statter.statfs = fakeStatfs(root)
	part[*uname](t, in).ask = func(u *unix.Utsname) error {
		copy(u.Sysname[:], "Linux")
		copy(u.Release[:], "6.1.0-18-amd64")
		copy(u.Version[:], "#1 SMP Debian 6.1.76-1")
		copy(u.Machine[:], "x86_64")
		copy(u.Nodename[:], "nas")
		copy(u.Domainname[:], "(none)")
		return nil
	}
	part[*clock](t, in).location = time.FixedZone("CET", 3600)
	part[*clock](t, in).zoneAt = cycleTime
	c := &cycles{in: in}
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	c.values(t)
	for i := range c.b.Samples {
		if s := &c.b.Samples[i]; s.Series.Name() == "node_scrape_collector_duration_seconds" {
			if s.Value <= 0 || s.Value > 60 {
				t.Errorf("%s took %v s", s.Series.Labels(), s.Value)
			}
			s.Value = 0
		}
	}
	golden(t, "fixture.prom", c.text())
	if f := in.env.Status.Faults(); len(f) != 0 {
		t.Errorf("faults: %+v", f)
	}
}

func TestASecondCycleGivesTheSameSeries(t *testing.T) {
	c := &cycles{in: mustOpen(t, testEnv(), fixtureConfig(fixture(t)))}
	series := func() map[*metrics.Series]bool {
		if err := c.run(t); err != nil {
			t.Fatal(err)
		}
		out := map[*metrics.Series]bool{}
		for _, s := range c.b.Samples {
			out[s.Series] = true
		}
		return out
	}
	first := series()
	for range 10 { // beyond the minute after which slow things are read again
		for s := range series() {
			if !first[s] {
				t.Errorf("%s was made anew", s)
			}
		}
	}
}

func TestEveryCollectorReadsThisMachine(t *testing.T) {
	for _, name := range defaults().Collect {
		t.Run(name, func(t *testing.T) {
			cfg := defaults()
			cfg.Collect = []string{name}
			cfg.Filesystem.MountTimeout = config.Duration(time.Minute) // a busy machine may take its time
			c := &cycles{in: mustOpen(t, testEnv(), &cfg)}
			err := c.run(t)
			if name == "pressure" && err != nil && errors.Is(err, errNoData) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			if v := c.values(t); v[`{__name__="node_scrape_collector_success", collector="`+name+`"}`] != 1 || len(v) < 3 {
				t.Errorf("got %v", v)
			}
		})
	}
}

func TestAContainerWithoutTheHostsRootDoesNotSayThatTheMachineHasNoSystem(t *testing.T) {
	env := testEnv()
	cfg := defaults()
	cfg.Collect = []string{"os", "uname"}
	c := &cycles{in: mustOpen(t, env, &cfg)}
	for _, j := range c.in.collectors {
		if os, is := j.c.(*osRelease); is {
			os.rootfs, os.own = t.TempDir(), true // an image without a system
		}
	}
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	faults := env.Status.Faults()
	if len(faults) != 1 || !faults[0].Note || !strings.Contains(faults[0].What, "the host's root is not mounted") || !strings.Contains(faults[0].Remedy, "-v /:/rootfs:ro") {
		t.Errorf("told %+v", faults)
	}
}

func TestCollectFailsOnlyWhenNothingCouldBeCollected(t *testing.T) {
	root := t.TempDir() // nothing is there
	env := testEnv()
	c := &cycles{in: mustOpen(t, env, fixtureConfig(root))}
	if err := c.run(t); err != nil { // uname and time need no file
		t.Fatal(err)
	}
	v := c.values(t)
	for _, name := range defaults().Collect {
		want := 0.0
		switch name {
		case "uname", "time", "sockstat": // no sockets of either kind is how a kernel without IP looks
			want = 1
		}
		if got := v[`{__name__="node_scrape_collector_success", collector="`+name+`"}`]; got != want {
			t.Errorf("success of %s is %v", name, got)
		}
	}
	faults, notes := 0, 0
	for _, f := range env.Status.Faults() {
		if f.Note {
			notes++
		} else {
			faults++
		}
		if f.Remedy == "" {
			t.Errorf("no remedy for %+v", f)
		}
	}
	if faults != 10 || notes != 2 { // notes: no pressure, no os-release
		t.Errorf("%d faults and %d notes: %+v", faults, notes, env.Status.Faults())
	}

	c = &cycles{in: mustOpen(t, testEnv(), fixtureConfig(root, "cpu", "meminfo"))}
	if err := c.run(t); err == nil || !strings.Contains(err.Error(), "/proc/stat") {
		t.Errorf("got %v", err)
	}
}

func TestACollectorThatWorksAgainIsNoFaultAnyMore(t *testing.T) {
	root := t.TempDir()
	env := testEnv()
	c := &cycles{in: mustOpen(t, env, fixtureConfig(root, "loadavg", "uname"))}
	if err := c.run(t); err != nil || len(env.Status.Faults()) != 1 {
		t.Fatal(err, env.Status.Faults())
	}
	write(t, root+"/proc/loadavg", "1 2 3 1/2 3\n")
	if err := c.run(t); err != nil || len(env.Status.Faults()) != 0 {
		t.Fatal(err, env.Status.Faults())
	}
	if v := c.values(t)[`{__name__="node_load15"}`]; v != 3 {
		t.Errorf("load is %v", v)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsMissingIsNoted(t *testing.T) {
	env := testEnv()
	env.Host.Container, env.Host.Missing = true, []string{"the host's /proc is not mounted", "the host's root is not mounted"}
	cfg := defaults()
	mustOpen(t, env, &cfg)
	f := env.Status.Faults()
	if len(f) != 2 || !f[0].Note || f[0].What != "the host's /proc is not mounted" || f[1].What != "the host's root is not mounted" {
		t.Errorf("got %+v", f)
	}
}

func TestInAContainerNumbersAreTheHosts(t *testing.T) {
	root := t.TempDir()
	write(t, root+"/proc/net/dev", "h\nh\n  own0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n")
	write(t, root+"/proc/1/net/dev", "h\nh\n  host0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n")
	env := testEnv()
	env.Host = component.Host{Name: "the-machine", Container: true, Procfs: root + "/proc", Sysfs: "/sys", Rootfs: "/"}
	cfg := defaults()
	cfg.Collect = []string{"netdev", "uname"}
	c := &cycles{in: mustOpen(t, env, &cfg)}
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	v := c.values(t)
	if v[`{__name__="node_network_receive_bytes_total", device="host0"}`] != 1 || len(v) != netFields+5 {
		t.Errorf("got %v", v)
	}
	if !strings.Contains(c.text(), `nodename="the-machine"`) {
		t.Errorf("not the machine's name: %s", c.text())
	}
}

func TestStopEndsEverythingAndCollectRefuses(t *testing.T) {
	cfg := defaults()
	in := mustOpen(t, testEnv(), &cfg)
	c := &cycles{in: in}
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := in.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.run(t); !errors.Is(err, component.ErrStopped) {
		t.Errorf("got %v", err)
	}
}

func TestValidateFindsWhatDoesNotGoTogether(t *testing.T) {
	re := func(s string) config.Regexp { return config.Regexp{Regexp: regexp.MustCompile(s)} }
	for _, c := range []struct {
		name string
		set  func(*Config)
		want string
	}{
		{"defaults", func(*Config) {}, ""},
		{"unknown collector", func(c *Config) { c.Collect = []string{"cpu", "wifi"} }, `collect: there is no collector "wifi"`},
		{"none", func(c *Config) { c.Collect = nil }, "collect: the list is empty"},
		{"no timeout", func(c *Config) { c.Filesystem.MountTimeout = 0 }, "filesystem.mount_timeout: must be longer"},
		{"both", func(c *Config) { c.Netdev.DeviceExclude, c.Netdev.DeviceInclude = re("a"), re("b") }, "netdev.device_include: an include and"},
		{"include beside a default", func(c *Config) { c.Diskstats.DeviceInclude = re("sda") }, ""},
		{"default taken away", func(c *Config) { c.Diskstats.DeviceExclude = re("") }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := defaults()
			c.set(&cfg)
			got := errors.Join(cfg.Validate()...)
			if c.want == "" && got != nil || c.want != "" && (got == nil || !strings.HasPrefix(got.Error(), c.want)) {
				t.Errorf("got %v, want %q", got, c.want)
			}
		})
	}
}

func TestReadGivesFilesLargerThanTheBufferWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large")
	want := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
	f := file{path: path, scratch: new(scratch)}
	defer f.close()
	for range 2 {
		got, err := f.read()
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if err := os.Truncate(path, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(); !errors.Is(err, errTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestBlockKeepsTheDefaultsThatItDoesNotName(t *testing.T) {
	parse := func(hcl string) (*Config, error) {
		file, diags := config.Parse(map[string][]byte{"test.hcl": []byte(hcl)}, config.Options{
			Types: []config.BlockType{{Kind: "input", Type: "host", New: Definition.Config, EmitsMetrics: true}},
		})
		if diags.HasErrors() {
			return nil, diags
		}
		return file.Blocks[0].Config.(*Config), nil
	}
	cfg, err := parse(Definition.Example)
	if err != nil {
		t.Fatal(err)
	}
	fs := cfg.Filesystem
	if cfg.Procfs != "/host/proc" || len(cfg.Collect) != 6 || time.Duration(fs.MountTimeout) != 2*time.Second ||
		fs.FSTypesExclude.Regexp == nil || fs.FSTypesExclude.String() != defaultFSTypesExclude || cfg.Vmstat.Fields.Regexp == nil {
		t.Errorf("got %+v", cfg)
	}
	if _, err := parse(`input "host" {
  collect = ["cpus"]
}`); err == nil || !strings.Contains(err.Error(), `no collector "cpus"`) {
		t.Errorf("got %v", err)
	}
	if cfg, err = parse(`input "host" {
  diskstats {
    device_exclude = ""
  }
}`); err != nil || newFilter(cfg.Diskstats.DeviceExclude, cfg.Diskstats.DeviceInclude).ignores("sda1") {
		t.Errorf("an empty pattern doesn't take the default away: %v", err)
	}
}
