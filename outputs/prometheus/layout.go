package prometheus

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// layout says in which order the samples of some sources are written. Sorting and grouping is done when the set of series changes; a
// page is then written in one pass over the lines. What a line says is made of the series' parts while it is written: a text kept for each
// would be most of the agent's memory.
type layout struct {
	own    source // what the page itself says of these inputs
	parts  []layoutPart
	groups []group // by name
	lines  []line
	texts  []*commonText
	used   time.Time

	duplicates int // samples left out
	duplicate  string
	conflicts  int // families that are described in more than one way
	conflict   string
}

func newLayout() *layout {
	return &layout{own: source{parts: []*part{{front: new(snapshot), back: new(snapshot)}}}}
}

// layoutPart is a batch of a source, as it was when the layout was made.
type layoutPart struct {
	part     *part
	shape    uint64
	instance string
	address  string
}

// group is a family with all its lines.
type group struct {
	desc  *metrics.Desc // the first of those with the name; it is written
	count uint32        // of lines, which follow those of the group before
	// plain says that nothing of the description has to be escaped.
	plain bool
	// collides says that OpenMetrics would have two families of one name.
	collides bool
}

// line is a series on the page: where its value is, and how it is written.
type line struct {
	part, sample uint32
	text         uint32 // in texts
	how          how
}

// how is what was found out about a series, as a set of bits.
type how uint8

const (
	// simple says that the labels are written by appendSimple.
	simple how = 1 << iota
	// escaped says that there is something to escape in a value of the series' own labels.
	escaped
	// counts says that the value counts something (buckets, counts), which OpenMetrics writes without a point.
	counts
	// created says that in OpenMetrics the time at which the series began is a line of its own.
	created
)

// commonText is what series have in common, as it is written when all names are plain.
type commonText struct {
	names []string
	ends  []int // of each label in text, with the comma behind it
	text  string
	// instance is written as a label of that name where a series has none; "" writes none.
	instance string
	// plain says that the names need no quotes.
	plain bool
}

// fits says whether the layout still holds for the chosen sources.
func (l *layout) fits(sources []chosen) bool {
	i := 0
	for _, c := range sources {
		for _, p := range c.parts {
			if !c.current(p) {
				continue
			}
			if i >= len(l.parts) || l.parts[i].part != p || l.parts[i].shape != p.front.shape || l.parts[i].instance != c.instance {
				return false
			}
			i++
		}
	}
	return i == len(l.parts)
}

// family is what a build knows of a name.
type family struct {
	desc  *metrics.Desc
	from  string // address of its source
	count uint32
	next  uint32                  // place in lines of its next series
	known map[metrics.Desc]string // descriptions that differ from the first
}

// build makes the layout anew for the chosen sources.
func (p *page) build(l *layout) {
	p.builds++
	clear(l.parts)
	l.parts, l.groups, l.lines, l.texts = l.parts[:0], nil, nil, nil
	l.duplicates, l.duplicate, l.conflicts, l.conflict = 0, "", 0, ""

	// First the families with the number of their lines, then the lines at their places.
	families := map[string]*family{}
	byDesc := map[*metrics.Desc]*family{}
	total := 0
	for _, c := range p.chosen {
		for _, part := range c.parts {
			if !c.current(part) {
				continue
			}
			l.parts = append(l.parts, layoutPart{part, part.front.shape, c.instance, c.address})
			for _, s := range part.front.series {
				f := byDesc[s.Desc]
				if f == nil {
					f = l.family(families, s.Desc, c.address)
					byDesc[s.Desc] = f
				}
				f.count++
			}
			total += len(part.front.series)
		}
	}
	sorted := make([]*family, 0, len(families))
	for _, f := range families {
		sorted = append(sorted, f)
	}
	slices.SortFunc(sorted, func(a, b *family) int { return strings.Compare(a.desc.Name, b.desc.Name) })
	next := uint32(0)
	for _, f := range sorted {
		f.next = next
		next += f.count
		f.count = 0
	}
	l.lines = make([]line, total)
	b := lineBuilder{layout: l, texts: map[textKey]uint32{}, seen: newSeen(total)}
	for place, lp := range l.parts {
		for i, s := range lp.part.front.series {
			f := byDesc[s.Desc]
			n := b.line(s, lp.instance)
			n.part, n.sample = uint32(place), uint32(i)
			if first := b.first(n); first != nil {
				l.noteDuplicate(n, l.parts[first.part].address, lp.address)
				continue
			}
			l.lines[f.next+f.count] = n
			b.seen.add(b.hash, f.next+f.count)
			f.count++
		}
	}
	l.close(sorted, families)
}

