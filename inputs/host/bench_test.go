package host

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// steady returns a function that runs one more cycle of an input whose series are all made.
func steady(t testing.TB, cfg *Config) func() {
	t.Helper()
	in := mustOpen(t, testEnv(), cfg)
	var b metrics.Batch
	var source metrics.Source
	cycle, ctx := uint64(0), t.Context()
	run := func() {
		cycle++
		b.Begin(&source, cycle, cycleTime) // the time stands still: what is read once a minute isn't part of a steady cycle
		if err := in.Collect(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		run()
	}
	return run
}

func TestASteadyCollectDoesNotAllocate(t *testing.T) {
	// Over the fixture: on a machine devices come and go, and each is new series. Not here: filesystem, whose statfs takes a path.
	root := fixture(t)
	for _, device := range []string{"ib0a", "veth12ab34@if5"} { // what is asked for in vain costs an error
		write(t, root+"/sys/class/net/"+device+"/statistics/rx_nohandler", "0\n")
	}
	for _, name := range defaults().Collect {
		if name == "filesystem" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			run := steady(t, fixtureConfig(root, name))
			if n := testing.AllocsPerRun(100, run); n != 0 {
				t.Errorf("%v allocations a cycle", n)
			}
		})
	}
}

// BenchmarkCollect gives the CPU time of a cycle over the machine that it runs on; the limit for all fifteen is 1 ms.
func BenchmarkCollect(b *testing.B) {
	bench := func(b *testing.B, collect ...string) {
		cfg := defaults()
		if len(collect) > 0 {
			cfg.Collect = collect
		}
		run := steady(b, &cfg)
		b.ReportAllocs()
		cpuBefore := cpuTime(b)
		for b.Loop() {
			run()
		}
		b.ReportMetric(float64(cpuTime(b)-cpuBefore)/float64(b.N), "cpu-ns/op")
	}
	b.Run("all", func(b *testing.B) { bench(b) })
	b.Run("hot", func(b *testing.B) { bench(b, "cpu", "meminfo", "diskstats", "netdev", "stat", "vmstat") })
	for _, name := range defaults().Collect {
		b.Run(name, func(b *testing.B) { bench(b, name) })
	}
}

// cpuTime is what the process has used, helpers of statfs and the kernel's share included.
func cpuTime(t testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
