package prometheus

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	promclient "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/value"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// page keeps the sources' snapshots and renders them.
type page struct {
	env       *component.Env
	conflicts promclient.Counter
	shapes    atomic.Uint64

	mu      sync.RWMutex // guards sources
	sources map[string]*source

	render  sync.Mutex // guards what follows: one page is rendered at a time
	layouts map[string]*layout
	builds  uint64
	inputs  map[string]*inputRow // by address
	batch   metrics.Batch        // scratch: what the page says itself
	chosen  []chosen             // scratch
	types   map[string]int       // scratch: how many chosen inputs there are of each type
}

// input is an input that the page is asked for, and how it stands.
type input struct {
	source *metrics.Source
	up     bool
	took   time.Duration
}

// chosen is a source that is being rendered. Its mu is held for reading.
type chosen struct {
	*source
	address  string
	instance string // "" when it isn't written
}

const (
	// keepFor, in milliseconds, is how long what was worked out about an input or a choice of inputs outlives its last use.
	keepFor = 10 * 60 * 1000
	// maxLayouts bounds the choices of inputs (?input=) that are remembered.
	maxLayouts = 256
)

func newPage(env *component.Env, conflicts promclient.Counter) *page {
	return &page{
		env: env, conflicts: conflicts, sources: map[string]*source{},
		layouts: map[string]*layout{}, types: map[string]int{}, inputs: map[string]*inputRow{},
	}
}

// keep puts a batch in place of the one before of its source.
func (p *page) keep(b *metrics.Batch) {
	now := time.Now()
	address := ""
	if b.Source != nil {
		address = b.Source.Address
	}
	p.mu.RLock()
	s := p.sources[address]
	p.mu.RUnlock()
	if s == nil {
		s = p.add(address, now)
	}
	s.put(b, now, p.nextShape)
	if n := len(b.Histograms); n > 0 {
		p.env.Losses.Add("native_histogram_in_text", n) // neither text format can hold them
	}
}

func (p *page) nextShape() uint64 { return p.shapes.Add(1) }

// add makes the place of a new source, and clears those that left.
func (p *page) add(address string, now time.Time) *source {
	p.mu.Lock()
	defer p.mu.Unlock()
	for old, s := range p.sources {
		s.mu.RLock()
		left := len(s.parts) > 0 && !s.shown(now)
		s.mu.RUnlock()
		if left {
			delete(p.sources, old)
		}
	}
	s := p.sources[address]
	if s == nil {
		s = new(source)
		p.sources[address] = s
	}
	return s
}

// known lists the inputs that the page has something of, for when the engine doesn't say what feeds it.
func (p *page) known() []*metrics.Source {
	p.mu.RLock()
	defer p.mu.RUnlock()
	now := time.Now()
	var out []*metrics.Source
	for _, s := range p.sources {
		s.mu.RLock()
		if s.info != nil && s.shown(now) {
			out = append(out, s.info)
		}
		s.mu.RUnlock()
	}
	slices.SortFunc(out, func(a, b *metrics.Source) int { return strings.Compare(a.Address, b.Address) })
	return out
}

