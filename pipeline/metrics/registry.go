package metrics

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/dense"
)

// Registry makes series. One of them serves the whole agent; With gives a component its own view, which adds the labels
// that the user set on that component to every series. It is safe for concurrent use.
type Registry struct {
	ids    *dense.IDs
	texts  *texts
	base   labels.Labels
	common *Common // base

	mu    sync.Mutex // guards block
	block dense.Block[Series]
}

// NewRegistry returns a registry whose identities begin at 0.
func NewRegistry() *Registry { return &Registry{ids: new(dense.IDs), texts: new(texts)} }

// With returns a view on the same registry that merges base into every series that New makes. A label that the series has
// itself is never overridden. The text of base is in memory once, however many series there are: it pays to make a view for whatever
// has many series, as a container has.
func (r *Registry) With(base labels.Labels) *Registry {
	return &Registry{ids: r.ids, texts: r.texts, base: base, common: newCommon(base)}
}

// And returns a view that merges more as well. The labels that were there before stand where both have one of a name.
func (r *Registry) And(more labels.Labels) *Registry {
	b := labels.NewBuilder(more)
	r.base.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
	return r.With(b.Labels())
}

// About returns a view that merges the given labels (name, value, name, value, ...) as well, as those of a thing that the series are about:
// they stand where the labels that were there before have one of the same name.
func (r *Registry) About(nameValues ...string) *Registry {
	b := labels.NewBuilder(r.base)
	for i := 0; i+1 < len(nameValues); i += 2 {
		b.Set(nameValues[i], nameValues[i+1])
	}
	return r.With(b.Labels())
}

// New makes the series of family d with the given labels (name, value, name, value, ...). The caller keeps it as long as it
// has values for it. An odd number of strings is a fault in the calling code and panics.
func (r *Registry) New(d *Desc, nameValues ...string) *Series {
	return r.Part(d, d.Name, nameValues...)
}

// Part makes a series of family d under another name than the family's: the _bucket, _sum and _count of a histogram.
func (r *Registry) Part(d *Desc, name string, nameValues ...string) *Series {
	if len(nameValues)%2 != 0 {
		panic(fmt.Sprintf("series %s: %d strings are not pairs of a label's name and value", name, len(nameValues)))
	}
	var few [12]labels.Label
	own := few[:0]
	if name != d.Name {
		own = append(own, labels.Label{Name: labels.MetricName, Value: name})
	}
	for i := 0; i < len(nameValues); i += 2 {
		own = append(own, labels.Label{Name: nameValues[i], Value: nameValues[i+1]})
	}
	slices.SortStableFunc(own, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	var buf [256]byte
	pairs := buf[:0]
	for _, l := range own {
		pairs = appendPair(pairs, l.Name, l.Value)
	}
	return r.make(d, r.common, pairs)
}

// Of makes a series with exactly these labels, which must include __name__. Processors use it; the base labels are not
// added a second time.
func (r *Registry) Of(d *Desc, l labels.Labels) *Series { return r.Like(nil, d, l) }

// Like is Of for labels that were made of those of another series: what that one shares with others is shared by this one too, where it is
// still there.
func (r *Registry) Like(other *Series, d *Desc, l labels.Labels) *Series {
	var common *Common
	if other != nil && other.common != nil {
		common = other.common
		for _, c := range common.pairs {
			if !l.Has(c.Name) {
				common = nil
				break
			}
		}
	}
	shared := common.Pairs()
	var pairs []byte
	l.Range(func(l labels.Label) {
		for len(shared) > 0 && shared[0].Name < l.Name {
			shared = shared[1:]
		}
		if len(shared) > 0 && shared[0] == l || d != nil && l.Name == labels.MetricName && l.Value == d.Name {
			return
		}
		pairs = appendPair(pairs, l.Name, l.Value)
	})
	return r.make(d, common, pairs)
}

func (r *Registry) make(d *Desc, common *Common, own []byte) *Series {
	text := r.texts.of(own)
	r.mu.Lock()
	defer r.mu.Unlock()
	s, id := r.block.New(r.ids)
	*s = Series{ID: id, Desc: d, common: common, own: text}
	return s
}

// texts makes one string of equal ones that come again soon: many containers have the same interface, and many families the same disk.
type texts struct {
	mu   sync.Mutex
	last [512]Pairs // by hash; guarded by mu
}

func (t *texts) of(b []byte) Pairs {
	if len(b) == 0 {
		return ""
	}
	place := xxhash.Sum64(b) % uint64(len(t.last))
	t.mu.Lock()
	defer t.mu.Unlock()
	if string(t.last[place]) != string(b) {
		t.last[place] = Pairs(b)
	}
	return t.last[place]
}

// PushLabels returns the labels under which a pushed output writes the series: its own without those that begin with __
// (but __name__) and without empty ones, then job and instance of its source, then extra (agent.labels) where the name isn't
// there yet.
func PushLabels(s *Series, src *Source, extra labels.Labels) labels.Labels {
	b := labels.NewScratchBuilder(s.Len() + 2 + extra.Len())
	add := func(name, value string) {
		if value != "" && s.Get(name) == "" {
			b.Add(name, value)
		}
	}
	s.Range(func(l labels.Label) {
		if Pushed(l.Name, l.Value) {
			b.Add(l.Name, l.Value)
		}
	})
	if src != nil {
		add("job", src.Job)
		add("instance", src.Instance)
	}
	extra.Range(func(l labels.Label) {
		if src != nil && (l.Name == "job" && src.Job != "" || l.Name == "instance" && src.Instance != "") {
			return
		}
		add(l.Name, l.Value)
	})
	b.Sort()
	return b.Labels()
}

// PushCommon returns what PushLabels gives all series alike that have these labels in common, but for those that a series has of its own.
func PushCommon(c *Common, src *Source, extra labels.Labels) labels.Labels {
	return PushLabels(&Series{common: c}, src, extra)
}
