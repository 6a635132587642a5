package delivery

import (
	"context"
	"maps"
	"math/rand/v2" //nolint:depguard // jitter
	"sync"
	"time"
)

// How long to wait after a failure, doubling from first to last.
const (
	firstRetry, lastRetry = time.Second, time.Minute
	firstHold, lastHold   = 30 * time.Second, 5 * time.Minute
)

// gate lets requests through while a backend is well, and one probe at a time while it isn't. The shards of an output share it.
type gate struct {
	mu      sync.Mutex // guards what follows
	mode    verdict    // delivered while the backend is well, else retry, limited or hold
	until   time.Time  // the next probe is due
	asked   bool       // because the backend asked for that
	delay   time.Duration
	fails   int // probes and first failures in a row
	epoch   uint64
	probing bool
	waits   map[int]*wait // of shards whose last request failed
	changed chan struct{} // closed at the next change; nil while nobody waits
}

// wait is how long a shard is to leave the backend alone even when it answers the others well: a block that always fails must not be sent
// without a pause because its neighbours succeed.
type wait struct {
	until time.Time
	asked bool // as in gate
	delay time.Duration
	mode  verdict
}

// pass is the right to send one request.
type pass struct {
	shard int
	epoch uint64
	probe bool
}

func (g *gate) notify() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// next is when a backend that is down is asked again; zero while it is well and while it is being asked.
func (g *gate) next() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mode == delivered || g.probing {
		return time.Time{}
	}
	return g.until
}

// enter waits until the shard may send a request. It says no when ctx has ended.
func (g *gate) enter(ctx context.Context, shard int) (pass, bool) {
	for {
		g.mu.Lock()
		now := time.Now()
		var due time.Time
		if w := g.waits[shard]; w != nil {
			due = w.until
		}
		if g.mode != delivered && g.until.After(due) {
			due = g.until
		}
		blocked := g.mode != delivered && g.probing
		if !blocked && !due.After(now) {
			p := pass{shard: shard, epoch: g.epoch, probe: g.mode != delivered}
			g.probing = p.probe
			g.mu.Unlock()
			return p, ctx.Err() == nil || g.leave(p)
		}
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		changed := g.changed
		g.mu.Unlock()
		var timer <-chan time.Time
		if !blocked {
			t := time.NewTimer(due.Sub(now))
			defer t.Stop() // few: each change of the backend's state makes one
			timer = t.C
		}
		select {
		case <-ctx.Done():
			return pass{}, false
		case <-changed:
		case <-timer:
		}
	}
}

// leave gives a pass back that was not used, or whose request has no result. It is always false.
func (g *gate) leave(p pass) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.probe {
		g.probing = false
		g.notify()
	}
	return false
}

// succeed notes that the backend answered as it should.
func (g *gate) succeed(p pass) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.waits, p.shard)
	if p.probe {
		g.probing = false
	}
	if g.mode == delivered {
		return
	}
	if g.fails > 1 { // it was the backend and not one block: nobody has to wait any longer
		clear(g.waits)
	}
	g.mode, g.asked, g.delay, g.fails = delivered, false, 0, 0
	g.epoch++
	g.notify()
}

// fail notes a failure and says when the next request is due, and how many failed in a row. after is what the backend asked for, or 0.
func (g *gate) fail(p pass, mode verdict, after time.Duration) (next time.Duration, fails int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if g.waits == nil {
		g.waits = map[int]*wait{}
	}
	w := g.waits[p.shard]
	if w == nil {
		w = &wait{}
		g.waits[p.shard] = w
	}
	first, last := firstRetry, lastRetry
	if mode == hold {
		first, last = firstHold, lastHold
	}
	if (mode == hold) != (w.mode == hold) {
		w.delay = 0
	}
	w.mode = mode
	w.delay = min(max(2*w.delay, first), last)
	own := jitter(w.delay)
	if after > 0 {
		own = after
	}
	w.until, w.asked = now.Add(own), after > 0
	if p.probe {
		g.probing = false
	}
	if p.probe || p.epoch == g.epoch {
		if (mode == hold) != (g.mode == hold) {
			g.delay = 0
		}
		g.delay = min(max(2*g.delay, first), last)
		wait := own
		if after <= 0 {
			wait = jitter(g.delay)
		}
		g.mode, g.until, g.asked = mode, now.Add(wait), after > 0
		g.fails++
		g.epoch++
	} else if until := now.Add(after); after > 0 && until.After(g.until) {
		g.until, g.asked = until, true // it asked for more than it did when it refused another shard
	}
	g.notify()
	return max(g.until.Sub(now), own), g.fails
}

// hurry makes the next request due now, unless the backend asked to be left alone.
func (g *gate) hurry() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.asked {
		g.until = time.Time{}
	}
	maps.DeleteFunc(g.waits, func(_ int, w *wait) bool { return !w.asked })
	g.notify()
}

// jitter spreads d by a tenth to either side, so that agents which lost a backend together don't come back together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}
