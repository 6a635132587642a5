package graph

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/dense"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// cycler runs one metrics input: a cycle at every interval, earlier when a scrape asks for one, never two at once. A collection that
// doesn't end by its deadline is left behind with its batch; until it returns, ticks are skipped and counted, and the input is down.
type cycler struct {
	node      *node
	collector component.Collector
	source    *metrics.Source
	timeout   time.Duration
	maxAge    time.Duration // of the input itself, beside what a scrape asks for
	maxSeries int
	out       component.MetricsConsumer
	// pause is held for reading while a batch is passed on, so that a reload can swap consumers between two batches.
	pause *sync.RWMutex

	pull chan struct{} // asks for a cycle now; filled under mu, emptied there by the cycle that answers
	work chan collection
	done chan result

	// Of the loop alone.
	batch    *metrics.Batch
	cycle    uint64
	busy     bool  // a collection was left behind and has not returned
	hangs    error // what to say while busy; the same words at every tick, so that they are logged once
	admitted dense.Cache[metrics.Series, struct{}]
	blame    *SeriesLimit // which label makes the series too many; not changed once it is here
	blamedAt int64        // ms; when that was found out, 0 while they are not too many

	mu       sync.Mutex    // guards what follows
	finished chan struct{} // closed at the end of the cycle that runs or comes next
	running  bool
	left     bool      // the loop has ended
	started  time.Time // of the last cycle
	// forgotten says that a scrape needs a cycle however fresh the last one is.
	forgotten bool
	cycles    uint64
	skipped   uint64
	up        bool
	since     time.Time // since when up is what it is
	err       error
	duration  time.Duration
	series    int
	limit     *SeriesLimit // nil while the series are not too many
	// thinnedFrom is when the edge that has waited longest passed its last batch, zero when none was thinned in this cycle.
	thinnedFrom time.Time
}

type collection struct {
	ctx   context.Context
	batch *metrics.Batch
}

type result struct {
	batch *metrics.Batch
	err   error
}

func newCycler(n *node, collector component.Collector, pause *sync.RWMutex) *cycler {
	return &cycler{
		node: n, collector: collector, source: n.source, timeout: min(n.env.Timeout, n.source.Interval), maxAge: n.def.MaxAge,
		maxSeries: n.block.Common.MaxSeries, out: n.metricsOut, pause: pause,
		pull: make(chan struct{}, 1), work: make(chan collection), done: make(chan result, 1),
		batch: new(metrics.Batch), finished: make(chan struct{}),
	}
}

// run is the loop. It returns when ctx ends and the last collection has returned; who can't wait for one that hangs leaves it.
func (c *cycler) run(ctx context.Context) {
	var calls sync.WaitGroup
	calls.Go(c.collectLoop)
	defer calls.Wait()
	defer c.leave()
	defer close(c.work)
	c.runCycle(ctx)
	// The inputs of an agent, and the agents of a fleet, spread over the interval; the first cycle is at once all the same, so that a
	// page has something to show. A second one between 0.8 and 1.2 intervals later is passed by every edge.
	next := time.Now().Add(c.source.Interval*8/10 + time.Duration(spread(c.node.env.Host.Name+c.source.Address)*0.4*float64(c.source.Interval)))
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			c.runCycle(ctx)
			next = next.Add(c.source.Interval)
			if now := time.Now(); next.Before(now) {
				next = now.Add(c.source.Interval) // the machine slept, or a cycle took longer than the interval
			}
		case <-c.pull:
			c.runCycle(ctx)
			next = time.Now().Add(c.source.Interval)
		}
		c.mu.Lock()
		if !c.thinnedFrom.IsZero() {
			if latest := c.thinnedFrom.Add(c.source.Interval * 12 / 10); latest.Before(next) {
				next = latest
			}
		}
		c.mu.Unlock()
		timer.Reset(time.Until(next))
	}
}

// spread maps a name to [0, 1).
func spread(name string) float64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return float64(h.Sum32()) / (1 << 32)
}

