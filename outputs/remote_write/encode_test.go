package remotewrite

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"pgregory.net/rapid"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func TestBodiesAreWhatPrometheusReads(t *testing.T) {
	o := newOutput(t, "http://x/w", nil)
	reg := metrics.NewRegistry()
	rapid.Check(t, func(t *rapid.T) {
		b := &builder{out: o, shard: 2, tenant: "x"}
		var want []string
		for i := range rapid.IntRange(1, 30).Draw(t, "series") {
			l := rapid.MapOfN(rapid.StringMatching("[a-z]{1,6}"), rapid.StringN(1, 300, 300), 0, 4).Draw(t, "labels")
			l["__name__"] = "m"
			x := reg.Of(&metrics.Desc{Name: "m"}, labels.FromMap(l))
			s := alone(x)
			at := rapid.Int64().Draw(t, "time")
			v := rapid.Float64().Draw(t, "value")
			if i%3 == 2 {
				b.exemplar(s, &metrics.Exemplar{Series: x, Labels: labels.FromStrings("trace_id", "abc"), Value: v, Time: at})
				want = append(want, fmt.Sprint(x, labels.FromStrings("trace_id", "abc"), v, at))
				continue
			}
			b.sample(s, &metrics.Sample{Series: x, Value: v, Time: at})
			want = append(want, fmt.Sprint(x, v, at))
		}
		block := b.Build()
		if b.Items() != 0 || b.Size() != 0 || b.Build() != nil {
			t.Fatal("the builder isn't empty after Build")
		}
		if block.Items != len(want) || block.Shard != 2 || block.Tenant != "x" {
			t.Fatalf("block %+v", block)
		}
		blocks := []*prompb.WriteRequest{}
		if block.Items > 1 && rapid.Bool().Draw(t, "split") {
			first, second, err := o.Split(block)
			if err != nil || first.Items+second.Items != block.Items || first.Items == 0 || second.Items == 0 {
				t.Fatalf("%d split into %+v and %+v: %v", block.Items, first, second, err)
			}
			blocks = append(blocks, decodeBody(t, first.Body), decodeBody(t, second.Body))
		} else {
			blocks = append(blocks, decodeBody(t, block.Body))
		}
		var got []string
		var sb labels.ScratchBuilder
		for _, r := range blocks {
			for _, ts := range r.Timeseries {
				l := ts.ToLabels(&sb, nil)
				for _, x := range ts.Samples {
					got = append(got, fmt.Sprint(l, x.Value, x.Timestamp))
				}
				for _, x := range ts.Exemplars {
					e := x.ToExemplar(&sb, nil)
					got = append(got, fmt.Sprint(l, e.Labels, e.Value, e.Ts))
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// alone is what is known of a series that is written with its labels alone.
func alone(x *metrics.Series) *series {
	l := appendLabels(nil, x.Labels())
	return &series{more: &more{labels: string(l)}, size: uint32(len(l))}
}

func TestLabelsThatArePutTogetherAreThoseOfTheWhole(t *testing.T) {
	name := rapid.SampledFrom([]string{"A", "__hidden", "cpu", "device", "host", "instance", "job", "zone"})
	value := rapid.SampledFrom([]string{"", "a", "b\xff", strings.Repeat("long", 100)})
	some := rapid.MapOfN(name, value, 0, 5)
	together := 0
	rapid.Check(t, func(t *rapid.T) {
		o := &output{env: &component.Env{}, cfg: &Config{}, commons: map[commonKey]*common{}}
		o.cfg.Delivery.Shards = 1
		agent := some.Draw(t, "agent")
		delete(agent, "__hidden") // the config refuses it
		o.env.AgentLabels = labels.FromMap(agent)
		var src *metrics.Source
		if rapid.Bool().Draw(t, "a source") {
			src = &metrics.Source{Job: value.Draw(t, "job"), Instance: value.Draw(t, "instance")}
		}
		var own []string
		for n, v := range some.Draw(t, "own") {
			own = append(own, n, v)
		}
		d := &metrics.Desc{Name: "m"}
		x := metrics.NewRegistry().With(labels.FromMap(some.Draw(t, "common"))).Part(d, rapid.SampledFrom([]string{"m", "m_sum"}).Draw(t, "name"), own...)
		s := o.labelled(x, src)
		want := appendLabels(nil, metrics.PushLabels(x, src, o.env.AgentLabels))
		if got := s.appendLabels(nil, x); !bytes.Equal(got, want) || int(s.size) != len(want) {
			t.Fatalf("%q\nwant %q", got, want)
		}
		if s.more == nil {
			together++
		}
	})
	if together == 0 {
		t.Error("no labels were put together")
	}
}

func TestABodyIsFullAtItsSizeToo(t *testing.T) {
	o := newOutput(t, "http://x/w", nil)
	if err := o.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer stop(t, o)
	var b metrics.Batch
	b.Begin(&metrics.Source{}, 1, 1)
	r := metrics.NewRegistry().With(labels.FromStrings("long", strings.Repeat("x", 2000)))
	for i := range 1000 {
		b.Set(r.New(&metrics.Desc{Name: "m"}, "n", fmt.Sprint(i)), 1)
	}
	if err := o.ConsumeMetrics(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if n := cap(o.batches[0].Builder().(*builder).raw); n > 2*maxBody {
		t.Errorf("%d bytes for a body", n)
	}
	if n := o.batches[0].Builder().Size(); n > maxBody {
		t.Errorf("%d bytes are in the open body", n)
	}
}

func decodeBody(t *rapid.T, body []byte) *prompb.WriteRequest {
	r, err := unpack(body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNativeHistogramsAreWhatPrometheusReads(t *testing.T) {
	reg := metrics.NewRegistry()
	x := reg.New(&metrics.Desc{Name: "h", Kind: metrics.Histogram})
	whole := &histogram.Histogram{
		Schema: -3, Count: 12, Sum: 18.4, ZeroThreshold: 1e-128, ZeroCount: 2, CounterResetHint: histogram.NotCounterReset,
		PositiveSpans: []histogram.Span{{Offset: -2, Length: 2}, {Offset: 1, Length: 2}}, PositiveBuckets: []int64{1, 1, -1, 0},
		NegativeSpans: []histogram.Span{{Offset: 0, Length: 1}}, NegativeBuckets: []int64{5},
	}
	custom := &histogram.Histogram{
		Schema: histogram.CustomBucketsSchema, Count: 3, Sum: 7, PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}},
		PositiveBuckets: []int64{1, 1}, CustomValues: []float64{1, 2.5},
	}
	for name, h := range map[string]*histogram.Histogram{"whole": whole, "empty": {}, "custom": custom} {
		t.Run(name, func(t *testing.T) {
			for _, in := range []metrics.NativeHistogram{{Series: x, Int: h, Time: 1234}, {Series: x, Float: h.ToFloat(nil), Time: 1234}} {
				o := newOutput(t, "http://x/w", nil)
				b := &builder{out: o}
				b.histogram(alone(x), &in)
				r := decode(t, b.Build().Body)
				if len(r.Timeseries) != 1 || len(r.Timeseries[0].Histograms) != 1 {
					t.Fatalf("%+v", r)
				}
				got := r.Timeseries[0].Histograms[0]
				if got.Timestamp != 1234 || got.IsFloatHistogram() != (in.Float != nil) {
					t.Fatalf("%+v", got)
				}
				if in.Int != nil {
					if back := got.ToIntHistogram(); !back.Equals(h) || back.CounterResetHint != h.CounterResetHint {
						t.Errorf("got %+v, want %+v", back, h)
					}
				} else if back := got.ToFloatHistogram(); !back.Equals(in.Float) || back.CounterResetHint != h.CounterResetHint {
					t.Errorf("got %+v, want %+v", back, in.Float)
				}
			}
		})
	}
}

func TestBadUTF8IsReplaced(t *testing.T) {
	l := appendLabels(nil, labels.FromStrings("__name__", "m", "path", "a\xffb"))
	var ts prompb.TimeSeries
	if err := ts.Unmarshal(l); err != nil {
		t.Fatal(err)
	}
	if got := ts.Labels[1].Value; got != "a\uFFFDb" {
		t.Errorf("%q", got)
	}
}

func TestSeriesThatMovesToAnotherSourceGetsItsLabels(t *testing.T) {
	s := newReceiver(t)
	o := running(t, s.URL+"/w", nil)
	f := newFixture(1)
	consume(t, o, f.next())
	f.source = &metrics.Source{Job: "other", Instance: "there"}
	consume(t, o, f.next())
	flush(t, o)
	var jobs []string
	for _, r := range s.requests {
		for _, ts := range r.Timeseries {
			for _, l := range ts.Labels {
				if l.Name == "job" {
					jobs = append(jobs, l.Value)
				}
			}
		}
	}
	if fmt.Sprint(jobs) != "[node other]" {
		t.Errorf("jobs %v", jobs)
	}
}

func TestSteadyEncodingDoesNotAllocate(t *testing.T) {
	o := newOutput(t, "http://x/w", func(c *Config) { c.MaxSamples = 100_000 })
	if err := o.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := newFixture(700)
	b := f.next()
	ctx := t.Context()
	cycle := func() {
		if err := o.ConsumeMetrics(ctx, b); err != nil {
			t.Fatal(err)
		}
		bld := o.batches[0].Builder().(*builder)
		bld.raw, bld.items = bld.raw[:0], 0 // before it is full
	}
	cycle()
	if n := testing.AllocsPerRun(10, cycle); n != 0 {
		t.Errorf("%v allocations for a cycle of 700 samples", n)
	}
	o.d.Removed() // nothing is to be delivered
	stop(t, o)
}

func TestSameBodyForSameInput(t *testing.T) {
	f := newFixture(50)
	b := f.next()
	rand.Shuffle(len(b.Samples), func(i, j int) { b.Samples[i], b.Samples[j] = b.Samples[j], b.Samples[i] })
	var bodies []string
	for range 2 {
		o := newOutput(t, "http://x/w", nil)
		bld := &builder{out: o}
		for i := range b.Samples {
			bld.sample(o.know(b.Samples[i].Series, b.Source, 1), &b.Samples[i])
		}
		bodies = append(bodies, string(bld.Build().Body))
	}
	if bodies[0] != bodies[1] {
		t.Error("two bodies of the same samples differ")
	}
}
