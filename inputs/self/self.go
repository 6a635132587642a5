// Package self gives what the agent knows of itself (hermod_*, go_* and process_*) as ordinary series, under the names of client_golang's
// collectors.
package self

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// Definition of input "self".
var Definition = component.MetricsInput("self", "The agent's own metrics.", defaults, open, component.Job("hermod"),
	// Reading the runtime's numbers stops the program for a moment, so a second scraper doesn't make it happen twice.
	component.MaxAge(5*time.Second),
	component.Example(`input "self" {}
`))

// Config is what a user writes in the block.
type Config struct {
	// Give go_* and process_* as well: memory, CPU and goroutines of the agent. With false there is hermod_* alone.
	Runtime bool `hcl:"runtime,optional"`
}

func defaults() Config { return Config{Runtime: true} }

type input struct {
	runtime  bool
	gatherer prometheus.Gatherer
	series   *metrics.Registry
	families map[string]*family
	rows     metrics.Table[row]
	key      []byte
}

// family is kept so that its series share a description.
type family struct {
	desc metrics.Desc
	used uint64 // cycle
}

// row are the series of one metric: one, or the parts of a histogram or summary in the order in which they are written.
type row struct {
	series []*metrics.Series
	// bounds are those that the parts were made for; other ones make the row anew.
	bounds []float64
	desc   *metrics.Desc
}

var _ component.Collector = (*input)(nil)

func open(env *component.Env, c *Config) (*input, error) {
	return &input{runtime: c.Runtime, gatherer: env.SelfGatherer, series: env.Series, families: map[string]*family{}}, nil
}

// Collect asks the agent's registries. What could be gathered is given even where a part of them fails.
func (in *input) Collect(_ context.Context, b *metrics.Batch) error {
	gathered, err := in.gatherer.Gather()
	for _, f := range gathered {
		if !in.runtime && !strings.HasPrefix(f.GetName(), "hermod_") {
			continue
		}
		d := in.family(f, b.Cycle)
		for _, m := range f.GetMetric() {
			in.metric(b, d, f, m)
		}
	}
	in.rows.Sweep(b.Cycle)
	for name, f := range in.families {
		if f.used+keepCycles < b.Cycle {
			delete(in.families, name)
		}
	}
	if err != nil {
		return fmt.Errorf("gather the agent's own metrics: %w", err)
	}
	return nil
}

// keepCycles is for how many cycles a family that is gone is remembered.
const keepCycles = 5

func (in *input) family(f *dto.MetricFamily, cycle uint64) *metrics.Desc {
	kind := metrics.Unknown
	switch f.GetType() {
	case dto.MetricType_COUNTER:
		kind = metrics.Counter
	case dto.MetricType_GAUGE:
		kind = metrics.Gauge
	case dto.MetricType_HISTOGRAM:
		kind = metrics.Histogram
	case dto.MetricType_GAUGE_HISTOGRAM:
		kind = metrics.GaugeHistogram
	case dto.MetricType_SUMMARY:
		kind = metrics.Summary
	case dto.MetricType_UNTYPED:
	}
	known := in.families[f.GetName()]
	if known == nil || known.desc.Help != f.GetHelp() || known.desc.Kind != kind || known.desc.Unit != f.GetUnit() {
		known = &family{desc: metrics.Desc{Name: f.GetName(), Help: f.GetHelp(), Unit: f.GetUnit(), Kind: kind}}
		in.families[f.GetName()] = known
	}
	known.used = cycle
	return &known.desc
}

// metric appends the samples of one metric.
func (in *input) metric(b *metrics.Batch, d *metrics.Desc, f *dto.MetricFamily, m *dto.Metric) {
	in.key = append(in.key[:0], f.GetName()...)
	for _, l := range m.GetLabel() {
		in.key = append(in.key, 0xff)
		in.key = append(in.key, l.GetName()...)
		in.key = append(in.key, 0xff)
		in.key = append(in.key, l.GetValue()...)
	}
	r := in.rows.Row(in.key, b.Cycle, func(string) row { return row{} })
	if r.desc != d || !sameBounds(r.bounds, m) {
		in.fill(r, d, m)
	}
	n := 0
	set := func(v float64, start int64) {
		b.Samples = append(b.Samples, metrics.Sample{Series: r.series[n], Value: v, Time: b.Time, Start: start})
		n++
	}
	exemplar := func(e *dto.Exemplar) {
		if e != nil {
			b.Exemplars = append(b.Exemplars, metrics.Exemplar{
				Series: r.series[n], Labels: exemplarLabels(e), Value: e.GetValue(), Time: millis(e.GetTimestamp()),
			})
		}
	}
	switch {
	case m.GetCounter() != nil:
		exemplar(m.GetCounter().GetExemplar())
		set(m.GetCounter().GetValue(), millis(m.GetCounter().GetCreatedTimestamp()))
	case m.GetGauge() != nil:
		set(m.GetGauge().GetValue(), 0)
	case m.GetUntyped() != nil:
		set(m.GetUntyped().GetValue(), 0)
	case m.GetSummary() != nil:
		s := m.GetSummary()
		start := millis(s.GetCreatedTimestamp())
		for _, q := range s.GetQuantile() {
			set(q.GetValue(), start)
		}
		set(s.GetSampleSum(), start)
		set(float64(s.GetSampleCount()), start)
	case m.GetHistogram() != nil:
		h := m.GetHistogram()
		start := millis(h.GetCreatedTimestamp())
		for i, bucket := range h.GetBucket() {
			if i == finite(h) {
				break
			}
			exemplar(bucket.GetExemplar())
			set(float64(bucket.GetCumulativeCount()), start)
		}
		set(float64(h.GetSampleCount()), start) // the bucket without a bound
		set(h.GetSampleSum(), start)
		set(float64(h.GetSampleCount()), start)
	}
}

// fill makes the series of a metric.
func (in *input) fill(r *row, d *metrics.Desc, m *dto.Metric) {
	var base []string
	for _, l := range m.GetLabel() {
		base = append(base, l.GetName(), l.GetValue())
	}
	*r = row{desc: d, bounds: bounds(m)}
	part := func(ending string, more ...string) {
		r.series = append(r.series, in.series.Part(d, d.Name+ending, append(slices.Clone(base), more...)...))
	}
	switch {
	case m.GetSummary() != nil:
		for _, q := range r.bounds {
			part("", "quantile", formatBound(q))
		}
		part("_sum")
		part("_count")
	case m.GetHistogram() != nil:
		for _, le := range r.bounds {
			part("_bucket", labels.BucketLabel, formatBound(le))
		}
		part("_bucket", labels.BucketLabel, "+Inf")
		part("_sum")
		part("_count")
	default:
		part("")
	}
}
