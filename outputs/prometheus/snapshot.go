package prometheus

import (
	"slices"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/pipeline/metrics"
)

const (
	// missedIntervals is after how many intervals without a batch a source is no longer shown.
	missedIntervals = 3
	// unknownInterval stands for the interval of a source that has none.
	unknownInterval = time.Minute
	// maxParts bounds the batches that one cycle of a source may come in.
	maxParts = 64
	// forgetAfter, in milliseconds, is how long a series is shown that batches which aren't full no longer bring: as long as Prometheus
	// itself goes on showing one.
	forgetAfter = 5 * 60 * 1000
)

// source keeps the last cycle of an input. A cycle comes in several batches where the input reaches this page on several ways, parted
// by where; each is a part.
type source struct {
	// consume is held by whoever puts a batch in, so that a source's batches go in one after the other.
	consume sync.Mutex
	cycle   uint64 // guarded by consume, like arrived
	arrived int    // parts that came of cycle

	// mu is held for writing for the exchange of a pointer only, and for reading while the page is rendered and compressed.
	mu    sync.RWMutex
	info  *metrics.Source // guarded by mu, like what follows
	now   uint64          // the newest cycle that a part holds
	at    time.Time       // when the last batch came
	parts []*part
}

// part is a double buffer: front is what the page shows, back is filled by the next batch.
type part struct {
	front, back *snapshot
	index       map[*metrics.Series]int // place in front, for sources whose batches are not full; nil before the first such batch
}

// snapshot is a copy of a batch. What the series of a source are hardly ever changes: the snapshots of a part have one list of them.
type snapshot struct {
	// shape changes when the series or their order do. It is never 0, and equal shapes of one part mean the same series at the same
	// places.
	shape   uint64
	cycle   uint64
	time    int64 // milliseconds; of the cycle
	up      bool
	ownTime bool
	took    time.Duration

	series []*metrics.Series // not changed once it is here
	values []float64
	times  []int64 // of the samples, where they matter; else empty
	starts []int64 // of the samples; empty when none has one

	exemplars []metrics.Exemplar
	exemplar  []int32 // place of each sample's exemplar, or -1; empty when there are no exemplars
}

// put keeps a copy of b. now is the wall clock, nextShape gives a shape that was never used before.
func (s *source) put(b *metrics.Batch, now time.Time, nextShape func() uint64) {
	s.consume.Lock()
	defer s.consume.Unlock()
	place := 0
	if b.Full {
		if b.Cycle != s.cycle {
			s.cycle, s.arrived = b.Cycle, 0
		}
		place = s.arrived % maxParts
		s.arrived++
	}
	// Only holders of consume change parts, so it may be read here without mu.
	var p *part
	if place < len(s.parts) {
		p = s.parts[place]
	} else {
		p = &part{front: new(snapshot), back: new(snapshot)}
		place = len(s.parts)
	}
	if b.Full {
		p.back.copyFull(b, p.front, nextShape)
		p.index = nil
	} else {
		p.merge(b, nextShape)
	}
	p.back.cycle, p.back.time, p.back.up, p.back.ownTime, p.back.took = b.Cycle, b.Time, b.Up, b.OwnTime, b.Duration

	s.mu.Lock()
	defer s.mu.Unlock()
	p.front, p.back = p.back, p.front
	if place == len(s.parts) {
		s.parts = append(s.parts, p)
	}
	s.info, s.now, s.at = b.Source, b.Cycle, now
}

