package host

import (
	"errors"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/pseudofile"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// parsers runs the parser of each file over bytes that could be anything.
func parsers(t testing.TB) map[string]func(data []byte, b *metrics.Batch) error {
	t.Helper()
	env := testEnv()
	cfg := fixtureConfig(t.TempDir())
	m := newMachine(env, cfg)
	netstat, sockstat, netdev, pressure, fs := newNetstat(m), newSockstat(m), newNetdev(m), newPressure(m), newFilesystem(m)
	netdev.sysfs = ""
	disks := newDiskstats(m)
	return map[string]func([]byte, *metrics.Batch) error{
		"stat":      func(d []byte, _ *metrics.Batch) error { return m.stat.parse(d) },
		"meminfo":   newMeminfo(m).parse,
		"vmstat":    newVmstat(m).parse,
		"loadavg":   newLoadavg(m).parse,
		"filefd":    newFilefd(m).parse,
		"netdev":    netdev.parse,
		"diskstats": disks.parse,
		"netstat":   func(d []byte, b *metrics.Batch) error { return netstat.parsePairs(&netstat.pairs[0], 0, d, b) },
		"snmp6":     netstat.parse6,
		"sockstat":  func(d []byte, b *metrics.Batch) error { return sockstat.parse(&sockstat.files[0], d, b) },
		"pressure":  func(d []byte, b *metrics.Batch) error { return pressure.resources[1].parse(d, b) },
		"mountinfo": func(d []byte, b *metrics.Batch) error { return fs.parse("mountinfo", d, b.Cycle) },
		"os-release": func(d []byte, _ *metrics.Batch) error {
			_, err := newOS(m).parse("os-release", string(d))
			return err
		},
		"cpu list": func(d []byte, _ *metrics.Batch) error {
			_, err := parseCPUList(d)
			return err
		},
		"udev": func(d []byte, _ *metrics.Batch) error {
			parseUdev(d)
			return nil
		},
	}
}

func TestABadLineIsNamedAndTheOthersAreRead(t *testing.T) {
	for _, c := range []struct {
		parser, text string
		line         int
		why          string
		samples      int
	}{
		{"stat", "cpu 1\ncpu0 x\nctxt 5\n", 2, "not the times of a CPU", 0},
		{"stat", "ctxt 5\nbtime \n", 2, "not a number", 0},
		{"stat", "cpu99999999 1\n", 1, "not the times of a CPU", 0},
		{"meminfo", "MemTotal: 1 kB\nMemFree: x kB\nCached: 3 kB\n", 2, "not a number", 2},
		{"meminfo", "MemTotal: 1 MB\n", 1, "not a unit", 0},
		{"meminfo", "MemTotal:\n", 1, "not a number", 0},
		{"vmstat", "pgfault 1\npgmajfault\noom_kill 3\n", 2, "not a number", 2},
		{"loadavg", "1.0 2.0\n", 1, "not three", 2},
		{"filefd", "1 2\n", 1, "not three", 0},
		{"netdev", "h\nh\nlo: 1 2 3\neth0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", 3, "not the 16", 16},
		{"netdev", "h\nh\nlo\n", 3, "no colon", 0},
		{"netdev", "h\nh\n: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n", 3, "not the 16", 0},
		{"diskstats", "8 0 sda 1 2 3 4 5 6 7 8 9 10 eleven\n8 1 sdb 1 2 3 4 5 6 7 8 9 10 11\n", 1, "not the statistics", 11},
		{"diskstats", "8 x sda 1 2 3 4 5 6 7 8 9 10 11\n", 1, "not the statistics", 0},
		{"netstat", "TcpExt: ListenDrops\nTcpExt: 1 2\nIp: Forwarding\nIp: 1\n", 2, "not a number for each", 1},
		{"netstat", "TcpExt: ListenDrops\nTcpExt: x\n", 2, "not a number for each", 0},
		{"netstat", "TcpExt: ListenDrops\n", 1, "not a pair", 0},
		{"netstat", "Tcp: InSegs\nUdp: 1\n", 1, "not a pair", 0},
		{"snmp6", "Icmp6InMsgs x\nIcmp6OutMsgs 1\nnothing 1\n", 1, "not a number", 1},
		{"sockstat", "sockets: used x\nTCP: inuse 2 mem\nUDP: inuse 1\n", 1, "not names and numbers", 1},
		{"sockstat", "TCP\n", 1, "no protocol", 0},
		{"sockstat", "T-P: inuse 1\n", 1, "not names", 0},
		{"pressure", "some avg10=0 total=1000000\nfull avg10=0 total=x\n", 2, "no total", 1},
		{"mountinfo", "22 27 0:21 / /a rw - ext4 /dev/a rw\n22 27\n", 2, "not a mount", 0},
		{"mountinfo", "22 27 0:21 / /a rw ext4 /dev/a rw\n", 1, "not a mount", 0},
		{"mountinfo", "22 27 0:21 / a rw - ext4 /dev/a rw\n", 1, "not a mount", 0},
		{"os-release", "ID=x\nNAME=\"open\n", 2, "not an assignment", 0},
		{"os-release", "ID\n", 1, "not an assignment", 0},
	} {
		t.Run(c.parser+" "+c.why, func(t *testing.T) {
			b := new(metrics.Batch)
			b.Begin(nil, 1, cycleTime)
			err := parsers(t)[c.parser]([]byte(c.text), b)
			var bad *lineError
			if !errors.As(err, &bad) || bad.line != c.line || !strings.HasPrefix(bad.why, c.why) || bad.path == "" {
				t.Errorf("got %v", err)
			}
			if len(b.Samples) != c.samples {
				t.Errorf("%d samples, want %d", len(b.Samples), c.samples)
			}
		})
	}
}

func TestAPressureFileWithoutItsLinesIsAnError(t *testing.T) {
	b := new(metrics.Batch)
	if err := parsers(t)["pressure"]([]byte("some total=1\n"), b); err == nil {
		t.Error("no error for a file without the line full")
	}
}

func FuzzParsers(f *testing.F) {
	for _, seed := range []string{
		"cpu0 1 2 3 4 5 6 7 8 9 10\nintr 5 6 7\nctxt 1\nbtime 2\nprocesses 3\nprocs_running 4\nprocs_blocked 5\n",
		"MemTotal: 24684092 kB\nHugePages_Total: 0\n", "pgfault 1\n", "1.24 0.39 0.14 4/129 12937\n", "1155\t0\t2466177\n",
		"h\nh\n  eth0:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n", "8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
		"TcpExt: ListenDrops TCPTimeouts\nTcpExt: 1 -2\n", "Icmp6InMsgs \t1\n", "TCP: inuse 2 orphan 0 tw 17 alloc 2 mem 67\nsockets: used 3\n",
		"some avg10=0.06 avg60=0.21 avg300=0.99 total=8537362\nfull avg10=0.00 avg60=0.13 avg300=0.96 total=8183134\n",
		"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n36 35 98:0 / /x ro -   \n",
		"NAME=\"a \\\"b\\\"\"\nVERSION_ID='12.5'\nSUPPORT_END=2030-01-01\n", "0-3,8,10-11\n", "E:ID_FS_TYPE=ext4\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all := parsers(t)
		var b metrics.Batch
		for _, name := range slices.Sorted(maps.Keys(all)) {
			var counts [2]int
			var errs [2]error
			for i := range counts { // the second time everything is known; the outcome is the same
				b.Begin(nil, uint64(i+1), cycleTime)
				errs[i] = all[name](data, &b)
				counts[i] = len(b.Samples)
			}
			if counts[0] != counts[1] || (errs[0] == nil) != (errs[1] == nil) {
				t.Errorf("%s: %d samples, then %d; %v, then %v", name, counts[0], counts[1], errs[0], errs[1])
			}
			for _, s := range b.Samples {
				if err := validSeries(s.Series); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
}

// validSeries guards against names and labels that no backend would take.
func validSeries(s *metrics.Series) error {
	if !isMetricName(s.Name()) {
		return errors.New("metric name " + s.Name())
	}
	if strings.ToValidUTF8(s.String(), "") != s.String() {
		return errors.New("labels " + s.String())
	}
	return nil
}

func TestNumbersAreRead(t *testing.T) {
	for text, want := range map[string]uint64{"0": 0, "42": 42, "18446744073709551615": math.MaxUint64} {
		if got, ok := pseudofile.ParseUint([]byte(text)); !ok || got != want {
			t.Errorf("%s: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "-1", "1 ", "x", "18446744073709551616", "99999999999999999999", "000000000000000000001"} {
		if got, ok := pseudofile.ParseUint([]byte(text)); ok {
			t.Errorf("%q was read as %d", text, got)
		}
	}
	for text, want := range map[string]float64{"-1": -1, "0.39": 0.39, "9223372036854775807": 9223372036854775807} {
		if got, ok := parseNumber([]byte(text)); !ok || got != want {
			t.Errorf("%s: %v, %v", text, got, ok)
		}
	}
}

func TestCPUListsAreRead(t *testing.T) {
	for text, want := range map[string][]int{"\n": nil, "": nil, "3\n": {3}, "0-2,8,10-11\n": {0, 1, 2, 8, 10, 11}} {
		if got, err := parseCPUList([]byte(text)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"a", "1-", "-1", "3-1", "0-99999999", "1,,2", strings.Repeat("0-60000,", 5) + "1"} {
		if got, err := parseCPUList([]byte(text)); err == nil {
			t.Errorf("%q was read as %d CPUs", text, len(got))
		}
	}
}

func TestOSReleaseValuesAreUnquotedAsByAShell(t *testing.T) {
	for text, want := range map[string]string{
		`x`: "x", `"a b"`: "a b", `'a "b"'`: `a "b"`, `"a \"b\" \$ \n"`: `a "b" $ \n`, `a\ b`: "a b", `""`: "", `a"b"'c'`: "abc", `x # y`: "x",
	} {
		if got, ok := unquote(text); !ok || got != want {
			t.Errorf("%s: %q, %v", text, got, ok)
		}
	}
	for _, text := range []string{`"a`, `'a`, `a\`} {
		if _, ok := unquote(text); ok {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestCPUTimesNeverStepBackUnlessTheCPUWasUnplugged(t *testing.T) {
	root := t.TempDir()
	in := mustOpen(t, testEnv(), fixtureConfig(root, "cpu"))
	c := &cycles{in: in}
	const absent = -1
	step := func(stat, key string, want float64) {
		t.Helper()
		write(t, root+"/proc/stat", stat)
		if err := c.run(t); err != nil {
			t.Fatal(err)
		}
		if got, ok := c.values(t)[key]; ok && got != want || ok == (want == absent) {
			t.Errorf("%s is %v (%v), want %v", key, got, ok, want)
		}
	}
	idle := `{__name__="node_cpu_seconds_total", cpu="1", mode="idle"}`
	iowait := `{__name__="node_cpu_seconds_total", cpu="1", mode="iowait"}`
	user := `{__name__="node_cpu_seconds_total", cpu="1", mode="user"}`
	step("cpu1 1000 0 0 5000 300 0 0 0 0 0\n", idle, 50)
	step("cpu1 1100 0 0 4800 299 0 0 0 0 0\n", idle, 50)  // 2 s back: kept
	step("cpu1 1100 0 0 4800 299 0 0 0 0 0\n", iowait, 3) // kept
	step("cpu1 900 0 0 4701 299 0 0 0 0 0\n", user, 11)   // 2.99 s back: kept
	step("cpu1 900 0 0 4700 10 0 0 0 0 0\n", idle, 47)    // 3 s back: begins anew
	step("cpu1 900 0 0 4700 10 0 0 0 0 0\n", iowait, 0.1) // with all its times
	step("cpu0 1 1 1 1\n", user, absent)                  // unplugged
	step("cpu1 10 0 0 4699 0 0 0 0 0 0\n", user, 0.1)     // and back with less
	step("cpu1 10 0 0 4699 0 0 0 0 0 0\n", idle, 46.99)
}

func TestCPUsThatGoOnlineAreFound(t *testing.T) {
	root := fixture(t)
	c := &cycles{in: mustOpen(t, testEnv(), fixtureConfig(root, "cpu"))}
	cpu := root + "/sys/devices/system/cpu/"
	online := func() float64 {
		t.Helper()
		if err := c.run(t); err != nil {
			t.Fatal(err)
		}
		return c.values(t)[`{__name__="node_cpu_online", cpu="3"}`]
	}
	if v := online(); v != 0 {
		t.Errorf("CPU 3 is online: %v", v)
	}
	write(t, cpu+"online", "0-3\n")
	write(t, cpu+"cpu3/topology/physical_package_id", "7\n")
	write(t, cpu+"cpu3/topology/core_id", "1\n")
	write(t, cpu+"cpu3/thermal_throttle/core_throttle_count", "12\n")
	if v := online(); v != 1 {
		t.Errorf("CPU 3 is offline: %v", v)
	}
	if v := c.values(t)[`{__name__="node_cpu_core_throttles_total", core="1", package="7"}`]; v != 12 {
		t.Errorf("throttled %v times", v)
	}
	write(t, cpu+"cpu3/thermal_throttle/core_throttle_count", "13\n")
	online()
	if v := c.values(t)[`{__name__="node_cpu_core_throttles_total", core="1", package="7"}`]; v != 13 {
		t.Errorf("throttled %v times", v)
	}
	write(t, cpu+"isolated", "nonsense\n")
	write(t, cpu+"online", "0-2\n")
	if err := c.run(t); err != nil { // it is a fault of cpu, which has collected a lot besides
		t.Fatal(err)
	}
	if f := c.in.env.Status.Faults(); len(f) != 1 || !strings.Contains(f[0].What, "isolated") {
		t.Errorf("got %+v", f)
	}
}

func TestDevicesComeAndGo(t *testing.T) {
	root := t.TempDir()
	dev := func(names ...string) {
		text := "h\nh\n"
		for _, n := range names {
			text += n + ": 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n"
			write(t, root+"/sys/class/net/"+n+"/statistics/rx_nohandler", "3\n")
		}
		write(t, root+"/proc/net/dev", text)
	}
	cfg := fixtureConfig(root, "netdev")
	cfg.Netdev.DeviceExclude.Regexp = regexp.MustCompile("^veth")
	c := &cycles{in: mustOpen(t, testEnv(), cfg)}
	for i, c2 := range []struct {
		names []string
		want  int
	}{
		{[]string{"lo", "eth0", "veth1"}, 2}, {[]string{"lo"}, 1}, {[]string{"lo", "eth1"}, 2}, {nil, 0}, {[]string{"lo", "eth0", "eth1"}, 3},
	} {
		dev(c2.names...)
		if err := c.run(t); err != nil {
			t.Fatal(err)
		}
		if got := len(c.values(t)); got != c2.want*(netFields+1)+2 {
			t.Errorf("step %d: %d series for %d devices", i, got, c2.want)
		}
	}
}

func TestADeviceThatIsReplacedGetsANewNoHandlerFile(t *testing.T) {
	root := t.TempDir()
	file := root + "/sys/class/net/eth0/statistics/rx_nohandler"
	write(t, root+"/proc/net/dev", "h\nh\neth0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n")
	write(t, file, "3\n")
	c := &cycles{in: mustOpen(t, testEnv(), fixtureConfig(root, "netdev"))}
	value := func() float64 {
		t.Helper()
		if err := c.run(t); err != nil {
			t.Fatal(err)
		}
		return c.values(t)[`{__name__="node_network_receive_nohandler_total", device="eth0"}`]
	}
	if v := value(); v != 3 {
		t.Errorf("got %v", v)
	}
	write(t, root+"/proc/net/dev", "h\nh\nwan0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n")
	value()
	replace(t, file, "9\n") // another file of the same name, as after a rename of the device
	write(t, root+"/proc/net/dev", "h\nh\neth0: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n")
	if v := value(); v != 9 {
		t.Errorf("got %v, the file of the device before", v)
	}
}

func TestUdevDataIsReadAgainAfterAMinute(t *testing.T) {
	root := fixture(t)
	c := &cycles{in: mustOpen(t, testEnv(), fixtureConfig(root, "diskstats"))}
	model := func(cycles int) bool {
		t.Helper()
		for range cycles {
			if err := c.run(t); err != nil {
				t.Fatal(err)
			}
		}
		return strings.Contains(c.text(), `model="Another"`)
	}
	model(1)
	write(t, root+"/rootfs/run/udev/data/b8:0", "E:ID_MODEL=Another\n")
	if model(1) {
		t.Error("read in every cycle")
	}
	if !model(4) {
		t.Error("not read after a minute")
	}
}

func TestTheZoneIsThatOfTheMountedRoot(t *testing.T) {
	if _, err := time.LoadLocation("Asia/Kolkata"); err != nil {
		t.Skip("this machine has no zone database:", err)
	}
	root := t.TempDir()
	linkInto(t, root+"/rootfs/etc/localtime", "/usr/share/zoneinfo/Asia/Kolkata")
	copyFile(t, root+"/rootfs/usr/share/zoneinfo/Asia/Kolkata", "/usr/share/zoneinfo/Asia/Kolkata")
	c := &cycles{in: mustOpen(t, testEnv(), fixtureConfig(root, "time"))}
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	if v := c.values(t)[`{__name__="node_time_zone_offset_seconds", time_zone="IST"}`]; v != 19800 {
		t.Errorf("got %v", c.values(t))
	}
	if v := c.values(t)[`{__name__="node_time_seconds"}`]; v != cycleTime/1000 {
		t.Errorf("the time is %v", v)
	}
}

func TestMountsSeenFromInsideAContainerAreThoseBelowRootfs(t *testing.T) {
	root := t.TempDir()
	rootfs := root + "/rootfs"
	write(t, rootfs+"/home/x", "")
	write(t, root+"/proc/1/mountinfo", "1 0 0:1 / / rw - ext4 container rw\n2 1 8:1 / "+rootfs+" ro - ext4 /dev/sda1 rw\n"+
		"3 2 8:2 / "+rootfs+"/home rw - ext4 /dev/sda2 rw\n4 1 8:1 /etc/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"+
		"5 1 8:3 / "+rootfs+"-other rw - ext4 /dev/sda3 rw\n")
	c := &cycles{in: mustOpen(t, testEnv(), fixtureConfig(root, "filesystem"))}
	if err := c.run(t); err != nil {
		t.Fatal(err)
	}
	var got []string
	for key, v := range c.values(t) {
		if strings.HasPrefix(key, `{__name__="node_filesystem_readonly"`) {
			got = append(got, key)
			if want := strings.Contains(key, `mountpoint="/"`); (v == 1) != want {
				t.Errorf("%s is %v", key, v)
			}
		}
	}
	slices.Sort(got)
	if len(got) != 2 || !strings.Contains(got[0], `device="/dev/sda1", device_error="", fstype="ext4", mountpoint="/"`) ||
		!strings.Contains(got[1], `device="/dev/sda2", device_error="", fstype="ext4", mountpoint="/home"`) {
		t.Errorf("got %q", got)
	}
}
