package filter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// next is what comes after the processor.
type next struct {
	mu      sync.Mutex
	batches []metrics.Batch
	given   *metrics.Batch
	lines   []string
	calls   int
	err     error
	quiet   bool
}

func (n *next) ConsumeMetrics(_ context.Context, b *metrics.Batch) error {
	if n.quiet {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var c metrics.Batch
	b.CopyHeaders(&c)
	n.batches, n.given = append(n.batches, c), b
	return n.err
}

func (n *next) ConsumeLogs(_ context.Context, b *logs.Batch) error {
	if n.quiet {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	if n.err != nil {
		return n.err
	}
	for _, r := range b.Records {
		n.lines = append(n.lines, string(r.Line))
	}
	return nil
}

func newProcessor(t testing.TB, c Config) (*processor, *next) {
	t.Helper()
	if faults := c.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	log := slog.New(slog.DiscardHandler)
	after := new(next)
	p, err := open(&component.Env{
		Address: "processor.filter", Log: log, Status: component.NewStatus(log), Losses: new(component.Losses),
		Series: metrics.NewRegistry(), Streams: logs.NewRegistry(), Metrics: after, Logs: after,
	}, &c)
	if err != nil {
		t.Fatal(err)
	}
	return p, after
}

func nas() *metrics.Source {
	return &metrics.Source{Address: "input.host.nas", Type: "host", Job: "node", Instance: "nas", Interval: time.Minute}
}

func hostBatch(p *processor) *metrics.Batch {
	r := p.env.Series
	b := new(metrics.Batch)
	b.Begin(nas(), 3, 1_700_000_000_000)
	b.Up = false
	load, cpu := &metrics.Desc{Name: "node_load1"}, &metrics.Desc{Name: "node_cpu_seconds_total"}
	took := &metrics.Desc{Name: "took_seconds", Kind: metrics.Histogram}
	b.Set(r.New(load), 1)
	b.Set(r.New(cpu, "cpu", "0", "mode", "idle"), 2)
	b.Set(r.New(cpu, "cpu", "1", "mode", "user"), 3)
	b.Set(r.Part(took, "took_seconds_bucket", "le", "+Inf"), 4)
	b.Set(r.Part(took, "took_seconds_count"), 5)
	return b
}

func TestSeriesPassByNameAndLabels(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   []float64
	}{
		"keep names":                    {Config{KeepNames: []string{"node_cpu_.*", "nothing"}}, []float64{2, 3}},
		"names are matched as a whole":  {Config{KeepNames: []string{"node_cpu", "load1"}}, nil},
		"drop names":                    {Config{DropNames: []string{"node_.*"}}, []float64{4, 5}},
		"drop wins over keep":           {Config{KeepNames: []string{"node_.*"}, DropNames: []string{"node_load1"}}, []float64{2, 3}},
		"a histogram by its name":       {Config{DropNames: []string{"took_seconds"}}, []float64{1, 2, 3}},
		"a part of a histogram":         {Config{KeepNames: []string{"took_seconds_count"}}, []float64{5}},
		"keep labels":                   {Config{KeepLabels: map[string]string{"mode": "idle"}}, []float64{2}},
		"keep labels: all must fit":     {Config{KeepLabels: map[string]string{"mode": "~idle|user", "cpu": "1"}}, []float64{3}},
		"keep labels: not":              {Config{KeepLabels: map[string]string{"mode": "!idle"}}, []float64{1, 3, 4, 5}},
		"keep labels: none that":        {Config{KeepLabels: map[string]string{"mode": "!~i.*|u.*"}}, []float64{1, 4, 5}},
		"drop labels":                   {Config{DropLabels: map[string]string{"mode": "~.+"}}, []float64{1, 4, 5}},
		"drop labels: all must fit":     {Config{DropLabels: map[string]string{"mode": "idle", "cpu": "1"}}, []float64{1, 2, 3, 4, 5}},
		"an absent label is empty":      {Config{KeepLabels: map[string]string{"mode": ""}}, []float64{1, 4, 5}},
		"by name as a label":            {Config{KeepLabels: map[string]string{"__name__": "node_load1"}}, []float64{1}},
		"job is the input's":            {Config{KeepLabels: map[string]string{"job": "node", "instance": "~n.*"}}, []float64{1, 2, 3, 4, 5}},
		"another instance":              {Config{KeepLabels: map[string]string{"instance": "other"}}, nil},
		"names and labels":              {Config{KeepNames: []string{"node_.*"}, DropLabels: map[string]string{"cpu": "0"}}, []float64{1, 3}},
		"conditions on lines mean none": {Config{KeepLines: []string{"x"}, DropLines: []string{"y"}}, []float64{1, 2, 3, 4, 5}},
	} {
		p, after := newProcessor(t, c.config)
		b := hostBatch(p)
		for round := range 2 { // the second from the memo
			if err := p.ConsumeMetrics(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			out := after.batches[round]
			var got []float64
			for _, s := range out.Samples {
				got = append(got, s.Value)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: %v passed, want %v", name, got, c.want)
			}
			if !out.Full || out.Up || out.Source != b.Source || out.Cycle != 3 || out.Time != b.Time {
				t.Errorf("%s: the batch's header is %+v", name, out)
			}
			if all := len(got) == len(b.Samples); all != (after.given == b) {
				t.Errorf("%s: a copy was made where all pass, or none where not", name)
			}
		}
		if n := p.env.Losses.Counts()["filtered"]; n != uint64(2*(5-len(c.want))) {
			t.Errorf("%s: %d counted", name, n)
		}
		if len(b.Samples) != 5 {
			t.Errorf("%s: the batch that was given was changed", name)
		}
	}
}

func TestExemplarsAndNativeHistogramsPassWithTheirSeries(t *testing.T) {
	p, after := newProcessor(t, Config{DropNames: []string{"gone"}})
	stays, goes := p.env.Series.New(&metrics.Desc{Name: "stays"}), p.env.Series.New(&metrics.Desc{Name: "gone"})
	b := new(metrics.Batch)
	b.Begin(nas(), 1, 1)
	for _, s := range []*metrics.Series{stays, goes} {
		b.Histograms = append(b.Histograms, metrics.NativeHistogram{Series: s, Int: new(histogram.Histogram)})
		b.Exemplars = append(b.Exemplars, metrics.Exemplar{Series: s})
	}
	if err := p.ConsumeMetrics(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	out := after.batches[0]
	if len(out.Histograms) != 1 || len(out.Exemplars) != 1 || out.Histograms[0].Series != stays || out.Exemplars[0].Series != stays {
		t.Errorf("got %+v", out)
	}
	if n := p.env.Losses.Counts()["filtered"]; n != 1 {
		t.Errorf("%d counted, want 1", n)
	}
}

func logBatch(p *processor) *logs.Batch {
	b := new(logs.Batch)
	b.Begin("input.docker_logs")
	web := p.env.Streams.New(labels.FromStrings("container", "web", "stream", "stdout"), "")
	test := p.env.Streams.New(labels.FromStrings("container", "test-1", "stream", "stderr"), "")
	for i, line := range []string{"GET /healthz", "level=debug a.b", "level=error axb", ""} {
		s := web
		if i == 2 {
			s = test
		}
		b.AddCopy(logs.Record{Stream: s, Time: int64(i), Line: []byte(line)})
	}
	return b
}

func TestRecordsPassByLabelsAndLines(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   []string
	}{
		"drop lines":                    {Config{DropLines: []string{"/healthz", "level=debug"}}, []string{"level=error axb", ""}},
		"keep lines":                    {Config{KeepLines: []string{"^level=(debug|error)"}}, []string{"level=debug a.b", "level=error axb"}},
		"drop wins over keep":           {Config{KeepLines: []string{"level="}, DropLines: []string{`a.b$`}}, nil},
		"plain text is no pattern":      {Config{KeepLines: []string{`a\.b`}}, []string{"level=debug a.b"}},
		"without regard to case":        {Config{KeepLines: []string{"(?i)get"}}, []string{"GET /healthz"}},
		"the empty line":                {Config{KeepLines: []string{"^$"}}, []string{""}},
		"keep labels":                   {Config{KeepLabels: map[string]string{"container": "!~test-.*"}}, []string{"GET /healthz", "level=debug a.b", ""}},
		"drop labels and lines":         {Config{DropLabels: map[string]string{"stream": "stderr"}, DropLines: []string{"G"}}, []string{"level=debug a.b", ""}},
		"conditions on names mean none": {Config{KeepNames: []string{"x"}}, []string{"GET /healthz", "level=debug a.b", "level=error axb", ""}},
	} {
		p, after := newProcessor(t, c.config)
		b := logBatch(p)
		if err := p.ConsumeLogs(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(after.lines, c.want) {
			t.Errorf("%s: %q passed, want %q", name, after.lines, c.want)
		}
		if n := p.env.Losses.Counts()["filtered"]; n != uint64(4-len(c.want)) {
			t.Errorf("%s: %d counted", name, n)
		}
		if calls := min(len(c.want), 1); after.calls != calls {
			t.Errorf("%s: %d batches were passed on", name, after.calls)
		}
		if len(b.Records) != 4 || string(b.Records[0].Line) != "GET /healthz" {
			t.Errorf("%s: the batch that was given was changed", name)
		}
	}
}

func TestABatchThatComesAgainIsCountedOnce(t *testing.T) {
	p, after := newProcessor(t, Config{DropLines: []string{"G"}})
	after.err = errors.New("not now")
	b := logBatch(p)
	if err := p.ConsumeLogs(t.Context(), b); !errors.Is(err, after.err) {
		t.Fatal(err)
	}
	if counts := p.env.Losses.Counts(); len(counts) != 0 {
		t.Errorf("counted: %v", counts)
	}
	after.err = nil
	if err := p.ConsumeLogs(t.Context(), b); err != nil || p.env.Losses.Counts()["filtered"] != 1 || len(after.lines) != 3 {
		t.Errorf("%v, counted: %v, passed: %q", err, p.env.Losses.Counts(), after.lines)
	}
}

func TestFaultyConditionsAreToldWithTheirAttribute(t *testing.T) {
	c := Config{
		KeepNames: []string{"("}, DropNames: []string{"[a"}, KeepLines: []string{"*"}, DropLines: []string{"ok", "a{2,1}"},
		KeepLabels: map[string]string{"a": "~("}, DropLabels: map[string]string{"b": "!~)"},
	}
	faults := c.Validate()
	var got []string
	for _, f := range faults {
		var fault *config.AttrError
		if !errors.As(f, &fault) {
			t.Fatalf("%v has no attribute", f)
		}
		got = append(got, fault.Attr)
	}
	if want := []string{"drop_labels", "drop_lines", "drop_names", "keep_labels", "keep_lines", "keep_names"}; !slices.Equal(got, want) {
		t.Errorf("faults of %q, want %q: %v", got, want, faults)
	}
	if faults := new(Config).Validate(); len(faults) != 1 || !strings.Contains(faults[0].Error(), "no condition") {
		t.Errorf("an empty filter: %v", faults)
	}
}

func TestConsumeAfterStopIsRefused(t *testing.T) {
	p, _ := newProcessor(t, Config{DropNames: []string{"x"}})
	for range 2 {
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.ConsumeMetrics(t.Context(), new(metrics.Batch)); !errors.Is(err, component.ErrStopped) {
		t.Errorf("metrics: %v", err)
	}
	if err := p.ConsumeLogs(t.Context(), new(logs.Batch)); !errors.Is(err, component.ErrStopped) {
		t.Errorf("logs: %v", err)
	}
}

func TestSourcesMayComeAtOnce(t *testing.T) {
	p, after := newProcessor(t, Config{DropNames: []string{"node_load1"}, DropLines: []string{"G"}})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 50 {
				if err := errors.Join(p.ConsumeMetrics(context.Background(), hostBatch(p)), p.ConsumeLogs(context.Background(), logBatch(p))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if len(after.batches) != 200 || len(after.lines) != 600 {
		t.Errorf("%d batches and %d lines passed", len(after.batches), len(after.lines))
	}
	for _, b := range after.batches {
		if len(b.Samples) != 4 {
			t.Fatalf("%d samples in a batch", len(b.Samples))
		}
	}
}

func steady(t testing.TB) (*processor, *metrics.Batch, *logs.Batch) {
	p, after := newProcessor(t, Config{DropLabels: map[string]string{"device": "~lo.*"}, DropLines: []string{"level=debug", "/health[z]?"}})
	after.quiet = true
	b := new(metrics.Batch)
	b.Begin(nas(), 1, 1_700_000_000_000)
	l := new(logs.Batch)
	l.Begin("input.x")
	d := &metrics.Desc{Name: "node_network_receive_bytes_total", Kind: metrics.Counter}
	line := []byte(strings.Repeat("2026-11-21 level=info msg=hello ", 6) + "level=debug")
	for i := range 700 {
		device := fmt.Sprintf("eth%d", i)
		if i%10 == 0 {
			device = fmt.Sprintf("lo%d", i)
		}
		b.Set(p.env.Series.New(d, "device", device), float64(i))
		l.Add(logs.Record{Stream: p.env.Streams.New(labels.FromStrings("device", device), ""), Line: line[:len(line)-i%2]})
	}
	return p, b, l
}

func TestASteadyBatchAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	p, b, l := steady(t)
	run := func() {
		if err := errors.Join(p.ConsumeMetrics(context.Background(), b), p.ConsumeLogs(context.Background(), l)); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%g allocations for a batch of samples and one of records, want 0", n)
	}
}

func BenchmarkSample(b *testing.B) {
	p, batch, _ := steady(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.ConsumeMetrics(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch.Samples)), "ns/sample")
}

func BenchmarkRecord(b *testing.B) {
	p, _, batch := steady(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.ConsumeLogs(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch.Records)), "ns/record")
}
