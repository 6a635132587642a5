package graph

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// fragile panics as often as it was told to.
type fragile struct {
	*fakeOutput
	panics int // guarded by fakeOutput.world.mu
}

func (f *fragile) trip() {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	if f.panics > 0 {
		f.panics--
		panic("oh")
	}
}

func (f *fragile) ConsumeMetrics(ctx context.Context, b *metrics.Batch) error {
	f.trip()
	return f.fakeOutput.ConsumeMetrics(ctx, b)
}

func (f *fragile) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	f.trip()
	return f.fakeOutput.ConsumeLogs(ctx, b)
}

func (f *fragile) Removed() { panic("oh") }

func (f *fragile) Flush(context.Context) error { panic("oh") }

func TestAPanicInAConsumerIsItsFaultAndCosts(t *testing.T) {
	for signal, source := range map[string]string{"metrics": "numbers", "logs": "lines"} {
		t.Run(signal, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.engine.options.Definitions = append(w.engine.options.Definitions,
					component.NewOutput("fragile", "Fake.", component.Metrics|component.Logs, func() fakeConfig { return fakeConfig{} },
						func(env *component.Env, _ *fakeConfig) (*fragile, error) {
							return &fragile{&fakeOutput{world: w, env: env, stopped: make(chan struct{})}, 1}, nil
						}))
				w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
					for _, line := range []string{"1", "2"} {
						if err := in.send(ctx, in.stream("a", "b"), line); err != nil {
							return err
						}
						select {
						case <-time.After(10 * time.Second):
						case <-ctx.Done():
						}
					}
					<-ctx.Done()
					return nil
				}
				src := "agent { interval = \"10s\" }\ninput \"" + source + "\" {}\noutput \"sink\" \"s\" { from = input }\n"
				w.start(src + "output \"fragile\" \"f\" { from = input }")
				defer w.stop()
				time.Sleep(time.Second)
				node := func() Node {
					nodes := w.engine.Status().Nodes
					return nodes[len(nodes)-1]
				}
				if n := node(); n.State != Failing || n.Losses["panic"] != 1 || n.Why != "panic: oh" {
					t.Errorf("%+v", n)
				}
				if len(w.lines("output.sink.s")) == 0 {
					t.Error("the other output was held up")
				}
				time.Sleep(15 * time.Second)
				if n := node(); n.State == Failing || n.In == 0 {
					t.Errorf("does not go on: %+v", n)
				}
				w.reload(src)
			})
		})
	}
}
