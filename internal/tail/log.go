package tail

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// Log follows one path: the file that stands there and those that were rotated away from it and are not read to their end. Next and Read are for one
// goroutine; the other methods may be called beside them.
type Log struct {
	o       Options
	wake    chan struct{} // holds one: something may have changed
	stirred atomic.Bool   // the path is to be looked at before the next read
	shut    chan struct{} // closed by Close
	sub     *Subscription // nil without a watcher
	// caughtUp says that the last chunk reached the end of what there was. It belongs to the goroutine that calls Next.
	caughtUp bool

	mu     sync.Mutex // guards what follows and the files
	looked bool
	// files are open, oldest first. The last one stands at the path unless it is rotated or missing is true.
	files   []*file
	missing bool  // nothing stands at the path, or nothing that can be read
	held    bool  // what stands at the path isn't to be opened yet
	shared  bool  // another log of the registry reads what stands at the path
	err     error // why what stands at the path can't be read
	finish  bool
	closed  bool
	// old are the generations beside the path that are not to be read: they were there at Open, or were read to their end. ended holds where
	// the latter were read to.
	old         map[fileID]mark
	ended       map[fileID]positions.Position
	discovered  bool      // the generations beside the path were listed once
	again       time.Time // when to look for generations again, because one could not be opened
	behind      error     // why it could not be opened
	truncations uint64    // of files that are closed
	parked      *parked   // the file at the path, when its descriptor was given up
	// displaced is where the file at the path was read to before it was truncated while nobody looked. It is set and used within a look.
	displaced *positions.Position
	// begun are the positions of the files that the look at hand begins, by key; collects says that there is one.
	begun    map[string]positions.Position
	collects bool
}

// Open begins to follow. It doesn't fail: what can't be opened is told by Read and Next.
func Open(o Options) *Log {
	if o.MaxLine <= 0 {
		o.MaxLine = DefaultMaxLine
	}
	if o.Linger <= 0 {
		o.Linger = 10 * time.Second
	}
	l := &Log{
		o: o, wake: make(chan struct{}, 1), shut: make(chan struct{}),
		old: map[fileID]mark{}, ended: map[fileID]positions.Position{},
	}
	if o.Watcher != nil {
		l.sub = o.Watcher.Watch(o.Path, l.Stir)
	}
	return l
}

// Path is that of the options.
func (l *Log) Path() string { return l.o.Path }

// Stir has the next Read look at the path again, and wakes Next. The watcher calls it when something changed.
func (l *Log) Stir() {
	l.stirred.Store(true)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	if l.o.Wake != nil {
		l.o.Wake()
	}
}

// Next waits for lines and returns them. The error is ctx's; io.EOF when Finish was called and all has been read; or why the file
// can't be opened or read (fs.ErrPermission, ErrNotRegular, ...), after which Next may be called again, best after a pause. A path that
// doesn't exist is waited for.
func (l *Log) Next(ctx context.Context, buf []byte) (Chunk, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Chunk{}, err
		}
		if l.caughtUp {
			// Whatever was written since the last chunk has woken us. Reading at once would give a busy writer's lines one by one.
			if err := l.wait(ctx); err != nil {
				return Chunk{}, err
			}
		}
		c, err := l.Read(buf)
		l.caughtUp = err == nil && !c.more
		if err != nil || !c.Empty() {
			return c, err
		}
	}
}

