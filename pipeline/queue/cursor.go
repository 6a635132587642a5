package queue

import (
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/internal/crashpoint"
)

// cursorFileState is the cursor's file. It is written for every block that is dealt with, beside the writer: a disk on which an fsync takes
// seconds must not make a kill repeat what was delivered meanwhile.
type cursorFileState struct {
	mu         sync.Mutex // guards what follows, and writes; not held while the file is synced. It is taken before the queue's mu.
	file       file       // nil until it is first written
	generation uint64
	writes     uint64
	synced     uint64    // of the writes
	at         time.Time // of the last sync, or try
	behind     bool      // the last write failed
	entered    bool      // its name lasts: its folder was synced since the start
	closed     bool
}

// pending says that the file is to be synced or written again, an interval after since.
func (c *cursorFileState) pending() (pending bool, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes != c.synced || c.behind, c.at
}

// sync makes what was written last, where there is something, and with the first of it the file's name, by enter.
func (c *cursorFileState) sync(now time.Time, enter func() error) error {
	c.mu.Lock()
	f, writes, entered := c.file, c.writes, c.entered
	if f == nil || writes == c.synced {
		c.mu.Unlock()
		return nil
	}
	c.at = now
	c.mu.Unlock()
	err := f.Sync()
	if err == nil && !entered {
		err = enter()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.synced, c.entered = writes, true
	}
	return err
}

// syncCursor makes the cursor last as it was written.
func (q *Disk) syncCursor() error {
	return q.cursor.sync(q.clock(), func() error { return q.fs.SyncDir(q.dir) })
}

// close writes nothing any more.
func (c *cursorFileState) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.file != nil {
		c.file.Close()
	}
}

// keepCursor writes the cursor for what is dealt with until Close.
func (q *Disk) keepCursor() {
	defer q.keeping.Done()
	for {
		select {
		case <-q.moved:
			q.writeCursor(false)
		case <-q.quit:
			return
		}
	}
}

// saveCursor writes how far each shard is, and makes it last now and then.
func (q *Disk) saveCursor(last bool) {
	q.mu.Lock()
	mode := q.limits.Sync
	q.mu.Unlock()
	pending, since := q.cursor.pending()
	due := last || q.clock().Sub(since) >= cursorInterval
	q.writeCursor(pending && due)
	if due && mode != SyncOff {
		_ = q.syncCursor() // tried again; until then a power cut repeats what was delivered since
	}
}

// writeCursor writes the cursor where it has changed, or where the last write failed and it is time for another.
func (q *Disk) writeCursor(again bool) {
	c := &q.cursor
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	q.mu.Lock()
	dirty := q.cursorDirty
	q.cursorDirty = false
	position := q.position()
	q.mu.Unlock()
	if !dirty && !(c.behind && again) {
		return
	}
	crashpoint.Pass("queue", "cursor")
	err := q.putCursor(position)
	c.behind = err != nil
	c.writes++
	if err != nil {
		c.at = q.clock()
		q.log.Debug("the queue's cursor can't be written", "err", err)
	}
}

// position is the cursor as it is now. mu is held.
func (q *Disk) position() *cursor {
	c := &cursor{next: q.tail + 1, synced: q.w.syncedItems, shards: make([]uint64, len(q.shards))}
	waiting := q.items
	for _, list := range [][]*entry{q.unwritten, q.unsynced} {
		for _, e := range list {
			if !e.gone {
				waiting -= int(e.items)
			}
		}
	}
	if q.limits.Sync == SyncOff || q.w.mode == SyncOff {
		waiting = 0 // what lasts isn't known
	}
	if q.held() {
		waiting, c.synced = 0, q.w.syncedBefore
	}
	c.waiting = uint64(max(waiting, 0))
	for i := range q.shards {
		c.shards[i] = c.next
		if e := q.shards[i].entries; len(e) > 0 {
			c.shards[i] = e[0].seq
		}
	}
	return c
}

// held says that something is in doubt that the process before may not have synced. mu is held.
func (q *Disk) held() bool {
	if q.w.hold > 0 && !q.unsafeUpTo(q.w.hold) {
		q.w.hold = 0
		q.cursorDirty = true
	}
	return q.w.hold > 0
}

// putCursor writes a slot. The cursor's mu is held.
func (q *Disk) putCursor(position *cursor) error {
	c := &q.cursor
	if c.file == nil {
		path := filepath.Join(q.dir, cursorFile)
		f, err := q.fs.OpenWrite(path)
		if errors.Is(err, fs.ErrNotExist) {
			f, err = q.fs.Create(path)
		}
		if err != nil {
			return err
		}
		size, err := f.Size()
		if err == nil && size < 2*slotSize {
			// All of it from the start: a full disk must not keep us from saying what is delivered.
			_, err = f.WriteAt(make([]byte, 2*slotSize-size), size)
		}
		if err != nil {
			f.Close()
			return err
		}
		c.file = f
	}
	c.generation++
	position.generation = c.generation
	_, err := c.file.WriteAt(appendCursor(nil, position), int64(c.generation%2)*slotSize)
	return err
}
