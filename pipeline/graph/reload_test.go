package graph

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

func TestWherePicksSeriesAndStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.collect["input.numbers"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
			in.set(b, "x", 1, "k", "web-1")
			in.set(b, "x", 1, "k", "db")
			return nil
		}
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			if err := in.send(ctx, in.stream("k", "web-1"), "yes"); err != nil {
				return err
			}
			if err := in.send(ctx, in.stream("k", "db"), "no"); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		}
		w.start(`
input "numbers" {}
input "lines" {}
output "sink" "s" {
  from  = input
  where = { k = "~web-.*" }
}
`)
		defer w.stop()
		time.Sleep(time.Second)
		got := w.lines("output.sink.s")
		if count(got, "web-1") != 2 || count(got, "db") != 0 {
			t.Fatalf("%s", strings.Join(got, "\n"))
		}
	})
}

func TestWhereSeesTheJobAndInstanceOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(`
input "numbers" "a" {}
input "numbers" "b" { instance = "other" }
output "sink" "s" {
  from  = input
  where = { instance = "other", job = "fake" }
}
`)
		defer w.stop()
		time.Sleep(time.Second)
		if got := w.lines("output.sink.s"); count(got, "input.numbers.b") != 1 || count(got, "input.numbers.a") != 0 {
			t.Fatalf("%s", strings.Join(got, "\n"))
		}
	})
}

func TestAFanOutOffersAgainOnlyToThoseThatHaveNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setFull("output.sink.dead", true)
		sent := make(chan error, 1)
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			sent <- in.send(ctx, in.stream("a", "b"), "1", "2")
			<-ctx.Done()
			return nil
		}
		src := func(value string) string {
			return fmt.Sprintf(`
input "lines" {}
output "sink" "alive" { from = input }
output "sink" "dead" {
  from  = input
  value = %q
}
`, value)
		}
		w.start(src("1"))
		defer w.stop()
		time.Sleep(10 * time.Second)
		select {
		case err := <-sent:
			t.Fatalf("taken by a full output: %v", err)
		default:
		}
		st := w.engine.Status()
		if st.Nodes[0].State != Noted || !strings.Contains(st.Nodes[0].Why, "held back by output.sink.dead") {
			t.Errorf("%+v", st.Nodes[0])
		}
		w.reload(src("2")) // the full one is replaced while the batch waits in it
		time.Sleep(time.Second)
		w.setFull("output.sink.dead", false)
		time.Sleep(time.Second)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		for _, o := range []string{"output.sink.alive", "output.sink.dead"} {
			for _, line := range []string{"1", "2"} {
				if n := w.taken[o][line]; n != 1 {
					t.Errorf("%s got line %s %d times", o, line, n)
				}
			}
		}
	})
}

func TestPositionsAreSavedOnlyAfterAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld(t)
		w.flushErr["output.sink.s"] = errors.New("backend gone")
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			if err := in.send(ctx, in.stream("a", "b"), "1"); err != nil {
				return err
			}
			in.env.Positions.Set("k", positions.Position{Offset: 7})
			<-ctx.Done()
			return nil
		}
		w.start(fmt.Sprintf(`
agent { data_dir = %q }
input "lines" {}
output "sink" "s" { from = input }
`, dir))
		time.Sleep(10 * time.Second)
		if n := savedOffset(t, dir); n != 0 {
			t.Fatalf("saved %d before the output had flushed", n)
		}
		w.mu.Lock()
		w.flushErr["output.sink.s"] = nil
		w.mu.Unlock()
		time.Sleep(2 * time.Second)
		if n := savedOffset(t, dir); n != 7 {
			t.Fatalf("saved %d", n)
		}
		w.stop()
	})
}

