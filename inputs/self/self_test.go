package self

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func newInput(t testing.TB, g prometheus.Gatherer) (*input, *metrics.Source) {
	t.Helper()
	c := defaults()
	in, err := open(&component.Env{SelfGatherer: g, Series: metrics.NewRegistry()}, &c)
	if err != nil {
		t.Fatal(err)
	}
	return in, &metrics.Source{Address: "input.self", Type: "self", Job: "hermod", Interval: 15 * time.Second}
}

func collect(t testing.TB, in *input, source *metrics.Source, b *metrics.Batch, cycle uint64) {
	t.Helper()
	b.Begin(source, cycle, int64(1_700_000_000_000+cycle))
	if err := in.Collect(context.Background(), b); err != nil {
		t.Fatal(err)
	}
}

// agent is a registry like the engine's, with one metric of each kind beside.
func agent(t testing.TB) (*prometheus.Registry, *prometheus.CounterVec, prometheus.Histogram) {
	t.Helper()
	r := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "hermod_things_total", Help: "Things."}, []string{"component", "reason"})
	counter.WithLabelValues("a", "b").Add(3)
	counter.WithLabelValues("ab", "").Add(4)
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "hermod_took_seconds", Help: "Took.", Buckets: []float64{0.25, 1, 2.5e6}})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "hermod_sum_seconds", Help: "Sum.", Objectives: map[float64]float64{0.5: 0, 0.99: 0}})
	for _, v := range []float64{0.1, 0.5, 100, 1e9} {
		histogram.Observe(v)
		summary.Observe(v)
	}
	untyped := prometheus.NewUntypedFunc(prometheus.UntypedOpts{Name: "hermod_untyped", Help: "Untyped."}, func() float64 { return 7 })
	r.MustRegister(counter, histogram, summary, untyped, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r, counter, histogram
}

func TestSeriesAreThoseOfTheTextFormat(t *testing.T) {
	r, _, _ := agent(t)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]float64{}
	parser := textparse.NewPromParser([]byte(text.String()), labels.NewSymbolTable(), false)
	for entry, err := parser.Next(); err == nil; entry, err = parser.Next() {
		if entry == textparse.EntrySeries {
			_, _, v := parser.Series()
			var l labels.Labels
			parser.Labels(&l)
			want[l.String()] = v
		}
	}
	in, source := newInput(t, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil }))
	var b metrics.Batch
	collect(t, in, source, &b, 1)
	if len(b.Samples) != len(want) || len(want) < 50 {
		t.Errorf("%d samples, the text has %d", len(b.Samples), len(want))
	}
	kinds := map[string]metrics.Kind{}
	for _, s := range b.Samples {
		v, ok := want[asParsed(s.Series.Labels())]
		if !ok || v != s.Value {
			t.Errorf("%s is %g, in the text %g (%v)", s.Series.Labels(), s.Value, v, ok)
		}
		if s.Time != b.Time {
			t.Errorf("%s is of %d, the cycle of %d", s.Series.Labels(), s.Time, b.Time)
		}
		kinds[s.Series.Name()] = s.Series.Desc.Kind
	}
	for name, kind := range map[string]metrics.Kind{
		"hermod_things_total": metrics.Counter, "hermod_took_seconds_bucket": metrics.Histogram, "hermod_sum_seconds": metrics.Summary,
		"hermod_untyped": metrics.Unknown, "go_goroutines": metrics.Gauge, "process_cpu_seconds_total": metrics.Counter,
	} {
		if kinds[name] != kind {
			t.Errorf("%s is a %s, want %s", name, kinds[name], kind)
		}
	}
}

// asParsed is how Prometheus names a series: it writes bounds as floats.
func asParsed(l labels.Labels) string {
	b := labels.NewBuilder(l)
	for _, name := range []string{"le", "quantile"} {
		if v := l.Get(name); v != "" && !strings.ContainsAny(v, ".eI") {
			b.Set(name, v+".0")
		}
	}
	if text := b.Labels().String(); l.Get("reason") != "" || !l.Has("reason") {
		return text
	}
	return l.String() // the builder drops the empty one
}

func TestSeriesAreMadeOnce(t *testing.T) {
	r, counter, histogram := agent(t)
	in, source := newInput(t, r)
	var first, second metrics.Batch
	collect(t, in, source, &first, 1)
	counter.WithLabelValues("a", "b").Add(1)
	counter.WithLabelValues("new", "x").Add(1)
	histogram.Observe(1)
	collect(t, in, source, &second, 2)
	known := map[*metrics.Series]bool{}
	byDesc := map[string]*metrics.Desc{}
	for _, s := range first.Samples {
		known[s.Series] = true
		if d := byDesc[s.Series.Desc.Name]; d != nil && d != s.Series.Desc {
			t.Errorf("%s has two descriptions", d.Name)
		}
		byDesc[s.Series.Desc.Name] = s.Series.Desc
	}
	fresh := 0
	for _, s := range second.Samples {
		if !known[s.Series] {
			fresh++
		}
	}
	if fresh != 1 || len(second.Samples) != len(first.Samples)+1 {
		t.Errorf("%d of %d series are new, want 1", fresh, len(second.Samples))
	}
}

