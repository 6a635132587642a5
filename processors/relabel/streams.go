package relabel

import (
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/hermod-agent/hermod/pipeline/dense"
	"github.com/hermod-agent/hermod/pipeline/logs"
)

// streamMemo remembers what became of each stream. The processor's lock guards it.
type streamMemo struct {
	registry *logs.Registry
	rules    []*relabel.Config
	scheme   model.ValidationScheme
	builder  *labels.Builder

	memo   dense.Cache[logs.Stream, *streamTwin]
	twins  map[uint64][]*streamTwin // by hash of the labels
	forget func(*logs.Stream, **streamTwin)
}

// streamTwin is what one or more streams have become. Records of both go on in one stream, whose order is that of the reading.
type streamTwin struct {
	stream  *logs.Stream // nil: dropped
	fault   fault        // why it is dropped; unnamed: no label is left that an output could write
	hash    uint64
	sources int
}

func newStreamMemo(registry *logs.Registry, rules []*relabel.Config) *streamMemo {
	m := &streamMemo{
		registry: registry, rules: rules, scheme: rules[0].NameValidationScheme, builder: labels.NewBuilder(labels.EmptyLabels()),
		twins: map[uint64][]*streamTwin{},
	}
	m.forget = func(_ *logs.Stream, t **streamTwin) { m.dropFromTwins(*t) }
	return m
}

// relabel fills out with what becomes of b.
func (m *streamMemo) relabel(b, out *logs.Batch) (gone dropped) {
	out.Begin(b.Source)
	now := time.Now().UnixMilli()
	for i := range b.Records {
		r := b.Records[i]
		t := m.twin(r.Stream, now)
		if t.stream == nil {
			gone[t.fault]++
			continue
		}
		r.Stream = t.stream
		out.Add(r)
	}
	m.memo.SweepEvery(now, sweepAfter, m.forget)
	return gone
}

func (m *streamMemo) twin(s *logs.Stream, now int64) *streamTwin {
	if t := m.memo.Get(s.ID, s, now); t != nil {
		return *t
	}
	t := m.work(s)
	t.sources++
	m.memo.Put(s.ID, s, now, t)
	return t
}

func (m *streamMemo) work(s *logs.Stream) *streamTwin {
	lb := m.builder
	lb.Reset(s.Labels)
	if !relabel.ProcessBuilder(lb, m.rules...) {
		return &streamTwin{}
	}
	changed := lb.Labels()
	if !writable(changed) {
		return &streamTwin{fault: unnamed}
	}
	same := labels.Equal(changed, s.Labels)
	if !same && !changed.IsValid(m.scheme) {
		return &streamTwin{fault: misnamed}
	}
	hash := changed.Hash()
	for _, t := range m.twins[hash] {
		if t.stream.Tenant == s.Tenant && labels.Equal(t.stream.Labels, changed) {
			return t
		}
	}
	t := &streamTwin{stream: s, hash: hash}
	if !same {
		t.stream = m.registry.Of(changed, s.Tenant)
	}
	m.twins[hash] = append(m.twins[hash], t)
	return t
}

// writable says whether an output has something to write: a stream without labels is refused by Loki.
func writable(l labels.Labels) bool {
	found := false
	l.Range(func(x labels.Label) { found = found || !strings.HasPrefix(x.Name, "__") })
	return found
}

func (m *streamMemo) dropFromTwins(t *streamTwin) {
	t.sources--
	if t.sources > 0 || t.stream == nil {
		return
	}
	list := m.twins[t.hash]
	for i, x := range list {
		if x == t {
			list[i] = list[len(list)-1]
			list[len(list)-1] = nil
			list = list[:len(list)-1]
			break
		}
	}
	if len(list) == 0 {
		delete(m.twins, t.hash)
		return
	}
	m.twins[t.hash] = list
}
