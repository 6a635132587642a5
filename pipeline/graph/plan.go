package graph

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
)

// plan is what a config means, worked out without building anything.
type plan struct {
	nodes []*planNode
	edges []*planEdge
}

// planNode is a block whose type is known.
type planNode struct {
	block *config.Block
	def   *component.Definition
	// emits is what really flows out: a processor that takes both signals emits only what its sources give it.
	emits component.Signal
	used  bool // an output is reached from here, or this is one

	from []*planEdge
	to   []*planEdge
}

// planEdge carries one signal from a node to a consumer.
type planEdge struct {
	from, to *planNode
	signal   component.Signal
	ref      config.Ref
	// reports lists the inputs for which this edge adds up and its like: an input that reaches a pushed output over several edges
	// reports over the first only.
	reports map[string]bool
}

func (e *planEdge) key() edgeKey {
	return edgeKey{from: e.from.block.Address, to: e.to.block.Address, signal: e.signal}
}

// makePlan resolves references, and finds every fault that can be seen without building: a wrong signal, a cycle, data that would
// arrive twice, an input that nobody takes from, two listeners on one address.
func makePlan(file *config.File, definitions []component.Definition) (*plan, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	p := &plan{}
	defs := map[string]*component.Definition{}
	for i := range definitions {
		defs[definitions[i].Address()] = &definitions[i]
	}
	for _, b := range file.Blocks {
		def := defs[b.Kind+"."+b.Type]
		if def == nil {
			diags = append(diags, config.Error(b.Range, "Unknown component", fmt.Sprintf("There is no %s of type %q.", b.Kind, b.Type)))
			continue
		}
		n := &planNode{block: b, def: def}
		if def.Kind == component.Input {
			n.emits = def.Emits
		}
		p.nodes = append(p.nodes, n)
	}
	sources := p.resolve()
	diags = append(diags, p.cycles(sources)...)
	circular := diags.HasErrors()
	for _, n := range p.order(sources) {
		diags = append(diags, p.connect(n, sources[n])...)
	}
	if circular {
		return p, config.Sort(diags) // what follows goes back along the edges
	}
	p.markUsed()
	p.assignReports()
	diags = append(diags, p.duplicates()...)
	diags = append(diags, p.unused()...)
	diags = append(diags, p.listeners(file.Agent.Listen)...)
	return p, config.Sort(diags)
}

// Faults is what can be seen to be wrong between the blocks of a config of which others could not be decoded. What may be due to those (an
// input that nobody takes from) isn't told.
func Faults(file *config.File, definitions []component.Definition) hcl.Diagnostics {
	known := map[string]bool{}
	for _, d := range definitions {
		known[d.Address()] = true
	}
	whole := *file
	whole.Blocks = nil
	seen := map[string]bool{}
	for _, b := range file.Blocks {
		if known[b.Kind+"."+b.Type] && b.Config != nil && !seen[b.Address] {
			seen[b.Address] = true
			whole.Blocks = append(whole.Blocks, b)
		}
	}
	_, diags := makePlan(&whole, definitions)
	return slices.DeleteFunc(diags, func(d *hcl.Diagnostic) bool { return d.Severity != hcl.DiagError })
}

// source is a reference and what it names.
type source struct {
	ref   config.Ref
	nodes []*planNode
}

// resolve finds the nodes behind each consumer's references. A prefix never means the consumer itself.
func (p *plan) resolve() map[*planNode][]source {
	out := map[*planNode][]source{}
	for _, n := range p.nodes {
		for _, ref := range n.block.Common.From {
			s := source{ref: ref}
			for _, other := range p.nodes {
				if ref.Matches(other.block) && (other != n || ref.Name != "") {
					s.nodes = append(s.nodes, other)
				}
			}
			out[n] = append(out[n], s)
		}
	}
	return out
}

// cycles reports each loop among processors once, as a path, at the block where it closes.
func (p *plan) cycles(sources map[*planNode][]source) hcl.Diagnostics {
	var diags hcl.Diagnostics
	const (
		open = iota + 1
		done
	)
	state := map[*planNode]int{}
	var path []*planNode
	var visit func(n *planNode)
	visit = func(n *planNode) {
		state[n] = open
		path = append(path, n)
		for _, s := range sources[n] {
			for _, from := range s.nodes {
				switch state[from] {
				case 0:
					visit(from)
				case open:
					loop := path[slices.Index(path, from):]
					var names []string
					for i := len(loop) - 1; i >= 0; i-- { // in the direction in which data would flow
						names = append(names, loop[i].block.Address)
					}
					names = append(names, names[0])
					diags = append(diags, config.Error(s.ref.Range, "Cycle",
						"Data would flow in a circle: "+strings.Join(names, " -> ")+". Take one of these out of a from."))
				}
			}
		}
		path = path[:len(path)-1]
		state[n] = done
	}
	for _, n := range p.nodes {
		if state[n] == 0 {
			visit(n)
		}
	}
	return diags
}