func (l *Log) wait(ctx context.Context) error {
	var tick <-chan time.Time
	if l.sub == nil {
		t := time.NewTimer(defaultPoll)
		defer t.Stop()
		tick = t.C
	}
	select {
	case <-l.wake:
	case <-tick:
	case <-l.shut:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Read is Next without waiting: the chunk is empty when there is nothing to read now. buf should be as long as BufferSize says; a
// shorter one is good for short lines, and ErrShortBuffer says when it wasn't.
func (l *Log) Read(buf []byte) (Chunk, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Chunk{}, os.ErrClosed
	}
	if len(buf) < headSize {
		return Chunk{}, ErrShortBuffer
	}
	now := time.Now()
	if l.stirred.Swap(false) || !l.looked {
		l.look(now)
	}
	for {
		c, err := l.readFiles(buf, now)
		if err != nil || !c.Empty() || c.more {
			return c, err
		}
		if l.finish || !l.look(now) {
			break
		}
	}
	if l.finish && l.err == nil {
		return Chunk{}, io.EOF
	}
	if l.sub != nil {
		l.sub.insist(l.waiting())
	}
	if l.err == nil {
		return Chunk{}, l.behind
	}
	return Chunk{}, l.err
}

// waiting says that the log wants to be read again soon though nothing wakes it: a file lingers, or something is to be tried again. What is
// refused for good is not: the watcher sees when its owner or mode changes.
func (l *Log) waiting() bool {
	switch {
	case len(l.files) > 1 || l.missing && len(l.files) > 0 || !l.again.IsZero() || l.held:
		return true
	case l.err == nil:
		return false
	}
	return !errors.Is(l.err, fs.ErrPermission) && !errors.Is(l.err, ErrNotRegular)
}

// readFiles reads from the oldest file that has something, and closes those that are at their end for good.
func (l *Log) readFiles(buf []byte, now time.Time) (Chunk, error) {
	for i := 0; i < len(l.files); i++ {
		f := l.files[i]
		over, truncations, before, size := l.over(i, now), f.truncations, f.position(""), f.size
		c, err := f.read(buf, l.o.MaxLine, over, now)
		if f.truncations != truncations {
			if copied := l.truncated(before, size); copied != nil {
				l.files = slices.Insert(l.files, i, copied)
			}
			i-- // what is left of it in its copy comes first
			continue
		}
		switch {
		case errors.Is(err, unix.ESTALE):
			// The file is gone from its server: there is nothing left to read here. What stands at the path is opened anew.
			over = true
		case err != nil:
			return Chunk{}, err
		case !c.Empty() || c.more:
			c.at.Path = l.o.Path
			c.more = c.more || !f.idle || len(l.files) > 1
			return c, nil
		}
		if over {
			l.end(i)
			i--
		}
	}
	return Chunk{}, nil
}

// over says that nothing more is expected in a file: half a line at its end will stay one.
func (l *Log) over(i int, now time.Time) bool {
	f := l.files[i]
	switch {
	case l.finish:
		return true
	case !f.rotated && !l.missing:
		return false
	case f.grown.IsZero():
		return false
	}
	quiet := now.Sub(f.grown)
	if f.links == 0 {
		return quiet >= l.o.Linger
	}
	for _, next := range l.files[i+1:] {
		if next.size > 0 {
			return quiet >= l.o.Linger
		}
	}
	// Its successor isn't there yet, or its writer hasn't found the successor yet.
	return l.missing && quiet >= 6*l.o.Linger
}

// end closes a file that was read to its end.
func (l *Log) end(i int) {
	f := l.files[i]
	l.files = slices.Delete(l.files, i, i+1)
	l.truncations += f.truncations
	deleted := f.links == 0
	if !deleted {
		l.ended[f.id] = f.position(l.o.Path)
		if g, err := statxMark(f.fd, "", unix.AT_EMPTY_PATH); err == nil {
			l.old[f.id] = g.mark
		}
	}
	f.close()
	if r := l.o.Registry; r != nil {
		r.release(f.id)
		if deleted {
			r.forget(f.key)
		}
	}
}

// look finds out what stands at the path, and says whether files to read have come.
func (l *Log) look(now time.Time) (came bool) {
	first := !l.looked
	l.looked = true
	var st unix.Stat_t
	err := ignoreEINTR(func() error { return unix.Stat(l.o.Path, &st) })
	id := fileID{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is 32 bits wide on some architectures
	if err != nil {
		id = fileID{}
	}
	current := l.current()
	if err == nil && (current != nil && current.id == id || l.parked.still(id, &st) && !l.finish) {
		l.missing, l.shared, l.err = false, false, nil
		if l.again.IsZero() || now.Before(l.again) {
			return false
		}
	}
	if err != nil {
		if current != nil && !l.missing {
			current.grown = now // from now on it lingers
		}
		l.missing, l.shared, l.held, l.err = true, false, false, nil
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
			l.err = &fs.PathError{Op: "stat", Path: l.o.Path, Err: err}
		}
		if !first && (l.parked == nil || l.err != nil) {
			return false
		}
	}

	l.collects = true
	defer l.note()
	var next *file
	if err == nil && (current == nil || current.id != id) {
		if current != nil {
			current.rotated, current.grown = true, now
		}
		if next = l.openCurrent(id, first); next != nil {
			id = next.id // it may be another one by now
		}
	}
	size := int64(0)
	if l.parked != nil && l.parked.id == id {
		if next == nil {
			return false // why is told
		}
		size, l.parked = l.parked.size, nil
	}
	if !first && next == nil && l.parked == nil && (l.again.IsZero() || now.Before(l.again)) {
		return false
	}
	var copied *file
	if next != nil && l.displaced != nil {
		copied = l.truncated(*l.displaced, size)
	}
	l.displaced = nil
	rotated, moved := l.discover(id, now)
	l.unpark(rotated)
	came = next != nil || len(rotated) > 0
	if copied != nil {
		rotated = append(rotated, copied)
	}
	newest := next
	if next == nil && current != nil && current.id == id {
		newest = current
		l.files = l.files[:len(l.files)-1]
	}
	if newest != nil {
		rotated = append(rotated, newest)
	}
	if newest != nil && moved != nil {
		// It was rotated away while the others were found: they may be younger. What stands at the path now is seen by the next look.
		newest.rotated, newest.grown, newest.mtime, newest.name = true, now, moved.mtime, moved.path
		l.sort(rotated)
		l.stirred.Store(true)
	}
	l.files = append(l.files, rotated...)
	return came
}

// current is the open file that stood at the path when it was last looked at.
func (l *Log) current() *file {
	if n := len(l.files); n > 0 && !l.files[n-1].rotated {
		return l.files[n-1]
	}
	return nil
}

// openCurrent opens what stands at the path, whose identity is id, unless it is read already.
func (l *Log) openCurrent(id fileID, first bool) *file {
	l.missing, l.shared, l.held, l.err, l.displaced = true, false, false, nil, nil
	for i, f := range l.files {
		if f.id == id { // renamed back
			l.files = slices.Delete(l.files, i, i+1)
			f.rotated, l.missing = false, false
			return f
		}
	}
	f, err := openFile(l.o.Path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.err = err
		}
		return nil
	}
	if slices.ContainsFunc(l.files, func(x *file) bool { return x.id == f.id }) {
		f.close() // renamed back just now: the next look sees it
		return nil
	}
	if !l.claim(f) {
		l.shared = true
		f.close()
		return nil
	}
	known, err := l.resume(f)
	if known && f.truncations == 0 {
		l.displaced = nil
	}
	if err == nil && !known && l.o.Hold != nil && l.o.Hold() {
		l.held = true
		l.unclaim(f)
		f.close()
		return nil
	}
	if err == nil && !known && first && l.o.Start == End && len(l.o.Resume) == 0 {
		err = f.toEnd(l.o.MaxLine)
	}
	if err == nil {
		err = l.remember(f)
	}
	if err != nil {
		l.unclaim(f)
		f.close()
		l.err = err
		return nil
	}
	l.missing = false
	return f
}

