package graph

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// world holds what the fake components of a test see and do, by their address.
type world struct {
	t      *testing.T
	engine *Engine

	mu       sync.Mutex
	collect  map[string]func(ctx context.Context, in *fakeInput, b *metrics.Batch) error
	read     map[string]func(ctx context.Context, in *fakeReader) error
	startErr map[string]error
	full     map[string]bool           // log outputs that have no room
	flushErr map[string]error          // what Flush returns
	got      map[string][]string       // what outputs were given, a line each
	events   []string                  // start, run, stop, removed, in order
	pages    map[string]*fakeOutput    // running outputs by address
	taken    map[string]map[string]int // output -> line -> times
}

type fakeConfig struct {
	Value string `hcl:"value,optional"`
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, collect: map[string]func(context.Context, *fakeInput, *metrics.Batch) error{},
		read: map[string]func(context.Context, *fakeReader) error{}, startErr: map[string]error{}, full: map[string]bool{},
		flushErr: map[string]error{}, got: map[string][]string{}, pages: map[string]*fakeOutput{}, taken: map[string]map[string]int{},
	}
	w.engine = New(Options{
		Definitions: w.definitions(), Host: component.Host{Name: "box"}, Version: "test",
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Config: "test",
	})
	return w
}

func (w *world) definitions() []component.Definition {
	defaults := func() fakeConfig { return fakeConfig{} }
	output := func(env *component.Env, _ *fakeConfig) (*fakeOutput, error) {
		return &fakeOutput{world: w, env: env, stopped: make(chan struct{})}, nil
	}
	return []component.Definition{
		component.MetricsInput("numbers", "Fake.", defaults, func(env *component.Env, c *fakeConfig) (*fakeInput, error) {
			if c.Value == "bad" {
				return nil, config.Attr("value", fmt.Errorf("bad is not a value"))
			}
			return &fakeInput{world: w, env: env, series: map[string]*metrics.Series{}}, nil
		}, component.Job("fake")),
		component.LogsInput("lines", "Fake.", defaults, func(env *component.Env, _ *fakeConfig) (*fakeReader, error) {
			return &fakeReader{world: w, env: env}, nil
		}),
		component.NewProcessor("pass", "Fake.", component.Metrics|component.Logs, defaults,
			func(env *component.Env, _ *fakeConfig) (*fakePass, error) { return &fakePass{env}, nil }),
		component.NewOutput("push", "Fake.", component.Metrics, defaults, output, component.Pushes()),
		component.NewOutput("sink", "Fake.", component.Metrics|component.Logs, defaults, output),
		component.NewOutput("page", "Fake.", component.Metrics, defaults,
			func(env *component.Env, c *fakeConfig) (*fakePage, error) {
				o, err := output(env, c)
				return &fakePage{o}, err
			}),
	}
}

func (w *world) parse(src string) *config.File {
	w.t.Helper()
	f, diags := config.Parse(map[string][]byte{"test.hcl": []byte(src)}, config.Options{Types: BlockTypes(w.engine.options.Definitions)})
	if diags.HasErrors() {
		w.t.Fatalf("config:\n%s", config.Render(diags, nil, false))
	}
	return f
}

func (w *world) start(src string) {
	w.t.Helper()
	diags, err := w.engine.Start(w.t.Context(), w.parse(src))
	if err != nil || diags.HasErrors() {
		w.t.Fatalf("start: %v\n%v", err, diags)
	}
}

func (w *world) reload(src string) {
	w.t.Helper()
	diags, err := w.engine.Reload(w.t.Context(), w.parse(src))
	if err != nil || diags.HasErrors() {
		w.t.Fatalf("reload: %v\n%v", err, diags)
	}
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.engine.Stop(context.Background()); err != nil {
		w.t.Fatalf("stop: %v", err)
	}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	w.events = append(w.events, fmt.Sprintf(format, args...))
	w.mu.Unlock()
}

// lines returns and forgets what an output was given.
func (w *world) lines(address string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.got[address]
	w.got[address] = nil
	return out
}

func (w *world) setFull(address string, full bool) {
	w.mu.Lock()
	w.full[address] = full
	w.mu.Unlock()
}

type fakeInput struct {
	world  *world
	env    *component.Env
	series map[string]*metrics.Series
}

