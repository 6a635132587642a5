package prometheus

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/histogram"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func noteOf(b *bench, key string) string {
	for _, f := range b.env.Status.Faults() {
		if f.Key == key {
			return f.What + " | " + f.Remedy
		}
	}
	return ""
}

func TestFamiliesOfSeveralSourcesAreMerged(t *testing.T) {
	b := newBench(t, nil)
	r := b.env.Series
	first := &metrics.Desc{Name: "m_shared", Help: "first", Kind: metrics.Gauge}
	second := &metrics.Desc{Name: "m_shared", Help: "second", Kind: metrics.Counter}
	a, z := hostSource("a"), &metrics.Source{Address: "input.redis.z", Type: "redis", Interval: time.Minute}
	b.feed(t, z, 1, func(batch *metrics.Batch) {
		batch.Set(r.New(second, "from", "z"), 2)
		batch.Set(r.New(&metrics.Desc{Name: "a_only", Kind: metrics.Gauge}), 3)
	})
	b.feed(t, a, 1, func(batch *metrics.Batch) {
		batch.Set(r.New(&metrics.Desc{Name: "z_only", Kind: metrics.Gauge}), 4)
		batch.Set(r.New(first, "from", "a"), 1)
		batch.Set(r.New(&metrics.Desc{Name: "m_shared", Help: "first", Kind: metrics.Gauge}, "from", "a2"), 5) // the same under another pointer
	})
	want := `# HELP a_only 
# TYPE a_only gauge
a_only 3
# HELP m_shared first
# TYPE m_shared gauge
m_shared{from="a"} 1
m_shared{from="a2"} 5
m_shared{from="z"} 2
# HELP z_only 
# TYPE z_only gauge
z_only 4
`
	page := b.render(0)
	parsePage(t, page, false)
	if got := withoutOwn(page); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if note := noteOf(b, "descriptions"); !strings.Contains(note, "m_shared") || !strings.Contains(note, "input.host.a") || !strings.Contains(note, "input.redis.z") {
		t.Errorf("the note on differing descriptions is %q", note)
	}
	if n := b.own(t, "hermod_scrape_page_family_conflicts_total"); n != 1 {
		t.Errorf("%g conflicts counted, want 1", n)
	}
}

func TestADuplicateSeriesIsShownOnceCountedAndNamed(t *testing.T) {
	b := newBench(t, nil)
	d := &metrics.Desc{Name: "m", Kind: metrics.Gauge}
	// Two inputs that were given one instance.
	a, c := hostSource("a"), hostSource("c")
	a.Instance, c.Instance = "nas", "nas"
	b.feed(t, c, 1, func(batch *metrics.Batch) { batch.Set(b.env.Series.New(d, "x", "1"), 2) })
	b.feed(t, a, 1, func(batch *metrics.Batch) { batch.Set(b.env.Series.New(d, "x", "1"), 1) })
	page := b.render(0)
	if p := parsePage(t, page, false); p.series[`{__name__="m", instance="nas", x="1"}`] != 1 {
		t.Errorf("the series of the first source is not shown:\n%s", page)
	}
	if n := b.env.Losses.Counts()["duplicate_series"]; n != 1 {
		t.Errorf("%d duplicates counted, want 1", n)
	}
	note := noteOf(b, "duplicate series")
	if !strings.Contains(note, `m{instance="nas",x="1"}, in input.host.a and input.host.c`) || !strings.Contains(note, "instance") {
		t.Errorf("the note is %q", note)
	}
	c.Instance = "other"
	b.render(0)
	if note := noteOf(b, "duplicate series"); note != "" {
		t.Errorf("the note stays: %q", note)
	}
}

