package relabel

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

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"pgregory.net/rapid"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// next is what comes after the processor.
type next struct {
	mu      sync.Mutex
	batches []metrics.Batch
	records []logs.Record
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
	n.batches = append(n.batches, c)
	return n.err
}

func (n *next) ConsumeLogs(_ context.Context, b *logs.Batch) error {
	if n.quiet {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	n.records = append(n.records, b.Records...)
	return nil
}

func newProcessor(t testing.TB, change func(*Config), rules ...func(*Rule)) (*processor, *next) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	after := new(next)
	env := &component.Env{
		Address: "processor.relabel", Log: log, Status: component.NewStatus(log), Losses: new(component.Losses),
		Series: metrics.NewRegistry(), Streams: logs.NewRegistry(), Metrics: after, Logs: after,
	}
	c := defaults()
	for _, set := range rules {
		var r Rule
		r.SetDefaults()
		set(&r)
		c.Rules = append(c.Rules, r)
	}
	if change != nil {
		change(&c)
	}
	p, err := open(env, &c)
	if err != nil {
		t.Fatal(err)
	}
	return p, after
}

func source(name string) *metrics.Source {
	return &metrics.Source{Address: "input.host." + name, Type: "host", Job: "node", Instance: name, Interval: time.Minute}
}

// pass gives the processor a batch of the series, valued 0, 1, 2 and so on, and returns what came out.
func pass(t testing.TB, p *processor, after *next, from *metrics.Source, series ...*metrics.Series) []string {
	t.Helper()
	b := new(metrics.Batch)
	b.Begin(from, 7, 1_700_000_000_000)
	for i, s := range series {
		b.Set(s, float64(i))
	}
	after.batches = nil
	if err := p.ConsumeMetrics(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if len(after.batches) != 1 {
		t.Fatalf("%d batches came out", len(after.batches))
	}
	out := after.batches[0]
	if out.Source != from || out.Cycle != 7 || !out.Full || out.Time != b.Time || !out.Up {
		t.Errorf("the batch's header is %+v", out)
	}
	var got []string
	for _, s := range out.Samples {
		got = append(got, fmt.Sprintf("%s %g", s.Series.Labels(), s.Value))
	}
	return got
}

func TestEachActionDoesWhatPrometheusSays(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []func(*Rule)
		want  string // of m{a="x", b="Y1", empty=""}
	}{
		{"replace", []func(*Rule){func(r *Rule) {
			r.SourceLabels, r.Regex, r.TargetLabel, r.Replacement = []string{"a", "b"}, "(.);(.)1", "c", "$2-${1}"
		}}, `{__name__="m", a="x", b="Y1", c="Y-x"} 0`},
		{"replace without a match", []func(*Rule){func(r *Rule) { r.SourceLabels, r.Regex, r.TargetLabel = []string{"a"}, "y", "c" }}, `{__name__="m", a="x", b="Y1"} 0`},
		{"delete by an empty value", []func(*Rule){func(r *Rule) { r.TargetLabel, r.Replacement = "a", "" }}, `{__name__="m", b="Y1"} 0`},
		{"keep", []func(*Rule){func(r *Rule) { r.SourceLabels, r.Regex, r.Action = []string{"a"}, "x", "keep" }}, `{__name__="m", a="x", b="Y1"} 0`},
		{"keep others", []func(*Rule){func(r *Rule) { r.SourceLabels, r.Regex, r.Action = []string{"a"}, "xx", "keep" }}, ``},
		{"drop", []func(*Rule){func(r *Rule) { r.SourceLabels, r.Regex, r.Action = []string{"__name__"}, "m", "drop" }}, ``},
		{"drop by job", []func(*Rule){func(r *Rule) { r.SourceLabels, r.Regex, r.Action = []string{"job", "instance"}, "node;nas", "drop" }}, ``},
		{"keepequal", []func(*Rule){func(r *Rule) { r.SourceLabels, r.TargetLabel, r.Action = []string{"a"}, "b", "keepequal" }}, ``},
		{"dropequal", []func(*Rule){func(r *Rule) { r.SourceLabels, r.TargetLabel, r.Action = []string{"a"}, "b", "dropequal" }}, `{__name__="m", a="x", b="Y1"} 0`},
		{"hashmod", []func(*Rule){func(r *Rule) {
			r.SourceLabels, r.TargetLabel, r.Modulus, r.Action = []string{"a"}, "h", 1000, "hashmod"
		}}, `{__name__="m", a="x", b="Y1", h="726"} 0`},
		{"labelmap", []func(*Rule){func(r *Rule) { r.Regex, r.Replacement, r.Action = "([ab])", "new_$1", "labelmap" }}, `{__name__="m", a="x", b="Y1", new_a="x", new_b="Y1"} 0`},
		{"labeldrop", []func(*Rule){func(r *Rule) { r.Regex, r.Action = "a|empty", "labeldrop" }}, `{__name__="m", b="Y1"} 0`},
		{"labelkeep", []func(*Rule){func(r *Rule) { r.Regex, r.Action = "__name__|a", "labelkeep" }}, `{__name__="m", a="x"} 0`},
		{"lowercase", []func(*Rule){func(r *Rule) { r.SourceLabels, r.TargetLabel, r.Action = []string{"b"}, "b", "lowercase" }}, `{__name__="m", a="x", b="y1"} 0`},
		{"uppercase", []func(*Rule){func(r *Rule) { r.SourceLabels, r.TargetLabel, r.Action = []string{"a"}, "a", "uppercase" }}, `{__name__="m", a="X", b="Y1"} 0`},
		{"one after the other", []func(*Rule){
			func(r *Rule) { r.SourceLabels, r.TargetLabel = []string{"a"}, "__tmp" },
			func(r *Rule) { r.SourceLabels, r.TargetLabel, r.Replacement = []string{"__tmp"}, "c", "$1$1" },
		}, `{__name__="m", __tmp="x", a="x", b="Y1", c="xx"} 0`},
		{"job to another label", []func(*Rule){func(r *Rule) { r.SourceLabels, r.TargetLabel = []string{"job"}, "service" }}, `{__name__="m", a="x", b="Y1", service="node"} 0`},
		{"another job", []func(*Rule){func(r *Rule) { r.TargetLabel, r.Replacement = "job", "other" }}, `{__name__="m", a="x", b="Y1", job="other"} 0`},
	} {
		p, after := newProcessor(t, nil, c.rules...)
		s := p.env.Series.New(&metrics.Desc{Name: "m", Kind: metrics.Gauge}, "a", "x", "b", "Y1", "empty", "")
		for range 2 { // the second from the memo
			got := strings.Join(pass(t, p, after, source("nas"), s), " ")
			// Where nothing changed the series is passed on as it was, with its empty label.
			if got := strings.Replace(got, `, empty=""`, "", 1); got != c.want {
				t.Errorf("%s: got %s, want %s", c.name, got, c.want)
			}
		}
		if n := p.env.Losses.Counts()["filtered"]; (n == 2) != (c.want == "") {
			t.Errorf("%s: %d samples counted as filtered", c.name, n)
		}
	}
}