func TestChangedBoundsAndDescriptionsMakeSeriesAnew(t *testing.T) {
	histogram := func(help string, bounds ...float64) *dto.MetricFamily {
		h := new(dto.Histogram)
		for i, le := range bounds {
			count := uint64(i + 1)
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &le, CumulativeCount: &count})
		}
		n, sum := uint64(9), 1.5
		h.SampleCount, h.SampleSum = &n, &sum
		name := "h"
		return &dto.MetricFamily{Name: &name, Help: &help, Type: dto.MetricType_HISTOGRAM.Enum(), Metric: []*dto.Metric{{Histogram: h}}}
	}
	inf := math.Inf(1)
	var now *dto.MetricFamily
	in, source := newInput(t, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return []*dto.MetricFamily{now}, nil }))
	for cycle, c := range []struct {
		family *dto.MetricFamily
		want   string
	}{
		{histogram("a", 1, 2), "1=1 2=2 +Inf=9"}, {histogram("a", 1, 3), "1=1 3=2 +Inf=9"}, {histogram("a", 1), "1=1 +Inf=9"},
		{histogram("a", 1, inf), "1=1 +Inf=9"}, {histogram("b"), "+Inf=9"},
	} {
		now = c.family
		var b metrics.Batch
		collect(t, in, source, &b, uint64(cycle+1))
		var got []string
		for _, s := range b.Samples[:len(b.Samples)-2] {
			got = append(got, fmt.Sprintf("%s=%g", s.Series.Labels().Get("le"), s.Value))
		}
		if strings.Join(got, " ") != c.want || b.Samples[0].Series.Desc.Help != c.family.GetHelp() {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestStartsAndExemplarsAreHandedOn(t *testing.T) {
	r := prometheus.NewRegistry()
	before := time.Now().UnixMilli()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "c_total", Help: "c"})
	r.MustRegister(counter)
	adder, ok := counter.(prometheus.ExemplarAdder)
	if !ok {
		t.Fatal("counters take no exemplars")
	}
	adder.AddWithExemplar(2, prometheus.Labels{"trace_id": "abc"})
	in, source := newInput(t, r)
	var b metrics.Batch
	collect(t, in, source, &b, 1)
	if len(b.Samples) != 1 || b.Samples[0].Start < before || b.Samples[0].Start > time.Now().UnixMilli() {
		t.Errorf("samples %+v", b.Samples)
	}
	if len(b.Exemplars) != 1 || b.Exemplars[0].Series != b.Samples[0].Series || b.Exemplars[0].Labels.Get("trace_id") != "abc" || b.Exemplars[0].Value != 2 || b.Exemplars[0].Time < before {
		t.Errorf("exemplars %+v", b.Exemplars)
	}
}

func TestWhatCouldBeGatheredIsGivenBesideTheError(t *testing.T) {
	r, _, _ := agent(t)
	broken := errors.New("broken")
	in, source := newInput(t, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := r.Gather()
		return families[:1], errors.Join(err, broken)
	}))
	var b metrics.Batch
	b.Begin(source, 1, 1)
	if err := in.Collect(context.Background(), &b); !errors.Is(err, broken) || len(b.Samples) == 0 {
		t.Errorf("%v with %d samples", err, len(b.Samples))
	}
}

func TestWithoutRuntimeThereIsHermodAlone(t *testing.T) {
	r, _, _ := agent(t)
	in, source := newInput(t, r)
	in.runtime = false
	var b metrics.Batch
	collect(t, in, source, &b, 1)
	for _, s := range b.Samples {
		if !strings.HasPrefix(s.Series.Name(), "hermod_") {
			t.Errorf("%s is given", s.Series.Labels())
		}
	}
	if len(b.Samples) == 0 {
		t.Error("nothing is given")
	}
}

func TestWhatIsGoneIsForgotten(t *testing.T) {
	r, counter, _ := agent(t)
	in, source := newInput(t, r)
	var b metrics.Batch
	collect(t, in, source, &b, 1)
	r.Unregister(counter)
	for cycle := range uint64(10) {
		collect(t, in, source, &b, cycle+2)
	}
	if in.families["hermod_things_total"] != nil || in.families["go_goroutines"] == nil {
		t.Error("the family that left is remembered, or one that stays is not")
	}
}

// TestASteadyCollectAllocatesLittle: gathering allocates, and that is client_golang's; what is done with the result doesn't.
func TestASteadyCollectAllocatesLittle(t *testing.T) {
	r, _, _ := agent(t)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	in, source := newInput(t, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return families, nil }))
	var b metrics.Batch
	cycle := uint64(0)
	run := func() { cycle++; collect(t, in, source, &b, cycle) }
	run()
	if n := testing.AllocsPerRun(50, run); n != 0 {
		t.Errorf("%g allocations, want 0", n)
	}
}

func BenchmarkCollect(b *testing.B) {
	r, _, _ := agent(b)
	in, source := newInput(b, r)
	var batch metrics.Batch
	cycle := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		cycle++
		collect(b, in, source, &batch, cycle)
	}
}
