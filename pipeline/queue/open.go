package queue

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"
)

// DiskOptions say where a queue is on disk.
type DiskOptions struct {
	// Dir is its folder, which is made where it isn't there. Nobody else may use it.
	Dir    string
	Limits Limits
	Log    *slog.Logger
}

// Recovered is what was found in a folder when its queue was opened.
type Recovered struct {
	// Blocks and Items that wait to be delivered.
	Blocks, Items int
	// Lost is how many items that waited are not there any more, because something was damaged, cut off or removed.
	Lost int
}

// OpenDisk opens the queue in a folder with what is in it. It fails when the folder can't be made or read, and with a LockedError when
// another process has it.
func OpenDisk(o DiskOptions) (*Disk, Recovered, error) {
	if err := (system{}).MkdirAll(o.Dir); err != nil {
		return nil, Recovered{}, err
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, Recovered{}, err
	}
	q := newDisk(o, system{})
	q.lock = lock
	found, err := q.recover()
	if err != nil {
		lock.Close()
		return nil, Recovered{}, err
	}
	go q.write()
	q.keeping.Add(1)
	go q.keepCursor()
	return q, found, nil
}

func newDisk(o DiskOptions, disk filesystem) *Disk {
	return &Disk{
		dir: o.Dir, fs: disk, log: o.Log, limits: o.Limits, clock: time.Now, ages: newAges(),
		wake: make(chan struct{}, 1), moved: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{}),
		aside: aside{dir: filepath.Join(o.Dir, asideDir), fs: disk, log: o.Log},
	}
}

// readCursor reads the cursor of a folder; ok is false when there is none that is whole.
func readCursor(disk filesystem, dir string) (c cursor, ok bool, err error) {
	f, err := disk.Open(filepath.Join(dir, cursorFile))
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err != nil {
		return c, false, err
	}
	defer f.Close()
	b := make([]byte, 2*slotSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return c, false, err
	}
	c, ok = parseCursor(b[:n])
	return c, ok, nil
}

// listSegments lists the segments of a folder, oldest first.
func listSegments(disk filesystem, dir string) ([]*segment, error) {
	names, err := disk.List(dir)
	if err != nil {
		return nil, err
	}
	var out []*segment
	for _, name := range names {
		if number, salt, ok := parseSegmentName(name); ok {
			out = append(out, &segment{number: number, salt: salt})
		}
	}
	slices.SortFunc(out, func(a, b *segment) int { return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.salt, b.salt)) })
	return out, nil
}

// recover fills the queue with what its folder holds.
func (q *Disk) recover() (Recovered, error) {
	var found Recovered
	c, known, err := readCursor(q.fs, q.dir)
	if err != nil {
		return found, fmt.Errorf("read the queue's cursor: %w", err)
	}
	segments, err := listSegments(q.fs, q.dir)
	if err != nil {
		return found, fmt.Errorf("read the queue: %w", err)
	}
	r := recovery{q: q, cursor: c}
	var kept []*segment
	for i, s := range segments {
		q.w.number = s.number
		if err := r.segment(s, i == len(segments)-1); err != nil {
			// It is left as it is, for the next start or whoever can read it.
			q.log.Error("a segment of the queue can't be read; the others are", "folder", q.dir, "segment", segmentName(s.number, s.salt), "err", err)
			continue
		}
		kept = append(kept, s)
	}
	segments = kept
	r.dedupe()
	layout := 0
	for _, e := range r.entries {
		if layout != 0 && e.layout != layout {
			q.era++
		}
		layout = e.layout
		e.era = q.era
		q.push(e.entry)
		e.segment.live++
	}
	if len(q.shards) < len(c.shards) { // the cursor goes on to say of each that it is dealt with
		q.shards = append(q.shards, make([]diskShard, len(c.shards)-len(q.shards))...)
	}
	q.layout, q.segments = layout, segments
	q.tail = max(r.highest, max(c.next, 1)-1)
	for _, seq := range c.shards {
		q.tail = max(q.tail, max(seq, 1)-1)
	}
	if !known {
		// Numbers that were used before must not come again: files that were removed may, after a power cut.
		q.tail = max(q.tail, uint64(q.clock().UnixMicro()))
	}
	q.cursor.generation = c.generation
	q.w.written = r.end
	if len(segments) == 0 {
		q.w.written = c.synced
	}
	q.w.syncedItems = q.w.written
	q.settle(r.entries, c.synced)
	q.cursorDirty = len(segments) > 0 || known
	found.Blocks, found.Items = q.blocks, q.items
	if found.Lost = r.gaps; known {
		// What waited and was synced, less what of that is there.
		found.Lost = int(min(c.waiting, 1<<40))
		for _, e := range r.entries {
			if e.end <= c.synced {
				found.Lost -= int(e.items)
			}
		}
		found.Lost = max(found.Lost, 0)
	}
	if found.Lost > 0 {
		q.log.Error("a part of the queue is missing or damaged; the rest is delivered", "folder", q.dir, "items", found.Lost)
	}
	return found, nil
}

