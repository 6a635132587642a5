package graph

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/dense"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// edgeKey names an edge. An edge lives as long as its key is in the graph: its counters, and what it passed last of each source,
// survive reloads.
type edgeKey struct {
	from, to string
	signal   component.Signal
}

// edge connects a node to a consumer, counts what crosses it, and does for the consumer what the engine promises: picks by where,
// copies for one that mutates, and, where the consumer pushes, thins, marks what has gone stale and reports each input's health.
type edge struct {
	key      edgeKey
	registry *metrics.Registry

	// now is swapped whole on reload.
	now atomic.Pointer[edgeTarget]

	offered, passed, bytes, batches, errors atomic.Uint64
	last                                    atomic.Int64 // unix ms of the last batch passed

	mu      sync.Mutex // guards what follows
	lastErr string
	waiting int                    // log batches that are offered at the moment
	blocked time.Time              // since when none of them was taken; zero when there is none
	sources map[string]*edgeSource // by the input's address
}

// edgeTarget is where an edge leads to at the moment, and how.
type edgeTarget struct {
	to      *node
	metrics component.MetricsConsumer
	logs    component.LogsConsumer
	mutates bool
	pushes  bool
	reports map[string]bool
	where   []*labels.Matcher
	// gate is closed when the consumer may be given logs: a successor waits until its predecessor has put away what it held, so
	// that order is kept. nil means open.
	gate <-chan struct{}
	// panicked says that the last call did.
	panicked atomic.Bool

	mu      sync.Mutex // guards the memos of where
	series  dense.Cache[metrics.Series, bool]
	streams dense.Cache[logs.Stream, bool]
	pool    sync.Pool // of *logs.Batch, scratch for where and mutating consumers
}

// edgeSource is what an edge remembers of an input. Only one batch of a source is on its way at a time.
type edgeSource struct {
	mu      sync.Mutex
	source  *metrics.Source
	scratch metrics.Batch
	// last is what was passed last, in its order; only kept where the consumer pushes.
	last   []*metrics.Series
	passed time.Time // when the cycle began whose batch was passed last
	health *health
}

// health are the series that tell of an input itself.
type health struct{ up, duration, samples *metrics.Series }

var (
	upDesc       = &metrics.Desc{Name: "up", Help: "Whether the last collection of this input was a success.", Kind: metrics.Gauge}
	durationDesc = &metrics.Desc{Name: "scrape_duration_seconds", Help: "How long the last collection of this input took.", Kind: metrics.Gauge}
	samplesDesc  = &metrics.Desc{Name: "scrape_samples_scraped", Help: "How many samples the last collection of this input gave.", Kind: metrics.Gauge}
)

// sweepAfter is how long, in milliseconds, a memo outlives the last sight of its series or stream.
const sweepAfter = 10 * 60 * 1000

func newEdge(key edgeKey, registry *metrics.Registry) *edge {
	return &edge{key: key, registry: registry, sources: map[string]*edgeSource{}}
}

// picksSeries works out once a series whether where picks it. job and instance are those of the source where the series has none of its
// own: that is what outputs write.
func (t *edgeTarget) picksSeries(s *metrics.Series, src *metrics.Source, now int64) bool {
	if picked := t.series.Get(s.ID, s, now); picked != nil {
		return *picked
	}
	return *t.series.Put(s.ID, s, now, matches(t.where, func(name string) string {
		own := s.Get(name)
		switch {
		case own != "" || src == nil:
		case name == "job":
			return src.Job
		case name == "instance":
			return src.Instance
		}
		return own
	}))
}

func (t *edgeTarget) picksStream(s *logs.Stream, now int64) bool {
	if picked := t.streams.Get(s.ID, s, now); picked != nil {
		return *picked
	}
	return *t.streams.Put(s.ID, s, now, matches(t.where, s.Labels.Get))
}

func matches(where []*labels.Matcher, label func(name string) string) bool {
	for _, m := range where {
		if !m.Matches(label(m.Name)) {
			return false
		}
	}
	return true
}

// thinned is told when an edge didn't pass a batch because the one before was passed at last.
type thinned func(source *metrics.Source, last time.Time)

