package graph

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// A batch waits in an output that is full, and the reload takes the processor away through which it came.
func TestABatchThatWaitsBehindAProcessorThatLeavesGoesItsNewWay(t *testing.T) {
	before := `
input "lines" {}
processor "pass" "p" { from = input.lines }
output "sink" "s" { from = processor.pass.p }
`
	for name, after := range map[string]string{
		"removed": `
input "lines" {}
output "sink" "s" { from = input.lines }
`,
		"renamed": `
input "lines" {}
processor "pass" "q" { from = input.lines }
output "sink" "s" { from = processor.pass.q }
`,
		"replaced, and passed by": `
input "lines" {}
processor "pass" "p" {
  from  = input.lines
  value = "new"
}
output "sink" "other" { from = processor.pass.p }
output "sink" "s" { from = input.lines }
`,
		"replaced with its output": `
input "lines" {}
processor "pass" "p" {
  from  = input.lines
  value = "new"
}
output "sink" "s" {
  from  = processor.pass.p
  value = "new"
}
`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.setFull("output.sink.s", true)
				sent := make(chan error, 2)
				w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
					sent <- in.send(ctx, in.stream("a", "b"), "1")
					sent <- in.send(ctx, in.stream("a", "b"), "2")
					<-ctx.Done()
					return nil
				}
				w.start(before)
				defer w.stop()
				time.Sleep(time.Second)
				w.reload(after)
				time.Sleep(time.Second)
				w.setFull("output.sink.s", false)
				time.Sleep(time.Second)
				for range 2 {
					select {
					case err := <-sent:
						if err != nil {
							t.Fatal(err)
						}
					default:
						t.Fatal("the input waits for ever")
					}
				}
				for _, line := range []string{"1", "2"} {
					if n := w.taken["output.sink.s"][line]; n != 1 {
						t.Errorf("line %s arrived %d times", line, n)
					}
				}
			})
		})
	}
}

// A batch that comes to a node after the swap has turned its ways out is not taken: the ways may lead nowhere.
func TestAFanOutThatHasLeftTakesNothingNew(t *testing.T) {
	f := new(logsFanout)
	f.set(nil, false)
	f.leave(func(*edge) bool { return true })
	if err := f.ConsumeLogs(t.Context(), new(logs.Batch)); !errors.Is(err, component.ErrStopped) {
		t.Fatalf("%v", err)
	}
}

func TestAReloadAroundAProcessorRepeatsNothingToThoseThatHaveTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setFull("output.sink.dead", true)
		sent := make(chan error, 1)
		w.read["input.lines"] = func(ctx context.Context, in *fakeReader) error {
			sent <- in.send(ctx, in.stream("a", "b"), "1")
			<-ctx.Done()
			return nil
		}
		src := func(value string) string {
			return fmt.Sprintf(`
input "lines" {}
processor "pass" "p" {
  from  = input.lines
  value = %[1]q
}
output "sink" "alive" { from = processor.pass.p }
output "sink" "dead" {
  from  = processor.pass.p
  value = %[1]q
}
`, value)
		}
		w.start(src("1"))
		defer w.stop()
		time.Sleep(time.Second)
		w.reload(src("2"))
		time.Sleep(time.Second)
		w.setFull("output.sink.dead", false)
		time.Sleep(time.Second)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if a, d := w.taken["output.sink.alive"]["1"], w.taken["output.sink.dead"]["1"]; a != 1 || d != 1 {
			t.Errorf("alive %d times, dead %d times", a, d)
		}
	})
}

func TestPositionsWaitForAnOutputThatAReloadTookAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld(t)
		w.flushErr["output.sink.slow"] = errors.New("backend gone")
		w.read["input.lines.a"] = func(ctx context.Context, in *fakeReader) error {
			if err := in.send(ctx, in.stream("a", "b"), "1"); err != nil {
				return err
			}
			in.env.Positions.Set("k", positions.Position{Offset: 7})
			<-ctx.Done()
			return nil
		}
		src := func(slow string) string {
			return fmt.Sprintf(`
agent { data_dir = %q }
input "lines" "a" {}
input "lines" "b" {}
output "sink" "slow" { from = %s }
output "sink" "quick" { from = input }
`, dir, slow)
		}
		saved := func() int64 {
			store := reopenCopy(t, dir)
			defer func() { _ = store.Close() }()
			p, _ := store.Book("input.lines.a").Get("k")
			return p.Offset
		}
		w.start(src("input"))
		defer w.stop()
		time.Sleep(time.Second / 2)
		w.reload(src("input.lines.b"))
		time.Sleep(5 * time.Second)
		if n := saved(); n != 0 {
			t.Fatalf("saved %d while an output still held what was read", n)
		}
		w.mu.Lock()
		w.flushErr["output.sink.slow"] = nil
		w.mu.Unlock()
		time.Sleep(2 * time.Second)
		if n := saved(); n != 7 {
			t.Fatalf("saved %d", n)
		}
	})
}
