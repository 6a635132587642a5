package files

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// counter counts what it takes and says when it has enough.
type counter struct {
	lines, want atomic.Int64
	done        chan struct{}
}

func (c *counter) ConsumeLogs(_ context.Context, b *logs.Batch) error {
	if n := c.lines.Add(int64(len(b.Records))); n >= c.want.Load() && n-int64(len(b.Records)) < c.want.Load() {
		close(c.done)
	}
	return nil
}

func benchInput(b *testing.B, c *counter, pattern string) *Input {
	store, err := positions.Open("", quiet())
	if err != nil {
		b.Fatal(err)
	}
	cfg := defaults()
	cfg.Paths = []string{pattern}
	in, err := open(&component.Env{
		Address: "input.files.bench", Log: quiet(), Status: component.NewStatus(quiet()), Losses: &component.Losses{},
		Streams: logs.NewRegistry(), Logs: c, Positions: store.Book("input.files.bench"),
	}, &cfg)
	if err != nil {
		b.Fatal(err)
	}
	return in
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMillionLines reads a million lines of 200 bytes, from one file and from a hundred, to a consumer that counts.
func BenchmarkMillionLines(b *testing.B) {
	for _, files := range []int{1, 100} {
		b.Run(fmt.Sprintf("%d files", files), func(b *testing.B) {
			const lines = 1_000_000
			dir := b.TempDir()
			block := strings.Repeat(strings.Repeat("0123456789", 20)[:199]+"\n", 1000)
			for i := range files {
				f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.log", i)))
				if err != nil {
					b.Fatal(err)
				}
				for range lines / files / 1000 {
					if _, err := f.WriteString(block); err != nil {
						b.Fatal(err)
					}
				}
				f.Close()
			}
			b.SetBytes(lines * 200)
			before := cpu()
			for b.Loop() {
				c := &counter{done: make(chan struct{})}
				c.want.Store(lines)
				in := benchInput(b, c, filepath.Join(dir, "*.log"))
				ctx, cancel := context.WithCancel(context.Background())
				ended := make(chan error)
				go func() { ended <- in.Run(ctx) }()
				<-c.done
				cancel()
				<-ended
			}
			b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/Mline")
			b.ReportMetric(lines*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

// BenchmarkIdleSecond is the CPU time of a second in which nothing happens to a number of files.
func BenchmarkIdleSecond(b *testing.B) {
	for _, files := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprintf("%d files", files), func(b *testing.B) {
			dir := b.TempDir()
			for i := range files {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.log", i)), []byte("x\n"), 0o600); err != nil {
					b.Fatal(err)
				}
			}
			c := &counter{done: make(chan struct{})}
			c.want.Store(int64(files))
			in := benchInput(b, c, filepath.Join(dir, "*.log"))
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error)
			go func() { ended <- in.Run(ctx) }()
			<-c.done
			before := cpu()
			for b.Loop() {
				<-time.After(time.Second)
			}
			b.ReportMetric((cpu()-before).Seconds()*1000/float64(b.N), "cpu-ms/s")
			cancel()
			<-ended
		})
	}
}

// BenchmarkManyWrites is the CPU time for a hundred thousand lines that are written one by one while they are read, beyond that of writing
// alone: nearly all of it is what the kernel spends in the writer on telling of the writes.
func BenchmarkManyWrites(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "a.log")
	const lines = 100_000
	var own time.Duration
	before := cpu()
	for b.Loop() {
		f, err := os.Create(path)
		if err != nil {
			b.Fatal(err)
		}
		c := &counter{done: make(chan struct{})}
		c.want.Store(lines)
		in := benchInput(b, c, filepath.Join(dir, "*.log"))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- in.Run(ctx) }()
		line := []byte(strings.Repeat("x", 199) + "\n")
		for range lines {
			if _, err := f.Write(line); err != nil {
				b.Fatal(err)
			}
		}
		<-c.done
		cancel()
		<-ended
		f.Close()
		at := cpu()
		if f, err = os.Create(filepath.Join(dir, "unwatched")); err != nil {
			b.Fatal(err)
		}
		for range lines {
			f.Write(line)
		}
		f.Close()
		own += 2 * (cpu() - at) // once in each of the two loops
	}
	b.ReportMetric((cpu()-before-own).Seconds()/float64(b.N), "cpu-s/100kline")
}
