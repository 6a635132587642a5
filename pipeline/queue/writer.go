package queue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/internal/crashpoint"
)

// writer is what only the goroutine of that name uses, once the queue is open.
type writer struct {
	active  *segment // nil when the next block begins a new one
	file    file     // of active
	entered bool     // the folder's entry of active lasts
	mode    Sync     // that active is written in; guarded by the queue's mu
	index   []byte   // entries of its blocks
	// What of active was synced, and how many items were written into all segments until then and until now.
	syncedSize           int64
	syncedItems, written uint64 // the first one is guarded by the queue's mu
	number               uint64 // of the newest segment
	doubtful             bool   // the last sync failed
	// hold: before the blocks up to here are safe no segment is removed, which may have their first copies, and no more counts as synced
	// than what the process before this one had synced. Guarded by the queue's mu.
	hold, syncedBefore uint64
	buffer             []byte
	backoff            time.Duration
}

// isFull says that an error goes away when space is freed.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// write runs until Close.
func (q *Disk) write() {
	defer close(q.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if next := q.step(false); next > 0 {
			timer.Reset(next)
		}
		select {
		case <-q.wake:
		case <-timer.C:
		case <-q.quit:
			return
		}
	}
}

// step does what there is to do, everything at once when it is the last, and says when it wants to be called again; 0 is when something happens.
func (q *Disk) step(last bool) time.Duration {
	q.writeBlocks(last)
	q.syncBlocks(last)
	q.saveCursor(last)
	q.removeSegments(last)

	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock()
	next := time.Duration(0)
	at := func(t time.Time) {
		if d := max(t.Sub(now), time.Millisecond); next == 0 || d < next {
			next = d
		}
	}
	if len(q.unsynced) > 0 {
		at(q.unsyncedSince.Add(syncInterval))
	}
	if q.trouble != nil {
		at(q.retry)
	}
	q.mu.Unlock()
	pending, since := q.cursor.pending()
	q.mu.Lock()
	if pending {
		at(since.Add(cursorInterval))
	}
	return next
}

// suffer notes that the disk doesn't do what it should. mu is held.
func (q *Disk) suffer(err error) {
	q.w.backoff = min(max(2*q.w.backoff, firstRetry), lastRetry)
	q.trouble, q.retry = err, q.clock().Add(q.w.backoff)
	q.observer.fault(err)
}

// recovered notes that it does again. mu is held.
func (q *Disk) recovered() {
	q.w.backoff = 0
	if q.trouble != nil {
		q.trouble = nil
		q.observer.fault(nil)
	}
}

// writeBlocks puts into segments what isn't there yet.
func (q *Disk) writeBlocks(now bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.trouble != nil && !now && q.clock().Before(q.retry) {
		return
	}
	for {
		for len(q.unwritten) > 0 && q.unwritten[0].gone {
			q.unwritten[0] = nil
			q.unwritten = q.unwritten[1:]
		}
		if len(q.unwritten) == 0 {
			q.cutCopies()
			break
		}
		e := q.unwritten[0]
		b, mode, most := e.block, q.limits.Sync, q.segmentSize()
		q.mu.Unlock()
		at, err := q.put(b, most, mode)
		q.mu.Lock()
		if err != nil {
			q.suffer(err)
			return
		}
		q.w.active.size = at + int64(e.length)
		if !e.gone {
			q.written(e, at, mode)
		}
		if !q.w.doubtful {
			q.recovered()
		}
	}
}

// cutCopies cuts off what was written once more meanwhile. mu is held, but for the time that it takes.
func (q *Disk) cutCopies() {
	for _, s := range q.segments {
		if !s.copies {
			continue
		}
		q.mu.Unlock()
		if f, err := q.fs.OpenWrite(q.path(s)); err == nil {
			_ = f.Truncate(s.size) // where that fails there are two copies, which does no harm
			f.Close()
		}
		q.mu.Lock()
		s.copies = false
	}
}

// written notes where a block stands. mu is held.
func (q *Disk) written(e *entry, at int64, mode Sync) {
	e.segment, e.at = q.w.active, at
	e.segment.live++
	q.unwrittenBytes -= e.size()
	// What came in meanwhile stands behind it, and drops may have taken it away from the front.
	if i := slices.Index(q.unwritten, e); i >= 0 {
		q.unwritten = slices.Delete(q.unwritten, i, i+1)
	}
	if mode == SyncOff {
		e.state = safe
		q.evict(e)
	} else {
		e.state = unsynced
		if len(q.unsynced) == 0 {
			q.unsyncedSince = q.clock()
		}
		q.unsynced = append(q.unsynced, e)
		q.unsyncedBytes += e.size()
	}
	q.notify()
}

