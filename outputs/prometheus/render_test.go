package prometheus

import (
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"pgregory.net/rapid"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// render writes the page with everything that the output knows, all inputs up.
func (b *bench) render(d dialect) string {
	var inputs []input
	for _, s := range b.page.known() {
		inputs = append(inputs, b.page.last(s))
	}
	return b.text(inputs, true, d)
}

// withoutOwn takes out what the page says itself.
func withoutOwn(page string) string {
	var kept []string
	for line := range strings.Lines(page) {
		if !strings.Contains(line, "hermod_input_") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// parsed is a page as Prometheus understands it.
type parsed struct {
	series    map[string]float64
	times     map[string]int64
	kinds     map[string]string
	units     map[string]string
	exemplars map[string]string
}

func parsePage(t testing.TB, page string, om bool) parsed {
	t.Helper()
	p := parsed{map[string]float64{}, map[string]int64{}, map[string]string{}, map[string]string{}, map[string]string{}}
	table := labels.NewSymbolTable()
	var parser textparse.Parser
	if om {
		parser = textparse.NewOpenMetricsParser([]byte(page), table)
	} else {
		parser = textparse.NewPromParser([]byte(page), table, false)
	}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatalf("Prometheus can't read the page: %v\n%s", err, page)
		}
		switch entry {
		case textparse.EntryType:
			name, kind := parser.Type()
			if _, twice := p.kinds[string(name)]; twice {
				t.Errorf("two types for %s", name)
			}
			p.kinds[string(name)] = string(kind)
		case textparse.EntryUnit:
			name, unit := parser.Unit()
			p.units[string(name)] = string(unit)
		case textparse.EntrySeries:
			_, at, v := parser.Series()
			var l labels.Labels
			parser.Labels(&l)
			if _, twice := p.series[l.String()]; twice {
				t.Errorf("%s comes twice", l)
			}
			p.series[l.String()] = v
			if at != nil {
				p.times[l.String()] = *at
			}
			if e := new(exemplar.Exemplar); parser.Exemplar(e) {
				p.exemplars[l.String()] = e.Labels.String()
			}
		case textparse.EntryInvalid, textparse.EntryHelp, textparse.EntryComment, textparse.EntryHistogram:
		}
	}
}

// corpus registers what is hard to write with client_golang, and gives the same as a batch.
func corpus(t *testing.T) *promclient.Registry {
	t.Helper()
	r := promclient.NewPedanticRegistry()
	gauge := promclient.NewGaugeVec(promclient.GaugeOpts{Name: "g_values", Help: "A help with \\ and\na new line and \"quotes\"."}, []string{"a", "z_label"})
	for i, v := range []float64{0, 1, -1, 1.5, 1e6, 1234567, 1e21, 1e-7, math.Inf(1), math.Inf(-1), math.NaN(), 1.5e9} {
		gauge.WithLabelValues(string(rune('a'+i)), "back\\slash \"quote\"\nline é").Set(v)
	}
	gauge.WithLabelValues("", "").Set(3)
	counter := promclient.NewCounterVec(promclient.CounterOpts{Name: "c_things_total", Help: ""}, []string{"kind"})
	counter.WithLabelValues("x").Add(5)
	counter.WithLabelValues("y").Add(1e7)
	odd := promclient.NewCounter(promclient.CounterOpts{Name: "c_without_the_suffix", Help: "h"})
	odd.Add(2)
	untyped := promclient.NewUntypedFunc(promclient.UntypedOpts{Name: "u_plain", Help: "h"}, func() float64 { return 7 })
	histogram := promclient.NewHistogramVec(promclient.HistogramOpts{Name: "h_seconds", Help: "h", Buckets: []float64{0.1, 1, 10}}, []string{"path"})
	for _, path := range []string{"/a", "/b"} {
		for _, v := range []float64{0.05, 0.5, 5, 50} {
			histogram.WithLabelValues(path).Observe(v)
		}
	}
	summary := promclient.NewSummary(promclient.SummaryOpts{Name: "s_seconds", Help: "h", Objectives: map[float64]float64{0.5: 0.05, 1: 0}})
	summary.Observe(3)
	r.MustRegister(gauge, counter, odd, untyped, histogram, summary)
	return r
}

func fillFromFamilies(r *metrics.Registry, families []*dto.MetricFamily) func(*metrics.Batch) {
	kinds := map[dto.MetricType]metrics.Kind{
		dto.MetricType_COUNTER: metrics.Counter, dto.MetricType_GAUGE: metrics.Gauge, dto.MetricType_UNTYPED: metrics.Unknown,
		dto.MetricType_HISTOGRAM: metrics.Histogram, dto.MetricType_SUMMARY: metrics.Summary,
	}
	return func(b *metrics.Batch) {
		for _, f := range families {
			d := &metrics.Desc{Name: f.GetName(), Help: f.GetHelp(), Kind: kinds[f.GetType()]}
			for _, m := range f.GetMetric() {
				var base []string
				for _, l := range m.GetLabel() {
					base = append(base, l.GetName(), l.GetValue())
				}
				part := func(suffix string, v float64, more ...string) {
					b.Set(r.Part(d, d.Name+suffix, append(slices.Clone(base), more...)...), v)
				}
				switch f.GetType() {
				case dto.MetricType_COUNTER:
					part("", m.GetCounter().GetValue())
				case dto.MetricType_GAUGE:
					part("", m.GetGauge().GetValue())
				case dto.MetricType_UNTYPED:
					part("", m.GetUntyped().GetValue())
				case dto.MetricType_HISTOGRAM:
					for _, bucket := range m.GetHistogram().GetBucket() {
						part("_bucket", float64(bucket.GetCumulativeCount()), "le", string(appendValue(nil, bucket.GetUpperBound())))
					}
					part("_bucket", float64(m.GetHistogram().GetSampleCount()), "le", "+Inf")
					part("_sum", m.GetHistogram().GetSampleSum())
					part("_count", float64(m.GetHistogram().GetSampleCount()))
				case dto.MetricType_SUMMARY:
					for _, q := range m.GetSummary().GetQuantile() {
						part("", q.GetValue(), "quantile", string(appendValue(nil, q.GetQuantile())))
					}
					part("_sum", m.GetSummary().GetSampleSum())
					part("_count", float64(m.GetSummary().GetSampleCount()))
				case dto.MetricType_GAUGE_HISTOGRAM:
				}
			}
		}
	}
}

func TestThePageIsByteForByteWhatClientGolangWrites(t *testing.T) {
	families, err := corpus(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, nil)
	b.feed(t, hostSource("nas"), 1, fillFromFamilies(b.env.Series, families))
	for _, c := range []struct {
		format expfmt.Format
		d      dialect
	}{
		{expfmt.FmtText, 0}, {expfmt.FmtText, quotedNames},
		{expfmt.FmtOpenMetrics_1_0_0, openMetrics}, {expfmt.FmtOpenMetrics_1_0_0, openMetrics | quotedNames},
	} {
		var want strings.Builder
		encoder := expfmt.NewEncoder(&want, c.format)
		for _, f := range families {
			if err := encoder.Encode(f); err != nil {
				t.Fatal(err)
			}
		}
		if closer, ok := encoder.(expfmt.Closer); ok {
			if err := closer.Close(); err != nil {
				t.Fatal(err)
			}
		}
		got := b.render(c.d)
		parsePage(t, got, c.d&openMetrics != 0)
		if got := withoutOwn(got); got != want.String() {
			t.Errorf("%s: got\n%s\nclient_golang writes\n%s", c.format, got, want.String())
		}
	}
}

func TestOpenMetricsPutsCreatedTimesUnitsAndExemplars(t *testing.T) {
	b := newBench(t, nil)
	counter := &metrics.Desc{Name: "jobs_seconds_total", Help: "h", Kind: metrics.Counter, Unit: "seconds"}
	noUnit := &metrics.Desc{Name: "jobs_total", Help: "h", Kind: metrics.Counter, Unit: "seconds"}
	histogram := &metrics.Desc{Name: "took_seconds", Help: "h", Kind: metrics.Histogram, Unit: "seconds"}
	info := &metrics.Desc{Name: "build_info", Help: "h", Kind: metrics.Info}
	gauge := &metrics.Desc{Name: "jobs", Help: "takes the name that jobs_total would have", Kind: metrics.Gauge}
	r := b.env.Series
	b.feed(t, hostSource("nas"), 1, func(batch *metrics.Batch) {
		bucket := r.Part(histogram, "took_seconds_bucket", "le", "+Inf")
		batch.Samples = append(batch.Samples,
			metrics.Sample{Series: r.New(counter, "q", "a"), Value: 3, Start: 1700000000123},
			metrics.Sample{Series: r.New(noUnit), Value: 4, Start: 1700000000000},
			metrics.Sample{Series: bucket, Value: 1},
			metrics.Sample{Series: r.Part(histogram, "took_seconds_sum"), Value: 0.5},
			metrics.Sample{Series: r.Part(histogram, "took_seconds_count"), Value: 1, Start: 1700000000000},
			metrics.Sample{Series: r.New(info, "version", "1"), Value: 1},
			metrics.Sample{Series: r.New(gauge), Value: 9},
			metrics.Sample{Series: r.New(&metrics.Desc{Name: "gone", Kind: metrics.Gauge}), Value: math.Float64frombits(value.StaleNaN)},
		)
		batch.Exemplars = append(batch.Exemplars, metrics.Exemplar{
			Series: bucket, Labels: labels.FromStrings("trace_id", "abc"), Value: 0.5, Time: 1700000000500,
		})
	})
	page := b.render(openMetrics | quotedNames)
	p := parsePage(t, page, true)
	for name, kind := range map[string]string{
		"jobs_seconds": "counter", "jobs_total": "unknown", "jobs": "gauge", "took_seconds": "histogram", "build": "info",
	} {
		if p.kinds[name] != kind {
			t.Errorf("%s is a %q, want %s", name, p.kinds[name], kind)
		}
	}
	if p.units["jobs_seconds"] != "seconds" || p.units["took_seconds"] != "seconds" || p.units["jobs_total"] != "" {
		t.Errorf("units: %v", p.units)
	}
	for _, line := range []string{
		"jobs_seconds_created{q=\"a\"} 1700000000.123\n", "took_seconds_created 1700000000.0\n",
		`took_seconds_bucket{le="+Inf"} 1 # {trace_id="abc"} 0.5 1700000000.500` + "\n",
	} {
		if !strings.Contains(page, line) {
			t.Errorf("%q is missing in\n%s", line, page)
		}
	}
	if strings.Contains(page, "jobs_created") {
		t.Error("an unknown has no created time")
	}
	if strings.Contains(page, "\ngone ") {
		t.Error("a staleness marker is on the page")
	}
	if !strings.HasSuffix(page, "\n# EOF\n") {
		t.Error("no # EOF at the end")
	}
	text := b.render(0)
	parsePage(t, text, false)
	for _, wrong := range []string{"_created", "# EOF", "# {", "# UNIT"} {
		if strings.Contains(text, wrong) {
			t.Errorf("%s has no place in the text format", wrong)
		}
	}
}

func TestOnlyASourcesOwnTimesAreWritten(t *testing.T) {
	b := newBench(t, nil)
	d := &metrics.Desc{Name: "x", Kind: metrics.Gauge}
	plain, own := b.env.Series.New(d, "from", "engine"), b.env.Series.New(d, "from", "source")
	b.feed(t, hostSource("a"), 1, func(batch *metrics.Batch) { batch.Set(plain, 1) })
	other := &metrics.Source{Address: "input.prometheus.b", Type: "prometheus", Interval: time.Minute}
	b.feed(t, other, 1, func(batch *metrics.Batch) {
		batch.OwnTime = true
		batch.Samples = append(batch.Samples, metrics.Sample{Series: own, Value: 2, Time: 1700000000123})
	})
	for _, d := range []dialect{0, openMetrics} {
		p := parsePage(t, b.render(d), d&openMetrics != 0)
		if len(p.times) != 1 || p.times[own.String()] != 1700000000123 {
			t.Errorf("dialect %d: times %v", d, p.times)
		}
	}
}

func TestNamesThatNeedQuotesAreQuotedOrEscaped(t *testing.T) {
	b := newBench(t, nil)
	d := &metrics.Desc{Name: "http.requests", Help: "h", Kind: metrics.Gauge}
	s := b.env.Series.New(d, "server.name", "a\xffb", "plain", "p", "__hidden", "h")
	b.feed(t, hostSource("nas"), 1, func(batch *metrics.Batch) { batch.Set(s, 1) })
	for dialect, want := range map[dialect]string{
		0:                         "http_requests{plain=\"p\",server_name=\"a\uFFFDb\"} 1\n",
		quotedNames:               "{\"http.requests\",plain=\"p\",\"server.name\"=\"a\uFFFDb\"} 1\n",
		openMetrics:               "http_requests{plain=\"p\",server_name=\"a\uFFFDb\"} 1.0\n",
		openMetrics | quotedNames: "{\"http.requests\",plain=\"p\",\"server.name\"=\"a\uFFFDb\"} 1.0\n",
	} {
		page := b.render(dialect)
		parsePage(t, page, dialect&openMetrics != 0)
		if !strings.Contains(page, want) {
			t.Errorf("dialect %d: %s is missing in\n%s", dialect, want, page)
		}
	}
}

func TestLinesThatArePutTogetherAreThoseOfTheWhole(t *testing.T) {
	name := rapid.SampledFrom([]string{"A", "__hidden", "container_label_x", "cpu", "instance", "le", "odd.name", "zone"})
	value := rapid.SampledFrom([]string{"", "0", "1.50", "quote \" back \\ line \n", "a\xffb", "é"})
	some := rapid.MapOfN(name, value, 0, 5)
	together := 0
	rapid.Check(t, func(t *rapid.T) {
		d := &metrics.Desc{Name: rapid.SampledFrom([]string{"m", "m_total", "odd.m"}).Draw(t, "family"), Kind: rapid.SampledFrom([]metrics.Kind{metrics.Gauge, metrics.Counter, metrics.Histogram, metrics.Summary}).Draw(t, "kind")}
		var own []string
		for n, v := range some.Draw(t, "own") {
			own = append(own, n, v)
		}
		s := metrics.NewRegistry().With(labels.FromMap(some.Draw(t, "common"))).Part(d, d.Name+rapid.SampledFrom([]string{"", "_count"}).Draw(t, "part"), own...)
		instance := rapid.SampledFrom([]string{"", "nas"}).Draw(t, "instance")
		l := newLayout()
		l.parts = []layoutPart{{part: &part{front: &snapshot{series: []*metrics.Series{s}}}}}
		b := lineBuilder{layout: l, texts: map[textKey]uint32{}}
		n := b.line(s, instance)
		for dialect := range dialect(dialects) {
			want := string(appendAny(nil, s, s.Name(), instance, dialect))
			if got := string(l.appendPrefix(nil, &n, dialect)); got != want {
				t.Fatalf("dialect %d: %q, want %q", dialect, got, want)
			}
		}
		if n.how&simple != 0 {
			together++
		}
	})
	if together == 0 {
		t.Error("no line was put together")
	}
}

func TestADuplicateIsOneHoweverItsLabelsAreKept(t *testing.T) {
	b := newBench(t, nil)
	d := &metrics.Desc{Name: "m", Kind: metrics.Gauge}
	b.feed(t, hostSource("nas"), 1, func(batch *metrics.Batch) {
		batch.Set(b.env.Series.With(labels.FromStrings("a", "1", "z", "2")).New(d), 1)
		batch.Set(b.env.Series.With(labels.FromStrings("z", "2")).New(d, "a", "1"), 2)
		batch.Set(b.env.Series.Of(d, labels.FromStrings("__name__", "m", "__hidden", "h", "a", "1", "z", "2")), 3)
		batch.Set(b.env.Series.New(d, "a", "2"), 4)
		batch.Set(b.env.Series.New(&metrics.Desc{Name: "n", Kind: metrics.Gauge}), 5)
	})
	if got, want := withoutOwn(b.render(0)), "# HELP m \n# TYPE m gauge\nm{a=\"1\",z=\"2\"} 1\nm{a=\"2\"} 4\n# HELP n \n# TYPE n gauge\nn 5\n"; got != want {
		t.Errorf("got\n%s", got)
	}
	if n := b.env.Losses.Counts()["duplicate_series"]; n != 2 {
		t.Errorf("%d duplicates", n)
	}
}
