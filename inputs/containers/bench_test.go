package containers

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// steady returns an input over n containers that are known, and a function that runs one more cycle.
func steady(t testing.TB, v2 bool, n int) (*input, func()) {
	t.Helper()
	m := newMachineOf(t, v2)
	m.Many(n)
	cfg := m.config()
	cfg.Root = false // statfs takes a path
	in := m.open(cfg)
	run := cycle(t, in)
	if err := in.engine.Close(); err != nil { // it would list the containers in the middle, every half minute
		t.Fatal(err)
	}
	return in, run
}

func cycle(t testing.TB, in *input) func() {
	var b metrics.Batch
	var source metrics.Source
	ctx, n := context.Background(), uint64(0)
	run := func() {
		n++
		b.Begin(&source, n, 1_800_000_000_000) // the time stands still: what is read every five minutes isn't part of a steady cycle
		if err := in.Collect(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	reach(t, in)
	for range 3 {
		run()
	}
	return run
}

func TestAKnownContainerCostsNoAllocation(t *testing.T) {
	versions(t, func(t *testing.T, v2 bool) {
		_, run := steady(t, v2, 10)
		if n := testing.AllocsPerRun(50, run); n != 0 {
			t.Errorf("%v allocations a cycle", n)
		}
	})
}

func TestWhereDescriptorsAreFewAKnownContainerCostsNoAllocationEither(t *testing.T) {
	in, run := steady(t, true, 10)
	for _, c := range in.order {
		for i := range c.group.files {
			if f := &c.group.files[i]; f.fd > 0 {
				in.reader.close(f)
			}
		}
	}
	in.reader.most = 0
	run()
	if n := testing.AllocsPerRun(50, run); n != 0 {
		t.Errorf("%v allocations a cycle", n)
	}
}

// BenchmarkCollect gives the CPU time of a cycle over containers whose files lie on this machine's disk, which the kernel gives out at about the
// cost of its own.
func BenchmarkCollect(b *testing.B) {
	for _, v2 := range []bool{false, true} {
		version := "v1"
		if v2 {
			version = "v2"
		}
		for _, n := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/%d", version, n), func(b *testing.B) {
				_, run := steady(b, v2, n)
				measure(b, run)
			})
		}
	}
}

func measure(b *testing.B, run func()) {
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		run()
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

func cpuTime(t testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkThisMachine is a cycle over the containers of this machine's engine, the host itself among them.
func BenchmarkThisMachine(b *testing.B) {
	if _, err := os.Stat("/var/run/docker.sock"); err != nil {
		b.Skip("no engine here")
	}
	cfg := defaults()
	cfg.FSInterval = 0
	in := start(b, testEnv(), cfg)
	run := cycle(b, in)
	running := 0
	for _, c := range in.order {
		if c.group != nil {
			running++
		}
	}
	measure(b, run)
	b.ReportMetric(float64(running), "containers")
}

// BenchmarkMemory gives what the series of 100 known containers hold, with all of Compose's labels on each and with the two of our examples.
func BenchmarkMemory(b *testing.B) {
	for name, picked := range map[string]*[]string{"all labels": nil, "two labels": {"com.docker.compose.project", "com.docker.compose.service"}} {
		b.Run(name, func(b *testing.B) {
			m := newMachineOf(b, true)
			m.Many(100)
			cfg := m.config()
			cfg.ContainerLabels = picked
			heap := func() uint64 {
				runtime.GC()
				runtime.GC()
				var s runtime.MemStats
				runtime.ReadMemStats(&s)
				return s.HeapAlloc
			}
			for b.Loop() {
				before := heap()
				in := m.open(cfg)
				cycle(b, in)
				b.ReportMetric(float64(heap()-before), "heap-B")
				runtime.KeepAlive(in)
			}
		})
	}
}
