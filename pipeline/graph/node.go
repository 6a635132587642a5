package graph

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/metrics"
)

// node is a component of the running graph. It lives as long as its block stays the same; its edges may change meanwhile.
type node struct {
	block       *config.Block
	def         *component.Definition
	fingerprint [32]byte
	used        bool
	opened      time.Time
	comp        any
	env         *component.Env
	status      *component.Status
	losses      *component.Losses
	self        *prometheus.Registry // counters of the component's own

	source     *metrics.Source // metrics inputs
	cycler     *cycler         // metrics inputs
	metricsOut *metricsFanout  // inputs and processors
	logsOut    *logsFanout     // inputs and processors

	// gate is closed when the component runs, or at once where it has no predecessor.
	gate   chan struct{}
	cancel context.CancelFunc
	work   sync.WaitGroup
}

func (n *node) address() string { return n.block.Address }

// open makes the component.
func (e *Engine) open(p *planNode, file *config.File, fingerprint [32]byte, store positionStore) (*node, error) {
	b := p.block
	log := e.options.Log.With("component", b.Address)
	n := &node{
		block: b, def: p.def, fingerprint: fingerprint, used: p.used, opened: time.Now(),
		status: component.NewStatus(log), losses: new(component.Losses), self: prometheus.NewRegistry(),
		gate: make(chan struct{}),
	}
	host := e.options.Host
	if file.Agent.Host != "" {
		host.Name = file.Agent.Host
	}
	env := &component.Env{
		Address: b.Address, Type: b.Type, Name: b.Name,
		Log: log, Status: n.status, Losses: n.losses,
		Self:         prometheus.WrapRegistererWith(prometheus.Labels{"component": b.Address}, n.self),
		SelfGatherer: e,
		Series:       e.series.With(b.Common.Labels),
		Streams:      e.streams.With(b.Common.Labels),
		Host:         host,
		AgentLabels:  agentLabels(file),
		Docker:       component.Docker{Endpoint: file.Agent.Docker.Endpoint, JoinNetworks: file.Agent.Docker.JoinNetworks},
		Interval:     b.Common.Interval, Timeout: b.Common.Timeout,
		Version: e.options.Version,
		Pool:    e.pool,
		Listen:  e.Listen,
		Inputs:  func() []*metrics.Source { return e.inputsOf(b.Address) },
		Pull: func(ctx context.Context, maxAge time.Duration, only string) []component.Pulled {
			return e.pull(ctx, b.Address, maxAge, only)
		},
	}
	if file.Agent.DataDir != "" {
		env.DataDir = filepath.Join(file.Agent.DataDir, b.Kind, folderName(b.Address))
	}
	n.env = env
	if p.def.Emits&component.Metrics != 0 {
		n.metricsOut = &metricsFanout{fanout{thin: e.noteThinned}}
		env.Metrics = n.metricsOut
	}
	if p.def.Emits&component.Logs != 0 {
		n.logsOut = &logsFanout{}
		env.Logs = n.logsOut
		if p.def.Kind == component.Input {
			env.Positions = store.Book(b.Address)
			n.logsOut.book = env.Positions
		}
	}
	comp, err := openSafely(p.def, env, b.Config)
	if err != nil {
		return nil, err
	}
	n.comp = comp
	if err := n.conforms(); err != nil {
		return nil, err
	}
	if collector, ok := comp.(component.Collector); ok && p.def.Kind == component.Input && n.metricsOut != nil {
		n.source = &metrics.Source{
			Address: b.Address, Type: b.Type, Job: b.Common.Job, Instance: b.Common.Instance,
			Interval: b.Common.Interval, Labels: b.Common.Labels,
		}
		if n.source.Job == "" {
			n.source.Job = p.def.Job
		}
		if n.source.Instance == "" {
			n.source.Instance = host.Name
			if named, ok := comp.(component.Instancer); ok && named.Instance() != "" {
				n.source.Instance = named.Instance()
			}
		}
		n.cycler = newCycler(n, collector, &e.pause)
	}
	return n, nil
}

// panicked logs a panic of the component with its stack and makes an error of it. The caller has just recovered it.
func (n *node) panicked(while string, p any) error {
	n.env.Log.Error("panic while "+while, "panic", p, "stack", string(debug.Stack()))
	return component.WithRemedy(fmt.Errorf("panic: %v", p), "please report this with the stack from the log")
}

