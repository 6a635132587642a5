package tail

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchLines is how many lines of 200 bytes the benchmarks read.
const benchLines = 1_000_000

func benchFile(tb testing.TB, lines int) string {
	path := filepath.Join(tb.TempDir(), "app.log")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	block := []byte(strings.Repeat(strings.Repeat("0123456789", 20)[:199]+"\n", 1000))
	for n := 0; n < lines; n += 1000 {
		if _, err := f.Write(block); err != nil {
			tb.Fatal(err)
		}
	}
	return path
}

// cpu is the CPU time that the process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkMillionLines reads a million lines of 200 bytes as text.
func BenchmarkMillionLines(b *testing.B) {
	path := benchFile(b, benchLines)
	buf := make([]byte, BufferSize(0))
	var arena []byte
	b.SetBytes(benchLines * 200)
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		l := Open(Options{Path: path})
		n := 0
		for {
			c, err := l.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			if c.Empty() {
				break
			}
			for _, ok := c.NextText(&arena); ok; _, ok = c.NextText(&arena) {
				n++
			}
		}
		l.Close()
		if n != benchLines {
			b.Fatal(n)
		}
	}
	b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/Mline")
}

// BenchmarkIdleRead is what a wake-up costs that finds nothing.
func BenchmarkIdleRead(b *testing.B) {
	l := Open(Options{Path: benchFile(b, 1000)})
	defer l.Close()
	buf := make([]byte, BufferSize(0))
	if _, err := l.Read(buf); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func TestReadingLinesDoesNotAllocate(t *testing.T) {
	l := Open(Options{Path: benchFile(t, 100_000)})
	defer l.Close()
	buf := make([]byte, BufferSize(0))
	var arena []byte
	lines := 0
	n := testing.AllocsPerRun(20, func() {
		c, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		for _, ok := c.NextText(&arena); ok; _, ok = c.NextText(&arena) {
			lines++
		}
	})
	if n != 0 || lines < 20_000 {
		t.Errorf("%v allocations a chunk, %d lines", n, lines)
	}
}

func FuzzChunk(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n"), 10)
	f.Add([]byte("\x00\x00a\n\xff\xfe\xfd\x00\n\xe2\x82"), 3)
	f.Fuzz(func(t *testing.T, data []byte, limit int) {
		if limit < 1 || limit > 1<<20 {
			limit = 100
		}
		raw := Chunk{data: data, maxLine: limit}
		text := raw
		var arena []byte
		for {
			line, ok := raw.Next()
			clean, also := text.NextText(&arena)
			if ok != also || raw.Offset() != text.Offset() || len(line) > limit {
				t.Fatalf("%q, %v at %d; %q, %v at %d", line, ok, raw.Offset(), clean, also, text.Offset())
			}
			if !ok {
				break
			}
			if strings.ToValidUTF8(string(clean), "") != string(clean) || strings.ContainsAny(string(clean), "\x00\n") {
				t.Fatalf("%q is not text", clean)
			}
		}
		if raw.Offset() != int64(len(data)) {
			t.Fatalf("ended at %d of %d", raw.Offset(), len(data))
		}
	})
}
