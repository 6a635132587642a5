package queue

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// How a queue on disk shares out memory and files. docs/design/queue.md says why.
const (
	// memoryBudget is how many bytes of blocks are kept in memory: of those that aren't safe yet, and of those that are sent next.
	memoryBudget = 8 << 20
	// largestSegment is where a segment ends; that of a small queue ends earlier, so that space comes back in steps.
	largestSegment, smallestSegment = 16 << 20, 256 << 10

	syncInterval   = 100 * time.Millisecond
	syncBytes      = 1 << 20
	cursorInterval = time.Second // between syncs of the cursor

	firstRetry, lastRetry = 100 * time.Millisecond, 5 * time.Second
	// readTries is how often a block is read from a disk that fails before it is given up.
	readTries = 3
	readRetry = time.Second
)

// Disk is a Queue in a folder: its blocks are there again when the process has ended in whatever way. One goroutine, the writer, acts on
// the files; disk.go is what the others see of it.
type Disk struct {
	dir  string
	fs   filesystem
	log  *slog.Logger
	lock io.Closer
	// clock is time.Now; a test's is another.
	clock func() time.Time
	ages  ages

	wake    chan struct{} // tells the writer that there is something to do
	moved   chan struct{} // tells that the cursor has changed
	quit    chan struct{}
	ended   chan struct{}
	keeping sync.WaitGroup // on the cursor's goroutine

	mu       sync.Mutex // guards what follows
	shards   []diskShard
	limits   Limits
	observer Observer
	layout   int
	era      uint32
	tail     uint64
	bytes    int64 // of all blocks, as they count
	blocks   int
	items    int
	resident int64 // bytes of the blocks whose bodies are in memory
	// unwritten are the blocks that are not in a segment yet, unsynced those that are and may not last; oldest first. Some of them may be gone.
	unwritten, unsynced           []*entry
	unwrittenBytes, unsyncedBytes int64
	unsyncedSince                 time.Time
	wanted                        uint64     // somebody waits for the blocks up to here to be safe
	segments                      []*segment // oldest first; the last one may be the writer's active one
	cursorDirty                   bool
	trouble                       error // why blocks can't be written; nil when they can
	retry                         time.Time
	closed, abandoned             bool
	changed                       chan struct{} // closed at the next change; nil while nobody waits

	w      writer
	cursor cursorFileState
	aside  aside
}

var _ Queue = (*Disk)(nil)

// diskShard is a shard's blocks, oldest first.
type diskShard struct {
	entries []*entry
	// head is what entries[0] is given out as: the block itself, or what it was replaced by. Empty when nobody asked for it yet.
	head  []*Block
	taken bool // a sender has head[0], or is reading it
}

// entry is what is known of a block in the queue.
type entry struct {
	seq            uint64
	block          *Block // nil when its body is on disk alone
	segment        *segment
	at             int64 // in the segment
	oldest, queued int64
	length         int32 // on disk
	items          int32
	era            uint32
	shard          uint16
	state          state
	gone           bool
	fails          uint8 // to read it
}

type state uint8

const (
	unwritten state = iota
	unsynced
	safe
)

// size is what a block counts.
func (e *entry) size() int64 { return int64(e.length) - blockHeader + overhead }

// segment is a file of blocks.
type segment struct {
	number uint64
	salt   uint32
	size   int64 // bytes; what is sealed doesn't change
	live   int   // blocks that are not gone
	active bool
	// copies says that behind its size are blocks that are to be written once more, and that a kill would leave nowhere else until they are.
	copies bool
}

// wait returns a channel that is closed at the next change. mu is held.
func (q *Disk) wait() <-chan struct{} {
	if q.changed == nil {
		q.changed = make(chan struct{})
	}
	return q.changed
}

// notify wakes whoever waits for a change. mu is held.
func (q *Disk) notify() {
	if q.changed != nil {
		close(q.changed)
		q.changed = nil
	}
}