func (e *edge) passMetrics(ctx context.Context, b *metrics.Batch, shared bool, thin thinned) {
	t := e.now.Load()
	n := uint64(len(b.Samples) + len(b.Histograms))
	e.offered.Add(n)
	if !t.pushes && len(t.where) == 0 && (!t.mutates || !shared) {
		e.deliver(ctx, t, b)
		return
	}
	s := e.source(b.Source)
	s.mu.Lock()
	defer s.mu.Unlock()
	began := time.Now().Add(-b.Duration) // the cycle, whose time the samples have
	if t.pushes && s.source == b.Source && !s.passed.IsZero() && began.Sub(s.passed) < b.Source.Interval*8/10 {
		thin(b.Source, s.passed)
		return
	}
	lent := len(t.where) == 0 && (!t.mutates || !shared)
	if lent {
		s.scratch = *b
	} else {
		e.pick(t, b, &s.scratch)
	}
	if t.pushes {
		var gone *health
		if s.source != b.Source {
			switch {
			case s.source == nil:
			case s.source.Job != b.Source.Job || s.source.Instance != b.Source.Instance:
				e.retire(ctx, t, s, b.Time)
			case !labels.Equal(s.source.Labels, b.Source.Labels):
				gone = s.health
			}
			s.health = nil
		}
		s.passed = began
		e.markStale(t, s)
		if gone != nil {
			s.scratch.Samples = gone.markStale(s.scratch.Samples, b.Time)
		}
		if t.reports[b.Source.Address] {
			e.report(s, b)
		} else {
			s.health = nil // another edge tells of the input now
		}
	}
	s.source = b.Source
	if !lent {
		e.deliver(ctx, t, &s.scratch)
		return
	}
	// What was put behind the samples lies in the batch's own memory, which nobody else uses meanwhile: it needs no copy. Where that was too
	// small the batch gets the larger one, so that it is large enough the next time.
	all := s.scratch.Samples
	e.deliver(ctx, t, &s.scratch)
	s.scratch = metrics.Batch{}
	clear(all[len(b.Samples):])
	if cap(all) > cap(b.Samples) {
		b.Samples = all[:len(b.Samples)]
	}
}

// source returns what is remembered of a source. A source that was replaced by reload inherits from its predecessor.
func (e *edge) source(src *metrics.Source) *edgeSource {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.sources[src.Address]
	if s == nil {
		s = &edgeSource{}
		e.sources[src.Address] = s
	}
	return s
}

// pick fills dst with what where picks.
func (e *edge) pick(t *edgeTarget, b, dst *metrics.Batch) {
	if len(t.where) == 0 {
		b.CopyHeaders(dst)
		return
	}
	samples, histograms, exemplars := dst.Samples[:0], dst.Histograms[:0], dst.Exemplars[:0]
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range b.Samples {
		if t.picksSeries(b.Samples[i].Series, b.Source, b.Time) {
			samples = append(samples, b.Samples[i])
		}
	}
	for i := range b.Histograms {
		if t.picksSeries(b.Histograms[i].Series, b.Source, b.Time) {
			histograms = append(histograms, b.Histograms[i])
		}
	}
	for i := range b.Exemplars {
		if t.picksSeries(b.Exemplars[i].Series, b.Source, b.Time) {
			exemplars = append(exemplars, b.Exemplars[i])
		}
	}
	t.series.SweepEvery(b.Time, sweepAfter, nil)
	*dst = *b
	dst.Samples, dst.Histograms, dst.Exemplars = samples, histograms, exemplars
}

// markStale appends a staleness marker for each series that was passed last and isn't in the scratch batch. Usually the series are the
// same in the same order, which costs a comparison of pointers each.
func (e *edge) markStale(t *edgeTarget, s *edgeSource) {
	b := &s.scratch
	given := len(b.Samples)
	same := len(s.last) == given+len(b.Histograms)
	for i := 0; same && i < given; i++ {
		same = s.last[i] == b.Samples[i].Series
	}
	for i := 0; same && i < len(b.Histograms); i++ {
		same = s.last[given+i] == b.Histograms[i].Series
	}
	if same {
		return
	}
	if b.Full && len(s.last) > 0 {
		// The labels decide, not the pointers: a source that was made anew by reload gives the same series under new pointers.
		have := make(map[uint64][]*metrics.Series, given)
		note := func(x *metrics.Series) { h := x.Hash(); have[h] = append(have[h], x) }
		for i := range b.Samples {
			note(b.Samples[i].Series)
		}
		for i := range b.Histograms {
			note(b.Histograms[i].Series)
		}
		for _, old := range s.last {
			if !contains(have[old.Hash()], old) {
				b.Samples = append(b.Samples, staleMarker(old, b.Time))
			}
		}
	}
	if !b.Full {
		// What is missing may still be there: keep it in mind with what came.
		s.remember(len(b.Samples)+len(b.Histograms), func(i int) *metrics.Series {
			if i < len(b.Samples) {
				return b.Samples[i].Series
			}
			return b.Histograms[i-len(b.Samples)].Series
		})
		return
	}
	clear(s.last)
	s.last = s.last[:0]
	for i := range b.Samples[:given] {
		s.last = append(s.last, b.Samples[i].Series)
	}
	for i := range b.Histograms {
		s.last = append(s.last, b.Histograms[i].Series)
	}
}

