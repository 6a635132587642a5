package metrics

import (
	"runtime"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"
)

var (
	someNames  = rapid.SampledFrom([]string{"A", "__hidden", "container_label_x", "cpu", "device", "id", "image", "zone"})
	someValues = rapid.SampledFrom([]string{"", "0", "total", strings.Repeat("long", 100)})
	someLabels = rapid.MapOfN(someNames, someValues, 0, 5)
)

// drawn makes a series in one of the ways there are, and says which labels it has to have.
func drawn(t *rapid.T, r *Registry, label string) (s *Series, want labels.Labels) {
	base, own := someLabels.Draw(t, label+" base"), someLabels.Draw(t, label+" own")
	name := rapid.SampledFrom([]string{"m", "m_count", "B"}).Draw(t, label+" name")
	whole := map[string]string{labels.MetricName: name}
	var pairs []string
	for n, v := range base {
		whole[n] = v
	}
	for n, v := range own {
		whole[n] = v
		pairs = append(pairs, n, v)
	}
	want = labels.FromMap(whole)
	if rapid.Bool().Draw(t, label+" whole") {
		return r.Of(&Desc{Name: "m"}, want), want
	}
	s = r.With(labels.FromMap(base)).Part(&Desc{Name: "m"}, name, pairs...)
	if rapid.Bool().Draw(t, label+" like") { // what a relabel rule made of another one
		other := r.With(labels.FromMap(someLabels.Draw(t, label+" common of another"))).New(&Desc{Name: "m"})
		s = r.Like(other, &Desc{Name: "m"}, want)
	}
	return s, want
}

func TestASeriesHasTheLabelsItWasMadeOfWhereverTheirTextIs(t *testing.T) {
	r := NewRegistry()
	rapid.Check(t, func(t *rapid.T) {
		s, want := drawn(t, r, "a")
		if got := s.Labels(); !labels.Equal(got, want) {
			t.Fatalf("%s, want %s", got, want)
		}
		if s.Len() != want.Len() || s.Name() != want.Get(labels.MetricName) {
			t.Fatalf("%d labels, called %q, of %s", s.Len(), s.Name(), want)
		}
		for _, name := range []string{labels.MetricName, "A", "__hidden", "cpu", "id", "zone", "none"} {
			if s.Get(name) != want.Get(name) || s.Has(name) != want.Has(name) {
				t.Fatalf("%s is %q in %s", name, s.Get(name), want)
			}
		}
		other, too := drawn(t, r, "b")
		if same := labels.Equal(want, too); s.SameLabels(other) != same || other.SameLabels(s) != same || (s.Hash() == other.Hash()) != same {
			t.Fatalf("%s and %s", want, too)
		}
	})
}

func TestWhatSeriesHaveInCommonIsInMemoryOnce(t *testing.T) {
	r := NewRegistry()
	container := r.With(labels.FromStrings("zone", "z", "id", "old")).About("id", "/docker/1", "name", strings.Repeat("n", 1000))
	var descs [200]*Desc
	for i := range descs {
		descs[i] = &Desc{Name: "m" + strings.Repeat("x", i)}
	}
	var before, after runtime.MemStats
	kept := make([]*Series, 0, len(descs))
	runtime.ReadMemStats(&before)
	for _, d := range descs {
		kept = append(kept, container.New(d, "cpu", "total"))
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / uint64(len(kept)); per > 100 {
		t.Errorf("%d bytes a series", per)
	}
	if got, want := kept[0].Labels(), labels.FromStrings("__name__", "m", "cpu", "total", "id", "/docker/1", "name", strings.Repeat("n", 1000), "zone", "z"); !labels.Equal(got, want) {
		t.Errorf("%s", got)
	}
	if relabelled := r.Like(kept[0], descs[0], labels.NewBuilder(kept[0].Labels()).Set("env", "prod").Labels()); relabelled.Common() != kept[0].Common() {
		t.Error("a label more, and the others are in memory again")
	}
}

func TestGoingThroughTheLabelsDoesNotAllocate(t *testing.T) {
	s := NewRegistry().With(labels.FromStrings("zone", "z")).New(&Desc{Name: "m"}, "cpu", "0")
	n := 0
	if allocs := testing.AllocsPerRun(100, func() {
		s.Range(func(l labels.Label) { n += len(l.Value) })
		s.RangeOwn(func(_, value string) { n += len(value) })
		n += len(s.Get("zone")) + len(s.Name())
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
