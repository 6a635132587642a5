package mysql

import (
	"flag"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

var benchServer = flag.String("server", "", "host:port of a real server for BenchmarkServer, asked as the user exporter with the password in HERMOD_MYSQL_PASSWORD")

// steady returns a function that runs one more cycle over recorded replies.
func steady(t testing.TB, collect ...string) func() {
	t.Helper()
	cfg := defaults()
	cfg.Collect = collect
	in, r := connected(t, testEnv(), &cfg, "9.7.4", "mysql-9.7")
	var b metrics.Batch
	cycle, ctx := uint64(0), t.Context()
	run := func() {
		cycle++
		r.asked = r.asked[:0]
		b.Begin(nil, cycle, 1)
		if err := in.Collect(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		run()
	}
	return run
}

// A statement costs a few allocations (its context, the driver's result), its rows none.
func TestRowsDoNotAllocate(t *testing.T) {
	run := steady(t)
	if n := testing.AllocsPerRun(50, run); n > 80 {
		t.Errorf("%v allocations a cycle, over some 1100 rows", n)
	}
}

// BenchmarkCollect is the share of a collection that is ours: everything but the driver and the network.
func BenchmarkCollect(b *testing.B) {
	run := steady(b)
	b.ReportAllocs()
	for b.Loop() {
		run()
	}
}

// BenchmarkServer is a default collection of a real server, driver and network included. The limit is 3.5 ms of CPU time.
func BenchmarkServer(b *testing.B) {
	if *benchServer == "" {
		b.Skip("no -server")
	}
	cfg := defaults()
	var err error
	if cfg.Address, err = config.ParseAddress(*benchServer); err != nil {
		b.Fatal(err)
	}
	cfg.User, cfg.Password = "exporter", config.NewSecret(os.Getenv("HERMOD_MYSQL_PASSWORD"))
	in, err := openServer(testEnv(), &cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = in.Stop(b.Context()) }()
	var batch metrics.Batch
	cycle := uint64(0)
	run := func() {
		cycle++
		batch.Begin(nil, cycle, 1)
		if err := in.Collect(b.Context(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	run()
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
