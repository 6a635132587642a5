package graph

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/config"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/metrics"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

const (
	// triesAtOnce bounds how many components are tried at a time.
	triesAtOnce = 16
	// tryTimeout is how long a component may take to be tried. An input of metrics that is collected for that has its own timeout.
	tryTimeout = 15 * time.Second
	// openingTime is how long an input of logs that has listed its sources is given to open them.
	openingTime = time.Second
)

// Finding is what came out when something of a component was tried.
type Finding struct {
	Address string // of the component
	component.Finding
}

// Try builds what the file says, as Check does, tries everything in it once, and lets it go again: `hermod check`. Nothing of it runs for
// good, and no data is passed on. report is called for one component after the other, in the file's order, inputs first; when the config has
// errors it isn't called.
func (e *Engine) Try(ctx context.Context, file *config.File, report func(Finding)) hcl.Diagnostics {
	p, diags := makePlan(file, e.options.Definitions)
	if diags.HasErrors() {
		return diags
	}
	store, err := positions.Open("", e.options.Log) // in memory: where a running agent has read to stays as it is
	if err != nil {
		return append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Positions", Detail: err.Error()})
	}
	nodes, more := e.build(p, file, nil, store)
	defer e.discard(nodes)
	diags = config.Sort(append(diags, more...))
	if diags.HasErrors() {
		return diags
	}
	var tried []*node
	for _, n := range byKind(nodes, component.Input, component.Processor, component.Output) {
		if n.used {
			tried = append(tried, n)
		}
	}
	found := make([][]component.Finding, len(tried))
	done := make([]chan struct{}, len(tried))
	for i := range done {
		done[i] = make(chan struct{})
	}
	var tries sync.WaitGroup
	slots := make(chan struct{}, triesAtOnce)
	tries.Go(func() {
		for i, n := range tried {
			slots <- struct{}{}
			tries.Go(func() {
				defer func() { <-slots; close(done[i]) }()
				found[i] = n.try(ctx)
			})
		}
	})
	for i, n := range tried {
		<-done[i]
		for _, f := range found[i] {
			report(Finding{n.address(), f})
		}
	}
	tries.Wait()
	return diags
}

// try finds out whether the component would work.
func (n *node) try(ctx context.Context) []component.Finding {
	var mu sync.Mutex // a component may report from several goroutines
	var found []component.Finding
	report := func(f component.Finding) {
		mu.Lock()
		found = append(found, f)
		mu.Unlock()
	}
	err := n.callTry(ctx, report)
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		found = append(found, component.Finding{Err: err})
	}
	// What the component says of itself as it would while it runs, unless it was told already.
	told := map[string]bool{}
	for _, f := range found {
		_, what := component.Remedy(f.Err)
		told[what] = true
	}
	for _, f := range n.status.Faults() {
		if told[f.What] {
			continue
		}
		err := errors.New(f.What)
		if f.Remedy != "" {
			err = component.WithRemedy(err, f.Remedy)
		}
		found = append(found, component.Finding{What: f.Key, Err: err, Note: f.Note})
	}
	if len(found) == 0 {
		found = append(found, component.Finding{Detail: "opened"})
	}
	return found
}

func (n *node) callTry(ctx context.Context, report func(component.Finding)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = n.panicked("being tried", p)
		}
	}()
	c, checks := n.comp.(component.Checker)
	timeout := tryTimeout
	if n.cycler != nil && !checks {
		timeout = n.cycler.timeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if checks {
		c.Check(ctx, report)
		return nil
	}
	if n.def.Kind != component.Input {
		return nil
	}
	if err := n.start(ctx); err != nil {
		return err
	}
	switch c := n.comp.(type) {
	case component.Collector:
		return n.tryCollector(ctx, c, report)
	case component.Runner:
		return n.tryRunner(ctx, c, report)
	}
	return nil
}

// tryCollector collects once. A collection that doesn't return is left behind: the process ends soon.
func (n *node) tryCollector(ctx context.Context, c component.Collector, report func(component.Finding)) error {
	type outcome struct {
		series int
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		b := new(metrics.Batch)
		b.Begin(n.source, 1, time.Now().UnixMilli())
		err := (&cycler{node: n, collector: c}).collect(collection{ctx, b})
		done <- outcome{len(b.Samples) + len(b.Histograms), err}
	}()
	select {
	case o := <-done:
		if o.err == nil {
			report(component.Finding{Detail: fmt.Sprintf("%d series", o.series)})
		}
		return o.err
	case <-ctx.Done():
	}
	grace := time.NewTimer(time.Second)
	defer grace.Stop()
	select {
	case o := <-done:
		return o.err
	case <-grace.C:
		return component.WithRemedy(fmt.Errorf("not done after %s", n.cycler.timeout), "raise timeout in the block if the source is slow, or see why it hangs")
	}
}

// tryRunner runs an input of logs until it has opened its sources. What it reads goes nowhere: the first batch is held until the end.
func (n *node) tryRunner(ctx context.Context, r component.Runner, report func(component.Finding)) error {
	running, cancel := context.WithCancel(ctx)
	n.env.Logs = held{}
	ended := make(chan error, 1)
	go func() { ended <- n.callRun(running, r) }()
	err, over := n.awaitReady(ctx, ended)
	sources := len(n.status.Details()) // while it runs: it lets them go when it ends
	cancel()
	if !over {
		if runErr := <-ended; runErr != nil && !errors.Is(runErr, context.Canceled) && !errors.Is(runErr, context.DeadlineExceeded) {
			err = runErr
		}
	}
	if err == nil && n.status.IsReady() {
		detail := fmt.Sprintf("%d sources", sources)
		if sources == 1 {
			detail = "1 source"
		}
		report(component.Finding{Detail: detail})
	}
	return err
}

// awaitReady waits until the component is ready and has had time to open its sources, or has said what is wrong. over says that it has
// ended.
func (n *node) awaitReady(ctx context.Context, ended <-chan error) (err error, over bool) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	var since time.Time
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = errors.New("ended by itself")
			}
			return err, true
		case <-ctx.Done():
			if !n.status.IsReady() && len(n.status.Faults()) == 0 {
				return errors.New("its sources were not open in time"), false
			}
			return nil, false
		case now := <-poll.C:
			switch {
			case !n.status.IsReady() && len(n.status.Faults()) == 0:
			case since.IsZero():
				since = now
			case now.Sub(since) > openingTime:
				return nil, false
			}
		}
	}
}

// held takes nothing, so that an input that is only tried stops reading at its first batch.
type held struct{}

func (held) ConsumeLogs(ctx context.Context, _ *logs.Batch) error {
	<-ctx.Done()
	return ctx.Err()
}