// collectLoop calls the collector, one collection after the other. It ends when the loop has closed work and the last call returned.
func (c *cycler) collectLoop() {
	for w := range c.work {
		c.done <- result{batch: w.batch, err: c.collect(w)}
	}
}

func (c *cycler) collect(w collection) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = c.node.panicked("collecting", p)
		}
	}()
	return c.collector.Collect(w.ctx, w.batch)
}

func (c *cycler) runCycle(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	c.running, c.started, c.thinnedFrom, c.forgotten = true, now, time.Time{}, false
	select {
	case <-c.pull: // whoever asked waits for the end of this cycle
	default:
	}
	c.mu.Unlock()
	c.cycle++
	at := now.UnixMilli()

	var err error
	var taken time.Duration
	b := c.batch
	if c.busy {
		select {
		case <-c.done: // it came back since; its batch is of an old cycle
			c.busy = false
		default:
		}
	}
	if c.busy {
		b.Begin(c.source, c.cycle, at)
		err = c.hangs
		c.mu.Lock()
		c.skipped++
		c.mu.Unlock()
	} else {
		b.Begin(c.source, c.cycle, at)
		err = c.callCollector(ctx, b)
		taken = time.Since(now)
		b = c.batch // another one, when the call was left behind
		if c.busy {
			b.Begin(c.source, c.cycle, at)
		}
	}
	if ctx.Err() != nil {
		return // a stop, not a fault of the input; leave lets go of those that wait
	}
	b.Up, b.Duration = err == nil, taken
	c.admit(b)
	series := len(b.Samples) + len(b.Histograms) // now, because a consumer that mutates may leave others
	c.pause.RLock()
	_ = c.out.ConsumeMetrics(ctx, b) // edges count what consumers refuse
	c.pause.RUnlock()
	c.finish(err, taken, series)
}

// callCollector runs one collection and leaves it behind at its deadline.
func (c *cycler) callCollector(ctx context.Context, b *metrics.Batch) error {
	began := time.Now()
	callCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	c.work <- collection{callCtx, b}
	select {
	case r := <-c.done:
		return r.err
	case <-callCtx.Done():
	}
	// A collector that minds its deadline returns now with an error of its own, which says more than ours.
	grace := time.NewTimer(min(c.timeout/10, 250*time.Millisecond))
	defer grace.Stop()
	select {
	case r := <-c.done:
		return r.err
	case <-grace.C:
	}
	c.busy = true
	c.batch = new(metrics.Batch)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	const remedy = "raise timeout in the block if the source is slow, or see why it hangs"
	c.hangs = component.WithRemedy(fmt.Errorf("the collection of %s has not returned yet", began.Format(time.DateTime)), remedy)
	return component.WithRemedy(fmt.Errorf("not done after %s", c.timeout), remedy)
}

// admit drops samples of series above the input's budget. Those that were there first stay: what is new is what is too much.
func (c *cycler) admit(b *metrics.Batch) {
	if c.maxSeries <= 0 {
		return
	}
	admitted := func(s *metrics.Series) bool {
		if c.admitted.Get(s.ID, s, b.Time) == nil {
			if c.admitted.Len() >= c.maxSeries {
				return false
			}
			c.admitted.Put(s.ID, s, b.Time, struct{}{})
		}
		return true
	}
	all := len(b.Samples) + len(b.Histograms)
	var over []*metrics.Series // only until it is known which label is to blame
	ask := b.Time-c.blamedAt >= blameAgain
	samples := b.Samples[:0]
	for i := range b.Samples {
		if s := b.Samples[i].Series; admitted(s) {
			samples = append(samples, b.Samples[i])
		} else if ask {
			over = append(over, s)
		}
	}
	histograms := b.Histograms[:0]
	for i := range b.Histograms {
		if s := b.Histograms[i].Series; admitted(s) {
			histograms = append(histograms, b.Histograms[i])
		} else if ask {
			over = append(over, s)
		}
	}
	b.Samples, b.Histograms = samples, histograms
	c.admitted.SweepEvery(b.Time, max(5*c.source.Interval.Milliseconds(), 60_000), nil)
	dropped := all - len(samples) - len(histograms)
	c.node.losses.Add("series_limit", dropped)
	if dropped == 0 {
		c.blame, c.blamedAt = nil, 0
		c.node.status.Note("max_series", nil)
		return
	}
	if ask {
		for i := range samples {
			over = append(over, samples[i].Series)
		}
		for i := range histograms {
			over = append(over, histograms[i].Series)
		}
		c.blame, c.blamedAt = blame(over, c.maxSeries), b.Time
	}
	c.node.status.Note("max_series", component.WithRemedy(
		fmt.Errorf("there are more than max_series = %d series; new ones above that are dropped; %s", c.maxSeries, c.blame.words()),
		"raise max_series, or see to it that there are fewer"))
}

