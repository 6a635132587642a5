package queue

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
)

// BenchmarkRecovery opens a queue of 1 GiB: by the indexes of its segments, and by the headers of its blocks, as where an agent was killed before each
// segment's end.
func BenchmarkRecovery(b *testing.B) {
	for _, size := range []int{10_000, 100_000} {
		dir := b.TempDir()
		limits := diskLimits()
		limits.Sync, limits.MaxSize = SyncOff, 2<<30
		n := (1 << 30) / size
		q, _ := openDisk(b, dir, limits)
		for i := range n {
			q.Append(stored(i, size))
			if i%16 == 0 {
				flush(b, q)
			}
		}
		q.Close()
		open := func(b *testing.B) {
			for b.Loop() {
				q, found, err := OpenDisk(DiskOptions{Dir: dir, Limits: limits, Log: slog.New(slog.DiscardHandler)})
				if err != nil || found.Blocks != n {
					b.Fatal(found, err)
				}
				b.StopTimer()
				q.Close()
				b.StartTimer()
			}
		}
		name := fmt.Sprintf("1GiB of %dKB", size/1000)
		b.Run(name+" by indexes", open)
		for _, path := range segmentsOf(b, dir) {
			cutIndex(b, path)
		}
		b.Run(name+" by headers", open)
	}
}

// BenchmarkThrough is the way of a block through a queue whose backend is well: appended, taken, acknowledged.
func BenchmarkThrough(b *testing.B) {
	const size = 50_000
	through := func(b *testing.B, q Queue) {
		b.SetBytes(size)
		body := make([]byte, size)
		for b.Loop() {
			q.Append(&Block{Body: body, Items: 100})
			for block, changed := q.Take(0); block != nil; block, changed = q.Take(0) {
				q.Ack(block)
				_ = changed
			}
		}
	}
	b.Run("memory", func(b *testing.B) { through(b, NewMemory(diskLimits())) })
	b.Run("disk", func(b *testing.B) {
		q, _ := openDisk(b, b.TempDir(), diskLimits())
		through(b, q)
	})
	b.Run("disk, with a flush each", func(b *testing.B) {
		q, _ := openDisk(b, b.TempDir(), diskLimits())
		b.SetBytes(size)
		body := make([]byte, size)
		for b.Loop() {
			q.Append(&Block{Body: body, Items: 100})
			flush(b, q)
			block, _ := q.Take(0)
			q.Ack(block)
		}
	})
}

// BenchmarkDrain empties a queue of 1 GiB by a backend that takes everything, and tells the largest heap meanwhile.
func BenchmarkDrain(b *testing.B) {
	const size, n = 100_000, (1 << 30) / 100_000
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		limits := diskLimits()
		limits.Sync, limits.MaxSize = SyncOff, 2<<30
		q, _ := openDisk(b, dir, limits)
		for i := range n {
			q.Append(stored(i, size))
			if i%16 == 0 {
				flush(b, q)
			}
		}
		q.Close()
		q, _ = openDisk(b, dir, diskLimits())
		most := uint64(0)
		b.StartTimer()
		for i := range n {
			block, _ := q.Take(0)
			if block == nil {
				b.Fatal("it is empty too early")
			}
			q.Ack(block)
			if i%500 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		}
		b.SetBytes(size * n)
		b.ReportMetric(float64(most)/1e6, "MB-heap")
		q.Close()
	}
}
