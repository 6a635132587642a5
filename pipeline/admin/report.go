package admin

import (
	"sync"
	"time"

	"github.com/hermod-agent/hermod/pipeline/graph"
)

// Report is what /api/graph gives: the graph's status, and how fast its counters moved during the last minute, which one look at the
// counters can't tell.
type Report struct {
	graph.Status
	// Trends are by address. A component is missing until it was seen twice, five seconds apart.
	Trends map[string]Trend `json:"trends,omitempty"`
}

// Trend is how a component's counters moved, per second.
type Trend struct {
	Seconds float64 `json:"seconds"` // how long it was watched
	In      float64 `json:"in_per_second"`
	Out     float64 `json:"out_per_second"`
	// Unread and Queued are bytes per second; they fall when the component catches up.
	Unread float64 `json:"unread_bytes_per_second"`
	Queued float64 `json:"queued_bytes_per_second"`
	Lost   float64 `json:"lost_per_second"`
}

// How far back a trend looks, and how often the server looks by itself.
const (
	trendWindow = time.Minute
	trendEvery  = 10 * time.Second
	trendLeast  = 5 * time.Second
)

// trends remembers the counters of the last minute. It is safe for concurrent use.
type trends struct {
	mu   sync.Mutex
	past []snapshot // guarded by mu; oldest first, at least trendLeast apart, none older than the window but the first
}

type snapshot struct {
	at    time.Time
	nodes map[string]counters
}

type counters struct {
	in, out, lost uint64
	unread        int64
	queued        uint64
}

// report notes the counters of a status and says how they moved.
func (t *trends) report(s graph.Status) Report {
	now := snapshot{at: s.Now, nodes: make(map[string]counters, len(s.Nodes))}
	for i := range s.Nodes {
		n := &s.Nodes[i]
		c := counters{unread: n.Unread}
		c.in, c.out = flow(s.Edges, n.Address)
		if n.Traffic != nil {
			c.queued = n.Traffic.QueuedBytes
		}
		for reason, lost := range n.Losses {
			if reason != cut {
				c.lost += lost
			}
		}
		now.nodes[n.Address] = c
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.past) > 1 && now.at.Sub(t.past[1].at) >= trendWindow {
		t.past = t.past[1:]
	}
	if len(t.past) > 0 && now.at.Before(t.past[len(t.past)-1].at) {
		t.past = nil // the clock was set back
	}
	r := Report{Status: s, Trends: map[string]Trend{}}
	for address, c := range now.nodes {
		if trend, ok := t.since(now.at, address, c); ok {
			r.Trends[address] = trend
		}
	}
	if len(t.past) == 0 || now.at.Sub(t.past[len(t.past)-1].at) >= trendLeast {
		t.past = append(t.past, now)
	}
	return r
}

// since compares c with the oldest snapshot that knows the address. The caller holds mu.
func (t *trends) since(at time.Time, address string, c counters) (Trend, bool) {
	for _, old := range t.past {
		seconds := at.Sub(old.at).Seconds()
		was, ok := old.nodes[address]
		if !ok || c.in < was.in || c.out < was.out || c.lost < was.lost {
			continue // it was not there yet, or a reload began its counters anew
		}
		if seconds < trendLeast.Seconds() {
			break
		}
		trend := Trend{
			Seconds: seconds,
			In:      float64(c.in-was.in) / seconds,
			Out:     float64(c.out-was.out) / seconds,
			Queued:  (float64(c.queued) - float64(was.queued)) / seconds,
			Lost:    float64(c.lost-was.lost) / seconds,
		}
		if c.unread >= 0 && was.unread >= 0 {
			trend.Unread = float64(c.unread-was.unread) / seconds
		}
		return trend, true
	}
	return Trend{}, false
}