func TestResultsAreThoseOfTheLibrary(t *testing.T) {
	word := rapid.StringMatching(`[a-c]{0,2}`)
	name := rapid.SampledFrom([]string{"__name__", "a", "b", "c", "__x"})
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Rules: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Rule {
			var r Rule
			r.SetDefaults()
			r.Action = rapid.SampledFrom([]string{"replace", "replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "lowercase", "keepequal"}).Draw(t, "action")
			if r.Action != "labeldrop" && r.Action != "labelmap" {
				r.SourceLabels = rapid.SliceOfN(name, 1, 2).Draw(t, "source_labels")
			}
			if r.Action != "keepequal" {
				r.Regex = rapid.SampledFrom([]string{"(.*)", "(a+);?(.*)", "[abc_]+", "(.)"}).Draw(t, "regex")
			}
			switch r.Action {
			case "replace":
				r.Replacement = rapid.SampledFrom([]string{"$1", "x$1", "", "${1}y"}).Draw(t, "replacement")
				r.TargetLabel = rapid.SampledFrom([]string{"a", "c", "__name__", "t_$1"}).Draw(t, "target_label")
			case "hashmod":
				r.Modulus, r.TargetLabel = 7, "a"
			case "lowercase", "keepequal":
				r.TargetLabel = name.Draw(t, "target_label")
			case "labelmap":
				r.Replacement = "m_$1"
			}
			return r
		}), 1, 4).Draw(t, "rules")}
		rules, faults := c.compile()
		if len(faults) > 0 {
			t.Skip("not a rule")
		}
		base := labels.FromMap(rapid.MapOf(name, word).Draw(t, "labels"))
		registry := metrics.NewRegistry()
		memo := newSeriesMemo(registry, rules)
		s := registry.Of(&metrics.Desc{Name: base.Get("__name__")}, base)
		var in, out metrics.Batch
		in.Begin(&metrics.Source{}, 1, 1)
		in.Set(s, 1)
		memo.relabel(&in, &out)
		builder := labels.NewBuilder(base)
		keep := relabel.ProcessBuilder(builder, rules...)
		want := builder.Labels()
		switch {
		case !keep, want.Get("__name__") == "", !want.IsValid(model.LegacyValidation):
			if len(out.Samples) != 0 {
				t.Fatalf("%s was passed on as %s", base, out.Samples[0].Series.Labels())
			}
		case len(out.Samples) != 1 || !labels.Equal(out.Samples[0].Series.Labels().WithoutEmpty(), want):
			t.Fatalf("%s became %v, want %s", base, out.Samples, want)
		}
	})
}

