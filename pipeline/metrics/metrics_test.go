package metrics

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestARegistryMergesTheLabelsOfItsView(t *testing.T) {
	r := NewRegistry().With(labels.FromStrings("zone", "a", "device", "never"))
	s := r.New(&Desc{Name: "x"}, "device", "sda")
	if want := labels.FromStrings("__name__", "x", "device", "sda", "zone", "a"); !labels.Equal(s.Labels(), want) {
		t.Fatalf("%s", s)
	}
}

func TestPushLabels(t *testing.T) {
	r := NewRegistry()
	src := &Source{Job: "node", Instance: "box"}
	extra := labels.FromStrings("host", "box", "job", "agent", "k", "agent")
	for _, c := range []struct{ in, want labels.Labels }{
		{labels.FromStrings("__name__", "x"), labels.FromStrings("__name__", "x", "host", "box", "instance", "box", "job", "node", "k", "agent")},
		{labels.FromStrings("__name__", "x", "__tmp", "t", "k", "own", "job", "own"), labels.FromStrings("__name__", "x", "host", "box", "instance", "box", "job", "own", "k", "own")},
		{labels.FromStrings("__name__", "x", "empty", "", "k", ""), labels.FromStrings("__name__", "x", "host", "box", "instance", "box", "job", "node", "k", "agent")},
	} {
		if got := PushLabels(r.Of(&Desc{Name: "x"}, c.in), src, extra); !labels.Equal(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.in, got, c.want)
		}
	}
}

func TestATableForgetsWhatIsGone(t *testing.T) {
	var table Table[*int]
	made := 0
	row := func(cycle uint64) {
		table.Row([]byte("sda"), cycle, func(string) *int { made++; return new(int) })
		table.Sweep(cycle)
	}
	row(1)
	row(6)
	if made != 1 {
		t.Fatalf("made %d times while it was there", made)
	}
	table.Sweep(12)
	row(13)
	if made != 2 {
		t.Fatalf("made %d times", made)
	}
}

func TestASteadyTableAndBatchDoNotAllocate(t *testing.T) {
	r := NewRegistry()
	var table Table[*Series]
	b := new(Batch)
	src := &Source{}
	key := []byte("sda")
	make := func(string) *Series { return r.New(&Desc{Name: "x"}, "device", "sda") }
	cycle := uint64(0)
	collect := func() {
		cycle++
		b.Begin(src, cycle, 1)
		b.Set(*table.Row(key, cycle, make), 1)
		table.Sweep(cycle)
	}
	collect()
	if n := testing.AllocsPerRun(100, collect); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