// order returns the nodes with every source before its consumers. There is no cycle.
func (p *plan) order(sources map[*planNode][]source) []*planNode {
	var out []*planNode
	seen := map[*planNode]bool{}
	var visit func(n *planNode)
	visit = func(n *planNode) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, s := range sources[n] {
			for _, from := range s.nodes {
				visit(from)
			}
		}
		out = append(out, n)
	}
	for _, n := range p.nodes {
		visit(n)
	}
	return out
}

// connect makes the edges that lead to n. Its sources are connected already, so what they emit is known.
func (p *plan) connect(n *planNode, sources []source) hcl.Diagnostics {
	var diags hcl.Diagnostics
	if n.def.Kind == component.Input {
		return nil
	}
	seen := map[edgeKey]bool{}
	for _, s := range sources {
		matched, broken := false, false
		for _, from := range s.nodes {
			if from.def.Kind == component.Processor && from.emits == 0 {
				broken = true // its own fault is told where it stands
			}
			for _, signal := range []component.Signal{component.Metrics, component.Logs} {
				if from.emits&n.def.Takes&signal == 0 {
					continue
				}
				matched = true
				e := &planEdge{from: from, to: n, signal: signal, ref: s.ref}
				if seen[e.key()] {
					continue // named twice in one from: the same edge
				}
				seen[e.key()] = true
				p.edges = append(p.edges, e)
				n.from = append(n.from, e)
				from.to = append(from.to, e)
				if n.def.Kind == component.Processor {
					n.emits |= signal
				}
			}
		}
		if !matched && !broken && len(s.nodes) > 0 {
			diags = append(diags, config.Error(s.ref.Range, "Wrong signal",
				fmt.Sprintf("%s takes %s, and %s gives %s.", n.block.Address, n.def.Takes, s.ref, given(s.nodes))))
		}
	}
	return diags
}

func given(nodes []*planNode) string {
	var all component.Signal
	for _, n := range nodes {
		all |= n.emits
	}
	return all.String()
}

// markUsed marks what leads to an output.
func (p *plan) markUsed() {
	var mark func(n *planNode)
	mark = func(n *planNode) {
		if n.used {
			return
		}
		n.used = true
		for _, e := range n.from {
			mark(e.from)
		}
	}
	for _, n := range p.nodes {
		if n.def.Kind == component.Output {
			mark(n)
		}
	}
}

// path is a way from an input to a node.
type path struct {
	input *planNode
	parts bool // a where stands on the way, before the node itself
	via   []string
}

// ways lists how a signal reaches n.
func (p *plan) ways(n *planNode, signal component.Signal, memo map[*planNode][]path) []path {
	var out []path
	for _, e := range n.from {
		if e.signal != signal {
			continue
		}
		for _, w := range p.sourceWays(e.from, signal, memo) {
			if e.from.def.Kind == component.Processor {
				w.parts = w.parts || len(e.from.block.Common.Where) > 0
				w.via = append(slices.Clone(w.via), e.from.block.Address)
			}
			out = append(out, w)
		}
	}
	return out
}

// sourceWays is ways for what comes after n: one an input, because a double is told at the node where the ways meet.
func (p *plan) sourceWays(n *planNode, signal component.Signal, memo map[*planNode][]path) []path {
	if n.def.Kind == component.Input {
		return []path{{input: n}}
	}
	if known, ok := memo[n]; ok {
		return known
	}
	var one []path
	seen := map[*planNode]bool{}
	for _, w := range p.ways(n, signal, memo) {
		if !seen[w.input] {
			seen[w.input] = true
			one = append(one, w)
		}
	}
	memo[n] = one
	return one
}

