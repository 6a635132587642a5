package graph

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

type blackHole struct{ samples int }

func (h *blackHole) ConsumeMetrics(_ context.Context, b *metrics.Batch) error {
	h.samples += len(b.Samples)
	return nil
}

// steadyEdge is a pushed edge and a batch of 700 series that stay the same.
func steadyEdge(where []*labels.Matcher) (*edge, *metrics.Batch, *blackHole) {
	r := metrics.NewRegistry()
	e := newEdge(edgeKey{from: "input.a", to: "output.b"}, r)
	hole := &blackHole{}
	e.now.Store(&edgeTarget{metrics: hole, pushes: true, reports: map[string]bool{"input.a": true}, where: where})
	b := new(metrics.Batch)
	// An interval of zero is never too early.
	b.Begin(&metrics.Source{Address: "input.a"}, 1, 1)
	d := &metrics.Desc{Name: "node_cpu_seconds_total", Kind: metrics.Counter}
	for i := range 700 {
		b.Set(r.New(d, "cpu", fmt.Sprint(i), "mode", "idle"), float64(i))
	}
	return e, b, hole
}

func TestASteadyPushedEdgeDoesNotAllocate(t *testing.T) {
	where := []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "cpu", "1.*")}
	for name, where := range map[string][]*labels.Matcher{"all": nil, "where": where} {
		t.Run(name, func(t *testing.T) {
			e, b, hole := steadyEdge(where)
			pass := func() { e.passMetrics(t.Context(), b, true, nil) }
			pass()
			if n := testing.AllocsPerRun(100, pass); n != 0 {
				t.Errorf("%v allocations a batch", n)
			}
			if hole.samples == 0 {
				t.Error("nothing passed")
			}
		})
	}
}

// marks keeps what a consumer was given.
type marks struct{ given []metrics.Sample }

func (m *marks) ConsumeMetrics(_ context.Context, b *metrics.Batch) error {
	m.given = append(m.given[:0], b.Samples...)
	return nil
}

func TestWhatAnEdgePutsBehindABatchIsSeenByItsConsumerAlone(t *testing.T) {
	first, b, _ := steadyEdge(nil)
	second, _, _ := steadyEdge(nil)
	var to [2]marks
	for i, e := range []*edge{first, second} {
		e.now.Store(&edgeTarget{metrics: &to[i], pushes: true, reports: map[string]bool{"input.a": i == 0}})
	}
	memory := 0
	b.Samples = slices.Clip(b.Samples)
	for cycle := range 3 {
		first.passMetrics(t.Context(), b, true, nil)
		second.passMetrics(t.Context(), b, true, nil)
		if len(b.Samples) != 700 {
			t.Fatalf("the batch has %d samples", len(b.Samples))
		}
		for _, s := range b.Samples[:cap(b.Samples)][700:] {
			if s.Series != nil {
				t.Errorf("%s is left behind the batch", s.Series)
			}
		}
		if a, z := len(to[0].given), len(to[1].given); a != 703 || z != 700 {
			t.Errorf("cycle %d: %d and %d samples", cycle, a, z)
		}
		if cap(b.Samples) < 703 || cycle > 0 && cap(b.Samples) != memory {
			t.Errorf("memory for %d samples, and then for %d", memory, cap(b.Samples))
		}
		memory = cap(b.Samples)
		for _, e := range []*edge{first, second} {
			if n := cap(e.source(b.Source).scratch.Samples); n != 0 {
				t.Errorf("an edge keeps memory for %d samples", n)
			}
		}
	}
}

func BenchmarkPushedEdge(b *testing.B) {
	e, batch, _ := steadyEdge(nil)
	b.ReportAllocs()
	for b.Loop() {
		e.passMetrics(b.Context(), batch, true, nil)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/700, "ns/sample")
}
