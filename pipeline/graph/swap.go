package graph

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// assemble makes the next graph out of what stays and what was made, without touching what runs.
func (e *Engine) assemble(p *plan, file *config.File, old *running, made []*node) (next *running, leaving []*node) {
	next = &running{
		file: file, plan: p, loaded: time.Now(),
		byAddress: map[string]*node{}, bySource: map[*metrics.Source]*node{}, edges: map[edgeKey]*edge{},
	}
	for _, n := range made {
		next.byAddress[n.address()] = n
	}
	if old != nil {
		for _, n := range old.nodes {
			if next.byAddress[n.address()] != nil || !slices.ContainsFunc(p.nodes, func(pn *planNode) bool { return pn.block.Address == n.address() }) {
				leaving = append(leaving, n)
				continue
			}
			next.byAddress[n.address()] = n
		}
	}
	for _, pn := range p.nodes {
		n := next.byAddress[pn.block.Address]
		next.nodes = append(next.nodes, n)
		if n.source != nil {
			next.bySource[n.source] = n
		}
	}
	for _, pe := range p.edges {
		if !pe.to.used {
			continue
		}
		var edge *edge
		if old != nil {
			edge = old.edges[pe.key()]
		}
		if edge == nil {
			edge = newEdge(pe.key(), e.series)
		}
		next.edges[pe.key()] = edge
		next.order = append(next.order, edge)
	}
	return next, leaving
}

// swap lets next take over. Inputs that leave stop first, so that nothing is read for nobody; then, while no metrics batch is on its way,
// the edges are turned, the outputs that leave put away what they hold, and their successors begin. Then the new inputs begin, and last the
// scrape pages change over: one that leaves may be waiting for a cycle, also of a new input, on behalf of a scraper.
func (e *Engine) swap(old, next *running, leaving, made []*node) {
	leave := func(n *node) {
		if next.byAddress[n.address()] == nil {
			n.removed()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		n.halt(ctx)
		n.stop(ended())
	}
	var ending sync.WaitGroup // at once, so that several that hang cost no more than one
	for _, n := range byKind(leaving, component.Input) {
		ending.Go(func() { leave(n) })
	}
	ending.Wait()

	e.pause.Lock()
	for i, pe := range usedEdges(next.plan) {
		next.order[i].now.Store(next.target(pe))
	}
	for _, n := range next.nodes {
		if n.metricsOut != nil {
			n.metricsOut.set(next.from(n, component.Metrics), next.sharedAt(n))
		}
		if n.logsOut != nil {
			n.logsOut.set(next.from(n, component.Logs), false) // copied anyway for who mutates
		}
	}
	for _, n := range leaving {
		if n.logsOut != nil {
			n.logsOut.leave(func(edge *edge) bool { return next.edges[edge.key] == edge })
		}
	}
	e.owe(old, next)
	e.current.Store(next)
	leavingPages, leavingRest := pages(byKind(leaving, component.Processor, component.Output))
	madePages, madeRest := pages(byKind(made, component.Output, component.Processor))
	for _, n := range leavingRest {
		leave(n)
	}
	for _, n := range madeRest {
		if n.used {
			n.run(e)
		}
	}
	e.retireGone(old, next)
	e.pause.Unlock()

	if len(made) > 0 {
		for _, n := range next.nodes {
			if n.cycler != nil {
				n.cycler.forget() // a new page has nothing to show before the next cycle
			}
		}
	}
	for _, n := range byKind(made, component.Input) {
		if n.used {
			n.run(e)
		}
	}
	for _, n := range leavingPages {
		leave(n)
	}
	for _, n := range madePages {
		n.run(e)
	}
	for _, n := range byKind(leaving, component.Input) {
		if n.env.Positions != nil && next.byAddress[n.address()] == nil {
			e.positions.Load().Remove(n.address())
		}
	}
}

// pages parts the scrape pages from the rest.
func pages(nodes []*node) (pages, rest []*node) {
	for _, n := range nodes {
		if _, ok := n.comp.(component.Puller); ok {
			pages = append(pages, n)
		} else {
			rest = append(rest, n)
		}
	}
	return pages, rest
}

func usedEdges(p *plan) []*planEdge {
	return slices.DeleteFunc(slices.Clone(p.edges), func(pe *planEdge) bool { return !pe.to.used })
}

// from lists the edges that lead away from n with a signal.
func (g *running) from(n *node, signal component.Signal) []*edge {
	var out []*edge
	for _, edge := range g.order {
		if edge.key.from == n.address() && edge.key.signal == signal {
			out = append(out, edge)
		}
	}
	return out
}

// sharedAt says whether a metrics batch that n is given may be in others' hands too. n may pass on that very batch, unless it changes
// batches: then it has one of its own.
func (g *running) sharedAt(n *node) bool {
	if n.def.Mutates {
		return false
	}
	for _, edge := range g.order {
		if edge.key.to != n.address() || edge.key.signal != component.Metrics {
			continue
		}
		if before := g.byAddress[edge.key.from]; len(g.from(before, component.Metrics)) > 1 || g.sharedAt(before) {
			return true
		}
	}
	return false
}

// target is where a planned edge leads in this graph.
func (g *running) target(pe *planEdge) *edgeTarget {
	to := g.byAddress[pe.to.block.Address]
	t := &edgeTarget{
		to: to, mutates: pe.to.def.Mutates, pushes: pe.to.def.Pushes && pe.signal == component.Metrics,
		reports: pe.reports, where: pe.to.block.Common.Where, gate: to.gate,
	}
	t.metrics, _ = to.comp.(component.MetricsConsumer)
	t.logs, _ = to.comp.(component.LogsConsumer)
	return t
}

// retireGone tells pushed outputs of the inputs that no longer reach them over an edge. Where an input reaches the output over one other
// edge now, that edge goes on with what this one remembers, so that only what is really missing goes stale.
func (e *Engine) retireGone(old, next *running) {
	if old == nil {
		return
	}
	now := time.Now().UnixMilli()
	for key, edge := range old.edges {
		if key.signal != component.Metrics {
			continue
		}
		to := next.byAddress[key.to]
		if to == nil {
			continue
		}
		ways := next.waysTo(key.to)
		stay := map[string]bool{}
		for address, edges := range ways {
			stay[address] = slices.Contains(edges, edge)
		}
		for address, source := range edge.forget(stay) {
			edges := ways[address]
			switch {
			case !to.def.Pushes:
				continue
			case len(edges) == 1:
				edges[0].inherit(address, source)
				continue
			}
			source.mu.Lock()
			edge.retire(context.Background(), &edgeTarget{to: to, metrics: to.comp.(component.MetricsConsumer)}, source, now)
			source.mu.Unlock()
		}
	}
}

// waysTo lists, by the inputs' addresses, the edges over which metrics reach the node at address.
func (g *running) waysTo(address string) map[string][]*edge {
	out := map[string][]*edge{}
	for _, pn := range g.plan.nodes {
		if pn.block.Address != address {
			continue
		}
		for _, pe := range pn.from {
			if pe.signal != component.Metrics {
				continue
			}
			for _, in := range g.plan.reaches(pe.from) {
				out[in.block.Address] = append(out[in.block.Address], g.edges[pe.key()])
			}
		}
	}
	return out
}
