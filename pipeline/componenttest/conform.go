// Package componenttest holds every component to the contracts in package component: one loop over all Definitions.
package componenttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/graph"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// patience bounds everything that a component is asked to do here.
const patience = 20 * time.Second

// Conform runs the suite over the definitions.
func Conform(t *testing.T, definitions []component.Definition) {
	t.Helper()
	seen := map[string]bool{}
	for i := range definitions {
		d := &definitions[i]
		if seen[d.Address()] {
			t.Errorf("%s is defined twice", d.Address())
		}
		seen[d.Address()] = true
		t.Run(d.Address(), func(t *testing.T) {
			t.Run("is described", func(t *testing.T) { described(t, d) })
			t.Run("its example is valid", func(t *testing.T) { example(t, d) })
			t.Run("defaults are made anew for each block", func(t *testing.T) { fresh(t, d) })
			t.Run("starts, consumes and stops", func(t *testing.T) { life(t, d) })
			t.Run("stops without a start", func(t *testing.T) { stopWithoutStart(t, d) })
		})
	}
}

var typeName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func described(t *testing.T, d *component.Definition) {
	if !typeName.MatchString(d.Type) {
		t.Errorf("type %q is not lower case with underscores", d.Type)
	}
	if !strings.HasSuffix(d.Summary, ".") || strings.Contains(d.Summary, "\n") {
		t.Errorf("the summary is not one sentence: %q", d.Summary)
	}
	for _, err := range config.CheckConfig(d.Config()) {
		t.Error(err)
	}
	if d.Example == "" {
		t.Error("there is no example")
	}
	if !strings.Contains(d.Example, fmt.Sprintf("%s %q", d.Kind, d.Type)) {
		t.Errorf("the example shows no %s %q:\n%s", d.Kind, d.Type, d.Example)
	}
	switch d.Kind {
	case component.Input:
		if d.Emits == 0 || d.Takes != 0 {
			t.Errorf("an input emits and doesn't take: %v, %v", d.Emits, d.Takes)
		}
		if d.Emits&component.Metrics != 0 && d.Job == "" {
			t.Error("a metrics input has no default job")
		}
	case component.Processor:
		if d.Takes == 0 || d.Emits != d.Takes {
			t.Errorf("a processor emits what it takes: %v, %v", d.Emits, d.Takes)
		}
	case component.Output:
		if d.Takes == 0 || d.Emits != 0 {
			t.Errorf("an output takes and doesn't emit: %v, %v", d.Takes, d.Emits)
		}
	default:
		t.Errorf("kind %q", d.Kind)
	}
}

var reference = regexp.MustCompile(`\b(input|processor)\.([a-z0-9_]+)(?:\.([a-z0-9_]+))?`)

// companions completes an example with blocks for what it refers to, and with a consumer for what it gives.
func companions(d *component.Definition) (string, []component.Definition) {
	src := d.Example + "\n"
	definitions := []component.Definition{*d}
	added := map[string]bool{}
	for _, m := range reference.FindAllStringSubmatch(d.Example, -1) {
		kind, typ, name := m[1], m[2], m[3]
		if strings.Contains(d.Example, fmt.Sprintf("%s %q", kind, typ)) {
			continue
		}
		if name == "" {
			name = "companion"
		}
		if added[kind+typ+name] {
			continue
		}
		if !slices.ContainsFunc(definitions, func(x component.Definition) bool { return x.Address() == kind+"."+typ }) {
			definitions = append(definitions, stub(component.Kind(kind), typ, d.Takes))
		}
		added[kind+typ+name] = true
		from := ""
		if kind == "processor" {
			from = "  from = input\n"
		}
		src += fmt.Sprintf("%s %q %q {\n%s}\n", kind, typ, name, from)
	}
	definitions = append(definitions, stub(component.Input, "companion_source", component.Metrics|component.Logs), stub(component.Output, "companion_sink", 0))
	src += "input \"companion_source\" {}\noutput \"companion_sink\" \"s\" {\n  from = input.companion_source\n}\n"
	if d.Kind != component.Output {
		src += fmt.Sprintf("output \"companion_sink\" \"own\" {\n  from = %s\n}\n", d.Address())
	}
	return src, definitions
}

