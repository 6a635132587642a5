package graph

import (
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// quietAfter is how long nothing may come over a log edge before its input is called quiet. Quiet is no fault.
const quietAfter = time.Minute

// blockedAfter is how long a batch may wait to be taken before that is worth saying.
const blockedAfter = 5 * time.Second

// Status is the truth about the graph now. It is cheap enough to be asked every second.
func (e *Engine) Status() Status {
	now := time.Now()
	s := Status{
		Version: e.options.Version, Host: e.options.Host.Name, Started: e.started, Now: now,
		Config: e.options.Config, Faults: e.faults.Faults(),
	}
	e.mu.Lock()
	s.ReloadError = e.reloadErr
	e.mu.Unlock()
	g := e.current.Load()
	if g == nil {
		s.NotReady = []string{"the graph doesn't run"}
		return s
	}
	s.Loaded, s.DataDir = g.loaded, g.file.Agent.DataDir
	if g.file.Agent.Host != "" {
		s.Host = g.file.Agent.Host
	}
	for _, edge := range g.order {
		s.Edges = append(s.Edges, edge.status())
	}
	for _, n := range byKind(g.nodes, component.Input, component.Processor, component.Output) {
		if !n.used {
			continue
		}
		node := n.tell(s.Edges, now)
		s.Nodes = append(s.Nodes, node)
		if why := n.notReady(); why != "" {
			s.NotReady = append(s.NotReady, n.address()+": "+why)
		}
	}
	s.Ready = len(s.NotReady) == 0
	return s
}

// notReady says what an input waits for before it counts as ready. It doesn't depend on a backend, nor on there being anything to read.
func (n *node) notReady() string {
	if n.def.Kind != component.Input {
		return ""
	}
	if n.cycler != nil {
		n.cycler.mu.Lock()
		defer n.cycler.mu.Unlock()
		if n.cycler.cycles == 0 {
			return "the first collection has not ended"
		}
		return ""
	}
	if !n.status.IsReady() {
		return "the sources are not open yet"
	}
	return ""
}

func (n *node) tell(edges []Edge, now time.Time) Node {
	out := Node{
		Address: n.address(), Kind: string(n.def.Kind), Type: n.def.Type,
		Faults: n.status.Faults(), Details: n.status.Details(), Losses: n.losses.Counts(),
	}
	if len(out.Losses) == 0 {
		out.Losses = nil
	}
	var blocked Edge
	for _, edge := range edges {
		if edge.From == out.Address {
			out.Out += edge.Passed
			out.Last = later(out.Last, edge.Last)
			if !edge.BlockedSince.IsZero() && now.Sub(edge.BlockedSince) > blockedAfter {
				blocked = edge
			}
		}
		if edge.To == out.Address {
			out.In += edge.Passed
			out.Last = later(out.Last, edge.Last)
		}
	}
	if r, ok := n.comp.(component.TrafficReporter); ok {
		t := r.Traffic()
		out.Traffic = &t
	}
	unknown := false
	for _, d := range out.Details {
		out.Unread += max(d.Unread, 0)
		unknown = unknown || d.Unread < 0
	}
	if unknown && out.Unread == 0 {
		out.Unread = -1
	}
	if c := n.cycler; c != nil {
		c.mu.Lock()
		out.Interval = c.source.Interval.Seconds()
		out.LastCycle, out.LastDuration, out.Series, out.Cycles, out.Skipped = c.started, c.duration.Seconds(), c.series, c.cycles, c.skipped
		out.Since, out.Limit = c.since, c.limit
		c.mu.Unlock()
	}
	out.State, out.Since = n.state(&out, now)
	explain(&out, blocked)
	return out
}

func (n *node) state(out *Node, now time.Time) (State, time.Time) {
	for _, f := range out.Faults {
		if !f.Note {
			return Failing, f.Since
		}
	}
	switch {
	case n.cycler != nil && out.Cycles == 0, n.cycler == nil && out.Last.IsZero():
		return Waiting, n.opened
	case n.cycler == nil && now.Sub(out.Last) > quietAfter:
		return Quiet, out.Last
	case len(out.Faults) > 0:
		return Noted, out.Faults[0].Since
	}
	return OK, later(later(n.opened, out.Since), n.status.WellSince())
}

// explain fills Why and Remedy.
func explain(out *Node, blocked Edge) {
	if len(out.Faults) > 0 {
		f := out.Faults[0]
		out.Why, out.Remedy = f.What, f.Remedy
		if f.Key != "" && !strings.Contains(f.What, f.Key) {
			out.Why = f.Key + ": " + f.What
		}
	}
	if blocked.To == "" {
		return
	}
	held := fmt.Sprintf("held back by %s, which has no room; nothing is lost, the sources keep it", blocked.To)
	if out.Why == "" {
		out.State, out.Since, out.Why = Noted, blocked.BlockedSince, held
	} else {
		out.Why += "; " + held
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Plan is the drawing of a config that `hermod graph` prints: nodes and edges, nothing built.
func Plan(file *config.File, definitions []component.Definition) (Status, hcl.Diagnostics) {
	p, diags := makePlan(file, definitions)
	if diags.HasErrors() {
		return Status{}, diags
	}
	var s Status
	for _, kind := range []component.Kind{component.Input, component.Processor, component.Output} {
		for _, n := range p.nodes {
			if n.def.Kind == kind {
				s.Nodes = append(s.Nodes, Node{Address: n.block.Address, Kind: string(kind), Type: n.def.Type})
			}
		}
	}
	for _, e := range p.edges {
		s.Edges = append(s.Edges, Edge{From: e.from.block.Address, To: e.to.block.Address, Signal: e.signal.String()})
	}
	return s, diags
}