func (q *Disk) wakeWriter() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// push puts an entry at the end of its shard. mu is held.
func (q *Disk) push(e *entry) {
	for len(q.shards) <= int(e.shard) {
		q.shards = append(q.shards, diskShard{})
	}
	sh := &q.shards[e.shard]
	sh.entries = append(sh.entries, e)
	q.blocks++
	q.items += int(e.items)
	q.bytes += e.size()
}

// Append implements Queue.
func (q *Disk) Append(blocks ...*Block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.ages.now().UnixNano()
	for _, b := range blocks {
		q.tail++
		b.seq, b.era, b.layout, b.queued, b.taken = q.tail, q.era, q.layout, now, false
		e := &entry{
			seq: b.seq, block: b, oldest: b.OldestTime, queued: now,
			length: int32(recordLength(b)), items: int32(b.Items), era: b.era, shard: uint16(b.Shard),
		}
		q.push(e)
		q.resident += e.size()
		q.unwrittenBytes += e.size()
		q.unwritten = append(q.unwritten, e)
	}
	if len(q.unwritten) > 1024 { // a disk that hangs must not keep what is delivered
		q.unwritten = slices.DeleteFunc(q.unwritten, func(e *entry) bool { return e.gone })
	}
	if q.limits.WhenFull == DropOldest {
		q.makeRoom()
	}
	q.notify()
	q.wakeWriter()
}

// makeRoom gives up what is oldest until the limits are kept. mu is held.
func (q *Disk) makeRoom() {
	for q.blocks > 1 && q.bytes > q.limits.MaxSize && q.drop(q.oldest()) {
	}
	for q.blocks > 1 && q.pinned() > q.limits.MaxSize+2*q.segmentSize() {
		// What a sender has isn't dropped, and as long as it is what holds the segments back nothing else frees any.
		first := q.segments[slices.IndexFunc(q.segments, func(s *segment) bool { return s.live > 0 })]
		if slices.ContainsFunc(q.shards, func(sh diskShard) bool { return sh.taken && sh.entries[0].segment == first }) || !q.drop(q.oldest()) {
			break
		}
	}
	if q.unwrittenBytes <= memoryBudget {
		return
	}
	if q.trouble != nil && isFull(q.trouble) && q.unwrittenBytes <= 2*memoryBudget {
		// What frees space on the disk is a whole segment.
		if i := slices.IndexFunc(q.segments, func(s *segment) bool { return s.live > 0 }); i >= 0 {
			for e := q.oldest(); e != nil && e.segment == q.segments[i] && q.drop(e); e = q.oldest() {
			}
			q.retry = time.Time{}
			return
		}
	}
	for q.unwrittenBytes > memoryBudget && q.drop(q.oldestUnwritten()) {
	}
}

// oldest finds the oldest block that no sender has and that isn't the newest of all: that one may be larger than the limit by itself. mu is
// held.
func (q *Disk) oldest() (found *entry) {
	for i := range q.shards {
		sh := &q.shards[i]
		at := 0
		if sh.taken {
			at = 1
		}
		if at < len(sh.entries) && sh.entries[at].seq != q.tail && (found == nil || sh.entries[at].seq < found.seq) {
			found = sh.entries[at]
		}
	}
	return found
}

// oldestUnwritten is oldest among what is in memory alone. mu is held.
func (q *Disk) oldestUnwritten() *entry {
	for _, e := range q.unwritten {
		if sh := &q.shards[e.shard]; !e.gone && e.seq != q.tail && !(sh.taken && sh.entries[0] == e) {
			return e
		}
	}
	return nil
}

// drop gives an entry up, because the queue is full. mu is held.
func (q *Disk) drop(e *entry) bool {
	if e == nil {
		return false
	}
	q.giveUp(e, lostFull)
	return true
}

// giveUp removes an entry that no sender has. mu is held.
func (q *Disk) giveUp(e *entry, reason string) {
	sh := &q.shards[e.shard]
	items := int(e.items)
	if sh.entries[0] == e {
		if len(sh.head) > 0 {
			items = 0
			for _, b := range sh.head {
				items += b.Items
			}
		}
		sh.head = nil
		sh.entries[0] = nil
		sh.entries = sh.entries[1:]
	} else if i, found := slices.BinarySearchFunc(sh.entries, e.seq, func(x *entry, seq uint64) int { return compare(x.seq, seq) }); found {
		sh.entries = slices.Delete(sh.entries, i, i+1)
	}
	q.items -= items
	q.forget(e)
	q.observer.lost(reason, items)
	q.notify()
}