func openSafely(def *component.Definition, env *component.Env, cfg any) (comp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			env.Log.Error("panic while opening", "panic", p, "stack", string(debug.Stack()))
			err = component.WithRemedy(fmt.Errorf("panic: %v", p), "please report this with the stack from the log")
		}
	}()
	return def.Open(env, cfg)
}

// conforms holds a component to what its Definition says.
func (n *node) conforms() error {
	miss := func(what string) error {
		return fmt.Errorf("%s does not implement %s, which its definition promises", n.def.Address(), what)
	}
	_, collector := n.comp.(component.Collector)
	_, runner := n.comp.(component.Runner)
	_, metricsIn := n.comp.(component.MetricsConsumer)
	_, logsIn := n.comp.(component.LogsConsumer)
	switch {
	case n.def.Kind == component.Input && n.def.Emits == component.Metrics && !collector && !runner:
		return miss("Collector")
	case n.def.Kind == component.Input && n.def.Emits&component.Logs != 0 && !runner:
		return miss("Runner")
	case n.def.Takes&component.Metrics != 0 && !metricsIn:
		return miss("MetricsConsumer")
	case n.def.Takes&component.Logs != 0 && !logsIn:
		return miss("LogsConsumer")
	}
	return nil
}

// folderName makes a path element of an address: what isn't a letter, a digit or one of ._- becomes %XX.
func folderName(address string) string {
	var b strings.Builder
	for i := 0; i < len(address); i++ {
		c := address[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.' && i > 0, c == '_', c == '-':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// start acquires what the component needs.
func (n *node) start(ctx context.Context) (err error) {
	s, ok := n.comp.(component.Starter)
	if !ok {
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = n.panicked("starting", p)
		}
	}()
	return s.Start(ctx)
}

// run lets the component work until halt.
func (n *node) run(e *Engine) {
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	if r, ok := n.comp.(component.Runner); ok {
		n.work.Go(func() { n.runLoop(ctx, r) })
	}
	if n.cycler != nil {
		n.work.Go(func() { n.cycler.run(ctx) })
	}
	if n.env.Positions != nil {
		n.work.Go(func() { e.saver(ctx, n) })
	}
	close(n.gate)
}

// runLoop calls Run, and again after a pause when it ended by itself.
func (n *node) runLoop(ctx context.Context, r component.Runner) {
	const longest = 30 * time.Second
	for pause := time.Second; ; pause = min(2*pause, longest) {
		began := time.Now()
		well := time.AfterFunc(5*time.Second, func() { n.status.Fault("run", nil) })
		err := n.callRun(ctx, r)
		well.Stop()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		if time.Since(began) > time.Minute {
			pause = time.Second
		}
		n.status.Fault("run", fmt.Errorf("%w; beginning again", err))
		wait := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

func (n *node) callRun(ctx context.Context, r component.Runner) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = n.panicked("running", p)
		}
	}()
	return r.Run(ctx)
}

// halt ends the component's own work and waits for it until ctx ends.
func (n *node) halt(ctx context.Context) {
	if n.cancel == nil {
		return
	}
	n.cancel()
	done := make(chan struct{})
	go func() {
		n.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) { // else the whole stop was given up
			n.env.Log.Error("did not end in time and is left behind")
		}
	}
}

// flush waits until the component has put away what it took; one that isn't a Flusher keeps nothing back. A component that doesn't run yet
// is waited for: what its predecessor at the address took is not in its hands before.
func (n *node) flush(ctx context.Context) (err error) {
	f, ok := n.comp.(component.Flusher)
	if !ok {
		return nil
	}
	select {
	case <-n.gate:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		if p := recover(); p != nil {
			err = n.panicked("flushing", p)
		}
	}()
	return f.Flush(ctx)
}

// removed tells the component that its address is no longer in the config.
func (n *node) removed() {
	r, ok := n.comp.(component.Remover)
	if !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			_ = n.panicked("being removed", p) // logged; there is nobody to tell
		}
	}()
	r.Removed()
}

// stop lets the component drain until ctx ends and release.
func (n *node) stop(ctx context.Context) {
	s, ok := n.comp.(component.Stopper)
	if !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			_ = n.panicked("stopping", p) // logged; there is nobody to tell
		}
	}()
	if err := s.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		n.env.Log.Error("stopping", "err", err)
	}
}