// evict takes the body of a block that is safe out of memory when there is enough in it. mu is held.
func (q *Disk) evict(e *entry) {
	if q.resident <= memoryBudget || e.block == nil || q.shards[e.shard].entries[0] == e {
		return
	}
	e.block = nil
	q.resident -= e.size()
}

// put appends a block to the active segment and says where, or begins a new one first. Where it fails the segment ends as it did before.
func (q *Disk) put(b *Block, most int64, mode Sync) (at int64, err error) {
	w := &q.w
	length := int64(recordLength(b))
	// What is synced and what isn't are not in one segment: up to where one that is given up can be relied on has to be clear.
	if w.active != nil && w.active.size > segmentHeader && (w.active.size+length > most || len(w.index) >= maxIndex || w.mode != mode) {
		crashpoint.Pass("queue", "seal")
		q.syncBlocks(true)
		q.seal(true)
	}
	if w.active == nil {
		if err := q.begin(); err != nil {
			return 0, fmt.Errorf("begin a segment: %w", err)
		}
	}
	q.mu.Lock()
	w.mode = mode
	q.mu.Unlock()
	w.buffer = appendRecord(w.buffer[:0], w.active.salt, b, w.written)
	at = w.active.size
	crashpoint.Pass("queue", "append")
	if half := len(w.buffer) / 2; crashpoint.Enabled {
		_, _ = w.file.WriteAt(w.buffer[:half], at)
		crashpoint.Pass("queue", "torn")
	}
	_, err = w.file.WriteAt(w.buffer, at)
	if err != nil {
		if cut := w.file.Truncate(at); cut != nil || !isFull(err) {
			q.giveUpActive()
		}
		return 0, fmt.Errorf("write to the queue: %w", err)
	}
	w.written += uint64(b.Items)
	w.index = append(w.index, w.buffer[4:4+indexEntry]...)
	if cap(w.buffer) > memoryBudget {
		w.buffer = nil
	}
	return at, nil
}

// begin makes a new segment.
func (q *Disk) begin() error {
	w := &q.w
	var salt [4]byte
	_, _ = rand.Read(salt[:])                                // never fails
	number := max(w.number+1, uint64(q.clock().UnixMicro())) // so that it is new even where all others are gone
	s := &segment{number: number, salt: binary.LittleEndian.Uint32(salt[:]), size: segmentHeader, active: true}
	path := q.path(s)
	f, err := q.fs.Create(path)
	if err != nil {
		return err
	}
	w.number = s.number
	if _, err := f.WriteAt(appendSegmentHeader(nil, s.number, q.clock().UnixNano(), s.salt), 0); err != nil {
		f.Close()
		return errors.Join(err, q.fs.Remove(path))
	}
	crashpoint.Pass("queue", "begin")
	w.active, w.file, w.entered, w.syncedSize = s, f, false, segmentHeader
	q.mu.Lock()
	w.syncedItems = w.written
	q.segments = append(q.segments, s)
	q.mu.Unlock()
	return nil
}

// seal ends the active segment, with an index where it is whole. What wasn't synced by then isn't any more; the index needn't be, since a start sees
// whether it is whole and does without it.
func (q *Disk) seal(whole bool) {
	w := &q.w
	if w.active == nil {
		return
	}
	q.mu.Lock()
	live := w.active.live
	q.mu.Unlock()
	size := w.active.size
	if whole && live > 0 {
		w.buffer = appendIndex(w.buffer[:0], w.active.salt, w.index)
		if half := len(w.buffer) / 2; crashpoint.Enabled {
			_, _ = w.file.WriteAt(w.buffer[:half], size)
			crashpoint.Pass("queue", "index")
		}
		if _, err := w.file.WriteAt(w.buffer, size); err == nil {
			size += int64(len(w.buffer))
		} else {
			_ = w.file.Truncate(size) // half of one does no harm
		}
	}
	w.file.Close()
	q.mu.Lock()
	w.active.active, w.active.size = false, size
	q.mu.Unlock()
	w.active, w.file, w.index = nil, nil, w.index[:0]
}