// remember adds those of n series to last whose labels are not there yet.
func (s *edgeSource) remember(n int, series func(int) *metrics.Series) {
	have := map[uint64][]*metrics.Series{}
	for _, x := range s.last {
		h := x.Hash()
		have[h] = append(have[h], x)
	}
	for i := range n {
		x := series(i)
		h := x.Hash()
		if !contains(have[h], x) {
			have[h] = append(have[h], x)
			s.last = append(s.last, x)
		}
	}
}

func contains(list []*metrics.Series, s *metrics.Series) bool {
	for _, x := range list {
		if x.SameLabels(s) {
			return true
		}
	}
	return false
}

func staleMarker(s *metrics.Series, at int64) metrics.Sample {
	return metrics.Sample{Series: s, Value: math.Float64frombits(value.StaleNaN), Time: at}
}

func (h *health) markStale(to []metrics.Sample, at int64) []metrics.Sample {
	return append(to, staleMarker(h.up, at), staleMarker(h.duration, at), staleMarker(h.samples, at))
}

// report appends the series that tell of the input itself, so that the reason for absent data is data.
func (e *edge) report(s *edgeSource, b *metrics.Batch) {
	if s.health == nil {
		r := e.registry.With(b.Source.Labels)
		s.health = &health{up: r.New(upDesc), duration: r.New(durationDesc), samples: r.New(samplesDesc)}
	}
	up := 0.0
	if b.Up {
		up = 1
	}
	s.scratch.Set(s.health.up, up)
	s.scratch.Set(s.health.duration, b.Duration.Seconds())
	s.scratch.Set(s.health.samples, float64(len(b.Samples)+len(b.Histograms)))
}

// retire tells the consumer that nothing more comes of a source: it left, or it goes on under another job or instance.
func (e *edge) retire(ctx context.Context, t *edgeTarget, s *edgeSource, at int64) {
	if s.source == nil {
		return
	}
	b := metrics.Batch{Source: s.source, Time: at, Full: true}
	for _, old := range s.last {
		b.Samples = append(b.Samples, staleMarker(old, at))
	}
	if h := s.health; h != nil {
		b.Samples = h.markStale(b.Samples, at)
	}
	s.last, s.health = nil, nil
	if len(b.Samples) > 0 {
		e.deliver(ctx, t, &b)
	}
}

// forget gives up what the edge remembers of the sources whose input isn't in stay.
func (e *edge) forget(stay map[string]bool) map[string]*edgeSource {
	e.mu.Lock()
	defer e.mu.Unlock()
	gone := map[string]*edgeSource{}
	for address, s := range e.sources {
		if !stay[address] {
			gone[address] = s
			delete(e.sources, address)
		}
	}
	return gone
}

// inherit makes the edge the one that goes on with a source: what another edge to the same consumer passed last counts as passed here.
func (e *edge) inherit(address string, from *edgeSource) {
	e.mu.Lock()
	s := e.sources[address]
	if s == nil {
		s = &edgeSource{source: from.source, passed: from.passed}
		e.sources[address] = s
	}
	e.mu.Unlock()
	from.mu.Lock()
	defer from.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(len(from.last), func(i int) *metrics.Series { return from.last[i] })
	if s.health == nil {
		s.health = from.health
	}
}

func (e *edge) deliver(ctx context.Context, t *edgeTarget, b *metrics.Batch) {
	n := len(b.Samples) + len(b.Histograms)
	if err := t.consumeMetrics(ctx, b); err != nil {
		e.fail(err)
		return
	}
	e.passed.Add(uint64(n))
	e.batches.Add(1)
	e.last.Store(time.Now().UnixMilli())
}

