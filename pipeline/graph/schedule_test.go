package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

const onePush = `
agent { interval = "10s" }
input "numbers" "a" {}
output "push" "p" { from = input }
`

func count(lines []string, part string) int {
	n := 0
	for _, l := range lines {
		if strings.Contains(l, part) {
			n++
		}
	}
	return n
}

func TestAnInputIsCollectedAtEveryIntervalAndReportsItsHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(onePush)
		defer w.stop()
		time.Sleep(time.Minute + time.Second)
		got := w.lines("output.push.p")
		// At once, after 8 to 12 s, and then every 10 s.
		if n := count(got, `__name__="value"`); n < 6 || n > 7 {
			t.Fatalf("%d cycles in a minute:\n%s", n, strings.Join(got, "\n"))
		}
		want := `input.numbers.a {__name__="up", instance="box", job="fake"} 1`
		if !slices.Contains(got, want) {
			t.Fatalf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	})
}

func TestAFailingInputGivesStaleMarkersAndUpZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var fail atomic.Bool
		w.collect["input.numbers.a"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
			if fail.Load() {
				return errors.New("server gone")
			}
			in.set(b, "x", 1, "k", "1")
			in.set(b, "x", 2, "k", "2")
			return nil
		}
		w.start(onePush)
		defer w.stop()
		time.Sleep(time.Second)
		w.lines("output.push.p")
		fail.Store(true)
		time.Sleep(12 * time.Second)
		got := strings.Join(w.lines("output.push.p"), "\n")
		for _, want := range []string{
			`{__name__="x", instance="box", job="fake", k="1"} stale`, `{__name__="x", instance="box", job="fake", k="2"} stale`,
			`{__name__="up", instance="box", job="fake"} 0`, `{__name__="scrape_samples_scraped", instance="box", job="fake"} 0`,
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, got)
			}
		}
		time.Sleep(10 * time.Second)
		if again := w.lines("output.push.p"); count(again, "stale") > 0 || count(again, `"up"`) == 0 {
			t.Errorf("stale markers are sent once, up at every tick:\n%s", strings.Join(again, "\n"))
		}
		if n := w.engine.Status().Nodes[0]; n.State != Failing || n.Why != "server gone" {
			t.Errorf("status: %+v", n)
		}
	})
}

func TestAVanishedSeriesGoesStaleAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cycle := 0
		w.collect["input.numbers.a"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
			cycle++
			in.set(b, "x", 1, "k", "stays")
			if cycle == 1 {
				in.set(b, "x", 1, "k", "goes")
			}
			return nil
		}
		w.start(onePush)
		defer w.stop()
		time.Sleep(13 * time.Second)
		got := w.lines("output.push.p")
		if count(got, "stale") != 1 || count(got, `k="goes"} stale`) != 1 {
			t.Fatalf("%s", strings.Join(got, "\n"))
		}
	})
}

func TestAHangingCollectionIsLeftBehindAndItsTicksAreSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		var calls atomic.Int64
		w.collect["input.numbers.a"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
			if calls.Add(1) == 1 {
				<-release // minds no deadline
			}
			in.set(b, "value", float64(calls.Load()))
			return nil
		}
		w.start(`
agent {
  interval = "10s"
  timeout  = "2s"
}
input "numbers" "a" {}
input "numbers" "b" {}
output "push" "p" { from = input }
`)
		defer w.stop()
		time.Sleep(35 * time.Second)
		got := w.lines("output.push.p")
		if n := count(got, `input.numbers.b {__name__="value"`); n < 3 {
			t.Fatalf("the other input was held up: %d cycles", n)
		}
		if count(got, `input.numbers.a {__name__="value"`) != 0 || count(got, `input.numbers.a {__name__="up", instance="box", job="fake"} 0`) < 3 {
			t.Fatalf("%s", strings.Join(got, "\n"))
		}
		n := w.engine.Status().Nodes[0]
		if calls.Load() != 1 || n.Skipped < 2 || n.State != Failing {
			t.Fatalf("calls %d, %+v", calls.Load(), n)
		}
		close(release)
		time.Sleep(11 * time.Second)
		if got := w.lines("output.push.p"); count(got, `input.numbers.a {__name__="value", instance="box", job="fake"} 2`) != 1 {
			t.Fatalf("did not go on after the call had returned:\n%s", strings.Join(got, "\n"))
		}
	})
}

func TestAPanicInACollectorIsAFaultOfItsInput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.collect["input.numbers.a"] = func(context.Context, *fakeInput, *metrics.Batch) error { panic("oh") }
		w.start(onePush)
		defer w.stop()
		time.Sleep(time.Second)
		if n := w.engine.Status().Nodes[0]; n.State != Failing || n.Why != "panic: oh" {
			t.Fatalf("%+v", n)
		}
	})
}

