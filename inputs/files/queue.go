package files

import "sync"

// queue holds the sources that may have something to read, each once, in the order in which they get their turn.
type queue struct {
	mu      sync.Mutex // guards sources and their queued
	sources []*source
	signal  chan struct{} // holds one: the queue isn't empty
}

func newQueue() *queue { return &queue{signal: make(chan struct{}, 1)} }

func (q *queue) push(s *source) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.queued {
		return
	}
	s.queued = true
	q.sources = append(q.sources, s)
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// pop takes the source whose turn it is, or returns nil.
func (q *queue) pop() *source {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.sources) == 0 {
		return nil
	}
	s := q.sources[0]
	q.sources[0] = nil
	if q.sources = q.sources[1:]; len(q.sources) == 0 {
		q.sources = nil
	}
	s.queued = false
	return s
}

// holds says that a source waits for its turn.
func (q *queue) holds(s *source) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return s.queued
}
