// Package graph runs the components that a config names: it plans them, builds them, connects them by counted edges, keeps the schedule
// of collections, saves positions, and swaps one graph for the next on reload.
//
// plan.go says what a config means; engine.go and node.go build, start and stop; swap.go takes one graph over into the next; edge.go and
// fanout.go are the ways on which batches travel; schedule.go keeps the time of metrics inputs, saver.go the positions of log inputs;
// status.go and selfmetrics.go tell.
package graph

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// Options of an Engine.
type Options struct {
	Definitions []component.Definition
	Host        component.Host
	Version     string
	Log         *slog.Logger
	// Config is how the status page names the config: its path, or "built-in".
	Config string
}

// BlockTypes is what config.Load needs to know of the definitions.
func BlockTypes(definitions []component.Definition) []config.BlockType {
	out := make([]config.BlockType, 0, len(definitions))
	for _, d := range definitions {
		out = append(out, config.BlockType{
			Kind: string(d.Kind), Type: d.Type, New: d.Config,
			EmitsMetrics: d.Emits&component.Metrics != 0, EmitsLogs: d.Emits&component.Logs != 0,
			TakesMetrics: d.Takes&component.Metrics != 0, TakesLogs: d.Takes&component.Logs != 0,
		})
	}
	return out
}

// Engine runs one graph at a time.
type Engine struct {
	options Options
	series  *metrics.Registry
	streams *logs.Registry
	pool    *component.Pool
	faults  *component.Status // of the engine itself
	self    *prometheus.Registry
	started time.Time

	// pause is held for writing while consumers are swapped, for reading while a metrics batch is passed on.
	pause   sync.RWMutex
	current atomic.Pointer[running]

	changing  sync.Mutex // one Start, Reload or Stop at a time
	positions atomic.Pointer[positions.Store]

	mu        sync.Mutex // guards what follows
	reloadErr string
	owed      map[string]map[string]bool // outputs that hold something of a log input which no longer feeds them; both by address
}

// running is a graph that runs.
type running struct {
	file      *config.File
	plan      *plan
	nodes     []*node // in the file's order
	byAddress map[string]*node
	bySource  map[*metrics.Source]*node
	edges     map[edgeKey]*edge
	order     []*edge // in the plan's order
	loaded    time.Time
}

type positionStore interface {
	Book(address string) *positions.Book
}

// New returns an engine that runs nothing yet.
func New(options Options) *Engine {
	e := &Engine{
		options: options,
		series:  metrics.NewRegistry(),
		streams: logs.NewRegistry(),
		pool:    component.NewPool(),
		faults:  component.NewStatus(options.Log),
		started: time.Now(), owed: map[string]map[string]bool{},
	}
	e.self = newSelfRegistry(e)
	return e
}

// Pool is what the engine's components share; a caller that needs one of those things (the Docker client) takes it from there too.
func (e *Engine) Pool() *component.Pool { return e.pool }

// Listen opens a listener that can be handed over in a reload. address is host:port, or unix:/path.
func (e *Engine) Listen(address string) (net.Listener, error) { return listen(e.pool, address) }

// Tell shows something about the agent as a whole that its user should know while everything works; nil takes it back.
func (e *Engine) Tell(key string, note error) { e.faults.Note(key, note) }

// Check plans and builds what the file says, without a start: `hermod validate`. Start and Reload go through the same code.
func (e *Engine) Check(file *config.File) hcl.Diagnostics {
	p, diags := makePlan(file, e.options.Definitions)
	if diags.HasErrors() {
		return diags
	}
	store, err := positions.Open("", e.options.Log) // in memory
	if err != nil {
		return append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Positions", Detail: err.Error()})
	}
	nodes, more := e.build(p, file, nil, store)
	e.discard(nodes)
	return config.Sort(append(diags, more...))
}

// build opens every component that old doesn't run already as it is to be. Those opened by this call are in made.
func (e *Engine) build(p *plan, file *config.File, old *running, store positionStore) (made []*node, diags hcl.Diagnostics) {
	for _, pn := range p.nodes {
		fingerprint := fingerprintOf(file, pn)
		if old != nil {
			if n := old.byAddress[pn.block.Address]; n != nil && n.fingerprint == fingerprint {
				continue
			}
		}
		n, err := e.open(pn, file, fingerprint, store)
		if err != nil {
			diags = append(diags, openFaults(pn.block, err)...)
			continue
		}
		made = append(made, n)
	}
	return made, diags
}