type nothing struct{}

type stubComponent struct{}

func (stubComponent) Collect(context.Context, *metrics.Batch) error        { return nil }
func (stubComponent) Run(ctx context.Context) error                        { <-ctx.Done(); return nil }
func (stubComponent) ConsumeMetrics(context.Context, *metrics.Batch) error { return nil }
func (stubComponent) ConsumeLogs(context.Context, *logs.Batch) error       { return nil }

func stub(kind component.Kind, typ string, signals component.Signal) component.Definition {
	open := func(*component.Env, *nothing) (stubComponent, error) { return stubComponent{}, nil }
	defaults := func() nothing { return nothing{} }
	switch kind {
	case component.Input:
		in := component.LogsInput(typ, "A companion.", defaults, open)
		in.Emits = signals
		return in
	case component.Processor:
		return component.NewProcessor(typ, "A companion.", signals, defaults, open)
	default:
		return component.NewOutput(typ, "A companion.", component.Metrics|component.Logs, defaults, open)
	}
}

func parse(t *testing.T, d *component.Definition) (*config.File, []component.Definition) {
	t.Helper()
	src, definitions := companions(d)
	file, diags := config.Parse(map[string][]byte{"example.hcl": []byte(src)}, config.Options{
		Types:    graph.BlockTypes(definitions),
		Hostname: func() string { return "box" },
		Getenv:   func(string) (string, bool) { return "value-from-env", true },
	})
	if diags.HasErrors() {
		t.Fatalf("the example is not valid:\n%s\n%s", config.Render(diags, nil, false), src)
	}
	return file, definitions
}

func example(t *testing.T, d *component.Definition) {
	file, definitions := parse(t, d)
	engine := graph.New(graph.Options{Definitions: definitions, Host: host(), Version: "test", Log: discard(), Config: "test"})
	if diags := engine.Check(file); diags.HasErrors() {
		t.Fatalf("%s", config.Render(diags, file.Sources, false))
	}
}

func fresh(t *testing.T, d *component.Definition) {
	if d.Config() == d.Config() {
		t.Error("two blocks share one config")
	}
}

// config returns the decoded config of the example's block.
func exampleConfig(t *testing.T, d *component.Definition) any {
	t.Helper()
	file, _ := parse(t, d)
	for _, b := range file.Blocks {
		if b.Kind == string(d.Kind) && b.Type == d.Type {
			return b.Config
		}
	}
	t.Fatal("no block of this type in the example")
	return nil
}

func discard() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func host() component.Host {
	return component.Host{Name: "box", Procfs: "/proc", Sysfs: "/sys", Rootfs: "/"}
}

// NewEnv is an environment for a component on its own: what it emits goes to the given consumers.
func NewEnv(t testing.TB, d *component.Definition, toMetrics component.MetricsConsumer, toLogs component.LogsConsumer) *component.Env {
	t.Helper()
	store, err := positions.Open("", discard())
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	address := d.Address() + ".test"
	return &component.Env{
		Address: address, Type: d.Type, Name: "test",
		Log: discard(), Status: component.NewStatus(discard()), Losses: new(component.Losses),
		Self: registry, SelfGatherer: registry,
		Series: metrics.NewRegistry(), Streams: logs.NewRegistry(),
		Metrics: toMetrics, Logs: toLogs,
		Positions: store.Book(address),
		Host:      host(), AgentLabels: labels.EmptyLabels(),
		DataDir:  t.TempDir(),
		Interval: 15 * time.Second, Timeout: 10 * time.Second, Version: "test",
		Pool: component.NewPool(),
		// Whatever port the example names, a test takes a free one.
		Listen: func(string) (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") },
		Inputs: func() []*metrics.Source { return nil },
		Pull:   func(context.Context, time.Duration, string) []component.Pulled { return nil },
	}
}

func open(t *testing.T, d *component.Definition) (any, *component.Env) {
	t.Helper()
	env := NewEnv(t, d, stubComponent{}, stubComponent{})
	comp, err := d.Open(env, exampleConfig(t, d))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return comp, env
}

// leavesNothing fails the test when goroutines stay that were not there before. Stop has no time to wait for them here, so they may still be on
// their way out, on a busy machine for longer than goleak waits.
func leavesNothing(t *testing.T, before goleak.Option) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := goleak.Find(before)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Error(err)
			return
		}
	}
}