func compare(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// forget takes an entry out of the sums that has left its shard. Its items are counted elsewhere. mu is held.
func (q *Disk) forget(e *entry) {
	e.gone = true
	q.blocks--
	q.bytes -= e.size()
	if e.block != nil {
		e.block = nil
		q.resident -= e.size()
	}
	switch e.state {
	case unwritten:
		q.unwrittenBytes -= e.size()
	case unsynced:
		q.unsyncedBytes -= e.size()
	}
	if e.segment != nil {
		e.segment.live--
	}
	q.cursorDirty = true
	select {
	case q.moved <- struct{}{}:
	default:
	}
	q.wakeWriter()
}

// pinned is how many bytes of segments can't be removed yet. mu is held.
func (q *Disk) pinned() (bytes int64) {
	first := slices.IndexFunc(q.segments, func(s *segment) bool { return s.live > 0 })
	if first >= 0 {
		for _, s := range q.segments[first:] {
			bytes += s.size
		}
	}
	return bytes
}

func (q *Disk) segmentSize() int64 {
	return min(max(q.limits.MaxSize/16, smallestSegment), largestSegment)
}

// next is the entry that Take would give out. It gives up what has waited for too long. mu is held.
func (q *Disk) next(shard int) *entry {
	if shard >= len(q.shards) || q.closed || q.abandoned {
		return nil
	}
	sh := &q.shards[shard]
	for {
		if len(sh.entries) == 0 || sh.taken {
			return nil
		}
		if q.limits.MaxAge == 0 || !q.limits.expired(sh.entries[0].queued, q.ages.now()) {
			break
		}
		q.giveUp(sh.entries[0], lostExpired)
	}
	e := sh.entries[0]
	for i := range q.shards {
		if other := q.shards[i].entries; len(other) > 0 && other[0].era < e.era {
			return nil
		}
	}
	return e
}

// Take implements Queue.
func (q *Disk) Take(shard int) (*Block, <-chan struct{}) {
	for {
		q.mu.Lock()
		e := q.next(shard)
		if e == nil {
			defer q.mu.Unlock()
			return nil, q.wait()
		}
		sh := &q.shards[shard]
		sh.taken = true
		if len(sh.head) == 0 && e.block != nil {
			sh.head = append(sh.head, e.block)
		}
		if len(sh.head) > 0 {
			b := sh.head[0]
			b.taken = true
			q.mu.Unlock()
			return b, nil
		}
		from := *e
		q.mu.Unlock()
		b, err := q.read(&from)
		q.mu.Lock()
		sh = &q.shards[shard]
		if err == nil {
			b.era, b.taken = e.era, true
			sh.head = append(sh.head[:0], b)
			q.mu.Unlock()
			return b, nil
		}
		sh.taken = false
		if e.fails++; isDamage(err) || e.fails >= readTries {
			q.giveUp(e, lostDamaged)
			q.mu.Unlock()
			q.log.Error("a block of the queue can't be read and is given up", "segment", segmentName(from.segment.number, from.segment.salt),
				"offset", from.at, "items", from.items, "err", err)
			continue
		}
		changed := q.wait()
		time.AfterFunc(readRetry, func() {
			q.mu.Lock()
			q.notify()
			q.mu.Unlock()
		})
		q.mu.Unlock()
		return nil, changed
	}
}

// Waiting implements Queue.
func (q *Disk) Waiting(shard int) (bool, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.next(shard) == nil {
		return false, q.wait()
	}
	return true, nil
}

// Ack implements Queue.
func (q *Disk) Ack(b *Block) { q.Replace(b) }

// Replace implements Queue. What takes a block's place is in memory alone; on disk the block stays whole until the last part of it is gone.
func (q *Disk) Replace(b *Block, with ...*Block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	sh := &q.shards[b.Shard]
	if !b.taken || len(sh.head) == 0 || sh.head[0] != b {
		return // a fault of the caller, which must not count twice
	}
	b.taken, sh.taken = false, false
	q.items -= b.Items
	for _, part := range with {
		part.inherit(b, len(with) > 1)
		q.items += part.Items
	}
	sh.head = append(slices.Clone(with), sh.head[1:]...)
	if len(sh.head) == 0 {
		e := sh.entries[0]
		sh.entries[0] = nil
		sh.entries = sh.entries[1:]
		q.forget(e)
	}
	q.notify()
}

// Return implements Queue.
func (q *Disk) Return(b *Block) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if b.taken {
		b.taken = false
		q.shards[b.Shard].taken = false
		q.notify()
	}
}

