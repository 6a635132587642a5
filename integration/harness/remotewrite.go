//go:build integration

package harness

import (
	"fmt"
	"maps"
	"math"
	"net/http"
	"sync"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
)

// RemoteWrite takes what a real server takes by remote_write 1.0 and keeps it.
type RemoteWrite struct {
	*backend

	mu       sync.Mutex // guards what follows
	series   map[string]*Pushed
	metadata map[string]string
	samples  int
}

// Pushed is a series and the samples that came of it, in the order in which they came.
type Pushed struct {
	Labels  map[string]string
	Samples []Point
	Stale   int // staleness markers
	Late    int // samples not newer than one before them
}

// Point is a sample.
type Point struct {
	Time  int64 // ms
	Value float64
}

// NewRemoteWrite starts one that lives as long as the test.
func NewRemoteWrite(t testing.TB) *RemoteWrite {
	return newRemoteWrite(t, func(w *RemoteWrite) func(r *http.Request, body []byte) error { return w.write })
}

func newRemoteWrite(t testing.TB, take func(w *RemoteWrite) func(r *http.Request, body []byte) error) *RemoteWrite {
	w := &RemoteWrite{series: map[string]*Pushed{}, metadata: map[string]string{}}
	w.backend = newBackend(t, take(w))
	return w
}

// URL is where to push.
func (w *RemoteWrite) URL() string { return w.base() + "/api/v1/write" }

func (w *RemoteWrite) write(r *http.Request, body []byte) error {
	if r.Method != http.MethodPost || r.URL.Path != "/api/v1/write" {
		return fmt.Errorf("%s %s is not where samples are taken", r.Method, r.URL.Path)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0",
	} {
		if got := r.Header.Get(name); got != want {
			return fmt.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return fmt.Errorf("the body is no snappy block: %w", err)
	}
	var request prompb.WriteRequest
	if err := request.Unmarshal(raw); err != nil {
		return fmt.Errorf("the body is no write request: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range request.Metadata {
		w.metadata[m.MetricFamilyName] = m.Type.String()
	}
	for _, ts := range request.Timeseries {
		ls, last := make(map[string]string, len(ts.Labels)), ""
		for _, l := range ts.Labels {
			if l.Name <= last {
				return fmt.Errorf("label %q comes after %q: names must be sorted and differ", l.Name, last)
			}
			last = l.Name
			ls[l.Name] = l.Value
		}
		if ls["__name__"] == "" {
			return fmt.Errorf("a series without a name: %v", ls)
		}
		key := fmt.Sprint(ls)
		p := w.series[key]
		if p == nil {
			p = &Pushed{Labels: ls}
			w.series[key] = p
		}
		for _, s := range ts.Samples {
			if n := len(p.Samples); n > 0 && s.Timestamp <= p.Samples[n-1].Time {
				p.Late++
			}
			if math.Float64bits(s.Value) == value.StaleNaN {
				p.Stale++
			}
			p.Samples = append(p.Samples, Point{s.Timestamp, s.Value})
			w.samples++
		}
	}
	return nil
}

// Samples is how many came in all.
func (w *RemoteWrite) Samples() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.samples
}

// Series are those whose labels hold all of match.
func (w *RemoteWrite) Series(match map[string]string) []Pushed {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Pushed
	for _, p := range w.series {
		if holds(p.Labels, match) {
			out = append(out, Pushed{maps.Clone(p.Labels), append([]Point(nil), p.Samples...), p.Stale, p.Late})
		}
	}
	return out
}

// Metadata is the type of a family as it was sent, in capitals, or "".
func (w *RemoteWrite) Metadata(family string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.metadata[family]
}
