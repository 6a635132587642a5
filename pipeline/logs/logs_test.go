package logs

import (
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestLinesStayWhenTheArenaGrows(t *testing.T) {
	var b Batch
	for round := range 3 {
		b.Begin("input.x")
		line := []byte("________________________________________________________________")
		for i := range 1000 {
			copy(line, fmt.Sprintf("%d-%d", round, i))
			b.AddCopy(Record{Line: line})
		}
		for i, r := range b.Records {
			if want := fmt.Sprintf("%d-%d", round, i); string(r.Line[:len(want)]) != want {
				t.Fatalf("record %d is %s", i, r.Line)
			}
		}
		if b.Bytes() != 64000 {
			t.Fatalf("%d bytes", b.Bytes())
		}
	}
}

func TestTimesAreNeverHandedOutTwice(t *testing.T) {
	r := NewRegistry()
	views := []*Registry{r.With(labels.FromStrings("a", "b")), r}
	var mu sync.Mutex
	seen := map[int64]bool{}
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			for range 200 {
				first := views[i%2].Times(1000, 5)
				mu.Lock()
				for at := first; at < first+5; at++ {
					if seen[at] {
						t.Errorf("%d twice", at)
					}
					seen[at] = true
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	if first := r.Times(1<<40, 1); first != 1<<40 {
		t.Fatalf("%d: the clock moved on and the times did not", first)
	}
}

func TestLabelsOfAViewAreMergedAndNeverOverride(t *testing.T) {
	r := NewRegistry().With(labels.FromStrings("env", "prod", "container", "never"))
	s := r.New(labels.FromStrings("container", "web", "empty", "", "__meta", "m"), "")
	if want := labels.FromStrings("__meta", "m", "container", "web", "env", "prod"); !labels.Equal(s.Labels, want) {
		t.Fatalf("%s", s.Labels)
	}
	if got, want := PushLabels(s, labels.FromStrings("env", "agent", "host", "box")), labels.FromStrings("container", "web", "env", "prod", "host", "box"); !labels.Equal(got, want) {
		t.Fatalf("%s", got)
	}
}
