package docker

import (
	"slices"
	"sync"
)

// maxGone bounds the removed containers that a subscription keeps for a subscriber that doesn't take them. Those that are there
// are bounded by the engine.
const maxGone = 4096

// Subscription gathers what happened to containers until its owner takes it. Of each container it keeps the newest state alone: nothing
// is lost by a slow owner, and nothing piles up.
type Subscription struct {
	engine *Engine
	wake   chan struct{}

	mu      sync.Mutex // guards what follows; taken after the engine's
	changed map[string]*Container
	order   []string // of changed, oldest first
	gone    int
	missed  int
}

// Subscribe begins with all containers that are known, as changed. The owner closes it.
func (e *Engine) Subscribe() *Subscription {
	s := &Subscription{engine: e, wake: make(chan struct{}, 1), changed: map[string]*Container{}}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subs[s] = struct{}{}
	for _, x := range e.containers {
		if x.c.Inspected {
			s.put(x.c)
		}
	}
	s.poke()
	if !e.started && e.ctx.Err() == nil {
		e.started = true
		e.jobs.Add(1)
		go e.run(e.ctx)
	}
	return s
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.engine.mu.Lock()
	delete(s.engine.subs, s)
	s.engine.mu.Unlock()
}

// C gets a value when there is something to take, or when Err or Synced of the engine may have changed.
func (s *Subscription) C() <-chan struct{} { return s.wake }

// Take returns the containers that changed since the last call, each as it is now, in the order in which they changed first.
func (s *Subscription) Take() []Container {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Container, 0, len(s.order))
	for _, id := range s.order {
		out = append(out, *s.changed[id])
	}
	clear(s.changed)
	s.order, s.gone = s.order[:0], 0
	return out
}

// Missed is how many removed containers were forgotten because nobody took them.
func (s *Subscription) Missed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missed
}

func (s *Subscription) put(c Container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.changed[c.ID]
	if old == nil {
		s.order = append(s.order, c.ID)
	}
	if c.Gone && (old == nil || !old.Gone) {
		s.gone++
	}
	s.changed[c.ID] = &c
	if s.gone > maxGone {
		i := slices.IndexFunc(s.order, func(id string) bool { return s.changed[id].Gone })
		delete(s.changed, s.order[i])
		s.order = slices.Delete(s.order, i, i+1)
		s.gone--
		s.missed++
	}
	s.poke()
}

func (s *Subscription) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