// close makes the groups, and moves the lines together where duplicates were left out.
func (l *layout) close(sorted []*family, families map[string]*family) {
	l.groups = make([]group, 0, len(sorted))
	end := uint32(0)
	for _, f := range sorted {
		if f.count == 0 {
			continue
		}
		if f.next != end {
			copy(l.lines[end:], l.lines[f.next:f.next+f.count])
		}
		end += f.count
		g := group{desc: f.desc, count: f.count, plain: plainDesc(f.desc)}
		if stem, ok := openMetricsStem(f.desc); ok {
			_, g.collides = families[stem]
		}
		l.groups = append(l.groups, g)
	}
	l.lines = l.lines[:end]
}

// family finds or makes the family that a description belongs to: that of its name.
func (l *layout) family(families map[string]*family, d *metrics.Desc, address string) *family {
	f := families[d.Name]
	if f == nil {
		f = &family{desc: d, from: address}
		families[d.Name] = f
		return f
	}
	if *d == *f.desc {
		return f
	}
	if _, twice := f.known[*d]; twice {
		return f
	}
	if f.known == nil {
		f.known = map[metrics.Desc]string{}
	}
	f.known[*d] = address
	l.conflicts++
	if l.conflict == "" {
		l.conflict = fmt.Sprintf("%s is described as a %s, %q, by %s and as a %s, %q, by %s; the first is shown", d.Name,
			f.desc.Kind, f.desc.Help, ownName(f.from), d.Kind, d.Help, ownName(address))
	}
	return f
}

// seen finds series that are written alike, by the hashes of their texts.
type seen struct {
	places []uint32 // of lines, + 1; as in a hash table with open addressing
	hashes []uint64
}

func newSeen(n int) seen {
	size := 16
	for size < 2*n {
		size *= 2
	}
	return seen{make([]uint32, size), make([]uint64, size)}
}

func (s *seen) add(hash uint64, place uint32) {
	i := hash & uint64(len(s.places)-1)
	for s.places[i] != 0 {
		i = (i + 1) & uint64(len(s.places)-1)
	}
	s.places[i], s.hashes[i] = place+1, hash
}

// lineBuilder finds out how series are written.
type lineBuilder struct {
	layout *layout
	texts  map[textKey]uint32
	seen   seen
	// Of the last line.
	hash       uint64
	buf, other []byte
}

type textKey struct {
	common   *metrics.Common
	instance string
}

// line works out how a series is written.
func (b *lineBuilder) line(s *metrics.Series, instance string) line {
	n := line{text: b.text(s.Common(), instance)}
	t := b.layout.texts[n.text]
	name := s.Name()
	plain := t.plain && model.LegacyValidation.IsValidMetricName(name)
	bound := boundOf(s.Desc)
	j := 0
	for p := s.Own(); len(p) > 0; {
		var own, value string
		own, value, p = p.Next()
		for j < len(t.names) && t.names[j] < own {
			j++
		}
		switch {
		case own == labels.MetricName:
		case j < len(t.names) && t.names[j] == own, own == bound, !model.LegacyValidation.IsValidLabelName(own):
			plain = false
		case needsEscape(value, true):
			n.how |= escaped
		}
	}
	if bound != "" && s.Common() != nil && slices.Contains(t.names, bound) {
		plain = false
	}
	if plain {
		n.how |= simple
	}
	d := s.Desc
	summarised := d.Kind == metrics.Histogram || d.Kind == metrics.GaugeHistogram || d.Kind == metrics.Summary
	if summarised && name != d.Name && (strings.HasSuffix(name, "_bucket") || strings.HasSuffix(name, "count")) {
		n.how |= counts
	}
	if createdName(s) != "" {
		n.how |= created
	}
	return n
}

