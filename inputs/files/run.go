package files

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/nxadm/tail/ratelimiter"

	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

const (
	// maxRecords bounds the records of a batch, for files of very short lines.
	maxRecords = 8192
	// minRoom is how much of the buffer has to be free for another file to be read into the same batch.
	minRoom = 64 << 10
	// settleLimit is how long reading waits at most for the save of where files are begun.
	settleLimit = 5 * time.Second
)

// run is one Run of the input. Everything in it belongs to its goroutine but queue and rescan.
type run struct {
	in       *Input
	env      *component.Env
	queue    *queue
	watcher  *tail.Watcher
	registry *tail.Registry
	*descriptors
	unfinished *unfinished // nil where each line is a record

	rescan   chan struct{} // holds one: an entry of a watched folder came or went
	folders  map[string]*tail.Subscription
	noted    map[string]bool // keys of Status that stand for the last walk
	stirred  bool            // rescan said so since the last walk
	life     time.Time       // what was born since then and has no position has not been read
	scanned  time.Time       // its end
	scanTook time.Duration
	fresh    bool                 // the first walk of an input without positions goes on
	begun    bool                 // the last walk began with a file that an agent may not find again which knows nothing of it
	copies   map[string]time.Time // paths of what may be copies of a log that is followed, and since when they are left alone

	// One batch is filled from many files: their chunks lie in buf one after the other, lines that had to be changed in text.
	buf        []byte
	used       int
	text       []byte
	batch      logs.Batch
	taken      []taken
	maxRecords int
	cut        int // records of the batch that were too long

	bucket *ratelimiter.LeakyBucket // nil without a limit
}

// taken is a position that is true once the batch has been taken.
type taken struct {
	source   *source
	key      string
	position positions.Position
}

func (r *run) loop(ctx context.Context) error {
	r.batch.Begin(r.env.Address)
	r.scan(true)
	r.settle(ctx)
	r.env.Status.Ready()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if r.untilScan() <= 0 {
			// Everything read so far is taken first: a walk opens files at their noted positions.
			if err := r.flush(ctx); err != nil {
				return err
			}
			r.scan(false)
			r.settle(ctx)
		}
		r.finishDue()
		if s := r.queue.pop(); s != nil {
			if err := r.read(ctx, s); err != nil {
				return err
			}
			continue
		}
		if err := r.flush(ctx); err != nil {
			return err
		}
		timer.Reset(r.unfinished.untilDue(r.untilScan()))
		select {
		case <-r.queue.signal:
		case <-r.rescan:
			r.stirred = true
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// read takes one chunk of a source, so that others get their turn.
func (r *run) read(ctx context.Context, s *source) error {
	if len(r.buf)-r.used < minRoom {
		if err := r.flush(ctx); err != nil {
			return err
		}
	}
	c, err := s.log.Read(r.buf[r.used:])
	if errors.Is(err, tail.ErrShortBuffer) && r.used > 0 {
		if err := r.flush(ctx); err != nil {
			return err
		}
		c, err = s.log.Read(r.buf)
	}
	r.touch(s)
	if errors.Is(err, os.ErrClosed) { // it was let go of while it waited for its turn
		return nil
	}
	r.failing(s, err)
	if err != nil {
		return nil
	}
	if c.Empty() {
		if c.More() {
			r.queue.push(s)
		}
		return nil
	}
	end, cut := r.used+c.Len(), 0
	if r.unfinished != nil {
		r.begin(s, &c)
	}
	for {
		start, before := c.Offset(), c.Cut()
		line, ok := c.NextText(&r.text)
		if !ok {
			break
		}
		if r.unfinished == nil {
			r.batch.Add(logs.Record{Stream: s.stream, Line: line})
		} else {
			r.join(s, &c, c.PositionAt(start), line, c.Cut() > before)
		}
		if len(r.batch.Records) >= r.maxRecords {
			cut = r.note(s, &c, cut)
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
	}
	if r.unfinished != nil {
		r.settleChunk(c.Key())
	}
	r.note(s, &c, cut)
	r.used = end
	if c.More() {
		r.queue.push(s)
	}
	return nil
}

// note remembers where a chunk was read to, and counts the lines that were cut beyond those that are counted already. Where lines are joined, a
// record counts, once it is whole.
func (r *run) note(s *source, c *tail.Chunk, counted int) (cut int) {
	if r.unfinished == nil {
		r.cut += c.Cut() - counted
	}
	at := c.Position()
	if start, ok := r.unfinished.startOf(c.Key()); ok {
		at = start
	}
	r.taken = append(r.taken, taken{s, c.Key(), at})
	return c.Cut()
}

// flush hands the batch on and then moves the positions.
func (r *run) flush(ctx context.Context) error {
	n := len(r.batch.Records)
	if n > 0 {
		if err := r.slowDown(ctx, n); err != nil {
			return err
		}
		now := time.Now()
		at := r.env.Streams.Times(now.UnixNano(), n)
		for i := range r.batch.Records {
			r.batch.Records[i].Time = at + int64(i)
		}
		if err := r.env.Logs.ConsumeLogs(ctx, &r.batch); err != nil {
			return fmt.Errorf("can't hand on lines: %w", err)
		}
		r.env.Losses.Add("line_too_long", r.cut)
		r.in.mu.Lock()
		for i := range r.taken {
			r.taken[i].source.last = now
		}
		r.in.mu.Unlock()
	}
	for i := range r.taken {
		r.env.Positions.Set(r.taken[i].key, r.taken[i].position)
	}
	clear(r.taken)
	r.taken, r.used, r.text, r.cut = r.taken[:0], 0, r.text[:0], 0
	r.batch.Begin(r.env.Address)
	return nil
}

// settle has it saved where the files are begun before their lines are handed on: see positions.Book.Settle. Were the agent killed before, and a file
// rotated before it is started again, it would begin with the new file and leave the rest of the old one. When the positions can't be saved, which the
// engine tells, the lines are more urgent.
func (r *run) settle(ctx context.Context) {
	if !r.begun {
		return
	}
	r.begun = false
	limited, cancel := context.WithTimeout(ctx, r.in.settleLimit)
	defer cancel()
	_ = r.env.Positions.Settle(limited)
}

// slowDown waits until the limit lets n lines pass.
func (r *run) slowDown(ctx context.Context, n int) error {
	if r.bucket == nil {
		return nil
	}
	for n > 0 {
		some := uint16(min(n, int(r.bucket.Size), math.MaxUint16)) //nolint:gosec // bounded here
		if r.bucket.Pour(some) {
			n -= int(some)
			continue
		}
		over := r.bucket.Fill + float64(some) - float64(r.bucket.Size)
		t := time.NewTimer(time.Duration(math.Ceil(over * float64(r.bucket.LeakInterval))))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
	return nil
}