func TestInstanceIsWrittenWhereInputsOfOneTypeMeet(t *testing.T) {
	b := newBench(t, nil)
	d := &metrics.Desc{Name: "m", Kind: metrics.Gauge}
	bare, own := b.env.Series.New(d, "a", "1", "z", "2"), b.env.Series.New(d, "instance", "its own")
	fill := func(batch *metrics.Batch) { batch.Set(bare, 1); batch.Set(own, 2) }
	b.feed(t, hostSource("nas"), 1, fill)
	alone := b.render(0)
	if !strings.Contains(alone, `m{a="1",z="2"} 1`) {
		t.Errorf("an instance where there is one input:\n%s", alone)
	}
	b.feed(t, hostSource("other"), 1, func(batch *metrics.Batch) { batch.Set(b.env.Series.New(d), 3) })
	page := b.render(0)
	parsePage(t, page, false)
	for _, want := range []string{`m{a="1",instance="nas",z="2"} 1`, `m{instance="its own"} 2`, `m{instance="other"} 3`} {
		if !strings.Contains(page, want) {
			t.Errorf("%s is missing in\n%s", want, page)
		}
	}
	one := b.text([]input{b.page.last(hostSource("nas"))}, false, 0)
	if !strings.Contains(one, `m{a="1",z="2"} 1`) {
		t.Errorf("an instance although one input was asked for:\n%s", one)
	}
}

func TestTheBatchesOfACycleAddUpAndTheNextCycleTakesTheirPlace(t *testing.T) {
	b := newBench(t, nil)
	d := &metrics.Desc{Name: "m", Kind: metrics.Gauge}
	x, y := b.env.Series.New(d, "n", "x"), b.env.Series.New(d, "n", "y")
	source := hostSource("nas")
	show := func() string {
		var got []string
		for _, line := range strings.Split(b.render(0), "\n") {
			if strings.HasPrefix(line, "m{") {
				got = append(got, line)
			}
		}
		return strings.Join(got, " ")
	}
	set := func(cycle uint64, s *metrics.Series, v float64) {
		b.feed(t, source, cycle, func(batch *metrics.Batch) {
			if s != nil {
				batch.Set(s, v)
			}
		})
	}
	set(1, x, 1)
	set(1, y, 1)
	if got := show(); got != `m{n="x"} 1 m{n="y"} 1` {
		t.Errorf("after both batches of a cycle: %s", got)
	}
	set(2, x, 2)
	if got := show(); got != `m{n="x"} 2 m{n="y"} 1` {
		t.Errorf("between the batches of a cycle: %s", got)
	}
	set(2, nil, 0)
	if got := show(); got != `m{n="x"} 2` {
		t.Errorf("a full batch without the series leaves it on the page: %s", got)
	}
	set(3, x, 3)
	set(3, y, 3)
	set(4, x, 4)
	set(5, x, 5)
	if got := show(); got != `m{n="x"} 5` {
		t.Errorf("a way that gives nothing any more is still shown: %s", got)
	}
}

func TestBatchesThatAreNotFullUpdateWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		d := &metrics.Desc{Name: "m", Kind: metrics.Gauge}
		x, y := b.env.Series.New(d, "n", "x"), b.env.Series.New(d, "n", "y")
		source := &metrics.Source{Address: "input.events.e", Type: "events", Interval: 10 * time.Minute}
		partial := func(s *metrics.Series, v float64) {
			b.feed(t, source, 0, func(batch *metrics.Batch) { batch.Full = false; batch.Set(s, v) })
		}
		partial(x, 1)
		partial(y, 2)
		partial(x, 3)
		if page := b.render(0); !strings.Contains(page, "m{n=\"x\"} 3\nm{n=\"y\"} 2\n") {
			t.Errorf("got\n%s", page)
		}
		time.Sleep(4 * time.Minute)
		partial(x, 4)
		time.Sleep(2 * time.Minute)
		partial(x, 5)
		if page := b.render(0); !strings.Contains(page, "m{n=\"x\"} 5\n") || strings.Contains(page, `n="y"`) {
			t.Errorf("what no batch brought for long is still shown:\n%s", page)
		}
	})
}