// Room implements Queue.
func (q *Disk) Room(extra int64) (bool, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.limits.WhenFull == DropOldest ||
		q.bytes+extra < q.limits.MaxSize && q.unwrittenBytes < memoryBudget && q.pinned() < q.limits.MaxSize+2*q.segmentSize() {
		return true, nil
	}
	return false, q.wait()
}

// Tail implements Queue.
func (q *Disk) Tail() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tail
}

// unsafeUpTo says whether a block up to seq would be missing after a power cut. mu is held.
func (q *Disk) unsafeUpTo(seq uint64) bool {
	for _, list := range [][]*entry{q.unsynced, q.unwritten} {
		for _, e := range list {
			if e.seq > seq {
				break
			}
			if !e.gone {
				return true
			}
		}
	}
	return false
}

// Safe implements Queue.
func (q *Disk) Safe(ctx context.Context, seq uint64) error {
	err := q.until(ctx, func() bool {
		if !q.unsafeUpTo(seq) {
			return true
		}
		if q.wanted < seq {
			q.wanted = seq
			q.wakeWriter()
		}
		return false
	})
	if err == nil {
		q.writeCursor(false) // what was delivered before isn't repeated by a kill after it
	}
	return err
}

// Drained implements Queue.
func (q *Disk) Drained(ctx context.Context, seq uint64) error {
	return q.until(ctx, func() bool {
		for i := range q.shards {
			if e := q.shards[i].entries; len(e) > 0 && e[0].seq <= seq {
				return false
			}
		}
		return true
	})
}

// until waits until done says so, with mu held.
func (q *Disk) until(ctx context.Context, done func() bool) error {
	for {
		q.mu.Lock()
		if done() {
			q.mu.Unlock()
			return nil
		}
		closed := q.closed
		changed := q.wait()
		q.mu.Unlock()
		if closed {
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
func (q *Disk) Layout(shards int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if shards != q.layout && q.blocks > 0 {
		q.era++
	}
	q.layout = shards
}

// Shards implements Queue.
func (q *Disk) Shards() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for s := range q.shards {
		if len(q.shards[s].entries) > 0 {
			n = s + 1
		}
	}
	return n
}

// SetLimits implements Queue.
func (q *Disk) SetLimits(limits Limits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limits = limits
	q.notify()
}

// Observe implements Queue.
func (q *Disk) Observe(o Observer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.observer = o
	if q.trouble != nil {
		o.fault(q.trouble)
	}
}

// Stats implements Queue.
func (q *Disk) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{Limit: q.limits.MaxSize}
	if q.abandoned {
		return s
	}
	s.Blocks, s.Items, s.Bytes = q.blocks, q.items, q.bytes
	for i := range q.shards {
		if e := q.shards[i].entries; len(e) > 0 && (s.Oldest == 0 || e[0].oldest < s.Oldest) {
			s.Oldest = e[0].oldest
		}
	}
	return s
}

// Abandon implements Queue. The blocks stay in their files, and are there again when the queue is opened the next time.
func (q *Disk) Abandon() (items int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.abandoned {
		return 0
	}
	q.abandoned = true
	q.notify()
	return q.items
}

// KeepAside implements Queue.
func (q *Disk) KeepAside(b *Block, reason string) {
	q.aside.keep(reason, appendRecord(appendSegmentHeader(nil, 0, q.clock().UnixNano(), 0), 0, b, 0))
}