// duplicates reports data that would reach a consumer twice.
func (p *plan) duplicates() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, signal := range []component.Signal{component.Metrics, component.Logs} {
		memo := map[*planNode][]path{}
		for _, n := range p.nodes {
			if n.def.Kind == component.Input {
				continue
			}
			byInput := map[*planNode][]path{}
			var inputs []*planNode
			for _, w := range p.ways(n, signal, memo) {
				if byInput[w.input] == nil {
					inputs = append(inputs, w.input)
				}
				byInput[w.input] = append(byInput[w.input], w)
			}
			for _, in := range inputs {
				ways := byInput[in]
				open := slices.IndexFunc(ways, func(w path) bool { return !w.parts })
				if len(ways) < 2 || open < 0 {
					continue
				}
				var names []string
				for _, w := range ways {
					if len(w.via) == 0 {
						names = append(names, "directly")
					} else {
						names = append(names, "through "+strings.Join(w.via, " and "))
					}
				}
				diags = append(diags, config.Error(n.block.AttrRange("from"), "Data would arrive twice",
					fmt.Sprintf("The %s of %s reach %s %s. Leave one of the ways out of from, or part them with where in the processors.",
						signal, in.block.Address, n.block.Address, strings.Join(names, " and "))))
			}
		}
	}
	return diags
}

// unused warns of what is configured in vain.
func (p *plan) unused() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, n := range p.nodes {
		if n.used || n.block.Key != "" && slices.ContainsFunc(p.nodes, func(o *planNode) bool {
			return o != n && o.block.Range == n.block.Range && (o.used || slices.Index(p.nodes, o) < slices.Index(p.nodes, n))
		}) {
			continue
		}
		switch {
		case n.def.Kind == component.Input:
			diags = append(diags, config.Warning(n.block.Range, "Unused input",
				fmt.Sprintf("Nothing takes from %s, so it isn't run. Name it in the from of an output.", n.block.Address)))
		default:
			diags = append(diags, config.Warning(n.block.Range, "Unused processor",
				fmt.Sprintf("Nothing takes from %s, so it isn't run. Name it in the from of an output.", n.block.Address)))
		}
	}
	return diags
}

// listeners reports two blocks on one address.
func (p *plan) listeners(admin string) hcl.Diagnostics {
	var diags hcl.Diagnostics
	type holder struct{ address, who string }
	var held []holder
	if admin != "" && admin != "off" {
		held = append(held, holder{admin, "the agent block (listen)"})
	}
	for _, n := range p.nodes {
		l, ok := n.block.Config.(component.Listens)
		if !ok {
			continue
		}
		for _, address := range l.ListenAddresses() {
			for _, h := range held {
				if collide(h.address, address) {
					diags = append(diags, config.Error(n.block.AttrRange("listen"), "Address in use twice",
						fmt.Sprintf("%s would listen on %s, which %s has already as %s.", n.block.Address, address, h.who, h.address)))
				}
			}
			held = append(held, holder{address, n.block.Address})
		}
	}
	return diags
}

// collide says whether two listeners can't be open at once: the same port on the same host, or one of them on all addresses.
func collide(a, b string) bool {
	if strings.HasPrefix(a, "unix:") || strings.HasPrefix(b, "unix:") {
		return a == b
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	every := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	if hostA == "localhost" {
		hostA = "127.0.0.1"
	}
	if hostB == "localhost" {
		hostB = "127.0.0.1"
	}
	return hostA == hostB || every(hostA) || every(hostB)
}

// assignReports decides, for each pushed output and each input that reaches it, which edge tells of the input's health.
func (p *plan) assignReports() {
	memo := map[*planNode]map[string]bool{}
	var inputs func(n *planNode) map[string]bool
	inputs = func(n *planNode) map[string]bool {
		if n.def.Kind == component.Input {
			return map[string]bool{n.block.Address: true}
		}
		if known, ok := memo[n]; ok {
			return known
		}
		out := map[string]bool{}
		for _, e := range n.from {
			if e.signal == component.Metrics {
				for address := range inputs(e.from) {
					out[address] = true
				}
			}
		}
		memo[n] = out
		return out
	}
	for _, n := range p.nodes {
		if !n.def.Pushes {
			continue
		}
		told := map[string]bool{}
		for _, e := range n.from {
			if e.signal != component.Metrics {
				continue
			}
			e.reports = map[string]bool{}
			for address := range inputs(e.from) {
				if !told[address] {
					told[address], e.reports[address] = true, true
				}
			}
		}
	}
}

// reaches lists the metrics inputs behind n, in file order.
func (p *plan) reaches(n *planNode) []*planNode {
	seen := map[*planNode]bool{}
	var walk func(n *planNode)
	walk = func(n *planNode) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, e := range n.from {
			if e.signal == component.Metrics {
				walk(e.from)
			}
		}
	}
	walk(n)
	var out []*planNode
	for _, o := range p.nodes {
		if seen[o] && o.def.Kind == component.Input {
			out = append(out, o)
		}
	}
	return out
}