// blameAgain is how many milliseconds pass before it is looked again which label makes the series so many.
const blameAgain = 10 * 60 * 1000

// blame names the label that parts the series into the most: the one with the most different values.
func blame(series []*metrics.Series, limit int) *SeriesLimit {
	values := map[string]map[string]struct{}{}
	for _, s := range series {
		s.Range(func(l labels.Label) {
			if values[l.Name] == nil {
				values[l.Name] = map[string]struct{}{}
			}
			values[l.Name][l.Value] = struct{}{}
		})
	}
	names := len(values[labels.MetricName])
	delete(values, labels.MetricName)
	worst := ""
	for name, v := range values {
		if n := len(values[worst]); len(v) > n || len(v) == n && name < worst {
			worst = name
		}
	}
	l := &SeriesLimit{Max: limit, Names: names}
	if n := len(values[worst]); n > 1 {
		l.Label, l.Values = worst, n
	}
	return l
}

func (l *SeriesLimit) words() string {
	if l.Label != "" {
		return fmt.Sprintf("the label with the most values is %s, with %d", l.Label, l.Values)
	}
	return fmt.Sprintf("they have %d different names, and no label of many values", l.Names)
}

func (c *cycler) finish(err error, taken time.Duration, series int) {
	c.node.status.Fault("", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	up := err == nil
	if c.cycles == 0 || up != c.up {
		c.since = c.started
	}
	c.cycles++
	c.running, c.up, c.err, c.duration, c.series, c.limit = false, up, err, taken, series, c.blame
	close(c.finished)
	c.finished = make(chan struct{})
}

// leave lets go of those that wait for a cycle which won't come.
func (c *cycler) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	close(c.finished)
}

// forget makes the next scrape run a cycle.
func (c *cycler) forget() {
	c.mu.Lock()
	c.forgotten = true
	c.mu.Unlock()
}

// noteThinned is told by an edge that didn't pass this cycle's batch: the next tick must come before that edge has waited too long.
func (c *cycler) noteThinned(last time.Time) {
	c.mu.Lock()
	if c.thinnedFrom.IsZero() || last.Before(c.thinnedFrom) {
		c.thinnedFrom = last
	}
	c.mu.Unlock()
}

// ended says whether it was a cycle that ended, and not the loop.
func (c *cycler) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.left
}

// fresh makes sure that the last cycle isn't older than maxAge, or ctx has ended.
func (c *cycler) fresh(ctx context.Context, maxAge time.Duration) component.Pulled {
	c.mu.Lock()
	stale := !c.running && (c.cycles == 0 || c.forgotten || time.Since(c.started) >= max(maxAge, c.maxAge))
	wait := (c.running || stale) && !c.left
	done := !c.left
	finished := c.finished
	if stale {
		select {
		case c.pull <- struct{}{}:
		default: // somebody else has asked already
		}
	}
	c.mu.Unlock()
	if wait {
		select {
		case <-finished:
			done = c.ended()
		case <-ctx.Done():
			done = false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return component.Pulled{Source: c.source, Done: done, Up: c.up, Err: c.err, Duration: c.duration}
}
