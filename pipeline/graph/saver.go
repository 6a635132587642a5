package graph

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hermod-agent/hermod/pipeline/component"
)

// saveEvery is how often positions are saved where they moved: what a kill repeats at most.
const saveEvery = time.Second

// saver saves the positions of one log input, beside its reading: note them, flush every output below, write what was noted.
func (e *Engine) saver(ctx context.Context, n *node) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.env.Positions.Urgent():
		}
		e.save(ctx, n)
	}
}

// save reports whether everything that the input has handed on is safe and its positions are on disk.
func (e *Engine) save(ctx context.Context, n *node) bool {
	noted, moved := n.env.Positions.Note()
	if !moved {
		return true
	}
	// Where an input begins is saved at once: it isn't to wait for what others have handed to outputs that are down.
	if n.env.Positions.HandedOn() {
		if err := e.flush(ctx, n); err != nil {
			// The outputs say what is wrong with them; the positions stay where they were and are tried again.
			return false
		}
	}
	store := e.positions.Load()
	if store == nil {
		return false // the engine has stopped without waiting for this
	}
	if err := store.Save(noted); err != nil {
		e.faults.Fault("positions", explainSave(err))
		return false
	}
	e.faults.Fault("positions", nil)
	return true
}

// explainSave says what to do about positions that can't be saved.
func explainSave(err error) error {
	const meanwhile = "; until then a restart reads again what came after the last save"
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return component.WithRemedy(err, "free space on the filesystem of data_dir"+meanwhile)
	case errors.Is(err, syscall.EROFS):
		return component.WithRemedy(err, "mount the filesystem of data_dir writable, or name another folder"+meanwhile)
	case errors.Is(err, os.ErrPermission):
		return component.WithRemedy(err, "give the agent's user the right to write to data_dir"+meanwhile)
	}
	return component.WithRemedy(err, "see what is wrong with the filesystem of data_dir"+meanwhile)
}

// flush waits until every output that the input's logs reach, or have reached before a reload, has put away what it took.
func (e *Engine) flush(ctx context.Context, n *node) error {
	g := e.current.Load()
	if g == nil {
		return component.ErrStopped
	}
	owed := e.owedBy(n.address())
	reached := g.below(n.address())
	for _, address := range owed {
		if to := g.byAddress[address]; to != nil && !slices.Contains(reached, to) {
			reached = append(reached, to)
		}
	}
	var group errgroup.Group
	for _, to := range reached {
		group.Go(func() error { return to.flush(ctx) })
	}
	if err := group.Wait(); err != nil {
		return err // ErrStopped when a reload has just replaced it: its successor is asked next time
	}
	e.settle(n.address(), owed)
	return nil
}

// below are the nodes that the logs of the input at address reach, each once.
func (g *running) below(address string) []*node {
	var out []*node
	seen := map[string]bool{address: true}
	for next := []string{address}; len(next) > 0; next = next[1:] {
		for _, edge := range g.order {
			if edge.key.from == next[0] && edge.key.signal == component.Logs && !seen[edge.key.to] {
				seen[edge.key.to] = true
				out = append(out, g.byAddress[edge.key.to])
				next = append(next, edge.key.to)
			}
		}
	}
	return out
}

// owe notes the outputs that stay but no longer get what an input reads: they may still hold some of it, and its positions aren't safe
// before they have put that away. It is called before next becomes the current graph.
func (e *Engine) owe(old, next *running) {
	if old == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, in := range old.nodes {
		if in.env.Positions == nil {
			continue
		}
		if e.owed[in.address()] == nil {
			e.owed[in.address()] = map[string]bool{}
		}
		for _, to := range old.below(in.address()) {
			if to.def.Kind == component.Output {
				e.owed[in.address()][to.address()] = true
			}
		}
		for _, to := range next.below(in.address()) {
			delete(e.owed[in.address()], to.address())
		}
	}
	for input, outputs := range e.owed {
		maps.DeleteFunc(outputs, func(address string, _ bool) bool { return next.byAddress[address] == nil })
		if len(outputs) == 0 {
			delete(e.owed, input)
		}
	}
}

func (e *Engine) owedBy(input string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Keys(e.owed[input]))
}

// settle forgets what was owed and is flushed now.
func (e *Engine) settle(input string, outputs []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, address := range outputs {
		delete(e.owed[input], address)
	}
}