// settle sees to what the process before may not have synced. A sync that succeeds now proves little: it may have failed before, and is told to fail
// once. So those blocks are written once more, as if they had just come. Where they are many (sync was "off", the cursor is gone) a sync has to do.
func (q *Disk) settle(entries []placed, synced uint64) {
	if q.limits.Sync == SyncOff {
		return
	}
	var doubtful []*entry
	var bytes int64
	for _, e := range entries {
		if e.end > synced {
			doubtful = append(doubtful, e.entry)
			bytes += e.size()
		}
	}
	if bytes > memoryBudget {
		for _, s := range q.segments {
			f, err := q.fs.Open(q.path(s))
			if err == nil {
				err = f.Sync()
				f.Close()
			}
			if err != nil {
				q.log.Error("a segment of the queue can't be synced", "segment", segmentName(s.number, s.salt), "err", err)
			}
		}
		_ = q.fs.SyncDir(q.dir) // it is synced with the next segment, too
		return
	}
	for _, e := range doubtful {
		b, err := q.read(e)
		if err != nil {
			continue // Take tells
		}
		b.era = e.era
		e.segment.live--
		e.block, e.segment, e.state = b, nil, unwritten
		q.resident += e.size()
		q.unwrittenBytes += e.size()
		q.unwritten = append(q.unwritten, e)
		q.w.hold, q.w.syncedBefore = e.seq, synced
	}
}

// placed is an entry with what is needed of it to put it into its place.
type placed struct {
	*entry
	layout int
	end    uint64 // items written until then
}

// recovery is what is known of a folder while its segments are read in turn.
type recovery struct {
	q       *Disk
	cursor  cursor
	entries []placed
	highest uint64 // sequence number
	end     uint64 // items written up to here
	began   bool
	gaps    int // items that were written and are not there
}

func (r *recovery) segment(s *segment, newest bool) error {
	q := r.q
	path := q.path(s)
	f, err := q.fs.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	s.size = size
	got, err := scan(f, size, s.salt, func(b record, at int64) { r.block(s, b, at) })
	if err != nil {
		return err
	}
	if got.header != nil && size > segmentHeader {
		q.log.Warn("the header of a segment is damaged; its blocks are searched for", "segment", segmentName(s.number, s.salt), "err", got.header)
	}
	for _, d := range got.damaged {
		q.log.Error("a part of a segment is damaged; it is kept aside", "segment", segmentName(s.number, s.salt), "from", d.from, "to", d.to)
		q.aside.copyOf("damaged", f, d)
	}
	if !got.torn {
		return nil
	}
	tail := span{got.end, size}
	if !blank(f, tail) && !beginsIndex(f, tail) {
		q.log.Warn("a segment ends in the middle of a block, as after a crash; the rest is cut off and kept aside",
			"segment", segmentName(s.number, s.salt), "from", tail.from, "to", tail.to)
		q.aside.copyOf("torn", f, tail)
	}
	if newest {
		// For order alone: nothing is ever appended to it.
		if w, err := q.fs.OpenWrite(path); err == nil {
			if w.Truncate(got.end) == nil {
				s.size = got.end
			}
			w.Close()
		}
	}
	return nil
}

