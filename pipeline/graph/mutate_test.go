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

// doubler changes in place what it is given.
type doubler struct{ env *component.Env }

func (d doubler) ConsumeMetrics(ctx context.Context, b *metrics.Batch) error {
	for i := range b.Samples {
		b.Samples[i].Value *= 2
	}
	return d.env.Metrics.ConsumeMetrics(ctx, b)
}

func (d doubler) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	for i := range b.Records {
		b.Records[i].Line = append(b.Records[i].Line, "!"...)
	}
	return d.env.Logs.ConsumeLogs(ctx, b)
}

func withDoubler(w *world) {
	w.engine.options.Definitions = append(w.engine.options.Definitions,
		component.NewProcessor("double", "Fake.", component.Metrics|component.Logs, func() fakeConfig { return fakeConfig{} },
			func(env *component.Env, _ *fakeConfig) (doubler, error) { return doubler{env}, nil }, component.Mutates()))
}

// A processor between the fan-out and the one that mutates hands on the very batch that the other output is given.
func TestWhatAProcessorChangesIsNotSeenBesideIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		withDoubler(w)
		w.start(`
input "numbers" {}
processor "pass" "x" { from = input }
processor "double" "y" { from = processor.pass.x }
output "sink" "changed" { from = processor.double.y }
output "sink" "plain" { from = input }
`)
		defer w.stop()
		time.Sleep(time.Second)
		if got := w.lines("output.sink.plain"); len(got) != 1 || count(got, "} 1") != 1 {
			t.Errorf("plain: %v", got)
		}
		if got := w.lines("output.sink.changed"); len(got) != 1 || count(got, "} 2") != 1 {
			t.Errorf("changed: %v", got)
		}
	})
}

func TestWhatIsOfferedAgainIsChangedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		withDoubler(w)
		w.setFull("output.sink.s", true)
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			_ = in.send(ctx, in.stream("a", "b"), "1")
			<-ctx.Done()
			return nil
		}
		src := func(value string) string {
			return `
input "lines" {}
processor "double" "y" {
  from  = input
  value = "` + value + `"
}
output "sink" "s" {
  from  = processor.double.y
  value = "` + value + `"
}
`
		}
		w.start(src("1"))
		defer w.stop()
		time.Sleep(time.Second)
		w.reload(src("2"))
		w.setFull("output.sink.s", false)
		time.Sleep(time.Second)
		if got := w.lines("output.sink.s"); len(got) != 1 || count(got, "1!") != 1 || count(got, "!!") != 0 {
			t.Errorf("%v", got)
		}
	})
}
