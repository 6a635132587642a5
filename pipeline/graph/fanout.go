package graph

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// fanout is what stands behind a node: the edges that lead away from it, swapped whole on reload.
type fanout struct {
	now  atomic.Pointer[outlets]
	thin thinned
}

// outlets are the ways out of a node in one graph.
type outlets struct {
	edges []*edge
	// shared says that what comes here may be in others' hands too: over several edges, or already before this node, which then passes
	// on what it was given. A consumer that changes batches gets a copy.
	shared bool
	// left says that the node is no longer in the graph. A batch in it that some have taken goes on over the edges that the graph has
	// kept; any other goes back to where it came from, which offers it on its own edges.
	left bool
}

var (
	_ component.MetricsConsumer = (*metricsFanout)(nil)
	_ component.LogsConsumer    = (*logsFanout)(nil)
)

type metricsFanout struct{ fanout }

type logsFanout struct {
	fanout
	book *positions.Book // of an input; nil behind a processor
}

func (f *fanout) set(edges []*edge, shared bool) {
	f.now.Store(&outlets{edges: edges, shared: shared || len(edges) > 1})
}

// leave turns the fan-out of a node that leaves the graph: only the edges that stays picks are there still.
func (f *fanout) leave(stays func(*edge) bool) {
	f.now.Store(&outlets{left: true, shared: true, edges: slices.DeleteFunc(slices.Clone(f.list()), func(e *edge) bool { return !stays(e) })})
}

func (f *fanout) list() []*edge {
	if o := f.now.Load(); o != nil {
		return o.edges
	}
	return nil
}

// ConsumeMetrics passes the batch over every edge. A consumer that refuses it is counted there and doesn't concern the others.
func (f *metricsFanout) ConsumeMetrics(ctx context.Context, b *metrics.Batch) error {
	if o := f.now.Load(); o != nil {
		for _, e := range o.edges {
			e.passMetrics(ctx, b, o.shared, f.thin)
		}
	}
	return nil
}

// ConsumeLogs offers the batch to every edge until each has taken it, and again only to those that have not.
func (f *logsFanout) ConsumeLogs(ctx context.Context, b *logs.Batch) error {
	if f.book != nil {
		f.book.HandsOn()
	}
	var taken, refused []*edge // edges outlive a reload, so a pointer tells
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		o := f.now.Load()
		if o == nil {
			return nil
		}
		if o.left && (len(taken) == 0 || slices.ContainsFunc(refused, func(e *edge) bool { return !slices.Contains(o.edges, e) })) {
			return fmt.Errorf("the graph goes another way: %w", component.ErrStopped)
		}
		refused = refused[:0]
		for _, e := range o.edges {
			if !slices.Contains(taken, e) {
				if err := e.passLogs(ctx, b); err != nil {
					refused = append(refused, e)
					continue
				}
				if len(o.edges) > 1 {
					taken = append(taken, e)
				}
			}
		}
		if len(refused) == 0 {
			return nil
		}
		// A consumer fails while ctx is alive only when it was stopped: its successor is there in a moment.
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		case <-wait.C:
		}
	}
}