func TestASeriesThatNothingChangesStaysTheSame(t *testing.T) {
	p, after := newProcessor(t, nil, func(r *Rule) { r.SourceLabels, r.Regex, r.Action = []string{"a"}, "never", "drop" })
	s := p.env.Series.New(&metrics.Desc{Name: "m"}, "a", "x", "b", "")
	pass(t, p, after, source("nas"), s)
	if after.batches[0].Samples[0].Series != s {
		t.Error("it was made anew")
	}
}

func TestRenamedFamiliesKeepKindHelpAndTheirParts(t *testing.T) {
	p, after := newProcessor(t, nil, func(r *Rule) {
		r.SourceLabels, r.Regex, r.TargetLabel, r.Replacement = []string{"__name__"}, "(.*)", "__name__", "new_$1"
	})
	r := p.env.Series
	h := &metrics.Desc{Name: "h_seconds", Help: "help", Kind: metrics.Histogram, Unit: "seconds"}
	c := &metrics.Desc{Name: "c_total", Help: "help c", Kind: metrics.Counter}
	pass(t, p, after, source("nas"), r.Part(h, "h_seconds_bucket", "le", "+Inf"), r.Part(h, "h_seconds_sum"), r.New(c, "x", "1"), r.New(c, "x", "2"))
	got := after.batches[0].Samples
	if d := got[0].Series.Desc; *d != (metrics.Desc{Name: "new_h_seconds", Help: "help", Kind: metrics.Histogram, Unit: "seconds"}) || got[1].Series.Desc != d {
		t.Errorf("the histogram's parts are of %+v and %+v", d, got[1].Series.Desc)
	}
	if d := got[2].Series.Desc; *d != (metrics.Desc{Name: "new_c_total", Help: "help c", Kind: metrics.Counter}) || got[3].Series.Desc != d {
		t.Errorf("the counters are of %+v and %+v", d, got[3].Series.Desc)
	}
	p, after = newProcessor(t, nil, func(r *Rule) { r.TargetLabel, r.Replacement = "__name__", "other" })
	pass(t, p, after, source("nas"), p.env.Series.Part(h, "h_seconds_bucket", "le", "1"))
	if d := after.batches[0].Samples[0].Series.Desc; *d != (metrics.Desc{Name: "other", Help: "help", Kind: metrics.Unknown}) {
		t.Errorf("a bucket under another name is of %+v", d)
	}
}