// openFaults places what Open complains of at the attributes that it names.
func openFaults(b *config.Block, err error) hcl.Diagnostics {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var diags hcl.Diagnostics
		for _, one := range joined.Unwrap() {
			diags = append(diags, openFaults(b, one)...)
		}
		return diags
	}
	at, detail := b.Range, ""
	var attr *config.AttrError
	if errors.As(err, &attr) {
		at, detail = b.AttrRange(attr.Attr), err.Error()+"." // begins with the attribute's name as it is written
	} else {
		detail = sentence(err)
	}
	return hcl.Diagnostics{config.Error(at, "Can't open "+b.Address, detail)}
}

// sentence turns an error into a sentence.
func sentence(err error) string {
	s := err.Error()
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// discard releases nodes that never ran.
func (e *Engine) discard(nodes []*node) {
	for _, n := range nodes {
		n.stop(ended())
	}
}

// ended is a context that is over: Stop under it releases and doesn't drain.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// fingerprintOf covers all that a component is opened with.
func fingerprintOf(file *config.File, p *planNode) [32]byte {
	h := sha256.New()
	h.Write(p.block.Fingerprint[:])
	fmt.Fprintf(h, "%v|%q|%q|%v|%+v", agentLabels(file), file.Agent.Host, file.Agent.DataDir, p.used, file.Agent.Docker)
	return [32]byte(h.Sum(nil))
}

func agentLabels(file *config.File) labels.Labels { return labels.FromMap(file.Agent.Labels) }

// Start plans, builds and starts the graph, and returns when it runs. On an error nothing runs and nothing shows. Warnings come with a
// nil error; faults of the config come as errors in the diagnostics, faults of the machine (a port in use) as err.
func (e *Engine) Start(ctx context.Context, file *config.File) (hcl.Diagnostics, error) {
	e.changing.Lock()
	defer e.changing.Unlock()
	if e.current.Load() != nil {
		return nil, errors.New("the engine runs already")
	}
	path := ""
	if file.Agent.DataDir != "" {
		path = filepath.Join(file.Agent.DataDir, "positions")
	}
	store, err := positions.Open(path, e.options.Log)
	if err != nil {
		return nil, err
	}
	e.positions.Store(store)
	diags, err := e.change(ctx, file)
	if err != nil || diags.HasErrors() {
		e.positions.Store(nil)
		return diags, errors.Join(err, store.Withdraw())
	}
	return diags, nil
}

// Reload swaps the running graph for that of file. On an error the old graph runs on as it was, and Status tells the error.
func (e *Engine) Reload(ctx context.Context, file *config.File) (hcl.Diagnostics, error) {
	e.changing.Lock()
	defer e.changing.Unlock()
	old := e.current.Load()
	if old == nil {
		return nil, errors.New("the engine doesn't run")
	}
	var diags hcl.Diagnostics
	var err error
	if old.file.Agent.DataDir != file.Agent.DataDir {
		err = fmt.Errorf("agent.data_dir changed from %q to %q: that needs a restart", old.file.Agent.DataDir, file.Agent.DataDir)
	} else {
		diags, err = e.change(ctx, file)
	}
	switch {
	case err != nil:
		e.RefuseReload(err.Error())
	case diags.HasErrors():
		e.RefuseReload(firstError(diags))
	default:
		e.RefuseReload("")
	}
	return diags, err
}

func firstError(diags hcl.Diagnostics) string {
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			where := ""
			if d.Subject != nil {
				where = fmt.Sprintf("%s:%d: ", d.Subject.Filename, d.Subject.Start.Line)
			}
			return where + d.Summary + ": " + d.Detail
		}
	}
	return ""
}

// RefuseReload notes, for Status, that a new config could not be taken; "" takes that back.
func (e *Engine) RefuseReload(why string) {
	e.mu.Lock()
	e.reloadErr = why
	e.mu.Unlock()
}

