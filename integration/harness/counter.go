//go:build integration

package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/hermod-agent/hermod/pipeline/queue"
)

// Counter writes numbered samples: its page is that of an nginx which counts the requests for it, every readings-th of them, so that each number is in
// several samples. One is not enough: a collection that comes early is not passed to an output that pushes, so that scrapes don't multiply what is
// pushed; of two that follow each other one is.
type Counter struct {
	address string

	mu      sync.Mutex // guards what follows
	read    int        // numbers
	asked   int        // for the last of them
	stopped bool
}

// readings is how often each number is read.
const readings = 3

// NewCounter starts one that lives as long as the test.
func NewCounter(t testing.TB) *Counter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Counter{address: l.Addr().String()}
	server := &http.Server{Handler: c}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the counter: %v", err)
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return c
}

// URL is the page, for input "nginx".
func (c *Counter) URL() string { return "http://" + c.address + "/stub_status" }

// CounterName is the metric that holds the number.
const CounterName = "nginx_http_requests_total"

// ServeHTTP implements http.Handler.
func (c *Counter) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		http.Error(w, "all is written", http.StatusServiceUnavailable)
		return
	}
	if c.asked++; c.read == 0 || c.asked > readings {
		c.read, c.asked = c.read+1, 1
	}
	fmt.Fprintf(w, "Active connections: 1 \nserver accepts handled requests\n 1 1 %d \nReading: 0 Writing: 1 Waiting: 0 \n", c.read)
}

// Stop writes no more, and says how many numbers were read, from 1 on.
func (c *Counter) Stop() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	return c.read
}

// Read is how many numbers were read so far.
func (c *Counter) Read() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read
}

// Numbers are those of a counter that came, and how often, not counting those of other times: the server was told its numbers under this instance.
func (w *RemoteWrite) Numbers(instance string) map[int]int {
	numbers, seen := map[int]int{}, map[Point]bool{}
	for _, p := range w.Series(map[string]string{"__name__": CounterName, "instance": instance}) {
		for _, s := range p.Samples {
			if s.Value != math.Trunc(s.Value) { // a staleness marker
				continue
			}
			if n := int(s.Value); seen[s] || numbers[n] == 0 {
				numbers[n]++
			}
			seen[s] = true
		}
	}
	return numbers
}

// Failed is how many cycles of the counter's input failed that began before a time, as the agent told the server: a number that was read in such a cycle
// never became a sample.
func (w *RemoteWrite) Failed(instance string, before time.Time) int {
	failed := map[int64]bool{}
	for _, p := range w.Series(map[string]string{"__name__": "up", "instance": instance}) {
		for _, s := range p.Samples {
			if s.Value == 0 && s.Time < before.UnixMilli() {
				failed[s.Time] = true
			}
		}
	}
	return len(failed)
}

// QueuedNumbers are those of a counter that lie in the queue of an output, on disk.
func QueuedNumbers(a *Agent, output, instance string) (map[int]bool, error) {
	dir := a.QueueDir(output)
	contents, err := queue.Inspect(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // its queue is in memory
	}
	if err != nil {
		return nil, err
	}
	numbers := map[int]bool{}
	for _, info := range contents.Blocks {
		b, err := queue.ReadBlock(dir, info.Seq)
		if err != nil {
			return nil, err
		}
		raw, err := snappy.Decode(nil, b.Body)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", info.Seq, err)
		}
		var request prompb.WriteRequest
		if err := request.Unmarshal(raw); err != nil {
			return nil, fmt.Errorf("block %d: %w", info.Seq, err)
		}
		for _, ts := range request.Timeseries {
			ls := map[string]string{}
			for _, l := range ts.Labels {
				ls[l.Name] = l.Value
			}
			if ls["__name__"] != CounterName || ls["instance"] != instance {
				continue
			}
			for _, s := range ts.Samples {
				if s.Value == math.Trunc(s.Value) {
					numbers[int(s.Value)] = true
				}
			}
		}
	}
	return numbers, nil
}