func TestWhereAnInputBeginsIsSavedThoughOthersWaitForTheBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld(t)
		w.flushErr["output.sink.s"] = errors.New("backend gone")
		w.read["input.lines.busy"] = func(ctx context.Context, in *fakeReader) error {
			if err := in.send(ctx, in.stream("a", "b"), "1"); err != nil {
				return err
			}
			in.env.Positions.Set("k", positions.Position{Offset: 7})
			<-ctx.Done()
			return nil
		}
		w.read["input.lines.fresh"] = func(ctx context.Context, in *fakeReader) error {
			in.env.Positions.Set("k", positions.Position{Offset: 3})
			if err := in.env.Positions.Settle(ctx); err != nil {
				return err
			}
			if err := in.send(ctx, in.stream("a", "b"), "2"); err != nil {
				return err
			}
			in.env.Positions.Set("k", positions.Position{Offset: 4})
			<-ctx.Done()
			return nil
		}
		w.start(fmt.Sprintf(`
agent { data_dir = %q }
input "lines" "busy" {}
input "lines" "fresh" {}
output "sink" "s" { from = input }
`, dir))
		time.Sleep(10 * time.Second)
		store := reopenCopy(t, dir)
		defer func() { _ = store.Close() }()
		if p, ok := store.Book("input.lines.fresh").Get("k"); p.Offset != 3 {
			t.Errorf("the input that has only begun is saved as %+v, %v", p, ok)
		}
		if p, ok := store.Book("input.lines.busy").Get("k"); ok {
			t.Errorf("what the backend doesn't have is saved: %+v", p)
		}
		if got := w.lines("output.sink.s"); len(got) != 2 {
			t.Errorf("the output got %q", got)
		}
		w.mu.Lock()
		w.flushErr["output.sink.s"] = nil
		w.mu.Unlock()
		w.stop()
	})
}

// savedOffset reads a copy of the store, as a start after a kill would.
func savedOffset(t *testing.T, dir string) int64 {
	t.Helper()
	store := reopenCopy(t, dir)
	defer func() { _ = store.Close() }()
	p, _ := store.Book("input.lines").Get("k")
	return p.Offset
}

func TestReloadKeepsWhatIsTheSameAndHandsOverTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(onePush)
		time.Sleep(time.Second)
		w.lines("output.push.p")
		synctest.Wait()
		w.reload(`
# a comment changes nothing
agent { interval = "10s" }
input "numbers" "a" {}
input "numbers" "b" {}
output "push" "p" { from = input }
`)
		if len(w.events) != 1 {
			t.Errorf("the output was touched: %v", w.events)
		}
		time.Sleep(time.Second)
		got := w.lines("output.push.p")
		if count(got, "input.numbers.b") == 0 || count(got, "input.numbers.a") != 0 {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
		w.reload(`
agent { interval = "10s" }
input "numbers" "b" {}
output "push" "p" {
  from  = input
  value = "new"
}
`)
		synctest.Wait()
		if want := []string{"run output.push.p", "stop output.push.p", "run output.push.p"}; !slices.Equal(w.events, want) {
			t.Errorf("events %v", w.events)
		}
		got = w.lines("output.push.p")
		if count(got, `input.numbers.a {__name__="value", instance="box", job="fake"} stale`) != 1 || count(got, `"up", instance="box", job="fake"} stale`) != 1 {
			t.Errorf("the input that left was not marked stale:\n%s", strings.Join(got, "\n"))
		}
		w.reload(`
agent { interval = "10s" }
input "numbers" "b" {}
output "push" "q" { from = input }
`)
		synctest.Wait()
		if !slices.Equal(w.events[3:], []string{"removed output.push.p", "stop output.push.p", "run output.push.q"}) {
			t.Errorf("events %v", w.events[3:])
		}
		w.stop()
	})
}

func TestAReplacedInputDoesNotMarkItsOwnSeriesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(onePush)
		defer w.stop()
		time.Sleep(9 * time.Second)
		w.lines("output.push.p")
		w.reload(strings.Replace(onePush, `"a" {}`, `"a" { value = "other" }`, 1))
		time.Sleep(20 * time.Second)
		got := w.lines("output.push.p")
		if count(got, "stale") != 0 || count(got, `"value"`) < 2 {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
	})
}

func TestAnInputUnderAnotherInstanceLeavesItsOldSeriesStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(onePush)
		defer w.stop()
		time.Sleep(9 * time.Second)
		w.lines("output.push.p")
		w.reload(strings.Replace(onePush, `"a" {}`, `"a" { instance = "moved" }`, 1))
		time.Sleep(time.Second)
		got := w.lines("output.push.p")
		if count(got, `instance="box", job="fake"} stale`) != 4 || count(got, `instance="moved", job="fake"} 1`) < 2 {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
	})
}

func TestAFaultBeforeTheSwapLeavesTheOldGraphAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(onePush)
		defer w.stop()
		time.Sleep(time.Second)
		w.startErr["output.push.q"] = errors.New("port in use")
		_, err := w.engine.Reload(t.Context(), w.parse(onePush+`
input "numbers" "b" {}
output "push" "q" { from = input }
`))
		if err == nil || !strings.Contains(err.Error(), "output.push.q: port in use") {
			t.Fatalf("%v", err)
		}
		w.lines("output.push.p")
		time.Sleep(15 * time.Second)
		if got := w.lines("output.push.p"); count(got, "input.numbers.a") == 0 || count(got, "input.numbers.b") != 0 {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
		st := w.engine.Status()
		if !strings.Contains(st.ReloadError, "port in use") || len(st.Nodes) != 2 {
			t.Errorf("%+v", st)
		}
		w.reload(onePush)
		if st := w.engine.Status(); st.ReloadError != "" {
			t.Errorf("a good reload leaves the error of the one before: %q", st.ReloadError)
		}
	})
}

func TestAFailedStartLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.startErr["output.push.p"] = errors.New("port in use")
		if _, err := w.engine.Start(t.Context(), w.parse(onePush)); err == nil {
			t.Fatal("no error")
		}
		delete(w.startErr, "output.push.p")
		w.start(onePush)
		w.stop()
	})
}

func TestAStartThatFailsMakesNoFolder(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "var", "hermod")
	src := func(rest string) string { return fmt.Sprintf("agent { data_dir = %q }\n", dir) + rest }
	const sound = "input \"numbers\" {}\noutput \"push\" \"p\" { from = input }"
	for name, rest := range map[string]string{
		"in the plan":  "input \"lines\" {}\noutput \"push\" \"p\" { from = input.lines }",
		"at the build": "input \"numbers\" { value = \"bad\" }\noutput \"push\" \"p\" { from = input }",
		"at the start": sound,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startErr["output.push.p"] = errors.New("port in use")
			if diags, err := w.engine.Start(t.Context(), w.parse(src(rest))); err == nil && !diags.HasErrors() {
				t.Fatal("no error")
			}
			if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	w.startErr["output.push.p"] = errors.New("port in use")
	if _, err := w.engine.Start(t.Context(), w.parse(src(sound))); err == nil {
		t.Fatal("no error")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("a folder that was there is gone: %v", err)
	}
}

func TestStopFlushesAndSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld(t)
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			_ = in.send(ctx, in.stream("a", "b"), "1")
			in.env.Positions.Set("k", positions.Position{Offset: 9})
			<-ctx.Done()
			return nil
		}
		w.start(fmt.Sprintf("agent { data_dir = %q }\ninput \"lines\" {}\noutput \"sink\" \"s\" { from = input }", dir))
		synctest.Wait()
		w.stop()
		if n := savedOffset(t, dir); n != 9 {
			t.Fatalf("saved %d", n)
		}
	})
}

func TestARunnerThatEndsIsRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var runs atomic.Int64
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			if runs.Add(1) < 3 {
				panic("oh")
			}
			<-ctx.Done()
			return nil
		}
		w.start("input \"lines\" {}\noutput \"sink\" \"s\" { from = input }")
		defer w.stop()
		time.Sleep(500 * time.Millisecond)
		if n := w.engine.Status().Nodes[0]; n.State != Failing {
			t.Errorf("%+v", n)
		}
		time.Sleep(20 * time.Second)
		if n := w.engine.Status().Nodes[0]; runs.Load() != 3 || n.State == Failing {
			t.Errorf("%d runs, %+v", runs.Load(), n)
		}
	})
}

func TestReadinessDoesNotDependOnDataOrBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		slow := make(chan struct{})
		w.collect["input.numbers"] = func(context.Context, *fakeInput, *metrics.Batch) error {
			<-slow
			return errors.New("gone")
		}
		w.start("input \"numbers\" {}\ninput \"lines\" {}\noutput \"sink\" \"s\" { from = input }")
		defer w.stop()
		synctest.Wait()
		if st := w.engine.Status(); st.Ready || len(st.NotReady) != 1 {
			t.Errorf("%v %v", st.Ready, st.NotReady)
		}
		close(slow)
		synctest.Wait()
		if st := w.engine.Status(); !st.Ready {
			t.Errorf("not ready after a cycle: %v", st.NotReady)
		}
	})
}

func TestOwnMetricsCanBeGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(pageAndPush)
		defer w.stop()
		time.Sleep(time.Second)
		families, err := w.engine.Gather()
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, f := range families {
			have[f.GetName()] = true
		}
		for _, want := range []string{"hermod_build_info", "hermod_edge_passed_total", "hermod_collections_total", "go_goroutines", "process_cpu_seconds_total"} {
			if !have[want] {
				t.Errorf("no %s", want)
			}
		}
	})
}

// reopenCopy opens a copy of the store in dir, whose lock the running engine holds.
func reopenCopy(t *testing.T, dir string) *positions.Store {
	t.Helper()
	twin := t.TempDir()
	files, err := filepath.Glob(filepath.Join(dir, "positions*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(twin, filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	store, err := positions.Open(filepath.Join(twin, "positions"), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return store
}
