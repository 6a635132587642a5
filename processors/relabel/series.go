package relabel

import (
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/hermod-agent/hermod/pipeline/dense"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// sweepAfter, in milliseconds, is how long the result for a series or stream is remembered after its last sight.
const sweepAfter = 10 * 60 * 1000

// seriesMemo remembers what became of each series. The processor's lock guards it.
type seriesMemo struct {
	registry *metrics.Registry
	rules    []*relabel.Config
	scheme   model.ValidationScheme
	builder  *labels.Builder

	memo dense.Cache[metrics.Series, *twin]
	// twins are the results by their labels' hash: within a source, series that become the same are one. Sources have their own, for
	// outputs write the source's job and instance on a series.
	twins map[string]map[uint64][]*twin
	// descs are those of renamed families, one for each name.
	descs map[string]*metrics.Desc
	noted map[string]bool // sources with collisions on the status page
	call  uint64
	// forget is dropFromTwins, kept so that passing it on doesn't allocate.
	forget func(*metrics.Series, **twin)
}

// twin is what one or more series of a source have become.
type twin struct {
	series  *metrics.Series // nil: dropped
	fault   fault           // why it is dropped
	source  string
	hash    uint64
	sources int    // series that became it
	call    uint64 // in which it was last given: a second time in one call is a collision
}

type fault uint8

const (
	byRule   fault = iota
	unnamed        // no __name__ is left
	misnamed       // a name holds characters that storages refuse
)

func newSeriesMemo(registry *metrics.Registry, rules []*relabel.Config) *seriesMemo {
	m := &seriesMemo{
		registry: registry, rules: rules, scheme: rules[0].NameValidationScheme, builder: labels.NewBuilder(labels.EmptyLabels()),
		twins: map[string]map[uint64][]*twin{}, descs: map[string]*metrics.Desc{}, noted: map[string]bool{},
	}
	m.forget = func(_ *metrics.Series, t **twin) { m.dropFromTwins(*t) }
	return m
}

// relabel fills out with what becomes of b.
func (m *seriesMemo) relabel(b, out *metrics.Batch) lost {
	samples, histograms, exemplars := slices.Grow(out.Samples[:0], len(b.Samples)), out.Histograms[:0], out.Exemplars[:0]
	var gone lost
	m.call++
	for i := range b.Samples {
		s := &b.Samples[i]
		t := m.twin(s.Series, b)
		if !t.admit(m.call, &gone) {
			continue
		}
		samples = append(samples, metrics.Sample{Series: t.series, Value: s.Value, Time: s.Time, Start: s.Start})
	}
	for i := range b.Histograms {
		h := b.Histograms[i]
		t := m.twin(h.Series, b)
		if !t.admit(m.call, &gone) {
			continue
		}
		h.Series = t.series
		histograms = append(histograms, h)
	}
	for i := range b.Exemplars {
		e := b.Exemplars[i]
		if t := m.twin(e.Series, b); t.series != nil {
			e.Series = t.series
			exemplars = append(exemplars, e)
		}
	}
	m.memo.SweepEvery(b.Time, sweepAfter, m.forget)
	if len(m.descs) > 2*m.memo.Len()+64 {
		m.sweepDescs()
	}
	*out = *b
	out.Samples, out.Histograms, out.Exemplars = samples, histograms, exemplars
	return gone
}

// admit says whether a sample of the twin is passed on, and counts it when not.
func (t *twin) admit(call uint64, gone *lost) bool {
	switch {
	case t.series == nil:
		gone.dropped[t.fault]++
	case t.call == call:
		gone.collided++
		gone.collision = t.series
	default:
		t.call = call
		return true
	}
	return false
}

// twin returns what becomes of s.
func (m *seriesMemo) twin(s *metrics.Series, b *metrics.Batch) *twin {
	if t := m.memo.Get(s.ID, s, b.Time); t != nil {
		return *t
	}
	t := m.work(s, b.Source)
	t.sources++
	m.memo.Put(s.ID, s, b.Time, t)
	return t
}

// work applies the rules.
func (m *seriesMemo) work(s *metrics.Series, source *metrics.Source) *twin {
	var job, instance, address string
	if source != nil {
		job, instance, address = source.Job, source.Instance, source.Address
	}
	lb := m.builder
	own := s.Labels()
	lb.Reset(own)
	// In Prometheus these are on the series when it is relabelled. Here outputs write them, so they are lent to the rules and taken back
	// unless a rule changed them.
	lent := func(name, value string) bool {
		if value == "" || own.Get(name) != "" {
			return false
		}
		lb.Set(name, value)
		return true
	}
	lentJob, lentInstance := lent(model.JobLabel, job), lent(model.InstanceLabel, instance)
	if !relabel.ProcessBuilder(lb, m.rules...) {
		return &twin{}
	}
	if lentJob && lb.Get(model.JobLabel) == job {
		lb.Del(model.JobLabel)
	}
	if lentInstance && lb.Get(model.InstanceLabel) == instance {
		lb.Del(model.InstanceLabel)
	}
	changed := lb.Labels()
	name := changed.Get(labels.MetricName)
	if name == "" {
		return &twin{fault: unnamed}
	}
	same := labels.Equal(changed, own.WithoutEmpty())
	if !same && !changed.IsValid(m.scheme) {
		return &twin{fault: misnamed}
	}
	hash := changed.Hash()
	ofSource := m.twins[address]
	if ofSource == nil {
		ofSource = map[uint64][]*twin{}
		m.twins[address] = ofSource
	}
	for _, t := range ofSource[hash] {
		if labels.Equal(t.series.Labels().WithoutEmpty(), changed) {
			return t
		}
	}
	t := &twin{source: address, hash: hash}
	if same {
		t.series = s
	} else {
		t.series = m.registry.Like(s, m.desc(s, name), changed)
	}
	ofSource[hash] = append(ofSource[hash], t)
	return t
}

// desc is the description of the series under its new name. The parts of a histogram keep a common one: their names are the family's with
// an ending, which is taken off again.
func (m *seriesMemo) desc(s *metrics.Series, name string) *metrics.Desc {
	old := s.Name()
	if name == old {
		return s.Desc
	}
	d := *s.Desc
	d.Name = name
	if ending, ok := strings.CutPrefix(old, s.Desc.Name); ok && ending != "" {
		stem, kept := strings.CutSuffix(name, ending)
		if kept && stem != "" {
			d.Name = stem
		} else {
			d.Kind = metrics.Unknown // a part that no longer belongs to a whole
		}
	}
	if !strings.HasSuffix(strings.TrimSuffix(d.Name, "_total"), "_"+d.Unit) {
		d.Unit = ""
	}
	if known := m.descs[d.Name]; known != nil {
		return known
	}
	m.descs[d.Name] = &d
	return &d
}

func (m *seriesMemo) dropFromTwins(t *twin) {
	t.sources--
	if t.sources > 0 || t.series == nil {
		return
	}
	ofSource := m.twins[t.source]
	list := ofSource[t.hash]
	for i, x := range list {
		if x == t {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) > 0 {
		ofSource[t.hash] = list
		return
	}
	delete(ofSource, t.hash)
	if len(ofSource) == 0 {
		delete(m.twins, t.source)
	}
}

// sweepDescs forgets the names that no series has any more.
func (m *seriesMemo) sweepDescs() {
	clear(m.descs)
	for _, ofSource := range m.twins {
		for _, list := range ofSource {
			for _, t := range list {
				if d := t.series.Desc; m.descs[d.Name] == nil {
					m.descs[d.Name] = d
				}
			}
		}
	}
}
