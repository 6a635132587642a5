package graph

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// try says what was found, a line each.
func (w *world) try(src string) []string {
	w.t.Helper()
	var out []string
	diags := w.engine.Try(w.t.Context(), w.parse(src), func(f Finding) {
		state := "ok"
		if f.Err != nil {
			state = "failed"
			if f.Note {
				state = "note"
			}
		}
		out = append(out, strings.TrimSuffix(fmt.Sprintf("%s %s|%s|%s|%v", state, f.Address, f.What, f.Detail, f.Err), "|<nil>"))
	})
	if diags.HasErrors() {
		w.t.Fatal(diags)
	}
	return out
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const tried = `
input "numbers" "a" {}
input "numbers" "b" {}
input "lines" {}
processor "pass" { from = input }
output "sink" { from = processor.pass }
`

func TestTryOpensEverythingOnceAndPassesNothingOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			// As the inputs of logs do: the rows are those that are followed now.
			in.env.Status.Detail(func() []component.Detail {
				if ctx.Err() != nil {
					return nil
				}
				return make([]component.Detail, 2)
			})
			in.env.Status.Note("file", component.WithRemedy(errors.New("a dull file"), "sharpen it"))
			if err := in.send(ctx, in.stream("container", "x"), "a line"); err == nil {
				t.Error("a line was taken")
			}
			return ctx.Err()
		}
		w.collect["input.numbers.b"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
			in.set(b, "up", 0)
			in.env.Status.Fault("part", errors.New("half of it"))
			return component.WithRemedy(errors.New("refused"), "let us in")
		}
		expect(t, w.try(tried),
			"ok input.numbers.a||1 series",
			"failed input.numbers.b|||refused: let us in",
			"failed input.numbers.b|part||half of it",
			"ok input.lines||2 sources",
			"note input.lines|file||a dull file: sharpen it",
			"ok processor.pass||opened",
			"ok output.sink||opened",
		)
		if lines := w.lines("output.sink"); len(lines) != 0 {
			t.Errorf("the output got %q", lines)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if slices.Contains(w.events, "run output.sink") {
			t.Errorf("%q", w.events)
		}
	})
}

func TestTryOutlastsWhatHangsAndWhatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		var left sync.WaitGroup
		left.Add(1)
		w.collect["input.numbers.a"] = func(context.Context, *fakeInput, *metrics.Batch) error {
			defer left.Done()
			<-release
			return nil
		}
		w.collect["input.numbers.b"] = func(context.Context, *fakeInput, *metrics.Batch) error { panic("oops") }
		w.read["input.lines"] = func(context.Context, *fakeReader) error { return errors.New("no socket") }
		expect(t, w.try(tried),
			"failed input.numbers.a|||not done after 10s: raise timeout in the block if the source is slow, or see why it hangs",
			"failed input.numbers.b|||panic: oops: please report this with the stack from the log",
			"failed input.lines|||no socket",
			"ok processor.pass||opened",
			"ok output.sink||opened",
		)
		close(release)
		left.Wait()
	})
}

func TestTryTellsFaultsOfTheConfigAndTriesNothing(t *testing.T) {
	w := newWorld(t)
	called := false
	diags := w.engine.Try(t.Context(), w.parse(`input "numbers" { value = "bad" }`+"\noutput \"sink\" { from = input.numbers }\n"), func(Finding) { called = true })
	if !diags.HasErrors() || called {
		t.Errorf("%v, reported: %v", diags, called)
	}
}