// text finds or makes the text of what series have in common.
func (b *lineBuilder) text(c *metrics.Common, instance string) uint32 {
	key := textKey{c, instance}
	if i, ok := b.texts[key]; ok {
		return i
	}
	i := uint32(len(b.layout.texts))
	b.texts[key] = i
	b.layout.texts = append(b.layout.texts, newCommonText(c, instance))
	return i
}

func newCommonText(c *metrics.Common, instance string) *commonText {
	t := &commonText{instance: instance, plain: true}
	var text []byte
	add := func(name, value string) {
		t.plain = t.plain && model.LegacyValidation.IsValidLabelName(name)
		text = append(text, name...)
		text = append(text, '=', '"')
		text = appendEscaped(text, value, true)
		text = append(text, '"', ',')
		t.names, t.ends = append(t.names, name), append(t.ends, len(text))
	}
	missing := instance != ""
	for _, l := range c.Pairs() {
		missing = missing && l.Name != model.InstanceLabel
	}
	for _, l := range c.Pairs() {
		if strings.HasPrefix(l.Name, "__") {
			continue
		}
		if missing && l.Name > model.InstanceLabel { // in its place: labels are sorted
			add(model.InstanceLabel, instance)
			missing = false
		}
		add(l.Name, l.Value)
	}
	if missing {
		add(model.InstanceLabel, instance)
	}
	t.text = string(text)
	return t
}

// first returns the line that is written like n already, and notes the hash of n.
func (b *lineBuilder) first(n line) *line {
	l := b.layout
	b.buf = l.appendPrefix(b.buf[:0], &n, quotedNames)
	b.hash = xxhash.Sum64(b.buf)
	for i := b.hash & uint64(len(b.seen.places)-1); b.seen.places[i] != 0; i = (i + 1) & uint64(len(b.seen.places)-1) {
		if b.seen.hashes[i] != b.hash {
			continue
		}
		other := &l.lines[b.seen.places[i]-1]
		if b.other = l.appendPrefix(b.other[:0], other, quotedNames); bytes.Equal(b.buf, b.other) {
			return other
		}
	}
	return nil
}

func (l *layout) noteDuplicate(n line, first, second string) {
	l.duplicates++
	if l.duplicate != "" {
		return
	}
	l.duplicate = strings.TrimSuffix(string(l.appendPrefix(nil, &n, quotedNames)), " ")
	if first == second {
		l.duplicate += ", twice in " + ownName(first)
	} else {
		l.duplicate += ", in " + ownName(first) + " and " + ownName(second)
	}
}

func ownName(address string) string {
	if address == "" {
		return "the page itself"
	}
	return address
}

func appendMillis(dst []byte, ms int64) []byte { return strconv.AppendInt(dst, ms, 10) }

// appendExemplar writes what OpenMetrics has behind a sample: ` # {labels} value time`.
func appendExemplar(dst []byte, e *metrics.Exemplar, d dialect) []byte {
	dst = append(dst, " # {"...)
	first := true
	e.Labels.Range(func(l labels.Label) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendName(dst, l.Name, d)
		dst = append(dst, '=', '"')
		dst = appendEscaped(dst, l.Value, true)
		dst = append(dst, '"')
	})
	dst = append(dst, "} "...)
	dst = appendFloat(dst, e.Value)
	if e.Time != 0 {
		dst = append(dst, ' ')
		dst = appendSeconds(dst, e.Time)
	}
	return dst
}