// consumeMetrics calls the consumer. A panic in it is a fault of the consumer and not the end of the agent.
func (t *edgeTarget) consumeMetrics(ctx context.Context, b *metrics.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = t.gaveUp("taking metrics", p, len(b.Samples)+len(b.Histograms))
		}
	}()
	err = t.metrics.ConsumeMetrics(ctx, b)
	t.didNotPanic()
	return err
}

// consumeLogs calls the consumer. A batch at which it panics is given up and counted: offered again, it would stop its source for ever.
func (t *edgeTarget) consumeLogs(ctx context.Context, b *logs.Batch) (err error) {
	defer func() {
		if p := recover(); p != nil {
			_ = t.gaveUp("taking logs", p, len(b.Records)) // told as a fault
			err = nil
		}
	}()
	err = t.logs.ConsumeLogs(ctx, b)
	t.didNotPanic()
	return err
}

// gaveUp counts and tells what was lost in a panic of the consumer.
func (t *edgeTarget) gaveUp(while string, p any, items int) error {
	err := t.to.panicked(while, p)
	t.to.losses.Add("panic", items)
	t.to.status.Fault("panic", err)
	t.panicked.Store(true)
	return err
}

// didNotPanic takes the fault of an earlier panic back.
func (t *edgeTarget) didNotPanic() {
	if t.panicked.Load() && t.panicked.Swap(false) {
		t.to.status.Fault("panic", nil)
	}
}

func (e *edge) fail(err error) {
	e.errors.Add(1)
	e.mu.Lock()
	e.lastErr = err.Error()
	e.mu.Unlock()
}

// passLogs offers the batch until it is taken or ctx ends; nil means taken.
func (e *edge) passLogs(ctx context.Context, b *logs.Batch) error {
	t := e.now.Load()
	e.offer()
	err := e.giveLogs(ctx, t, b)
	e.answered(err == nil)
	return err
}

// offer notes that a batch waits to be taken.
func (e *edge) offer() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting++; e.waiting == 1 {
		e.blocked = time.Now()
	}
}

// answered notes that a batch waits no more. Where it was taken, those that still wait do so in a queue that moves.
func (e *edge) answered(taken bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting--
	switch {
	case e.waiting == 0:
		e.blocked = time.Time{}
	case taken:
		e.blocked = time.Now()
	}
}

func (e *edge) giveLogs(ctx context.Context, t *edgeTarget, b *logs.Batch) error {
	if t.gate != nil {
		select {
		case <-t.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	given := b
	// One that mutates always gets a copy: what it doesn't take to the end is offered again, as it was.
	if len(t.where) > 0 || t.mutates {
		scratch, _ := t.pool.Get().(*logs.Batch)
		if scratch == nil {
			scratch = new(logs.Batch)
		}
		defer func() {
			scratch.Begin("")
			t.pool.Put(scratch)
		}()
		if len(t.where) == 0 {
			b.CopyHeaders(scratch)
		} else {
			scratch.Begin(b.Source)
			now := time.Now().UnixMilli()
			t.mu.Lock()
			for i := range b.Records {
				if t.picksStream(b.Records[i].Stream, now) {
					scratch.Add(b.Records[i])
				}
			}
			t.streams.SweepEvery(now, sweepAfter, nil)
			t.mu.Unlock()
		}
		given = scratch
	}
	n, size := len(given.Records), given.Bytes()
	if n > 0 {
		if err := t.consumeLogs(ctx, given); err != nil {
			if ctx.Err() == nil && !errors.Is(err, component.ErrStopped) {
				e.fail(err)
			}
			return err
		}
	}
	e.offered.Add(uint64(len(b.Records)))
	e.passed.Add(uint64(n))
	e.bytes.Add(uint64(size))
	e.batches.Add(1)
	if n > 0 {
		e.last.Store(time.Now().UnixMilli())
	}
	return nil
}

func (e *edge) status() Edge {
	out := Edge{
		From: e.key.from, To: e.key.to, Signal: e.key.signal.String(),
		Offered: e.offered.Load(), Passed: e.passed.Load(), Bytes: e.bytes.Load(),
		Batches: e.batches.Load(), Errors: e.errors.Load(),
		Last: unixMilli(e.last.Load()),
	}
	e.mu.Lock()
	out.LastErr, out.BlockedSince = e.lastErr, e.blocked
	e.mu.Unlock()
	return out
}

func unixMilli(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}
