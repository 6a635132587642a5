package positions

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Book holds the positions of one input. It is safe for concurrent use.
type Book struct {
	address string
	// handedOn says that the input has handed records on since the agent started.
	handedOn atomic.Bool

	mu      sync.Mutex // guards all below
	entries map[string]*entry
	// deleted are the keys that were deleted and may still be in the file, with the change that deleted them.
	deleted  map[string]uint64
	change   uint64        // rises with each Set and Delete
	written  uint64        // the newest change that a successful Save has written
	saved    bool          // the file had positions of this input when the store was opened
	volatile bool          // the store has no file
	wait     chan struct{} // closed by the next Save, which succeeded or failed; nil while nobody waits
	failure  error         // of the last Save that was to write something of this book; nil when it succeeded
	urgent   chan struct{} // holds one: Settle waits for a Save
}

type entry struct {
	position Position
	change   uint64 // Book.change of the last Set; 0 when it came from the file
	// alive says that the input has asked for the position or set it since the agent started: its source exists, however long it has
	// been quiet. Only the input itself forgets it.
	alive bool
}

// Get returns the position under key. The input asks for the positions of sources that exist: one that nobody has asked for is
// forgotten when it is old.
func (b *Book) Get(key string) (Position, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.entries[key]
	if e == nil {
		return Position{}, false
	}
	e.alive = true
	return e.position, true
}

// Set notes that everything before p was taken. It is cheap: it is called after each batch. The stamp Updated is the book's.
func (b *Book) Set(key string, p Position) {
	p.Updated = time.Now().Unix()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set(key, p)
}

// SetAll is Set for several positions of which a save has all or none.
func (b *Book) SetAll(all map[string]Position) {
	now := time.Now().Unix()
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, p := range all {
		p.Updated = now
		b.set(key, p)
	}
}

// set is Set; b.mu is held.
func (b *Book) set(key string, p Position) {
	e := b.entries[key]
	if e == nil {
		e = new(entry)
		b.entries[key] = e
		delete(b.deleted, key)
	}
	b.change++
	e.position, e.change, e.alive = p, b.change, true
}

// Delete forgets a source that is gone for good.
func (b *Book) Delete(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entries[key] == nil {
		return
	}
	delete(b.entries, key)
	b.change++
	b.deleted[key] = b.change
}

// Each calls f for every position until it returns false. f may call the book.
func (b *Book) Each(f func(key string, p Position) bool) {
	type pair struct {
		key      string
		position Position
	}
	b.mu.Lock()
	all := make([]pair, 0, len(b.entries))
	for key, e := range b.entries {
		all = append(all, pair{key, e.position})
	}
	b.mu.Unlock()
	for _, x := range all {
		if !f(x.key, x.position) {
			return
		}
	}
}

// Fresh says that the input had no saved positions at all when the agent started, and has set none yet: what exists now is read from
// where the input's `start` says; what is born later, and everything once the book isn't fresh, is read from its beginning. An input
// asks once, before it sets its first position.
func (b *Book) Fresh() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.saved && len(b.entries) == 0
}

// Settle has everything that was set before the call saved, and waits for it. An input calls it before it hands on the first line of a source that it
// wouldn't begin with in the same place if it were killed now: one that begins at the end would begin at a later end, one that begins with a file wouldn't
// know it again once it is rotated. What was written in between would be lost. It returns the error of a save that failed, ctx's error when ctx ends
// first, and nil at once in a store without a file.
func (b *Book) Settle(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	change := b.change
	b.failure = nil
	for !b.volatile && b.written < change && b.failure == nil {
		if b.wait == nil {
			b.wait = make(chan struct{})
		}
		wait := b.wait
		select {
		case b.urgent <- struct{}{}:
		default:
		}
		b.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			b.mu.Lock()
			return ctx.Err()
		}
		b.mu.Lock()
	}
	return b.failure
}

// Urgent gives a value when somebody waits for the book to be saved.
func (b *Book) Urgent() <-chan struct{} { return b.urgent }

// HandsOn is called by the engine before it takes the first records of the input: from then on positions may stand behind records that
// are not safe yet.
func (b *Book) HandsOn() {
	if !b.handedOn.Load() {
		b.handedOn.Store(true)
	}
}

// HandedOn says whether positions have to wait for the outputs before they are saved. Ask it after Note: what was noted before the first
// records were handed on says where reading begins, and is true whatever becomes of them.
func (b *Book) HandedOn() bool { return b.handedOn.Load() }

// Noted is what a saver writes once the outputs have flushed. The zero value holds nothing.
type Noted struct {
	book    *Book
	change  uint64
	set     []noted
	deleted []string
}

type noted struct {
	key      string
	position Position
}

// Note returns the positions as they are now and whether any moved since the last Note that was written.
func (b *Book) Note() (Noted, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.change == b.written {
		return Noted{}, false
	}
	n := Noted{book: b, change: b.change}
	for key, e := range b.entries {
		if e.change > b.written {
			n.set = append(n.set, noted{key, e.position})
		}
	}
	for key := range b.deleted {
		n.deleted = append(n.deleted, key)
	}
	return n, true
}

// wrote notes that everything up to a change is in the file.
func (b *Book) wrote(change uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if change <= b.written {
		return
	}
	b.written = change
	b.saveEnded(nil)
	for key, at := range b.deleted {
		if at <= change {
			delete(b.deleted, key)
		}
	}
}

// saveEnded lets those go on that wait for a save. b.mu is held.
func (b *Book) saveEnded(err error) {
	b.failure = err
	if b.wait != nil {
		close(b.wait)
		b.wait = nil
	}
}

// superseded says that a later note of the book has been written before this one.
func (n *Noted) superseded() bool {
	n.book.mu.Lock()
	defer n.book.mu.Unlock()
	return n.change < n.book.written
}

// release lets every position grow old, as if its source were gone.
func (b *Book) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.entries {
		e.alive = false
	}
}

// forget drops the positions that nobody asked for since the agent started and that were last set before a time in seconds, and
// returns their keys.
func (b *Book) forget(before int64) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var gone []string
	for key, e := range b.entries {
		if !e.alive && e.position.Updated < before {
			delete(b.entries, key)
			gone = append(gone, key)
		}
	}
	return gone
}
