// Package dense hands out small integer identities and keeps caches that are plain slices indexed by them.
//
// A series or a stream is made once and then travels as a pointer. What a consumer works out about it (its relabelled
// twin, its encoded labels, its rendered name) is kept in a Cache: one slice access instead of a hash of the labels.
package dense

import (
	"runtime"
	"sync"
)

// IDs hands out identities from 0 upwards and takes back those whose owner has become unreachable. Because every Cache
// holds the pointer it was filled for, an identity can't be handed out again before the last cache has swept it.
type IDs struct {
	mu     sync.Mutex
	next   uint32
	free   []uint32 // guarded by mu, like next
	blocks []uint32 // the first identities of blocks that are free
}

// Assign gives owner an identity and frees it when the garbage collector finds that nothing refers to owner any more.
func Assign[T any](ids *IDs, owner *T) uint32 {
	id := ids.take()
	runtime.AddCleanup(owner, ids.give, id)
	return id
}

func (ids *IDs) take() uint32 {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if n := len(ids.free); n > 0 {
		id := ids.free[n-1]
		ids.free = ids.free[:n-1]
		return id
	}
	id := ids.next
	ids.next++
	return id
}

func (ids *IDs) give(id uint32) {
	ids.mu.Lock()
	ids.free = append(ids.free, id)
	ids.mu.Unlock()
}

// blockSize is how many owners a Block makes at once. What the runtime keeps for one clean-up is more than a small owner: here they share it.
const blockSize = 16

// Block makes owners that come and go together, in one piece of memory: it lives, and so do their identities, as long as one of them is
// referred to. It isn't safe for concurrent use. The zero value is ready.
type Block[T any] struct {
	owners *[blockSize]T
	first  uint32
	used   int
}

// New returns an owner and its identity.
func (b *Block[T]) New(ids *IDs) (owner *T, id uint32) {
	if b.owners == nil {
		b.owners, b.first, b.used = new([blockSize]T), ids.takeBlock(), 0
		runtime.AddCleanup(b.owners, ids.giveBlock, b.first)
	}
	owner, id = &b.owners[b.used], b.first+uint32(b.used)
	if b.used++; b.used == blockSize {
		b.owners = nil
	}
	return owner, id
}

func (ids *IDs) takeBlock() uint32 {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if n := len(ids.blocks); n > 0 {
		first := ids.blocks[n-1]
		ids.blocks = ids.blocks[:n-1]
		return first
	}
	first := ids.next
	ids.next += blockSize
	return first
}

func (ids *IDs) giveBlock(first uint32) {
	ids.mu.Lock()
	ids.blocks = append(ids.blocks, first)
	ids.mu.Unlock()
}

// Cache keeps a V for each K that it has seen. It isn't safe for concurrent use: its owner's lock guards it. The zero
// value is ready.
type Cache[K, V any] struct {
	pages []*[pageSize]slot[K, V]
	taken []uint8 // of the slots of each page
	used  int
	swept int64
}

// pageSize is how many identities that follow one another share a page: a cache has memory for those around which there is something.
const pageSize = 64

type slot[K, V any] struct {
	key   *K
	seen  int64
	value V
}

// Get returns what was put for key, whose identity is id, or nil. now is any clock that rises (the batches' wall time in
// milliseconds is at hand); it is what Sweep compares. The pointer is valid until the next Put of its key or Sweep.
func (c *Cache[K, V]) Get(id uint32, key *K, now int64) *V {
	if int(id/pageSize) >= len(c.pages) {
		return nil
	}
	p := c.pages[id/pageSize]
	if p == nil {
		return nil
	}
	s := &p[id%pageSize]
	if s.key != key {
		return nil
	}
	s.seen = now
	return &s.value
}

// Put keeps value for key and returns where it lies.
func (c *Cache[K, V]) Put(id uint32, key *K, now int64, value V) *V {
	n := int(id / pageSize)
	for n >= len(c.pages) {
		c.pages, c.taken = append(c.pages, nil), append(c.taken, 0)
	}
	p := c.pages[n]
	if p == nil {
		p = new([pageSize]slot[K, V])
		c.pages[n] = p
	}
	s := &p[id%pageSize]
	if s.key == nil {
		c.used++
		c.taken[n]++
	}
	*s = slot[K, V]{key: key, seen: now, value: value}
	return &s.value
}

// Len is the number of keys in the cache.
func (c *Cache[K, V]) Len() int { return c.used }

// Sweep forgets every key that has not been asked for since before, and tells dropped (which may be nil) of each.
func (c *Cache[K, V]) Sweep(before int64, dropped func(*K, *V)) {
	for n, p := range c.pages {
		if p == nil {
			continue
		}
		for i := range p {
			s := &p[i]
			if s.key == nil || s.seen >= before {
				continue
			}
			if dropped != nil {
				dropped(s.key, &s.value)
			}
			*s = slot[K, V]{}
			c.used--
			c.taken[n]--
		}
		if c.taken[n] == 0 {
			c.pages[n] = nil
		}
	}
}

// SweepEvery sweeps what has not been asked for during the last period, once a period. Callers call it with each batch.
func (c *Cache[K, V]) SweepEvery(now, period int64, dropped func(*K, *V)) {
	if c.swept == 0 || now < c.swept {
		c.swept = now
		return
	}
	if now-c.swept < period {
		return
	}
	c.swept = now
	c.Sweep(now-period, dropped)
}

// All calls f for every key until f returns false.
func (c *Cache[K, V]) All(f func(*K, *V) bool) {
	for _, p := range c.pages {
		if p == nil {
			continue
		}
		for i := range p {
			if s := &p[i]; s.key != nil && !f(s.key, &s.value) {
				return
			}
		}
	}
}
