package host

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// statfsFunc is statfs(2).
type statfsFunc func(path string, out *unix.Statfs_t) error

func statfs(path string, out *unix.Statfs_t) error {
	for {
		if err := unix.Statfs(path, out); err != unix.EINTR {
			return err
		}
	}
}

// A statfs on a dead mount (NFS, FUSE, SMB, but a broken disk as well) can hang for ever, and nothing can call it back. So mounts are asked by a
// helper goroutine while the collector waits. As long as all answer it is one helper that goes through the list, which costs a wake-up a
// cycle. When it stays with one mount for longer than hurry, another takes the rest of the list over and the first one is left with its
// mount; it ends when the mount answers. So there is never more than one helper for a mount, and a mount whose helper hasn't come back
// isn't asked again.
const (
	hurry = 20 * time.Millisecond
	// maxLeft bounds how many helpers may be left with dead mounts: each holds a thread of the operating system.
	maxLeft = 64
)

// mountPoint is a place that is asked.
type mountPoint struct {
	path         string
	seen, listed uint64 // cycles, for the collector

	// Guarded by statter.mu; stat and err may be read without it when result has said that the point has answered.
	busy  bool   // a helper is with it
	round uint64 // in which the last answer came
	stat  unix.Statfs_t
	err   error
}

// answer is what became of a mount point in a round.
type answer int

const (
	answered answer = iota
	notAnswered
	notAsked // the round ended before its turn
)

// statter asks mount points. ask is called by one goroutine at a time.
type statter struct {
	statfs statfsFunc

	mu      sync.Mutex // guards what follows, and the mount points
	list    []*mountPoint
	next    int // of list
	open    int // mount points of list without an answer
	round   uint64
	helper  *helper // takes from list; nil when there is none
	left    int     // helpers that stay with a mount
	stopped bool

	done  chan struct{} // holds a token when open has become 0
	timer *time.Timer
}

// helper is a goroutine that asks. with and since are guarded by statter.mu.
type helper struct {
	wake  chan struct{}
	ended chan struct{}
	with  *mountPoint
	since time.Time
	left  bool
	buf   unix.Statfs_t
}

func newStatter(f statfsFunc) *statter {
	return &statter{statfs: f, done: make(chan struct{}, 1)}
}

// ask starts a round: it asks every mount point that no helper is with, and returns when all have answered, when timeout has passed, or
// when ctx ends.
func (s *statter) ask(ctx context.Context, points []*mountPoint, timeout time.Duration) {
	s.mu.Lock()
	s.round++
	s.list, s.next = s.list[:0], 0
	for _, p := range points {
		if !p.busy {
			s.list = append(s.list, p)
		}
	}
	s.open = len(s.list)
	select {
	case <-s.done: // of a round that was given up
	default:
	}
	if s.open == 0 || s.stopped || !s.takeOver(0) {
		s.endRound()
		s.mu.Unlock()
		return
	}
	s.helper.poke()
	s.mu.Unlock()

	begin := time.Now()
	if s.timer == nil {
		s.timer = time.NewTimer(min(hurry, timeout))
	} else {
		s.timer.Reset(min(hurry, timeout))
	}
	defer s.timer.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ctx.Done():
		case <-s.timer.C:
			if passed := time.Since(begin); passed < timeout {
				s.mu.Lock()
				if s.next < len(s.list) && s.takeOver(hurry) && s.helper.with == nil {
					s.helper.poke()
				}
				s.mu.Unlock()
				s.timer.Reset(min(hurry, timeout-passed))
				continue
			}
		}
		s.mu.Lock()
		s.endRound()
		s.mu.Unlock()
		return
	}
}

// result says what became of a mount point in the round that has ended. Its stat and err may then be read until the next one.
func (s *statter) result(p *mountPoint) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p.busy:
		return notAnswered
	case p.round == s.round:
		return answered
	}
	return notAsked
}

// takeOver makes sure that there is a helper for the list: if the one there is has been with a mount for at least that long, it is left
// there and another is made. It returns false when too many are left already.
func (s *statter) takeOver(patience time.Duration) bool {
	if h := s.helper; h != nil {
		if h.with == nil || time.Since(h.since) < patience {
			return true
		}
		if s.left >= maxLeft {
			return false
		}
		h.left = true
		s.left++
	}
	s.helper = &helper{wake: make(chan struct{}, 1), ended: make(chan struct{})}
	go s.help(s.helper)
	return true
}

// endRound takes back what nobody has begun with. A helper that is still with a mount point is left there by the next round.
func (s *statter) endRound() {
	s.next = len(s.list)
}

// poke wakes the helper up, unless that was done already.
func (h *helper) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// help asks one mount point after the other until the list is empty, then waits for the next round.
func (s *statter) help(h *helper) {
	defer close(h.ended)
	for range h.wake {
		s.mu.Lock()
		for s.next < len(s.list) && !h.left {
			p, round := s.list[s.next], s.round
			s.next++
			p.busy, h.with, h.since = true, p, time.Now()
			s.mu.Unlock()
			err := s.statfs(p.path, &h.buf)
			s.mu.Lock()
			p.busy, h.with = false, nil
			p.stat, p.err, p.round = h.buf, err, s.round
			if round != s.round {
				continue // it is not of the list that is worked on now
			}
			if s.open--; s.open == 0 {
				s.done <- struct{}{}
			}
		}
		if h.left {
			s.left--
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
	}
}

// stop ends the helper and waits for it until ctx ends. Those that stay with a dead mount end by themselves when it answers.
func (s *statter) stop(ctx context.Context) {
	s.mu.Lock()
	h := s.helper
	if s.stopped || h == nil {
		s.stopped = true
		s.mu.Unlock()
		return
	}
	s.stopped = true
	s.endRound()
	hanging := h.with != nil
	close(h.wake)
	s.mu.Unlock()
	if hanging {
		return
	}
	select {
	case <-h.ended:
	case <-ctx.Done():
	}
}

// errNotAsked says that a cycle's time was over before every mount had its turn.
func errNotAsked(n int) error {
	return fmt.Errorf("%d mounts could not be asked in time: too many others don't answer", n)
}