func TestSeriesThatBecomeOneAreKeptOnceCountedAndNamed(t *testing.T) {
	p, after := newProcessor(t, nil, func(r *Rule) { r.Regex, r.Action = "id", "labeldrop" })
	d := &metrics.Desc{Name: "m", Kind: metrics.Gauge}
	a, b, c := p.env.Series.New(d, "id", "1", "n", "x"), p.env.Series.New(d, "id", "2", "n", "x"), p.env.Series.New(d, "n", "y")
	nas := source("nas")
	for range 2 {
		if got := pass(t, p, after, nas, a, b, c); !slices.Equal(got, []string{`{__name__="m", n="x"} 0`, `{__name__="m", n="y"} 2`}) {
			t.Errorf("got %q", got)
		}
	}
	first := after.batches[0].Samples[0].Series
	if n := p.env.Losses.Counts()["relabel_collision"]; n != 2 {
		t.Errorf("%d collisions counted, want 2", n)
	}
	faults := p.env.Status.Faults()
	if len(faults) != 1 || !faults[0].Note || !strings.Contains(faults[0].What, `{__name__="m", n="x"}`) || !strings.Contains(faults[0].Key, nas.Address) {
		t.Errorf("the status says %+v", faults)
	}
	// Another source may have the same: its instance tells them apart.
	if got := pass(t, p, after, source("other"), p.env.Series.New(d, "id", "1", "n", "x")); len(got) != 1 || after.batches[0].Samples[0].Series == first {
		t.Errorf("the series of another source came out as %q", got)
	}
	// One leaves, the other takes its place: the same series goes on.
	pass(t, p, after, nas, b, c)
	if after.batches[0].Samples[0].Series != first {
		t.Error("a series that goes on under another id was made anew")
	}
	if faults := p.env.Status.Faults(); len(faults) != 0 {
		t.Errorf("the note stays: %+v", faults)
	}
}

func TestWhatHasNoNameOrAWrongOneIsCounted(t *testing.T) {
	p, after := newProcessor(t, nil,
		func(r *Rule) {
			r.SourceLabels, r.Regex, r.TargetLabel, r.Replacement = []string{"a"}, "x", "__name__", ""
		},
		func(r *Rule) { r.Regex, r.Replacement, r.Action = "(b)", "$1", "labelmap" },
		func(r *Rule) {
			r.SourceLabels, r.Regex, r.TargetLabel, r.Replacement = []string{"a"}, "y", "__name__", "not-a-name"
		},
	)
	d := &metrics.Desc{Name: "m"}
	if got := pass(t, p, after, source("nas"), p.env.Series.New(d, "a", "x"), p.env.Series.New(d, "a", "y"), p.env.Series.New(d, "a", "z")); len(got) != 1 {
		t.Errorf("got %q", got)
	}
	if counts := p.env.Losses.Counts(); counts["relabel_no_name"] != 1 || counts["relabel_invalid_name"] != 1 || counts["filtered"] != 0 {
		t.Errorf("counted: %v", counts)
	}
	p, after = newProcessor(t, func(c *Config) { c.UTF8Names = true }, func(r *Rule) { r.TargetLabel, r.Replacement = "__name__", "not-a-name" })
	if got := pass(t, p, after, source("nas"), p.env.Series.New(d)); len(got) != 1 {
		t.Errorf("with utf8_names: got %q", got)
	}
}