func (in *fakeInput) Collect(ctx context.Context, b *metrics.Batch) error {
	in.world.mu.Lock()
	collect := in.world.collect[in.env.Address]
	in.world.mu.Unlock()
	if collect == nil {
		in.set(b, "value", 1)
		return nil
	}
	return collect(ctx, in, b)
}

func (in *fakeInput) set(b *metrics.Batch, name string, v float64, nameValues ...string) {
	key := name + strings.Join(nameValues, ",")
	if in.series[key] == nil {
		in.series[key] = in.env.Series.New(&metrics.Desc{Name: name, Kind: metrics.Gauge}, nameValues...)
	}
	b.Set(in.series[key], v)
}

type fakeReader struct {
	world *world
	env   *component.Env
}

func (in *fakeReader) Run(ctx context.Context) error {
	in.env.Status.Ready()
	in.world.mu.Lock()
	read := in.world.read[in.env.Address]
	in.world.mu.Unlock()
	if read == nil {
		<-ctx.Done()
		return nil
	}
	return read(ctx, in)
}

// send hands lines on in one batch.
func (in *fakeReader) send(ctx context.Context, stream *logs.Stream, lines ...string) error {
	var b logs.Batch
	b.Begin(in.env.Address)
	for _, l := range lines {
		b.AddCopy(logs.Record{Stream: stream, Time: in.env.Streams.Times(time.Now().UnixNano(), 1), Line: []byte(l)})
	}
	return in.env.Logs.ConsumeLogs(ctx, &b)
}

func (in *fakeReader) stream(nameValues ...string) *logs.Stream {
	return in.env.Streams.New(labels.FromStrings(nameValues...), "")
}

type fakePass struct{ env *component.Env }

func (p *fakePass) ConsumeMetrics(ctx context.Context, b *metrics.Batch) error {
	return p.env.Metrics.ConsumeMetrics(ctx, b)
}

func (p *fakePass) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	return p.env.Logs.ConsumeLogs(ctx, b)
}

type fakeOutput struct {
	world   *world
	env     *component.Env
	stopped chan struct{}
	once    sync.Once
}

func (o *fakeOutput) Start(context.Context) error {
	o.world.mu.Lock()
	defer o.world.mu.Unlock()
	if err := o.world.startErr[o.env.Address]; err != nil {
		return err
	}
	o.world.pages[o.env.Address] = o
	return nil
}

func (o *fakeOutput) Run(ctx context.Context) error {
	o.world.note("run %s", o.env.Address)
	<-ctx.Done()
	return nil
}

func (o *fakeOutput) Removed() { o.world.note("removed %s", o.env.Address) }

func (o *fakeOutput) Stop(context.Context) error {
	o.once.Do(func() {
		o.world.note("stop %s", o.env.Address)
		close(o.stopped)
	})
	return nil
}

func (o *fakeOutput) ConsumeMetrics(_ context.Context, b *metrics.Batch) error {
	o.world.mu.Lock()
	defer o.world.mu.Unlock()
	for _, s := range b.Samples {
		v := fmt.Sprint(s.Value)
		if value.IsStaleNaN(s.Value) {
			v = "stale"
		}
		o.world.got[o.env.Address] = append(o.world.got[o.env.Address],
			fmt.Sprintf("%s %s %s", b.Source.Address, metrics.PushLabels(s.Series, b.Source, labels.EmptyLabels()), v))
	}
	return nil
}

func (o *fakeOutput) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	for {
		select {
		case <-o.stopped:
			return component.ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		o.world.mu.Lock()
		if !o.world.full[o.env.Address] {
			for i := range b.Records {
				r := &b.Records[i]
				o.world.got[o.env.Address] = append(o.world.got[o.env.Address], r.Stream.Labels.String()+" "+string(r.Line))
				if o.world.taken[o.env.Address] == nil {
					o.world.taken[o.env.Address] = map[string]int{}
				}
				o.world.taken[o.env.Address][string(r.Line)]++
			}
			o.world.mu.Unlock()
			return nil
		}
		o.world.mu.Unlock()
		select {
		case <-o.stopped:
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (o *fakeOutput) Flush(context.Context) error {
	o.world.mu.Lock()
	defer o.world.mu.Unlock()
	return o.world.flushErr[o.env.Address]
}

type fakePage struct{ *fakeOutput }

func (p *fakePage) MaxAge() time.Duration { return time.Second }
