package remotewrite

import (
	"context"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
)

func unpack(body []byte) (*prompb.WriteRequest, error) {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return nil, err
	}
	r := &prompb.WriteRequest{}
	return r, r.Unmarshal(raw)
}

// stop ends an output that can't deliver.
func stop(t testing.TB, o *output) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := o.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// BenchmarkEncode is a sample a round: found, written into the body, with and without the compression of bodies of 2000 samples.
func BenchmarkEncode(b *testing.B) {
	for _, compress := range []bool{false, true} {
		name := "write"
		if compress {
			name = "write+snappy"
		}
		b.Run(name, func(b *testing.B) {
			o := newOutput(b, "http://x/w", nil)
			if err := o.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			defer stop(b, o)
			f := newFixture(2000)
			batch := f.next()
			if err := o.d.Begin(b.Context()); err != nil {
				b.Fatal(err)
			}
			o.batches[0] = o.d.Batch(0, "")
			bld := o.batches[0].Builder().(*builder)
			b.ReportAllocs()
			i, size := 0, 0
			for b.Loop() {
				x := &batch.Samples[i%2000]
				s, to := o.find(x.Series, batch.Source, 1)
				to.sample(s, x)
				i++
				if bld.items == 2000 {
					if compress {
						size = len(bld.Build().Body)
					} else {
						bld.raw, bld.items = bld.raw[:0], 0
					}
				}
			}
			bld.raw, bld.items = nil, 0
			o.d.End(0)
			b.ReportMetric(float64(size)/2000, "bytes/sample")
		})
	}
}

// BenchmarkEncode2 is BenchmarkEncode for 2.0, and tells how many bytes a sample takes by either.
func BenchmarkEncode2(b *testing.B) {
	o := newOutput(b, "http://x/w", func(c *Config) { c.Protocol = version2 })
	if err := o.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer stop(b, o)
	f := newFixture(2000)
	batch := f.next()
	if err := o.d.Begin(b.Context()); err != nil {
		b.Fatal(err)
	}
	o.batches[0] = o.d.Batch(0, "")
	bld := o.batches[0].Builder().(*builder)
	b.ReportAllocs()
	i, size := 0, 0
	for b.Loop() {
		bld.second = true
		x := &batch.Samples[i%2000]
		s, to := o.find(x.Series, batch.Source, 1)
		to.sample2(s, x, nil)
		i++
		if bld.items == 2000 {
			size = len(bld.Build().Body)
		}
	}
	bld.Build()
	o.d.End(0)
	b.ReportMetric(float64(size)/2000, "bytes/sample")
}

func TestEncodingFor2AllocatesNothing(t *testing.T) {
	o := newOutput(t, "http://x/w", func(c *Config) { c.Protocol = version2 })
	if err := o.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer stop(t, o)
	f := newFixture(100)
	batch := f.next()
	if err := o.d.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.batches[0] = o.d.Batch(0, "")
	bld := o.batches[0].Builder().(*builder)
	bld.second = true
	allocs := testing.AllocsPerRun(20, func() {
		for i := range batch.Samples {
			x := &batch.Samples[i]
			s, to := o.find(x.Series, batch.Source, 1)
			to.sample2(s, x, nil)
		}
		bld.raw, bld.items = bld.raw[:0], 0
		o.symbols[0].next()
	})
	if allocs != 0 {
		t.Errorf("%v allocations for 100 samples", allocs)
	}
	o.d.End(0)
}

// FuzzToVersion1: what is read back from a disk and isn't a body of 2.0 is an error, and what is one has as many items before as after.
func FuzzToVersion1(f *testing.F) {
	o := newOutput(f, "http://x/w", func(c *Config) { c.Protocol = version2 })
	if err := o.Start(f.Context()); err != nil {
		f.Fatal(err)
	}
	if err := o.d.Begin(f.Context()); err != nil {
		f.Fatal(err)
	}
	o.batches[0] = o.d.Batch(0, "")
	bld := o.batches[0].Builder().(*builder)
	bld.second = true
	o.consume2(rich(), 1)
	raw, err := inflate(bld.Build())
	if err != nil {
		f.Fatal(err)
	}
	o.d.End(0)
	stop(f, o)
	f.Add(raw)
	f.Add(raw[:len(raw)-3])
	f.Fuzz(func(t *testing.T, raw []byte) {
		body, items, err := toVersion1(raw)
		if err != nil {
			return
		}
		var p prompb.WriteRequest
		if err := p.Unmarshal(body); err == nil && len(p.Timeseries) != items {
			t.Fatalf("%d items, %d series", items, len(p.Timeseries))
		}
		if _, counts, err := split2(raw, items); err == nil && counts[0]+counts[1] != items {
			t.Fatalf("%v of %d items", counts, items)
		}
	})
}