// remember notes in the input's book where the reading of f begins, so that after a crash it counts as known whatever Start says.
func (l *Log) remember(f *file) error {
	if _, err := f.checkHead(make([]byte, headSize)); err != nil {
		return err
	}
	r := l.o.Registry
	if r == nil {
		return nil
	}
	// A file that is opened again goes on where it was read to, and what was read may not have been taken yet: then the book is right.
	if p, ok := r.book.Get(f.key); ok && f.truncations == 0 && p.Born == f.born && p.Offset <= f.offset {
		return nil
	}
	if !l.collects {
		r.book.Set(f.key, f.position(l.o.Path))
	} else {
		if l.begun == nil {
			l.begun = map[string]positions.Position{}
		}
		l.begun[f.key] = f.position(l.o.Path)
	}
	if l.o.Begun != nil {
		var born time.Time
		if g, err := statxMark(f.fd, "", unix.AT_EMPTY_PATH); err == nil {
			born = g.mark.born()
		}
		l.o.Begun(born)
	}
	return nil
}

// note sets the positions of the files that a look has begun, all at once. Were the positions saved while the file at the path had one and a file that was
// rotated away just before had none, a start after a kill would take it that this was read long ago.
func (l *Log) note() {
	l.collects = false
	if len(l.begun) > 0 {
		l.o.Registry.book.SetAll(l.begun)
		clear(l.begun)
	}
}

