package metrics

import (
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// Series is one series: immutable, made once by a Registry, then shared by pointer. Its labels include __name__; labels that
// begin with __ flow through the graph and are stripped by outputs. Label values may be empty where the replaced exporter
// writes them so; for Prometheus an empty label is an absent one.
//
// The text of its labels is in three places, none of which is the series' alone: the name is its family's, what it has in common
// with others of its input, or of its container, is theirs together, and what tells it apart from those is in Own. A consumer
// that works something out of labels does it once for Common and puts the rest to it.
type Series struct {
	ID     uint32
	Desc   *Desc
	common *Common
	own    Pairs
}

// Common are labels that many series have, sorted by name. It is immutable, and known by its pointer.
type Common struct{ pairs []labels.Label }

// Pairs returns the labels. They are not to be changed. Those of nil are none.
func (c *Common) Pairs() []labels.Label {
	if c == nil {
		return nil
	}
	return c.pairs
}

// newCommon returns nil for no labels.
func newCommon(l labels.Labels) *Common {
	c := &Common{pairs: make([]labels.Label, 0, l.Len())}
	l.Range(func(l labels.Label) {
		if l.Name != labels.MetricName {
			c.pairs = append(c.pairs, l)
		}
	})
	if len(c.pairs) == 0 {
		return nil
	}
	return c
}

// Pairs are labels in one string, sorted by name: of each the length of its name, the name, the length of its value and the value. Lengths are
// a byte, or 255 and four bytes with the lowest first.
type Pairs string

// Next returns the first label and those behind it. There is one unless p is empty.
func (p Pairs) Next() (name, value string, rest Pairs) {
	name, p = p.text()
	value, p = p.text()
	return name, value, p
}

const longText = 255

func (p Pairs) text() (string, Pairs) {
	n := int(p[0])
	p = p[1:]
	if n == longText {
		n = int(p[0]) | int(p[1])<<8 | int(p[2])<<16 | int(p[3])<<24
		p = p[4:]
	}
	return string(p[:n]), p[n:]
}

func appendPair(dst []byte, name, value string) []byte {
	return appendText(appendText(dst, name), value)
}

func appendText(dst []byte, s string) []byte {
	if n := len(s); n < longText {
		dst = append(dst, byte(n))
	} else {
		dst = append(dst, longText, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	return append(dst, s...)
}

// Common are the labels that the series shares with others; nil is none. Where Own has one of the same name, that one counts.
func (s *Series) Common() *Common { return s.common }

// Own are the labels that Common doesn't have. __name__ is among them where it isn't the family's name.
func (s *Series) Own() Pairs { return s.own }

// Name is the series' __name__.
func (s *Series) Name() string {
	for p := s.own; len(p) > 0; {
		var name, value string
		name, value, p = p.Next()
		if name == labels.MetricName {
			return value
		}
		if name > labels.MetricName {
			break
		}
	}
	if s.Desc == nil {
		return ""
	}
	return s.Desc.Name
}

// Get is the value of a label, or "".
func (s *Series) Get(name string) string {
	if name == labels.MetricName {
		return s.Name()
	}
	for p := s.own; len(p) > 0; {
		var n, value string
		n, value, p = p.Next()
		if n == name {
			return value
		}
	}
	for _, l := range s.common.Pairs() {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

// Has says whether there is a label of the name, though it may be empty.
func (s *Series) Has(name string) bool {
	found := false
	s.Range(func(l labels.Label) { found = found || l.Name == name })
	return found
}

// Len is the number of labels.
func (s *Series) Len() int {
	n := 0
	for it := s.iterate(); ; n++ {
		if _, ok := it.next(); !ok {
			return n
		}
	}
}

// Range calls f for each label, in the order of their names. It doesn't allocate.
func (s *Series) Range(f func(l labels.Label)) {
	it := s.iterate()
	for {
		l, ok := it.next()
		if !ok {
			return
		}
		f(l)
	}
}

// RangeOwn is Range without what Common has: the name and Own, in the order of their names.
func (s *Series) RangeOwn(f func(name, value string)) {
	it := s.iterate()
	it.common = nil
	for {
		l, ok := it.next()
		if !ok {
			return
		}
		f(l.Name, l.Value)
	}
}

// Labels makes one text of the labels, for Prometheus' own packages. It allocates: what is asked for each sample is asked of the parts.
func (s *Series) Labels() labels.Labels {
	b := labels.NewScratchBuilder(s.Len())
	s.Range(func(l labels.Label) { b.Add(l.Name, l.Value) })
	return b.Labels()
}

// String is the labels as Prometheus writes them.
func (s *Series) String() string { return s.Labels().String() }

// Hash is the same for series of the same labels, wherever their text is.
func (s *Series) Hash() uint64 {
	var d xxhash.Digest
	d.Reset()
	separator := [...]byte{0xff} // in no UTF-8
	for it := s.iterate(); ; {
		l, ok := it.next()
		if !ok {
			return d.Sum64()
		}
		_, _ = d.WriteString(l.Name) // never fails, like the others
		_, _ = d.Write(separator[:])
		_, _ = d.WriteString(l.Value)
		_, _ = d.Write(separator[:])
	}
}

// SameLabels says whether the labels are equal.
func (s *Series) SameLabels(other *Series) bool {
	if s == other || s.common == other.common && s.own == other.own && s.Name() == other.Name() {
		return true
	}
	a, b := s.iterate(), other.iterate()
	for {
		x, more := a.next()
		y, too := b.next()
		if more != too || x != y {
			return false
		}
		if !more {
			return true
		}
	}
}

// iterator goes through the labels of a series in the order of their names.
type iterator struct {
	common []labels.Label
	own    Pairs
	next0  labels.Label // the first of own, when there is one
	more   bool         // that there is
	name   string       // the family's, until its place has come
}

func (s *Series) iterate() (it iterator) {
	it = iterator{common: s.common.Pairs(), own: s.own}
	if s.Desc != nil {
		it.name = s.Desc.Name
	}
	it.step()
	return it
}

// step takes the next of own.
func (it *iterator) step() {
	it.more = len(it.own) > 0
	if it.more {
		it.next0.Name, it.next0.Value, it.own = it.own.Next()
		if it.next0.Name == labels.MetricName {
			it.name = "" // it has another name than its family
		}
	}
}

func (it *iterator) next() (l labels.Label, ok bool) {
	if it.more && len(it.common) > 0 && it.common[0].Name == it.next0.Name {
		it.common = it.common[1:]
	}
	switch {
	case len(it.common) > 0 && (!it.more || it.common[0].Name < it.next0.Name):
		l = it.common[0]
	case it.more:
		l = it.next0
	case it.name == "":
		return l, false
	}
	if it.name != "" && (l.Name == "" || labels.MetricName < l.Name) {
		l = labels.Label{Name: labels.MetricName, Value: it.name}
		it.name = ""
		return l, true
	}
	if it.more && l.Name == it.next0.Name {
		it.step()
	} else {
		it.common = it.common[1:]
	}
	return l, true
}

// Pushed says that an output that pushes writes a label: it has a value, and isn't one of those that flow through the graph alone.
func Pushed(name, value string) bool {
	return value != "" && (name == labels.MetricName || !strings.HasPrefix(name, "__"))
}
