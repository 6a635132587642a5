package dockerlogs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hermod-agent/hermod/internal/docker"
	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/logs"
)

type discard struct{ records, bytes int }

func (d *discard) ConsumeLogs(_ context.Context, b *logs.Batch) error {
	d.records += len(b.Records)
	d.bytes += b.Bytes()
	return nil
}

const benchLines = 100_000

// BenchmarkReadFile is the whole way of a json-file log from disk to the first consumer: 200 bytes of text a line.
func BenchmarkReadFile(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x-json.log")
	var text bytes.Buffer
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range benchLines {
		fmt.Fprintf(&text, `{"log":"%08d %s\n","stream":"stdout","time":%q}`+"\n", i, bytes.Repeat([]byte("log line. "), 19), at.Format(time.RFC3339Nano))
		at = at.Add(12345 * time.Nanosecond)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
	env, _ := newEnv(b, newSink(), nil)
	d := &discard{}
	env.Logs = d
	c := defaults()
	in, err := open(env, &c)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		env.Positions.Delete("x")
		f := newFollower(in, &docker.Container{ID: "x", Name: "x", Inspected: true, Running: true})
		r := fileReader{follower: f}
		r.p, r.known = f.begin()
		r.log = tail.Open(tail.Options{Path: path, Start: tail.Oldest})
		for {
			some, err := r.step(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			if !some {
				break
			}
		}
		r.log.Close()
	}
	if d.records != b.N*benchLines {
		b.Fatalf("%d records of %d", d.records, b.N*benchLines)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchLines, "ns/line")
}

// BenchmarkReadAPI is the same for a stream of the engine.
func BenchmarkReadAPI(b *testing.B) {
	in := bytes.Repeat(benchFrames(1), benchLines)
	env, _ := newEnv(b, newSink(), nil)
	d := &discard{}
	env.Logs = d
	c := defaults()
	input, err := open(env, &c)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		f := newFollower(input, &docker.Container{ID: "x", Name: "x", Inspected: true, Running: true})
		f.begin()
		frames := newFrames(bytes.NewReader(in), false)
		for {
			fillErr := frames.fill()
			if err := f.drain(context.Background(), frames, true); err != nil {
				b.Fatal(err)
			}
			if fillErr != nil {
				break
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchLines, "ns/line")
}