const pageAndPush = `
agent { interval = "10s" }
input "numbers" "a" {}
output "push" "p" { from = input }
output "page" "s" { from = input }
`

func TestAScrapePullsACycleForwardAndPushesAreThinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.start(pageAndPush)
		defer w.stop()
		synctest.Wait()
		page := w.pages["output.page.s"]
		for range 60 { // a scraper every 2 s
			time.Sleep(2 * time.Second)
			p := page.env.Pull(t.Context(), time.Second, "")
			if len(p) != 1 || !p[0].Done || !p[0].Up {
				t.Fatalf("%+v", p)
			}
		}
		onPage := count(w.lines("output.page.s"), `"value"`)
		pushed := count(w.lines("output.push.p"), `"value"`)
		if onPage < 60 || onPage > 75 {
			t.Errorf("%d cycles for 60 scrapes", onPage)
		}
		// 120 s at an interval of 10 s: between 0.8 and 1.2 of an interval apart.
		if pushed < 11 || pushed > 16 {
			t.Errorf("%d batches pushed in 12 intervals", pushed)
		}
	})
}

func TestAPushedEdgeNeverWaitsLongerThan12TenthsOfAnInterval(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 3 * time.Second, 7 * time.Second, 7900 * time.Millisecond, 9 * time.Second, 11 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var passed []time.Time
				w.collect["input.numbers.a"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
					in.set(b, "value", 1)
					return nil
				}
				w.start(pageAndPush)
				defer w.stop()
				synctest.Wait()
				page := w.pages["output.page.s"]
				began := time.Now()
				last := time.Time{}
				nextScrape := began
				for time.Since(began) < 2*time.Minute {
					time.Sleep(50 * time.Millisecond)
					if !time.Now().Before(nextScrape) {
						nextScrape = nextScrape.Add(every)
						page.env.Pull(t.Context(), time.Second, "")
					}
					synctest.Wait()
					if count(w.lines("output.push.p"), `"value"`) > 0 {
						now := time.Now()
						if !last.IsZero() {
							passed = append(passed, now)
							if d := now.Sub(last); d > 12100*time.Millisecond || d < 7900*time.Millisecond {
								t.Errorf("%v after the one before", d)
							}
						}
						last = now
					}
				}
				if len(passed) < 9 {
					t.Errorf("only %d batches", len(passed))
				}
			})
		})
	}
}

func TestAPullWaitsUntilItsDeadlineOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var slow atomic.Bool
		w.collect["input.numbers.a"] = func(ctx context.Context, in *fakeInput, b *metrics.Batch) error {
			if slow.Load() {
				select {
				case <-time.After(8 * time.Second):
				case <-ctx.Done():
				}
			}
			in.set(b, "value", 1)
			return nil
		}
		w.start(pageAndPush)
		defer w.stop()
		time.Sleep(2 * time.Second)
		slow.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		p := w.pages["output.page.s"].env.Pull(ctx, time.Second, "")
		if p[0].Done || time.Since(began) != 3*time.Second {
			t.Fatalf("%+v after %v", p, time.Since(began))
		}
	})
}

func TestConcurrentScrapesShareOneCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var calls atomic.Int64
		w.collect["input.numbers.a"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
			calls.Add(1)
			time.Sleep(time.Second)
			in.set(b, "value", 1)
			return nil
		}
		w.start(pageAndPush)
		defer w.stop()
		time.Sleep(3 * time.Second)
		before := calls.Load()
		done := make(chan []component.Pulled)
		for range 10 {
			go func() { done <- w.pages["output.page.s"].env.Pull(t.Context(), time.Second, "") }()
		}
		for range 10 {
			if p := <-done; !p[0].Done {
				t.Errorf("%+v", p)
			}
		}
		if calls.Load() != before+1 {
			t.Errorf("%d cycles for ten scrapes at once", calls.Load()-before)
		}
	})
}

