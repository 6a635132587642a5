package stdout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hermod-agent/hermod/pipeline/component"
)

const (
	// room is how many bytes may wait for a standard output that is slow. A batch that begins below it is taken whole.
	room = 1 << 20
	// keptBuffer is how large memory may be to be kept for the next lines.
	keptBuffer = 1 << 20
)

// sink writes lines behind the backs of those who bring them: a terminal that is paused or a pipe that nobody reads holds a write for as
// long as it likes, and no caller may hang in it. One goroutine writes, and it lives only as long as there is something to write.
type sink struct {
	env *component.Env

	mu       sync.Mutex // guards what follows
	w        io.WriteCloser
	stopped  bool
	closed   bool
	writing  bool          // the goroutine lives
	pending  []byte        // lines that it has not begun with
	spare    []byte        // the other buffer, while nobody writes it
	waiting  uint64        // records in pending
	taken    uint64        // records, all time, like what follows
	written  uint64        // records that were written or lost
	lost     uint64        // of written
	bytes    uint64        // that were written
	last     time.Time     // of the last success
	began    time.Time     // when the oldest that waits came
	progress chan struct{} // closed when a write has ended, and made anew
}

func newSink(env *component.Env) *sink { return &sink{env: env, progress: make(chan struct{})} }

func (s *sink) start(w io.WriteCloser) {
	s.mu.Lock()
	s.w = w
	s.mu.Unlock()
}

// try takes n records or samples if there is room now. encode appends them to what it is given.
func (s *sink) try(n int, encode func([]byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if len(s.pending) >= room {
		return component.WithRemedy(fmt.Errorf("the standard output takes nothing: %d bytes wait for it", len(s.pending)), "see whether what reads it hangs, or a terminal is paused (Ctrl-Q resumes it)")
	}
	s.take(n, encode)
	return nil
}

// put is try for who can wait for room until ctx ends.
func (s *sink) put(ctx context.Context, n int, encode func([]byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.usable(); err != nil {
			return err
		}
		if len(s.pending) < room {
			s.take(n, encode)
			return nil
		}
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
}

// flush waits until everything that was taken before is written or lost.
func (s *sink) flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for taken := s.taken; s.written < taken; {
		if err := s.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wait gives mu up until a write has ended.
func (s *sink) wait(ctx context.Context) error {
	progress := s.progress
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-progress:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *sink) usable() error {
	if s.stopped || s.w == nil {
		return fmt.Errorf("standard output: %w", component.ErrStopped)
	}
	return nil
}

func (s *sink) take(n int, encode func([]byte) []byte) {
	if s.waiting == 0 {
		s.began = time.Now()
	}
	s.pending = encode(s.pending)
	s.waiting += uint64(n)
	s.taken += uint64(n)
	if !s.writing && s.waiting > 0 {
		s.writing = true
		go s.drain()
	}
}

// drain writes until nothing is left.
func (s *sink) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.waiting > 0 {
		lines, n := s.pending, s.waiting
		s.pending, s.waiting, s.spare = s.spare[:0], 0, nil
		w := s.w
		s.mu.Unlock()
		_, err := w.Write(lines)
		s.tell(err, int(n))
		s.mu.Lock()
		s.written += n
		if err != nil {
			s.lost += n
		} else {
			s.bytes += uint64(len(lines))
			s.last = time.Now()
		}
		if cap(lines) <= keptBuffer {
			s.spare = lines
		}
		close(s.progress)
		s.progress = make(chan struct{})
	}
	s.writing = false
	s.closeStopped()
}

// tell counts what a write has lost, and says on the status page whether all is well. The records are not kept for another try: a pipe
// whose reader has gone never comes back, and they would hold back the other outputs of their inputs for ever.
func (s *sink) tell(err error, n int) {
	if err == nil {
		s.env.Status.Fault("", nil)
		return
	}
	reason, remedy := "stdout_failed", "see what the standard output is redirected to"
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EBADF) {
		reason, remedy = "stdout_closed", "what read the standard output has ended: restart the agent without it, or take this output out of the config"
	}
	s.env.Losses.Add(reason, n)
	s.env.Status.Fault("", component.WithRemedy(fmt.Errorf("write to the standard output: %w", err), remedy))
}

// stop takes nothing more and waits for what was taken until ctx ends. Closing is left to a write that hangs then.
func (s *sink) stop(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	err := s.flush(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.writing {
		s.closeStopped()
	}
	return err
}

// closeStopped closes what is written to once nothing more comes. mu is held.
func (s *sink) closeStopped() {
	if !s.stopped || s.closed || s.w == nil {
		return
	}
	s.closed = true
	if err := s.w.Close(); err != nil {
		s.env.Log.Warn("close the standard output", "err", err)
	}
}

func (s *sink) traffic() component.Traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := component.Traffic{
		Taken: s.taken, Delivered: s.written - s.lost, Queued: s.taken - s.written, QueuedBytes: uint64(len(s.pending)), QueueLimit: room,
		SentBytes: s.bytes, LastDelivery: s.last,
	}
	if t.Queued > 0 {
		t.OldestQueued = s.began
	}
	return t
}
