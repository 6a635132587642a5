package queue

import (
	"context"
	"slices"
	"sync"
)

// overhead is what a block counts besides its body, so that a flood of tiny blocks is bounded too.
const overhead = 256

// Memory is a Queue that lives as long as the process.
type Memory struct {
	mu       sync.Mutex // guards everything below
	shards   [][]*Block // by shard, oldest first; seq and era rise within a shard
	limits   Limits
	observer Observer
	layout   int
	era      uint32
	tail     uint64
	bytes    int64
	blocks   int
	items    int
	closed   bool
	changed  chan struct{} // closed at the next change; nil while nobody waits
	ages     ages
}

var _ Queue = (*Memory)(nil)

// NewMemory returns an empty queue.
func NewMemory(limits Limits) *Memory { return &Memory{limits: limits, ages: newAges()} }

// size is what a block counts.
func size(b *Block) int64 { return int64(len(b.Body)) + overhead }

// wait returns a channel that is closed at the next change. mu is held.
func (q *Memory) wait() <-chan struct{} {
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return q.changed
}

// notify wakes whoever waits for a change. mu is held.
func (q *Memory) notify() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

func (q *Memory) count(b *Block, sign int) {
	q.blocks += sign
	q.items += sign * b.Items
	q.bytes += int64(sign) * size(b)
}

// Append implements Queue.
func (q *Memory) Append(blocks ...*Block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.ages.now().UnixNano()
	for _, b := range blocks {
		for len(q.shards) <= b.Shard {
			q.shards = append(q.shards, nil)
		}
		q.tail++
		b.seq, b.era, b.queued, b.taken = q.tail, q.era, now, false
		q.shards[b.Shard] = append(q.shards[b.Shard], b)
		q.count(b, 1)
	}
	for q.limits.WhenFull == DropOldest && q.bytes > q.limits.MaxSize && q.blocks > 1 {
		b := q.dropOldest()
		if b == nil {
			break
		}
		q.observer.lost(lostFull, b.Items)
	}
	q.notify()
}

// dropOldest removes the oldest block that no sender has, and returns it. The newest block stays: it may be larger than the limit by
// itself.
func (q *Memory) dropOldest() *Block {
	var (
		oldest *Block
		shard  int
		at     int
	)
	for s, blocks := range q.shards {
		for i, b := range blocks {
			if b.taken {
				continue
			}
			if b.seq != q.tail && (oldest == nil || b.seq < oldest.seq) {
				oldest, shard, at = b, s, i
			}
			break
		}
	}
	if oldest != nil {
		if at == 0 {
			q.shards[shard][0] = nil
			q.shards[shard] = q.shards[shard][1:]
		} else {
			q.shards[shard] = slices.Delete(q.shards[shard], at, at+1)
		}
		q.count(oldest, -1)
	}
	return oldest
}

// next is the block that Take would give out. It gives up what has waited for too long. mu is held.
func (q *Memory) next(shard int) *Block {
	if shard >= len(q.shards) || q.closed {
		return nil
	}
	var b *Block
	for {
		if len(q.shards[shard]) == 0 {
			return nil
		}
		b = q.shards[shard][0]
		if b.taken {
			return nil
		}
		if q.limits.MaxAge == 0 || !q.limits.expired(b.queued, q.ages.now()) {
			break
		}
		q.shards[shard][0] = nil
		q.shards[shard] = q.shards[shard][1:]
		q.count(b, -1)
		q.observer.lost(lostExpired, b.Items)
		q.notify()
	}
	for _, blocks := range q.shards {
		if len(blocks) > 0 && blocks[0].era < b.era {
			return nil
		}
	}
	return b
}

// Take implements Queue.
func (q *Memory) Take(shard int) (*Block, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.next(shard)
	if b == nil {
		return nil, q.wait()
	}
	b.taken = true
	return b, nil
}

// Waiting implements Queue.
func (q *Memory) Waiting(shard int) (bool, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next(shard) == nil {
		return false, q.wait()
	}
	return true, nil
}

// Ack implements Queue.
func (q *Memory) Ack(b *Block) { q.Replace(b) }

// Replace implements Queue.
func (q *Memory) Replace(b *Block, with ...*Block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	blocks := q.shards[b.Shard]
	if !b.taken || len(blocks) == 0 || blocks[0] != b {
		return // a fault of the caller, which must not count twice
	}
	b.taken = false
	q.count(b, -1)
	if len(with) == 0 {
		blocks[0] = nil
		q.shards[b.Shard] = blocks[1:]
	} else {
		for _, part := range with {
			part.inherit(b, len(with) > 1)
			q.count(part, 1)
		}
		q.shards[b.Shard] = slices.Replace(blocks, 0, 1, with...)
	}
	q.notify()
}

// Return implements Queue.
func (q *Memory) Return(b *Block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b.taken = false
	q.notify()
}

// Room implements Queue.
func (q *Memory) Room(extra int64) (bool, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.limits.WhenFull == DropOldest || q.bytes+extra < q.limits.MaxSize {
		return true, nil
	}
	return false, q.wait()
}

// Tail implements Queue.
func (q *Memory) Tail() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tail
}

// Safe implements Queue. In memory nothing is safe before it is gone.
func (q *Memory) Safe(ctx context.Context, seq uint64) error { return q.Drained(ctx, seq) }

// Drained implements Queue.
func (q *Memory) Drained(ctx context.Context, seq uint64) error {
	for {
		q.mu.Lock()
		gone := true
		for _, blocks := range q.shards {
			gone = gone && (len(blocks) == 0 || blocks[0].seq > seq)
		}
		closed := q.closed
		changed := q.wait()
		q.mu.Unlock()
		switch {
		case gone:
			return nil
		case closed:
			return ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Layout implements Queue.
func (q *Memory) Layout(shards int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if shards != q.layout && q.blocks > 0 {
		q.era++
	}
	q.layout = shards
}

// Shards implements Queue.
func (q *Memory) Shards() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for s, blocks := range q.shards {
		if len(blocks) > 0 {
			n = s + 1
		}
	}
	return n
}

// SetLimits implements Queue.
func (q *Memory) SetLimits(limits Limits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = limits
	q.notify()
}

// Stats implements Queue.
func (q *Memory) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{Blocks: q.blocks, Items: q.items, Bytes: q.bytes, Limit: q.limits.MaxSize}
	for _, blocks := range q.shards {
		if len(blocks) > 0 && (s.Oldest == 0 || blocks[0].OldestTime < s.Oldest) {
			s.Oldest = blocks[0].OldestTime
		}
	}
	return s
}

// Observe implements Queue.
func (q *Memory) Observe(o Observer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.observer = o
}

// Abandon implements Queue. Blocks that a sender has stay with it.
func (q *Memory) Abandon() (items int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for s, blocks := range q.shards {
		var kept []*Block
		for _, b := range blocks {
			if b.taken {
				kept = append(kept, b)
				continue
			}
			q.count(b, -1)
			items += b.Items
		}
		q.shards[s] = kept
	}
	q.notify()
	return items
}

// KeepAside implements Queue: there is no such place.
func (q *Memory) KeepAside(*Block, string) {}

// Close gives nothing out any more. What is in the queue goes with the process; Stats still tells how much that is.
func (q *Memory) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.notify()
	return nil
}