func TestMaxSeriesDropsWhatIsNewAndNamesTheLabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		out := logged(w)
		var n atomic.Int64
		n.Store(2)
		w.collect["input.numbers.a"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
			for i := n.Load(); i > 0; i-- {
				in.set(b, "x", float64(i), "k", fmt.Sprint(i), "zone", "a", "shard", fmt.Sprint(i%2))
			}
			return nil
		}
		w.start(`
input "numbers" "a" { max_series = 3 }
output "push" "p" { from = input }
`)
		defer w.stop()
		time.Sleep(time.Second)
		if s := w.engine.Status().Nodes[0]; s.State != OK || len(s.Losses) > 0 {
			t.Fatalf("within the budget: %+v", s)
		}
		n.Store(5)
		time.Sleep(30 * time.Minute)
		if s := w.engine.Status().Nodes[0]; s.Series != 3 {
			t.Fatalf("%d series are passed", s.Series)
		}
		lines := w.lines("output.push.p")
		for _, k := range []string{`k="1"`, `k="2"`} {
			if count(lines, k) < 100 {
				t.Errorf("%s was there first and was dropped", k)
			}
		}
		s := w.engine.Status().Nodes[0]
		if s.State != Noted || s.Losses["series_limit"] < 200 || s.Losses["series_limit"]%2 != 0 {
			t.Errorf("%+v", s)
		}
		if len(s.Faults) != 1 || !strings.Contains(s.Faults[0].What, "the label with the most values is k, with 5") || s.Faults[0].Remedy == "" {
			t.Errorf("%+v", s.Faults)
		}
		if l := s.Limit; l == nil || *l != (SeriesLimit{Max: 3, Label: "k", Values: 5, Names: 1}) {
			t.Errorf("as data: %+v", l)
		}
		if told := strings.Count(out.String(), "most values is k"); told != 1 {
			t.Errorf("logged %d times:\n%s", told, out)
		}
		n.Store(2)
		time.Sleep(10 * time.Minute) // those that left are forgotten
		if s := w.engine.Status().Nodes[0]; s.State != OK || len(s.Faults) != 0 || s.Limit != nil {
			t.Errorf("when there are few again: %+v", s)
		}
	})
}

func TestWhereNamesAreTooManyNoLabelIsBlamed(t *testing.T) {
	r := metrics.NewRegistry()
	var all []*metrics.Series
	for i := range 4 {
		all = append(all, r.New(&metrics.Desc{Name: fmt.Sprint("x", i)}, "zone", "a"))
	}
	if got := blame(all, 1).words(); got != "they have 4 different names, and no label of many values" {
		t.Error(got)
	}
}

// logged is a logger whose lines the test can count.
func logged(w *world) *strings.Builder {
	var out strings.Builder
	w.engine.options.Log = slog.New(slog.NewTextHandler(&out, nil))
	return &out
}

func TestACollectionThatHangsForLongIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		out := logged(w)
		release := make(chan struct{})
		w.collect["input.numbers.a"] = func(context.Context, *fakeInput, *metrics.Batch) error {
			<-release
			return nil
		}
		w.start(onePush)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		why := w.engine.Status().Nodes[0].Why
		close(release)
		w.stop()
		// Once that it isn't done in time, once that it has still not returned.
		if n := strings.Count(out.String(), "msg=fault"); n != 2 || !strings.Contains(why, "has not returned yet") {
			t.Fatalf("%q, %d faults:\n%s", why, n, out)
		}
	})
}

func TestAStopIsNoRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		out := logged(w)
		calls := 0
		w.collect["input.numbers.a"] = func(ctx context.Context, _ *fakeInput, _ *metrics.Batch) error {
			if calls++; calls == 1 {
				return errors.New("server gone")
			}
			<-ctx.Done()
			return ctx.Err()
		}
		w.start(onePush)
		time.Sleep(12*time.Second + time.Millisecond) // within the second cycle
		w.stop()
		if strings.Contains(out.String(), "recovered") {
			t.Fatal(out)
		}
	})
}

func TestACollectorsOwnCancelledCallIsAFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.collect["input.numbers.a"] = func(context.Context, *fakeInput, *metrics.Batch) error {
			return fmt.Errorf("request: %w", context.Canceled)
		}
		w.start(onePush)
		defer w.stop()
		time.Sleep(time.Second)
		if n := w.engine.Status().Nodes[0]; n.State != Failing {
			t.Fatalf("%+v", n)
		}
	})
}

// What counts for a backend is the time of the samples, which is the start of the cycle.
func TestASlowCollectionDoesNotCostTheNextCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cycle := 0
		var times []int64
		w.collect["input.numbers.a"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
			if cycle++; cycle%3 == 0 {
				time.Sleep(4 * time.Second)
			}
			times = append(times, b.Time)
			in.set(b, "value", float64(b.Time))
			return nil
		}
		w.start(onePush)
		time.Sleep(5 * time.Minute)
		w.stop()
		if n := count(w.lines("output.push.p"), `"value"`); n != len(times) {
			t.Fatalf("%d of %d cycles passed", n, len(times))
		}
	})
}
