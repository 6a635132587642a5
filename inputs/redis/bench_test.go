package redis

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// cannedServer answers the commands of a connection, and then those of each collection, always with the same replies. It only counts the
// commands, so that what a benchmark measures is the other side.
func cannedServer(b *testing.B, first []string, each []string) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		buf, answer, then := make([]byte, 64<<10), []byte(strings.Join(first, "")), []byte(strings.Join(each, ""))
		for wanted := len(first); ; wanted, answer = len(each), then {
			for commands := 0; commands < wanted; {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				commands += bytes.Count(buf[:n], []byte("*"))
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// largeHistogram is the reply to LATENCY HISTOGRAM of a server on which a hundred commands were used.
func largeHistogram() string {
	var b strings.Builder
	b.WriteString("*200\r\n")
	for i := range 100 {
		b.WriteString(bulk("command"+string(rune('a'+i%26))+strings.Repeat("x", i/26)) + "*4\r\n" + bulk("calls") + ":21\r\n" + bulk("histogram_usec") + "*20\r\n")
		for bucket := range 10 {
			fmt.Fprintf(&b, ":%d\r\n:%d\r\n", 1<<bucket, 2*bucket+3)
		}
	}
	return b.String()
}

// BenchmarkCollect is a whole collection of a server on which a hundred commands were used, over a connection of this machine.
func BenchmarkCollect(b *testing.B) {
	info, ok := bulk(string(largeInfo())), "+OK\r\n"
	slow := "*1\r\n*6\r\n:41\r\n:1700000000\r\n:2500000\r\n*1\r\n$3\r\nGET\r\n$0\r\n\r\n$0\r\n\r\n"
	address := cannedServer(b, []string{ok, info, info}, []string{info, answers()[configGet], answers()["LATENCY LATEST"], largeHistogram(), ":7\r\n", slow})
	r := newRig(b, address, nil)
	for range 3 {
		if _, err := r.collect(); err != nil {
			b.Fatal(err)
		}
	}
	source := &metrics.Source{}
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		r.cycle++
		r.batch.Begin(source, r.cycle, 1_700_000_000_000)
		if err := r.Collect(b.Context(), &r.batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(len(r.batch.Samples)), "samples")
	_ = r.Stop(b.Context())
}

// cpuTime is what the process has used, which other programs on the machine have less to do with than with the time that has gone by.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