func TestABatchThatIsNotFullLeavesWhatIsBeingShownAsItIs(t *testing.T) {
	b := newBench(t, nil)
	d := &metrics.Desc{Name: "m", Kind: metrics.Gauge}
	old, x, y := b.env.Series.New(d, "n", "old"), b.env.Series.New(d, "n", "x"), b.env.Series.New(d, "n", "y")
	shape := uint64(0)
	next := func() uint64 { shape++; return shape }
	p := &part{front: new(snapshot), back: new(snapshot)}
	merge := func(samples ...metrics.Sample) {
		p.merge(&metrics.Batch{Time: samples[0].Time, Samples: samples}, next)
		p.front, p.back = p.back, p.front
	}
	merge(metrics.Sample{Series: old, Time: 1}, metrics.Sample{Series: x, Time: 2 * forgetAfter})
	shown := p.front
	before := slices.Clone(shown.series)
	p.merge(&metrics.Batch{Time: 3 * forgetAfter, Samples: []metrics.Sample{{Series: y, Time: 3 * forgetAfter}}}, next)
	if !slices.Equal(shown.series, before) || len(shown.values) != 2 {
		t.Errorf("%v, and was %v", shown.series, before)
	}
	if want := []*metrics.Series{x, y}; !slices.Equal(p.back.series, want) {
		t.Errorf("%v, want %v", p.back.series, want)
	}
}

func TestASourceIsDroppedAfterThreeMissedIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := hostSource("nas")
		b := newBench(t, func(env *component.Env, _ *Config) {
			env.Inputs = func() []*metrics.Source { return []*metrics.Source{source} }
		})
		s := b.env.Series.New(&metrics.Desc{Name: "m", Kind: metrics.Gauge})
		b.feed(t, source, 1, func(batch *metrics.Batch) { batch.Set(s, 1) })
		page := func() string { return b.text([]input{b.page.last(source)}, true, 0) }
		time.Sleep(3 * source.Interval)
		if !strings.Contains(page(), "\nm 1\n") || !strings.Contains(page(), `hermod_input_up{input="input.host.nas"} 1`) {
			t.Errorf("it is gone too early:\n%s", page())
		}
		time.Sleep(time.Second)
		if strings.Contains(page(), "\nm 1\n") || !strings.Contains(page(), `hermod_input_up{input="input.host.nas"} 0`) {
			t.Errorf("it is still there:\n%s", page())
		}
		if n := len(b.page.known()); n != 0 {
			t.Errorf("%d sources are still known", n)
		}
		b.feed(t, hostSource("other"), 1, func(*metrics.Batch) {})
		if n := len(b.page.sources); n != 1 {
			t.Errorf("%d sources are kept in memory, want 1", n)
		}
	})
}

func TestNativeHistogramsAreCountedAsLost(t *testing.T) {
	b := newBench(t, nil)
	b.feed(t, hostSource("nas"), 1, func(batch *metrics.Batch) {
		s := b.env.Series.New(&metrics.Desc{Name: "h", Kind: metrics.Histogram})
		batch.Histograms = append(batch.Histograms, metrics.NativeHistogram{Series: s, Int: new(histogram.Histogram)})
	})
	if n := b.env.Losses.Counts()["native_histogram_in_text"]; n != 1 {
		t.Errorf("%d counted, want 1", n)
	}
}

