package graph

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

const (
	direct = `
agent { interval = "10s" }
input "numbers" "a" {}
output "push" "p" { from = input }
`
	throughProcessor = `
agent { interval = "10s" }
input "numbers" "a" {}
processor "pass" "x" { from = input }
output "push" "p" { from = processor.pass.x }
`
)

func TestAProcessorPutBetweenInputAndOutputMakesNothingStale(t *testing.T) {
	for name, src := range map[string][2]string{"put in": {direct, throughProcessor}, "taken out": {throughProcessor, direct}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				extra := true
				w.collect["input.numbers.a"] = func(_ context.Context, in *fakeInput, b *metrics.Batch) error {
					in.set(b, "value", 1)
					if extra {
						in.set(b, "extra", 1)
					}
					extra = false
					return nil
				}
				w.start(src[0])
				time.Sleep(time.Second)
				w.lines("output.push.p")
				w.reload(src[1])
				time.Sleep(30 * time.Second)
				got := w.lines("output.push.p")
				if count(got, "stale") != 1 || count(got, `"extra", instance="box", job="fake"} stale`) != 1 || count(got, `"value"`) < 2 {
					t.Errorf("not only what vanished went stale:\n%s", strings.Join(got, "\n"))
				}
				// The next reload knows what this edge has passed.
				w.reload("agent { interval = \"10s\" }\ninput \"numbers\" \"b\" {}\noutput \"push\" \"p\" { from = input }")
				if got := w.lines("output.push.p"); count(got, "input.numbers.a") != 4 || count(got, "stale") != 4 {
					t.Errorf("the input that left is not stale:\n%s", strings.Join(got, "\n"))
				}
				w.stop()
			})
		})
	}
}

func TestNewLabelsOfAnInputLeaveItsOldHealthStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		src := func(env string) string {
			return strings.Replace(direct, `"a" {}`, `"a" { labels = { env = "`+env+`" } }`, 1)
		}
		w.start(src("old"))
		defer w.stop()
		time.Sleep(time.Second)
		w.lines("output.push.p")
		w.reload(src("new"))
		time.Sleep(time.Second)
		got := w.lines("output.push.p")
		// value, up, scrape_duration_seconds, scrape_samples_scraped
		if count(got, `env="old", instance="box", job="fake"} stale`) != 4 || count(got, "stale") != 4 || count(got, `env="new"`) != 4 {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
	})
}

func TestHealthGoesOverToTheEdgeThatTellsOfItNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		processor := func(name, where string) string {
			return "processor \"pass\" \"" + name + "\" {\n  from = input\n  where = { k = \"" + where + "\" }\n}\n"
		}
		begin := "agent { interval = \"10s\" }\ninput \"numbers\" \"a\" {}\n"
		output := "output \"push\" \"p\" { from = processor }\n"
		w.start(begin + processor("x", "1") + processor("y", "!1") + output)
		defer w.stop()
		time.Sleep(time.Second)
		w.lines("output.push.p")
		w.reload(begin + processor("y", "!1") + output) // x, which told of the input, is gone
		time.Sleep(15 * time.Second)
		got := w.lines("output.push.p")
		if count(got, "stale") != 0 || !slices.Contains(got, `input.numbers.a {__name__="up", instance="box", job="fake"} 1`) {
			t.Errorf("%s", strings.Join(got, "\n"))
		}
	})
}