// resume puts f where it was read to, and says whether that is known. A position that isn't true any more, because the file was truncated
// meanwhile, becomes displaced.
func (l *Log) resume(f *file) (bool, error) {
	try := func(p positions.Position) (bool, error) {
		ok, err := f.resume(p)
		if !ok || f.truncations > 0 {
			l.displaced = &p
		}
		return ok, err
	}
	if p := l.parked; p != nil && p.id == f.id {
		if ok, err := try(p.at); ok || err != nil {
			return ok, err
		}
	}
	if p, ok := l.ended[f.id]; ok {
		if ok, err := try(p); ok || err != nil {
			return ok, err
		}
	}
	if l.o.Registry != nil {
		if p, ok := l.o.Registry.book.Get(f.key); ok {
			if ok, err := try(p); ok || err != nil {
				return ok, err
			}
		}
	}
	for _, p := range l.o.Resume {
		if p.Inode != f.id.inode {
			continue
		}
		// Some filesystems get another device number with every mount. The path, the inode and the head together are proof enough.
		if p.Device == f.id.device || p.Path == l.o.Path && p.HeadLen > 0 {
			if ok, err := try(p); ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

func (l *Log) claim(f *file) bool { return l.o.Registry == nil || l.o.Registry.claim(f.id, l) == l }

func (l *Log) unclaim(f *file) { l.release(f.id) }

func (l *Log) release(id fileID) {
	if l.o.Registry != nil {
		l.o.Registry.release(id)
	}
}

// reads says that the log, or another one of its registry, has the file open.
func (l *Log) reads(id fileID) bool {
	for _, f := range l.files {
		if f.id == id {
			return true
		}
	}
	return l.o.Registry != nil && l.o.Registry.owned(id, l)
}

// Finish says that nothing more will be written: a half line at the end is given as a line, then Next returns io.EOF. A path that
// doesn't exist is then not waited for.
func (l *Log) Finish() {
	l.mu.Lock()
	l.finish = true
	l.mu.Unlock()
	l.Stir()
}

// Close releases the files. It may be called beside Next, which then returns os.ErrClosed, and twice.
func (l *Log) Close() {
	if l.sub != nil {
		l.sub.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	close(l.shut)
	for _, f := range l.files {
		l.unclaim(f)
		f.close()
	}
	l.files = nil
	if p := l.parked; p != nil {
		l.release(p.id)
		l.parked = nil
	}
}

// Stat is how a log stands.
type Stat struct {
	Exists      bool   // something readable stands at the path
	Shared      bool   // what stands at the path is read under another path
	Files       int    // open files: the current one and those rotated away that are not read to their end
	Parked      bool   // the file that stands, or stood last, at the path is parked
	Unread      int64  // bytes; what was seen of it in files that are not open
	Truncations uint64 // times that a file shrank or was overwritten and was begun anew
	Err         error  // why what stands at the path can't be read
}

// Stat tells how the log stands. It looks at the sizes of the open files.
func (l *Log) Stat() Stat {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stat{
		Exists: l.looked && !l.missing, Shared: l.shared, Files: len(l.files), Truncations: l.truncations, Err: l.err,
	}
	for _, f := range l.files {
		var st unix.Stat_t
		if unix.Fstat(f.fd, &st) == nil {
			s.Unread += max(0, st.Size-f.offset)
		}
		s.Truncations += f.truncations
	}
	if p := l.parked; p != nil {
		s.Parked = true
		s.Unread += max(0, p.size-p.at.Offset)
	}
	return s
}

// Position is where the next chunk begins, as far as that is known before it is read: what a book should hold before anything has been
// taken. It looks at the path when nobody has yet. It says false while there is no file.
func (l *Log) Position() (positions.Position, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.looked && !l.closed {
		l.look(time.Now())
	}
	for i, f := range l.files {
		if !f.atEnd() || i == len(l.files)-1 {
			return f.position(l.o.Path), true
		}
	}
	if l.parked != nil {
		return l.parked.at, true
	}
	return positions.Position{}, false
}

func ignoreEINTR(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