func stopWithoutStart(t *testing.T, d *component.Definition) {
	defer leavesNothing(t, goleak.IgnoreCurrent())
	comp, _ := open(t, d)
	stopTwice(t, comp)
}

func stopTwice(t *testing.T, comp any) {
	t.Helper()
	s, ok := comp.(component.Stopper)
	if !ok {
		return
	}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		within(t, "Stop", func() error { return ignoreEnd(s.Stop(ctx)) })
	}
}

func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// within fails the test when f doesn't return in time, or returns an error.
func within(t *testing.T, what string, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(patience):
		t.Fatalf("%s did not return", what)
	}
}

func life(t *testing.T, d *component.Definition) {
	defer leavesNothing(t, goleak.IgnoreCurrent())
	comp, env := open(t, d)
	if s, ok := comp.(component.Starter); ok {
		within(t, "Start", func() error { return s.Start(t.Context()) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	runner, runs := comp.(component.Runner)
	if runs {
		go func() { ran <- runner.Run(ctx) }()
	}
	if c, ok := comp.(component.Collector); ok && d.Kind == component.Input {
		collects(t, c)
	}
	consumes(t, d, comp, env)
	cancel()
	if runs {
		select {
		case err := <-ran:
			if ignoreEnd(err) != nil {
				t.Errorf("Run ended with %v", err)
			}
		case <-time.After(patience):
			t.Fatal("Run did not return after its context had ended")
		}
	}
	stopTwice(t, comp)
	afterStop(t, d, comp, env)
}

// collects holds a collector to: a second cycle, a cancelled one, no batch kept.
func collects(t *testing.T, c component.Collector) {
	t.Helper()
	source := &metrics.Source{Address: "input.x.test", Type: "x", Job: "x", Instance: "box", Interval: 15 * time.Second}
	var b metrics.Batch
	for cycle := uint64(1); cycle <= 2; cycle++ {
		b.Begin(source, cycle, int64(cycle)*15_000)
		within(t, "Collect", func() error {
			ctx, cancel := context.WithTimeout(t.Context(), patience/2)
			defer cancel()
			if err := c.Collect(ctx, &b); err != nil {
				t.Logf("Collect: %v", err) // what it reads may not be there
			}
			return nil
		})
		seen := map[*metrics.Series]bool{}
		for i := range b.Samples {
			s := b.Samples[i].Series
			switch {
			case s == nil || s.Desc == nil:
				t.Fatalf("sample %d has no series or no description", i)
			case seen[s]:
				t.Errorf("%s stands twice in a batch", s)
			case s.Desc.Name == "" || s.Name() == "":
				t.Errorf("%s has no name", s)
			case b.Samples[i].Time == 0:
				t.Errorf("%s has no time", s)
			}
			seen[s] = true
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	b.Begin(source, 3, 45_000)
	within(t, "Collect with an ended context", func() error { _ = c.Collect(ended, &b); return nil })
}

func testMetrics(env *component.Env) *metrics.Batch {
	b := new(metrics.Batch)
	b.Begin(&metrics.Source{Address: "input.x.test", Type: "x", Job: "x", Instance: "box", Interval: 15 * time.Second}, 1, time.Now().UnixMilli())
	for i := range 3 {
		b.Set(env.Series.New(&metrics.Desc{Name: fmt.Sprintf("test_%d_total", i), Help: "Test.", Kind: metrics.Counter}, "k", "v"), float64(i))
	}
	return b
}

func testLogs(env *component.Env) *logs.Batch {
	b := new(logs.Batch)
	b.Begin("input.x.test")
	s := env.Streams.New(labels.FromStrings("container", "web"), "")
	for i := range 3 {
		b.AddCopy(logs.Record{Stream: s, Time: time.Now().UnixNano() + int64(i), Line: fmt.Appendf(nil, "line %d", i)})
	}
	return b
}

func consumes(t *testing.T, d *component.Definition, comp any, env *component.Env) {
	t.Helper()
	if c, ok := comp.(component.MetricsConsumer); ok && d.Takes&component.Metrics != 0 {
		b := testMetrics(env)
		before := render(b)
		within(t, "ConsumeMetrics", func() error { return c.ConsumeMetrics(t.Context(), b) })
		if after := render(b); !d.Mutates && before != after {
			t.Errorf("the batch was changed without Mutates:\n%s\n%s", before, after)
		}
		spoil(b)
	}
	if c, ok := comp.(component.LogsConsumer); ok && d.Takes&component.Logs != 0 {
		b := testLogs(env)
		before := render(b)
		within(t, "ConsumeLogs", func() error { return c.ConsumeLogs(t.Context(), b) })
		if after := render(b); !d.Mutates && before != after {
			t.Errorf("the batch was changed without Mutates:\n%s\n%s", before, after)
		}
		spoil(b)
	}
}

func render(b any) string {
	switch b := b.(type) {
	case *metrics.Batch:
		var out strings.Builder
		for _, s := range b.Samples {
			fmt.Fprintln(&out, s.Series, s.Value, s.Time)
		}
		return out.String()
	case *logs.Batch:
		var out strings.Builder
		for _, r := range b.Records {
			fmt.Fprintln(&out, r.Stream.Labels, r.Time, string(r.Line))
		}
		return out.String()
	}
	return ""
}

// spoil does what the engine does with a batch after Consume: its memory is used for something else.
func spoil(b any) {
	switch b := b.(type) {
	case *metrics.Batch:
		clear(b.Samples)
	case *logs.Batch:
		for i := range b.Records {
			for j := range b.Records[i].Line {
				b.Records[i].Line[j] = 'X'
			}
			b.Records[i] = logs.Record{}
		}
	}
}

// refusal is what is wrong with the answer of a component that was stopped.
func refusal(err error) error {
	switch {
	case err == nil:
		return errors.New("took a batch")
	case errors.Is(err, component.ErrStopped):
		return nil
	}
	return fmt.Errorf("refused without ErrStopped: %w", err)
}

func afterStop(t *testing.T, d *component.Definition, comp any, env *component.Env) {
	t.Helper()
	if d.Kind != component.Output {
		return
	}
	if c, ok := comp.(component.LogsConsumer); ok && d.Takes&component.Logs != 0 {
		within(t, "ConsumeLogs after Stop", func() error {
			return refusal(c.ConsumeLogs(t.Context(), testLogs(env)))
		})
	}
	if c, ok := comp.(component.MetricsConsumer); ok && d.Takes&component.Metrics != 0 {
		within(t, "ConsumeMetrics after Stop", func() error {
			return refusal(c.ConsumeMetrics(t.Context(), testMetrics(env)))
		})
	}
	if r, ok := comp.(component.TrafficReporter); ok {
		tr := r.Traffic()
		lost := uint64(0)
		for _, n := range maps.All(env.Losses.Counts()) {
			lost += n
		}
		if tr.Taken != tr.Delivered+tr.Queued+lost {
			t.Errorf("taken %d is not delivered %d + queued %d + given up %d (%v)", tr.Taken, tr.Delivered, tr.Queued, lost, env.Losses.Counts())
		}
	}
}