// blank says that a part of a file is empty or holds zeros alone, as far as one looks.
func blank(f io.ReaderAt, s span) bool {
	b := make([]byte, min(s.to-s.from, 64<<10))
	n, _ := f.ReadAt(b, s.from)
	return !slices.ContainsFunc(b[:n], func(c byte) bool { return c != 0 })
}

// beginsIndex says that a part of a file is an index that isn't whole: there is nothing in it that the blocks don't say.
func beginsIndex(f io.ReaderAt, s span) bool {
	b := make([]byte, len(indexMagic))
	n, _ := f.ReadAt(b, s.from)
	return n > 0 && string(b[:n]) == indexMagic[:n]
}

// block notes a block.
func (r *recovery) block(s *segment, b record, at int64) {
	if r.began && b.before > r.end {
		r.gaps += int(min(b.before-r.end, 1<<40))
	}
	r.end = b.before + uint64(b.items)
	r.began = true
	r.highest = max(r.highest, b.seq)
	if b.seq < r.cursor.at(b.shard) {
		return
	}
	e := &entry{
		seq: b.seq, segment: s, at: at, oldest: b.oldest, queued: b.queued, length: int32(b.length), items: int32(b.items),
		shard: uint16(b.shard), state: safe,
	}
	r.entries = append(r.entries, placed{e, b.layout, r.end})
}

// dedupe puts the entries in order, and keeps the last of those that were written twice.
func (r *recovery) dedupe() {
	bySeq := func(a, b placed) int { return cmp.Compare(a.seq, b.seq) }
	if !slices.IsSortedFunc(r.entries, bySeq) {
		slices.SortStableFunc(r.entries, bySeq)
	}
	kept := r.entries[:0]
	for _, e := range r.entries {
		if n := len(kept); n > 0 && kept[n-1].seq == e.seq {
			kept[n-1] = e
		} else {
			kept = append(kept, e)
		}
	}
	r.entries = kept
}

// read reads a block from its segment.
func (q *Disk) read(e *entry) (*Block, error) {
	f, err := q.fs.Open(q.path(e.segment))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw := make([]byte, e.length)
	if err := readFull(f, raw, e.at); err != nil {
		return nil, err
	}
	r, err := parseRecord(e.segment.salt, raw)
	if err == nil && (r.seq != e.seq || r.length != int64(e.length) || r.shard != int(e.shard) || r.items != int(e.items)) {
		err = errNoBlock
	}
	var b *Block
	if err == nil {
		b, err = r.block(e.segment.salt, raw[blockHeader:])
	}
	if err != nil {
		q.aside.keep("damaged", raw)
		return nil, err
	}
	return b, nil
}

// isDamage says that another try is in vain.
func isDamage(err error) bool {
	return errors.Is(err, errNoBlock) || errors.Is(err, errDamaged) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrNotExist)
}

// Close writes what isn't written yet, as far as that is possible, and releases the folder. Nothing is given out any more. What it can't write
// is an error.
func (q *Disk) Close() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return nil
	}
	q.closed = true
	q.notify()
	q.mu.Unlock()
	close(q.quit)
	if q.lock != nil { // else a test does the writer's work
		<-q.ended
		q.keeping.Wait()
	}
	for range readTries {
		q.step(true)
		q.mu.Lock()
		done := q.unwrittenBytes == 0 && q.unsyncedBytes == 0
		q.mu.Unlock()
		if done {
			break
		}
	}
	q.seal(true)
	q.cursor.close()
	q.mu.Lock()
	defer q.mu.Unlock()
	var err error
	if q.trouble != nil {
		items := 0
		for _, e := range q.unwritten {
			if !e.gone {
				items += int(e.items)
			}
		}
		if items > 0 {
			err = fmt.Errorf("%d items could not be kept on disk: %w", items, q.trouble)
		}
	}
	q.notify()
	if q.lock != nil {
		q.lock.Close()
	}
	return err
}