// last says how an input stands by the last batch that came of it.
func (p *page) last(of *metrics.Source) input {
	in := input{source: of}
	p.mu.RLock()
	s := p.sources[of.Address]
	p.mu.RUnlock()
	if s == nil {
		return in
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	in.up = s.shown(time.Now())
	for _, part := range s.parts {
		if s.current(part) {
			in.up = in.up && part.front.up
			in.took = part.front.took
		}
	}
	return in
}

// pieceSize is from how many bytes on a page is handed on while it is written.
const pieceSize = 32 << 10

// write writes the page with the given inputs, which are in the order of their addresses and differ. whole says that they are all that
// feed it. buf is memory for it. Each time that there is a piece of it, pass is given that and returns memory for the next one, and the rest at
// the end. The sources wait meanwhile, so pass has to be quick.
func (p *page) write(buf []byte, inputs []input, whole bool, d dialect, pass func(piece []byte) []byte) {
	now := time.Now()
	p.render.Lock()
	defer p.render.Unlock()
	l := p.layout(inputs, whole, now)
	p.choose(l, inputs, now)
	defer p.release()
	if !l.fits(p.chosen) {
		p.build(l)
		if whole {
			p.tell(l)
		}
	}
	if whole {
		p.env.Losses.Add("duplicate_series", l.duplicates)
	}
	lines := l.lines
	for i := range l.groups {
		g := &l.groups[i]
		buf = g.appendHeader(buf, d)
		for j := range lines[:g.count] {
			if buf = l.appendLine(buf, g, &lines[j], d); len(buf) >= pieceSize {
				buf = pass(buf)
			}
		}
		lines = lines[g.count:]
	}
	if d&openMetrics != 0 {
		buf = append(buf, "# EOF\n"...)
	}
	pass(buf)
}

// choose looks up the sources of inputs and holds them for reading. The first of them is what the page says itself.
func (p *page) choose(l *layout, inputs []input, now time.Time) {
	clear(p.types)
	for i := range inputs {
		p.types[inputs[i].source.Type]++
	}
	p.chosen = append(p.chosen[:0], chosen{source: &l.own})
	p.mu.RLock()
	for i := range inputs {
		info := inputs[i].source
		s := p.sources[info.Address]
		if s == nil {
			continue
		}
		s.mu.RLock()
		if !s.shown(now) {
			s.mu.RUnlock()
			continue
		}
		c := chosen{source: s, address: info.Address}
		if p.types[info.Type] > 1 {
			c.instance = info.Instance
		}
		p.chosen = append(p.chosen, c)
	}
	p.mu.RUnlock()
	p.report(l, inputs, now)
	l.own.mu.RLock()
}

func (p *page) release() {
	for i := range p.chosen {
		p.chosen[i].mu.RUnlock()
	}
	clear(p.chosen)
}

// appendLine writes a sample.
func (l *layout) appendLine(dst []byte, g *group, n *line, d dialect) []byte {
	c := l.parts[n.part].part.front
	v := c.values[n.sample]
	if v != v && math.Float64bits(v) == value.StaleNaN {
		return dst // a mark for storage, not a number
	}
	s := c.series[n.sample]
	dst = l.appendNamed(dst, n, s, s.Name(), "", d)
	if d&openMetrics == 0 {
		dst = appendValue(dst, v)
		if c.ownTime {
			dst = append(dst, ' ')
			dst = appendMillis(dst, c.times[n.sample])
		}
		return append(dst, '\n')
	}
	if n.how&counts != 0 {
		dst = appendCount(dst, v)
	} else {
		dst = appendFloat(dst, v)
	}
	if c.ownTime {
		dst = append(dst, ' ')
		dst = appendSeconds(dst, c.times[n.sample])
	}
	if len(c.exemplar) > 0 && c.exemplar[n.sample] >= 0 {
		dst = appendExemplar(dst, &c.exemplars[c.exemplar[n.sample]], d)
	}
	dst = append(dst, '\n')
	if n.how&created != 0 && len(c.starts) > 0 && c.starts[n.sample] != 0 && !g.collides && (s.Desc == g.desc || *s.Desc == *g.desc) {
		dst = l.appendNamed(dst, n, s, createdName(s), "_created", d)
		dst = appendSeconds(dst, c.starts[n.sample])
		dst = append(dst, '\n')
	}
	return dst
}

// layout returns what is written where for a choice of inputs. It is kept as long as somebody asks for that choice.
func (p *page) layout(inputs []input, whole bool, now time.Time) *layout {
	key := ""
	switch {
	case whole:
	case len(inputs) == 1: // what /sd asks for
		key = inputs[0].source.Address
	default:
		var b strings.Builder
		for i := range inputs {
			b.WriteString("\n")
			b.WriteString(inputs[i].source.Address)
		}
		key = b.String()
	}
	l := p.layouts[key]
	if l == nil {
		p.sweepLayouts(now)
		l = newLayout()
		p.layouts[key] = l
	}
	l.used = now
	return l
}

func (p *page) sweepLayouts(now time.Time) {
	for key, l := range p.layouts {
		if now.Sub(l.used) > keepFor*time.Millisecond || len(p.layouts) >= maxLayouts {
			delete(p.layouts, key)
		}
	}
}

// tell notes what the user should know of the page as a whole, or that it is right again.
func (p *page) tell(l *layout) {
	p.conflicts.Add(float64(l.conflicts))
	var duplicate, conflict error
	if l.duplicates > 0 {
		duplicate = component.WithRemedy(
			fmt.Errorf("%d series come twice and are shown once; one of them is %s", l.duplicates, l.duplicate),
			"give the inputs a different instance, or part their series with where")
	}
	if l.conflicts > 0 {
		conflict = component.WithRemedy(errors.New(l.conflict), "nothing is lost by it; drop one of the two if the descriptions mean different things")
	}
	p.env.Status.Note("duplicate series", duplicate)
	p.env.Status.Note("descriptions", conflict)
}