func TestConsumeAfterStopIsRefused(t *testing.T) {
	b := newBench(t, nil)
	for range 2 {
		if err := b.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.ConsumeMetrics(context.Background(), new(metrics.Batch)); !errors.Is(err, component.ErrStopped) {
		t.Errorf("got %v", err)
	}
}

// TestPagesAreWholeUnderConcurrentBatches: each source gives all its series the number of its cycle, so a page that mixes two cycles of
// a source shows it.
func TestPagesAreWholeUnderConcurrentBatches(t *testing.T) {
	b := newBench(t, nil)
	const sources, series, cycles = 3, 40, 200
	var writers sync.WaitGroup
	for n := range sources {
		source := hostSource(fmt.Sprintf("h%d", n))
		var all []*metrics.Series
		for i := range series {
			all = append(all, b.env.Series.New(&metrics.Desc{Name: fmt.Sprintf("m%02d", i), Kind: metrics.Gauge}, "h", source.Instance))
		}
		writers.Go(func() {
			var batch metrics.Batch
			for cycle := range uint64(cycles) {
				batch.Begin(source, cycle+1, time.Now().UnixMilli())
				for i := range all[:series/2+int(cycle)%(series/2)] { // the set of series changes all the time
					batch.Set(all[i], float64(cycle))
				}
				if err := b.ConsumeMetrics(context.Background(), &batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	var readers sync.WaitGroup
	for n := range 2 {
		readers.Go(func() {
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				p := parsePage(t, b.render(openMetrics*dialect(n)), n == 1)
				cycle := map[string]float64{}
				for s, v := range p.series {
					if strings.Contains(s, "hermod_") {
						continue
					}
					_, host, _ := strings.Cut(s, `h="`)
					if had, ok := cycle[host[:2]]; ok && had != v {
						t.Errorf("%s shows cycles %g and %g at once", host[:2], had, v)
					}
					cycle[host[:2]] = v
				}
			}
		})
	}
	readers.Wait()
	for s, v := range parsePage(t, b.render(0), false).series {
		if !strings.Contains(s, "hermod_") && math.Abs(v-(cycles-1)) > 0 {
			t.Errorf("%s is %g at the end", s, v)
		}
	}
}

func TestASteadyScrapeAllocatesNothing(t *testing.T) {
	b := newBench(t, nil)
	source := hostSource("nas")
	batch := nodeFixture(b.env.Series, source)
	if n := len(batch.Samples); n < 690 || n > 720 {
		t.Fatalf("the fixture has %d series, it is to have about 700", n)
	}
	var body []byte
	inputs := []input{{source: source, up: true}}
	for _, d := range []dialect{0, openMetrics} {
		run := func() {
			batch.Cycle++
			if err := b.ConsumeMetrics(context.Background(), batch); err != nil {
				t.Fatal(err)
			}
			body = b.write(body, inputs, d)
		}
		run()
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("dialect %d: %g allocations for a cycle and a scrape, want 0", d, n)
		}
	}
	builds := b.page.builds
	b.write(body, inputs, 0)
	if b.page.builds != builds {
		t.Error("the order of the page was worked out anew although no series came or left")
	}
}

func BenchmarkScrape(b *testing.B) {
	for _, c := range []struct {
		name string
		d    dialect
	}{{"text", 0}, {"openmetrics", openMetrics}} {
		b.Run(c.name, func(b *testing.B) {
			o := newBench(b, nil)
			source := hostSource("nas")
			batch := nodeFixture(o.env.Series, source)
			if err := o.ConsumeMetrics(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
			inputs := []input{{source: source, up: true}}
			body := o.write(nil, inputs, c.d)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				body = o.write(body, inputs, c.d)
			}
		})
	}
}

// BenchmarkScrapeAfterChange is a scrape when a series came or left since the last one.
func BenchmarkScrapeAfterChange(b *testing.B) {
	o := newBench(b, nil)
	source := hostSource("nas")
	batch := nodeFixture(o.env.Series, source)
	inputs := []input{{source: source, up: true}}
	var body []byte
	all := batch.Samples
	b.ReportAllocs()
	for b.Loop() {
		batch.Cycle++
		batch.Samples = all[:len(all)-int(batch.Cycle%2)]
		if err := o.ConsumeMetrics(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		body = o.write(body, inputs, 0)
	}
}

func BenchmarkConsume(b *testing.B) {
	o := newBench(b, nil)
	batch := nodeFixture(o.env.Series, hostSource("nas"))
	b.ReportAllocs()
	for b.Loop() {
		batch.Cycle++
		if err := o.ConsumeMetrics(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
}