func TestExemplarsAndNativeHistogramsFollowTheirSeries(t *testing.T) {
	p, after := newProcessor(t, nil,
		func(r *Rule) { r.SourceLabels, r.Regex, r.Action = []string{"a"}, "gone", "drop" },
		func(r *Rule) { r.TargetLabel, r.Replacement = "new", "1" },
	)
	d := &metrics.Desc{Name: "m"}
	stays, goes := p.env.Series.New(d, "a", "x"), p.env.Series.New(d, "a", "gone")
	b := new(metrics.Batch)
	b.Begin(source("nas"), 1, 1)
	for _, s := range []*metrics.Series{stays, goes} {
		b.Histograms = append(b.Histograms, metrics.NativeHistogram{Series: s, Int: new(histogram.Histogram)})
		b.Exemplars = append(b.Exemplars, metrics.Exemplar{Series: s, Value: 1})
	}
	if err := p.ConsumeMetrics(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	out := after.batches[0]
	if len(out.Histograms) != 1 || len(out.Exemplars) != 1 || out.Histograms[0].Series.Labels().Get("new") != "1" || out.Exemplars[0].Series != out.Histograms[0].Series {
		t.Errorf("got %+v", out)
	}
	if b.Histograms[0].Series != stays {
		t.Error("the batch that was given was changed")
	}
}

func TestStreamsAreRelabelledAsSeriesAre(t *testing.T) {
	p, after := newProcessor(t, nil,
		func(r *Rule) { r.SourceLabels, r.Regex, r.Action = []string{"container"}, "noise", "drop" },
		func(r *Rule) { r.Regex, r.Action = "container|image", "labeldrop" },
	)
	web := p.env.Streams.New(labels.FromStrings("container", "web", "service", "shop"), "t1")
	web2 := p.env.Streams.New(labels.FromStrings("container", "web2", "service", "shop"), "t1")
	tenant := p.env.Streams.New(labels.FromStrings("container", "web2", "service", "shop"), "t2")
	noise := p.env.Streams.New(labels.FromStrings("container", "noise", "service", "shop"), "")
	bare := p.env.Streams.New(labels.FromStrings("container", "x", "__path", "y"), "")
	plain := p.env.Streams.New(labels.FromStrings("service", "plain"), "")
	b := new(logs.Batch)
	b.Begin("input.docker_logs")
	for i, s := range []*logs.Stream{web, web2, noise, bare, plain, tenant} {
		b.AddCopy(logs.Record{Stream: s, Time: int64(i), Line: []byte{byte('a' + i)}, Meta: labels.FromStrings("m", "1")})
	}
	after.err = errors.New("not now")
	if err := p.ConsumeLogs(t.Context(), b); !errors.Is(err, after.err) {
		t.Fatalf("what the next one says is not handed on: %v", err)
	}
	if counts := p.env.Losses.Counts(); len(counts) != 0 {
		t.Errorf("a batch that comes again was counted: %v", counts)
	}
	after.err = nil
	if err := p.ConsumeLogs(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range after.records {
		got = append(got, fmt.Sprintf("%s %s %d %s %s", r.Stream.Labels, r.Stream.Tenant, r.Time, r.Line, r.Meta))
	}
	want := []string{`{service="shop"} t1 0 a {m="1"}`, `{service="shop"} t1 1 b {m="1"}`, `{service="plain"}  4 e {m="1"}`, `{service="shop"} t2 5 f {m="1"}`}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if after.records[0].Stream != after.records[1].Stream || after.records[2].Stream != plain {
		t.Error("streams with the same labels are not one, or an unchanged one was made anew")
	}
	if counts := p.env.Losses.Counts(); counts["filtered"] != 1 || counts["relabel_no_labels"] != 1 {
		t.Errorf("counted: %v", counts)
	}
	if b.Records[0].Stream != web {
		t.Error("the batch that was given was changed")
	}
}

func TestMemosForgetWhatIsGone(t *testing.T) {
	p, after := newProcessor(t, nil, func(r *Rule) { r.SourceLabels, r.TargetLabel, r.Replacement = []string{"n"}, "__name__", "m_$1" })
	after.quiet = true
	d := &metrics.Desc{Name: "m"}
	at := int64(1_700_000_000_000)
	for cycle := range 50 {
		b := new(metrics.Batch)
		b.Begin(source("nas"), uint64(cycle), at)
		for i := range 20 { // new ones in each cycle
			b.Set(p.env.Series.New(d, "n", fmt.Sprint(cycle*20+i)), 1)
		}
		if err := p.ConsumeMetrics(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		at += sweepAfter / 2
	}
	twins := 0
	for _, list := range p.series.twins["input.host.nas"] {
		twins += len(list)
	}
	if n := p.series.memo.Len(); n > 100 || twins != n || len(p.series.descs) > 2*n+64 {
		t.Errorf("%d series, %d results and %d descriptions are remembered", n, twins, len(p.series.descs))
	}
	streams := p.streams
	for i := range 10 {
		s := p.env.Streams.New(labels.FromStrings("n", fmt.Sprint(i)), "")
		streams.twin(s, int64(i)*sweepAfter)
		streams.memo.Sweep(int64(i)*sweepAfter, streams.forget)
	}
	if streams.memo.Len() != 1 || len(streams.twins) != 1 {
		t.Errorf("%d streams and %d results are remembered", streams.memo.Len(), len(streams.twins))
	}
}

func TestSourcesMayComeAtOnce(t *testing.T) {
	p, after := newProcessor(t, nil, func(r *Rule) { r.Regex, r.Action = "id", "labeldrop" })
	d := &metrics.Desc{Name: "m"}
	var all sync.WaitGroup
	for n := range 4 {
		from := source(fmt.Sprint(n))
		stream := p.env.Streams.New(labels.FromStrings("id", fmt.Sprint(n), "n", "x"), "")
		all.Go(func() {
			for range 50 {
				b := new(metrics.Batch)
				b.Begin(from, 1, 1)
				for i := range 10 {
					b.Set(p.env.Series.New(d, "id", "x", "i", fmt.Sprint(i)), float64(i))
				}
				l := new(logs.Batch)
				l.Begin("input.x")
				l.Add(logs.Record{Stream: stream, Line: []byte("x")})
				if err := errors.Join(p.ConsumeMetrics(context.Background(), b), p.ConsumeLogs(context.Background(), l)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if len(after.batches) != 200 || len(after.records) != 200 {
		t.Errorf("%d batches and %d records came out", len(after.batches), len(after.records))
	}
	for _, b := range after.batches {
		if len(b.Samples) != 10 {
			t.Fatalf("a batch with %d samples", len(b.Samples))
		}
	}
}

func TestFaultyRulesAreToldWithTheirPlace(t *testing.T) {
	for _, c := range []struct {
		attr, says string
		set        func(*Rule)
	}{
		{"rule[0].action", `did you mean "replace"`, func(r *Rule) { r.Action = "replce" }},
		{"rule[0].action", "hashmod", func(r *Rule) { r.Action = "nothing like it" }},
		{"rule[0].regex", "regular expression", func(r *Rule) { r.TargetLabel, r.Regex = "a", "(" }},
		{"rule[0].source_labels", "a-b", func(r *Rule) { r.TargetLabel, r.SourceLabels = "a", []string{"a-b"} }},
		{"rule[0]", "target_label", func(r *Rule) { r.SourceLabels = []string{"a"} }},
		{"rule[0]", "modulus", func(r *Rule) { r.TargetLabel, r.Action = "a", "hashmod" }},
		{"rule[0]", "target_label", func(r *Rule) { r.TargetLabel = "a-b" }},
		{"rule[0]", "source_labels", func(r *Rule) { r.Regex, r.Action = "x", "drop" }},
		{"rule[0]", "only 'regex'", func(r *Rule) { r.Action, r.TargetLabel = "labeldrop", "x" }},
	} {
		var r Rule
		r.SetDefaults()
		c.set(&r)
		faults := (&Config{Rules: []Rule{r}}).Validate()
		var fault *config.AttrError
		if len(faults) != 1 || !errors.As(faults[0], &fault) || fault.Attr != c.attr || !strings.Contains(fault.Err.Error(), c.says) {
			t.Errorf("want %s: ...%s..., got %v", c.attr, c.says, faults)
		}
	}
	if faults := new(Config).Validate(); len(faults) != 1 {
		t.Errorf("no rule: %v", faults)
	}
	var utf8 Rule
	utf8.SetDefaults()
	utf8.TargetLabel = "a-b"
	c := &Config{Rules: []Rule{utf8}, UTF8Names: true}
	if faults := c.Validate(); len(faults) != 0 {
		t.Errorf("with utf8_names: %v", faults)
	}
	if rules, _ := c.compile(); rules[0].NameValidationScheme != model.UTF8Validation {
		t.Error("the scheme did not reach the rule")
	}
}

func TestConsumeAfterStopIsRefused(t *testing.T) {
	p, _ := newProcessor(t, nil, func(r *Rule) { r.TargetLabel = "a" })
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

func steady(t testing.TB) (*processor, *metrics.Batch, *logs.Batch) {
	p, after := newProcessor(t, nil,
		func(r *Rule) { r.SourceLabels, r.Regex, r.Action = []string{"device"}, "lo.*", "drop" },
		func(r *Rule) { r.SourceLabels, r.TargetLabel = []string{"device"}, "nic" },
	)
	after.quiet = true
	b := new(metrics.Batch)
	b.Begin(source("nas"), 1, 1_700_000_000_000)
	l := new(logs.Batch)
	l.Begin("input.x")
	d := &metrics.Desc{Name: "node_network_receive_bytes_total", Kind: metrics.Counter}
	for i := range 700 {
		device := fmt.Sprintf("eth%d", i)
		if i%10 == 0 {
			device = fmt.Sprintf("lo%d", i)
		}
		b.Set(p.env.Series.New(d, "device", device), float64(i))
		l.Add(logs.Record{Stream: p.env.Streams.New(labels.FromStrings("device", device), ""), Line: []byte("x")})
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