func (q *Disk) path(s *segment) string { return filepath.Join(q.dir, segmentName(s.number, s.salt)) }

// syncBlocks makes what was written last, when it is time for that.
func (q *Disk) syncBlocks(now bool) {
	q.mu.Lock()
	q.unsynced = slices.DeleteFunc(q.unsynced, func(e *entry) bool { return e.gone })
	n := len(q.unsynced)
	due := n > 0 && (now || q.limits.Sync == SyncAlways || q.wanted >= q.unsynced[0].seq || q.unsyncedBytes >= syncBytes ||
		q.clock().Sub(q.unsyncedSince) >= syncInterval)
	q.mu.Unlock()
	w := &q.w
	if w.active == nil || !due && !w.doubtful {
		return
	}
	crashpoint.Pass("queue", "fsync")
	err := w.file.Sync()
	if err == nil && !w.entered {
		err = q.fs.SyncDir(q.dir)
	}
	crashpoint.Pass("queue", "fsynced")
	if err != nil {
		w.doubtful = true
		q.giveUpActive()
		q.mu.Lock()
		q.suffer(fmt.Errorf("sync the queue: %w", err))
		q.mu.Unlock()
		return
	}
	w.doubtful, w.entered, w.syncedSize = false, true, w.active.size
	q.mu.Lock()
	defer q.mu.Unlock()
	w.syncedItems = w.written
	for _, e := range q.unsynced {
		if e.gone {
			continue
		}
		e.state = safe
		q.unsyncedBytes -= e.size()
		q.evict(e)
	}
	clear(q.unsynced)
	q.unsynced = q.unsynced[:0]
	q.cursorDirty = true // it says how much is synced
	if len(q.unwritten) == 0 {
		q.recovered()
	}
	q.notify()
}

// giveUpActive ends a segment of which only what was synced can be relied on. The rest is in memory, and is written once more into another.
func (q *Disk) giveUpActive() {
	w := &q.w
	q.mu.Lock()
	if w.mode != SyncOff {
		w.active.size, w.written = w.syncedSize, w.syncedItems
	}
	w.active.copies = true
	again := make([]*entry, 0, len(q.unsynced)+len(q.unwritten))
	for _, e := range q.unsynced {
		if e.gone {
			continue
		}
		e.segment.live--
		e.segment, e.state = nil, unwritten
		q.unwrittenBytes += e.size()
		again = append(again, e)
	}
	q.unsynced, q.unsyncedBytes = nil, 0
	q.unwritten = append(again, q.unwritten...)
	q.mu.Unlock()
	q.seal(false)
}

// removeSegments removes those of which everything is gone, oldest first.
func (q *Disk) removeSegments(last bool) {
	w := &q.w
	q.mu.Lock()
	mode := q.limits.Sync
	idle := w.active != nil && w.active.live == 0 && len(q.unwritten) == 0
	full := q.trouble != nil && isFull(q.trouble)
	q.mu.Unlock()
	if idle && (last || full) {
		q.seal(false)
	}
	q.mu.Lock()
	dead := slices.IndexFunc(q.segments, func(s *segment) bool { return s.live > 0 || s.active || s.copies })
	if dead < 0 {
		dead = len(q.segments)
	}
	if q.held() {
		dead = 0
	}
	segments := slices.Clone(q.segments[:dead])
	q.mu.Unlock()
	if len(segments) == 0 {
		return
	}
	// The cursor first, so that a start after a crash knows that what is missing was dealt with. A cursor that can't be written doesn't
	// keep space from being freed.
	q.writeCursor(true)
	if mode != SyncOff {
		_ = q.syncCursor()
	}
	for _, s := range segments {
		crashpoint.Pass("queue", "unlink")
		if err := q.fs.Remove(q.path(s)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			q.log.Debug("a segment of the queue can't be removed", "segment", segmentName(s.number, s.salt), "err", err)
			break
		}
		q.mu.Lock()
		q.segments = slices.DeleteFunc(q.segments, func(x *segment) bool { return x == s })
		if q.trouble != nil && isFull(q.trouble) {
			q.retry = time.Time{}
			q.wakeWriter()
		}
		q.notify()
		q.mu.Unlock()
	}
	crashpoint.Pass("queue", "unlinked")
	if mode != SyncOff {
		_ = q.fs.SyncDir(q.dir) // a segment that comes back is known by the cursor
	}
}
