package graph

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

func TestEveryStateSaysSinceWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		began := time.Now()
		var in *fakeReader
		w.read["input.lines"] = func(ctx context.Context, reader *fakeReader) error {
			in = reader
			for ctx.Err() == nil {
				if err := in.send(ctx, in.stream("a", "b"), "1"); err != nil {
					return err
				}
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
			}
			return nil
		}
		src := "input \"lines\" {}\noutput \"sink\" \"s\" { from = input.lines }\n"
		w.start(src + "input \"numbers\" {}\noutput \"push\" \"p\" { from = input }")
		defer w.stop()
		time.Sleep(3500 * time.Millisecond)
		for _, n := range w.engine.Status().Nodes {
			if n.State != OK || !n.Since.Equal(began) {
				t.Errorf("%s: %s since %s", n.Address, n.State, n.Since.Sub(began))
			}
		}
		in.env.Status.Fault("x", errors.New("gone"))
		time.Sleep(time.Second)
		in.env.Status.Fault("x", nil)
		time.Sleep(time.Second)
		if n := w.engine.Status().Nodes[0]; n.State != OK || n.Since.Sub(began) != 4500*time.Millisecond {
			t.Errorf("%s since %s", n.State, n.Since.Sub(began))
		}
		w.reload(src)
		if n := w.engine.Status().Nodes[1]; n.State != OK || !n.Since.Equal(began) {
			t.Errorf("an output that a reload left alone: %s since %s", n.State, n.Since.Sub(began))
		}
	})
}

func TestWhatIsUnreadDoesNotDependOnTheOrderOfSources(t *testing.T) {
	for _, c := range []struct {
		rows []int64
		want int64
	}{{nil, 0}, {[]int64{0}, 0}, {[]int64{-1}, -1}, {[]int64{0, -1}, -1}, {[]int64{-1, 0}, -1}, {[]int64{-1, 5}, 5}, {[]int64{5, -1, 2}, 7}} {
		n := &node{status: component.NewStatus(nil), losses: new(component.Losses)}
		n.block, n.def = &config.Block{Address: "input.x"}, &component.Definition{Kind: component.Input}
		n.status.Detail(func() []component.Detail {
			var out []component.Detail
			for _, unread := range c.rows {
				out = append(out, component.Detail{Unread: unread})
			}
			return out
		})
		if got := n.tell(nil, time.Now()).Unread; got != c.want {
			t.Errorf("%v: %d", c.rows, got)
		}
	}
}

// slowSink takes a second for each batch.
type slowSink struct{ *fakeOutput }

func (s *slowSink) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	time.Sleep(time.Second)
	return s.fakeOutput.ConsumeLogs(ctx, b)
}

func TestSourcesThatTakeTurnsAreNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.engine.options.Definitions = append(w.engine.options.Definitions,
			component.NewOutput("slow", "Fake.", component.Logs, func() fakeConfig { return fakeConfig{} },
				func(env *component.Env, _ *fakeConfig) (*slowSink, error) {
					return &slowSink{&fakeOutput{world: w, env: env, stopped: make(chan struct{})}}, nil
				}))
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			var both sync.WaitGroup
			for i := range 2 { // there is always one inside the output
				both.Go(func() {
					time.Sleep(time.Duration(i) * 500 * time.Millisecond)
					for ctx.Err() == nil {
						_ = in.send(ctx, in.stream("a", fmt.Sprint(i)), "1")
					}
				})
			}
			both.Wait()
			return nil
		}
		w.start("input \"lines\" {}\noutput \"slow\" \"s\" { from = input }")
		defer w.stop()
		time.Sleep(20*time.Second + 700*time.Millisecond)
		if n := w.engine.Status().Nodes[0]; n.State != OK {
			t.Fatalf("%s: %s", n.State, n.Why)
		}
	})
}

// The page that leaves serves a scrape that waits for an input which the same reload brings.
func TestAScrapeDuringAReloadGetsTheNewInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		waits := make(chan bool, 1)
		w.engine.options.Definitions = append(w.engine.options.Definitions,
			component.NewOutput("server", "Fake.", component.Metrics, func() fakeConfig { return fakeConfig{} },
				func(env *component.Env, _ *fakeConfig) (*scraped, error) {
					return &scraped{&fakePage{&fakeOutput{world: w, env: env, stopped: make(chan struct{})}}, waits}, nil
				}))
		src := "input \"numbers\" \"a\" {}\noutput \"server\" \"s\" {\n from = input\n value = %q\n}\n"
		w.start(fmt.Sprintf(src, "old"))
		time.Sleep(5 * time.Second)
		before := time.Now()
		w.reload(fmt.Sprintf(src, "new") + "input \"numbers\" \"b\" {}\n")
		if !<-waits || time.Since(before) > time.Second {
			t.Errorf("the reload took %s", time.Since(before))
		}
		w.stop()
	})
}

// scraped is a page with a last scrape when it is told to end.
type scraped struct {
	*fakePage
	waits chan bool
}

func (s *scraped) Run(ctx context.Context) error {
	<-ctx.Done()
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all := true
	for _, p := range s.env.Pull(last, 0, "") {
		all = all && p.Done
	}
	select {
	case s.waits <- all:
	default:
	}
	return nil
}

func TestSeriesOfAPartialBatchAreRememberedByTheirLabels(t *testing.T) {
	r := metrics.NewRegistry()
	e := newEdge(edgeKey{from: "input.a", to: "output.b"}, r)
	e.now.Store(&edgeTarget{metrics: new(blackHole), pushes: true})
	source := &metrics.Source{Address: "input.a"}
	var b metrics.Batch
	for cycle := range uint64(10) {
		b.Begin(source, cycle, int64(cycle))
		b.Full = false
		b.Set(r.New(&metrics.Desc{Name: "x"}), 1) // made anew each time
		e.passMetrics(t.Context(), &b, false, nil)
	}
	if n := len(e.sources["input.a"].last); n != 1 {
		t.Fatalf("%d series remembered", n)
	}
}