// change makes file's graph the running one. Until the swap everything can fail and nothing shows; from there on nothing can fail.
func (e *Engine) change(ctx context.Context, file *config.File) (hcl.Diagnostics, error) {
	p, diags := makePlan(file, e.options.Definitions)
	if diags.HasErrors() {
		return diags, nil
	}
	old := e.current.Load()
	made, more := e.build(p, file, old, e.positions.Load())
	diags = config.Sort(append(diags, more...))
	if diags.HasErrors() {
		e.discard(made)
		return diags, nil
	}
	for _, n := range byKind(made, component.Output, component.Processor, component.Input) {
		if !n.used {
			continue
		}
		if err := n.start(ctx); err != nil {
			e.discard(made)
			return diags, fmt.Errorf("%s: %w", n.address(), err)
		}
	}
	next, leaving := e.assemble(p, file, old, made)
	e.swap(old, next, leaving, made)
	return diags, nil
}

// byKind lists the nodes of the kinds, kind by kind in the given order.
func byKind(nodes []*node, kinds ...component.Kind) []*node {
	var out []*node
	for _, k := range kinds {
		for _, n := range nodes {
			if n.def.Kind == k {
				out = append(out, n)
			}
		}
	}
	return out
}

// Stop ends the inputs, flushes, sends for the drain timeout, saves positions and releases everything. ctx bounds it beside the drain
// timeout.
func (e *Engine) Stop(ctx context.Context) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	g := e.current.Load()
	if g == nil {
		return nil
	}
	drain := time.Duration(g.file.Agent.DrainTimeout)
	if drain <= 0 {
		drain = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(component.WithHurry(ctx), drain)
	defer cancel()

	// An input that hangs must not use up the time that the outputs need.
	soon, enough := context.WithTimeout(ctx, drain/4)
	var halting sync.WaitGroup
	for _, n := range byKind(g.nodes, component.Input) {
		halting.Go(func() { n.halt(soon) })
	}
	halting.Wait()
	enough()

	// What was read is brought to safety; what can't be is read again at the next start.
	var saving sync.WaitGroup
	var unsaved atomic.Int64
	for _, n := range byKind(g.nodes, component.Input) {
		if n.env.Positions != nil && n.used {
			saving.Go(func() {
				if !e.save(ctx, n) {
					unsaved.Add(1)
				}
			})
		}
	}
	saving.Wait()
	if n := unsaved.Load(); n > 0 {
		e.options.Log.Warn("stopping before everything was delivered; what is missing is read again at the next start", "inputs", n)
	}
	for _, n := range byKind(g.nodes, component.Input, component.Processor) {
		if n.def.Kind == component.Processor {
			n.halt(ctx)
		}
		n.stop(ctx)
	}
	var stopping sync.WaitGroup
	for _, n := range byKind(g.nodes, component.Output) {
		stopping.Go(func() {
			short, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			n.halt(short)
			n.stop(ctx)
		})
	}
	stopping.Wait()
	e.current.Store(nil)
	return e.positions.Swap(nil).Close()
}

// noteThinned passes on what an edge says to the input's schedule.
func (e *Engine) noteThinned(source *metrics.Source, last time.Time) {
	if g := e.current.Load(); g != nil {
		if n := g.bySource[source]; n != nil {
			n.cycler.noteThinned(last)
		}
	}
}

// feeding are the metrics inputs that reach the output at address, in file order.
func (e *Engine) feeding(address string) []*node {
	g := e.current.Load()
	if g == nil {
		return nil
	}
	var out []*node
	for _, pn := range g.plan.nodes {
		if pn.block.Address != address {
			continue
		}
		for _, in := range g.plan.reaches(pn) {
			if n := g.byAddress[in.block.Address]; n.cycler != nil {
				out = append(out, n)
			}
		}
	}
	return out
}

func (e *Engine) inputsOf(address string) []*metrics.Source {
	var out []*metrics.Source
	for _, n := range e.feeding(address) {
		out = append(out, n.source)
	}
	return out
}

func (e *Engine) pull(ctx context.Context, address string, maxAge time.Duration, only string) []component.Pulled {
	nodes := e.feeding(address)
	if only != "" {
		nodes = slices.DeleteFunc(nodes, func(n *node) bool { return n.address() != only })
	}
	out := make([]component.Pulled, len(nodes))
	var pulling sync.WaitGroup
	for i, n := range nodes {
		if i == len(nodes)-1 {
			out[i] = n.cycler.fresh(ctx, maxAge) // this goroutine would only wait
			break
		}
		pulling.Go(func() { out[i] = n.cycler.fresh(ctx, maxAge) })
	}
	pulling.Wait()
	return out
}