// copyFull makes the snapshot one of b. before is the one that it takes the place of.
func (c *snapshot) copyFull(b *metrics.Batch, before *snapshot, nextShape func() uint64) {
	if cap(c.values) < len(b.Samples) {
		c.values = make([]float64, len(b.Samples))
	}
	c.values, c.times, c.starts = c.values[:len(b.Samples)], c.times[:0], c.starts[:0]
	started := false
	for i := range b.Samples {
		c.values[i] = b.Samples[i].Value
		started = started || b.Samples[i].Start != 0
	}
	if b.OwnTime {
		for i := range b.Samples {
			c.times = append(c.times, b.Samples[i].Time)
		}
	}
	if started {
		for i := range b.Samples {
			c.starts = append(c.starts, b.Samples[i].Start)
		}
	}
	c.series, c.shape = before.series, before.shape
	if c.shape == 0 || !sameSeries(c.series, b.Samples) {
		c.series, c.shape = make([]*metrics.Series, len(b.Samples)), nextShape()
		for i := range b.Samples {
			c.series[i] = b.Samples[i].Series
		}
	}
	c.setExemplars(b.Exemplars)
}

func (c *snapshot) setExemplars(exemplars []metrics.Exemplar) {
	clear(c.exemplars)
	c.exemplars = append(c.exemplars[:0], exemplars...)
	c.exemplar = c.exemplar[:0]
	if len(exemplars) == 0 {
		return
	}
	at := make(map[*metrics.Series]int32, len(exemplars))
	for i := range c.exemplars {
		at[c.exemplars[i].Series] = int32(i)
	}
	for _, s := range c.series {
		place, ok := at[s]
		if !ok {
			place = -1
		}
		c.exemplar = append(c.exemplar, place)
	}
}

// merge makes back what front would be with the samples of b, which holds some of the source's series only.
func (p *part) merge(b *metrics.Batch, nextShape func() uint64) {
	front, back := p.front, p.back
	back.series, back.shape = slices.Clone(front.series), front.shape // such batches are small and rare
	back.values = append(back.values[:0], front.values...)
	back.times, back.starts = append(back.times[:0], front.times...), append(back.starts[:0], front.starts...)
	for len(back.times) < len(back.series) { // front was of a batch that was full
		back.times = append(back.times, front.time)
	}
	for len(back.starts) < len(back.series) {
		back.starts = append(back.starts, 0)
	}
	grown := back.shape == 0
	if back.forget(b.Time - forgetAfter) {
		p.index, grown = nil, true
	}
	if p.index == nil {
		p.index = make(map[*metrics.Series]int, len(back.series))
		for i, s := range back.series {
			p.index[s] = i
		}
	}
	for _, sample := range b.Samples {
		i, ok := p.index[sample.Series]
		if !ok {
			i = len(back.series)
			p.index[sample.Series] = i
			back.series = append(back.series, sample.Series)
			back.values, back.times, back.starts = append(back.values, 0), append(back.times, 0), append(back.starts, 0)
			grown = true
		}
		back.values[i], back.times[i], back.starts[i] = sample.Value, sample.Time, sample.Start
	}
	back.setExemplars(b.Exemplars)
	if grown {
		back.shape = nextShape()
	}
}

// forget takes out what is older than before, and says whether there was any. The snapshot is one that merge fills.
func (c *snapshot) forget(before int64) bool {
	n := 0
	for i, at := range c.times {
		if at >= before {
			c.series[n], c.values[n], c.times[n], c.starts[n] = c.series[i], c.values[i], at, c.starts[i]
			n++
		}
	}
	gone := len(c.series) - n
	clear(c.series[n:])
	c.series, c.values, c.times, c.starts = c.series[:n], c.values[:n], c.times[:n], c.starts[:n]
	return gone > 0
}

func sameSeries(a []*metrics.Series, b []metrics.Sample) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i].Series {
			return false
		}
	}
	return true
}

// shown says whether the page still shows the source. mu is held.
func (s *source) shown(now time.Time) bool {
	interval := unknownInterval
	if s.info != nil && s.info.Interval > 0 {
		interval = s.info.Interval
	}
	return len(s.parts) > 0 && now.Sub(s.at) <= missedIntervals*interval
}

// current says whether part p belongs to what the source has now: one that didn't come for a whole cycle has left. mu is held.
func (s *source) current(p *part) bool { return p.front.cycle+1 >= s.now }
