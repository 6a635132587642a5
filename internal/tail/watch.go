package tail

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

const (
	defaultPoll = 250 * time.Millisecond
	// Events are taken for a moment and then left to pile up in the kernel for a pause, which merges equal ones: a file that is written to
	// a hundred thousand times a second doesn't cost as many events. After a flood (many files at once, whose events don't merge) the pause is longer.
	moment     = time.Millisecond
	pause      = 10 * time.Millisecond
	floodPause = 100 * time.Millisecond
	flood      = 1000
	// What has not changed for quietAfter, and whose folder tells its changes, is polled in one of quietTurns turns only.
	quietAfter = 30 * time.Second
	quietTurns = 8
	// checkFolders is after how many polls it is looked at whether the folders are still the ones that are watched.
	checkFolders = 8
)

// WatcherOptions are those of NewWatcher; the zero value is good.
type WatcherOptions struct {
	Poll time.Duration // how often files are looked at besides being told of; 0 means 250 ms
	Log  *slog.Logger  // for what makes it slower than it should be; nil for none
}

// Watcher wakes readers when their file changes. The kernel tells it what happens in the files' folders; because it doesn't on every
// filesystem, and not of what lies behind a symbolic link, a poll beside it looks at size, times and identity. It is safe for concurrent use.
type Watcher struct {
	poll   time.Duration
	log    *slog.Logger
	notify *fsnotify.Watcher // nil when the kernel gives no more
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex // guards what follows and the subscriptions' fields
	subs    []*Subscription
	byPath  map[string][]*Subscription
	folders map[string]*folder
	turn    int
	due     []*Subscription // memory of pollOnce, which alone uses it
	told    bool            // that a folder could not be watched
	closed  bool
}

// folder is a watched folder.
type folder struct {
	users   int
	watched bool
	id      fileID // of what is watched
}

// Subscription is one path that is watched for one reader.
type Subscription struct {
	w      *Watcher
	path   string
	folder bool // the path is a folder, whose entries matter
	wake   func()
	urgent atomic.Bool

	last    state
	changed time.Time
	events  bool // one came since the last poll
	// deaf says that a poll has seen a change that no event told of.
	deaf  bool
	place int // in Watcher.subs
}

// state is what a poll compares.
type state struct {
	err          error
	id           fileID
	size         int64
	mtime, ctime unix.Timespec
}

// NewWatcher starts a watcher. One serves all logs of an input.
func NewWatcher(o WatcherOptions) *Watcher {
	if o.Poll <= 0 {
		o.Poll = defaultPoll
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watcher{
		poll: o.Poll, log: o.Log, cancel: cancel, byPath: map[string][]*Subscription{}, folders: map[string]*folder{},
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		w.log.Warn("files are polled only", "err", err, "poll", o.Poll, "remedy", "raise the sysctl fs.inotify.max_user_instances")
	} else {
		w.notify = n
		w.done.Go(func() { w.listen(ctx) })
	}
	w.done.Go(func() { w.polling(ctx) })
	return w
}

// Close ends the watcher and waits for its goroutines: no wake function is called after it. It may be called twice.
func (w *Watcher) Close() {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return
	}
	w.cancel()
	if w.notify != nil {
		w.notify.Close() //nolint:errcheck // nothing depends on it any more
	}
	w.done.Wait()
}

// Watch has wake called when the file at path changes, appears, or is replaced. wake must not block and must not call the watcher.
func (w *Watcher) Watch(path string, wake func()) *Subscription {
	return w.add(&Subscription{w: w, path: filepath.Clean(path), wake: wake})
}

// WatchFolder has wake called when an entry of the folder at path comes, goes or is renamed, and when the folder itself does.
func (w *Watcher) WatchFolder(path string, wake func()) *Subscription {
	return w.add(&Subscription{w: w, path: filepath.Clean(path), folder: true, wake: wake})
}

func (s *Subscription) watchedFolder() string {
	if s.folder {
		return s.path
	}
	return filepath.Dir(s.path)
}

func (w *Watcher) add(s *Subscription) *Subscription {
	s.last, s.changed = look(s.path), time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	s.place = len(w.subs)
	w.subs = append(w.subs, s)
	w.byPath[s.path] = append(w.byPath[s.path], s)
	dir := s.watchedFolder()
	f := w.folders[dir]
	if f == nil {
		f = &folder{}
		w.folders[dir] = f
		w.attach(dir, f)
	}
	f.users++
	return s
}

// Close ends the subscription. It may be called twice.
func (s *Subscription) Close() {
	w := s.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.place < 0 {
		return
	}
	last := w.subs[len(w.subs)-1]
	w.subs[s.place], last.place = last, s.place
	w.subs[len(w.subs)-1] = nil
	w.subs = w.subs[:len(w.subs)-1]
	s.place = -1
	rest := w.byPath[s.path][:0]
	for _, x := range w.byPath[s.path] {
		if x != s {
			rest = append(rest, x)
		}
	}
	if len(rest) == 0 {
		delete(w.byPath, s.path)
	} else {
		w.byPath[s.path] = rest
	}
	dir := s.watchedFolder()
	f := w.folders[dir]
	if f.users--; f.users == 0 {
		w.detach(dir, f)
		delete(w.folders, dir)
	}
}

// insist has the subscription woken at every poll.
func (s *Subscription) insist(on bool) { s.urgent.Store(on) }

// attach asks the kernel to tell of a folder.
func (w *Watcher) attach(dir string, f *folder) {
	if w.notify == nil || w.closed {
		return
	}
	st := look(dir)
	if st.err != nil {
		return
	}
	if err := w.notify.Add(dir); err != nil {
		if !w.told && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			w.told = true
			remedy := "check the folder's permissions"
			if errors.Is(err, unix.ENOSPC) {
				remedy = "raise the sysctl fs.inotify.max_user_watches"
			}
			w.log.Warn("a folder can't be watched: its files are polled", "folder", dir, "err", err, "remedy", remedy)
		}
		return
	}
	f.watched, f.id = true, st.id
}

func (w *Watcher) detach(dir string, f *folder) {
	if f.watched && !w.closed {
		w.notify.Remove(dir) //nolint:errcheck // it fails when the folder is gone, which is as good
	}
	f.watched = false
}

// listen takes the kernel's events: for a moment from the first one on, then they pile up for a pause.
func (w *Watcher) listen(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	<-t.C
	for {
		var over <-chan time.Time // nil until the first event
		n := 0
		for taking := true; taking; n++ {
			select {
			case e, ok := <-w.notify.Events:
				if !ok {
					return
				}
				w.event(e)
			case err, ok := <-w.notify.Errors:
				if !ok {
					return
				}
				// Events were lost (fsnotify.ErrEventOverflow) or may have been: everybody looks.
				w.log.Debug("the kernel's events were interrupted: all files are looked at", "err", err)
				w.wakeAll()
			case <-over:
				taking = false
			case <-ctx.Done():
				return
			}
			if over == nil {
				t.Reset(moment)
				over = t.C
			}
		}
		wait := pause
		if n > flood {
			wait = floodPause
		}
		t.Reset(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (w *Watcher) event(e fsnotify.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.byPath[e.Name] {
		s.events = true
		s.wake()
	}
	if !e.Has(fsnotify.Create) && !e.Has(fsnotify.Rename) && !e.Has(fsnotify.Remove) {
		return
	}
	if f := w.folders[e.Name]; f != nil && (e.Has(fsnotify.Rename) || e.Has(fsnotify.Remove)) {
		w.detach(e.Name, f) // a poll attaches what comes in its place
	}
	for _, s := range w.byPath[filepath.Dir(e.Name)] {
		if s.folder {
			s.events = true
			s.wake()
		}
	}
}

func (w *Watcher) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.subs {
		s.wake()
	}
}

func (w *Watcher) polling(ctx context.Context) {
	t := time.NewTicker(w.poll)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		w.pollOnce(time.Now())
	}
}

// pollOnce looks at what changes or can't be told of, and at a part of the rest.
func (w *Watcher) pollOnce(now time.Time) {
	w.mu.Lock()
	w.turn++
	turn := w.turn
	due := w.due[:0]
	for i, s := range w.subs {
		if s.urgent.Load() {
			s.wake()
		}
		quiet := !s.deaf && now.Sub(s.changed) > quietAfter && w.folders[s.watchedFolder()].watched
		if !quiet || (i+turn)%quietTurns == 0 {
			due = append(due, s)
		}
	}
	w.due = due
	w.mu.Unlock()

	// A dead network filesystem may hold a look for long. Nobody else is to wait for it.
	for _, s := range due {
		is := look(s.path)
		w.mu.Lock()
		if is != s.last && s.place >= 0 {
			s.last, s.changed = is, now
			if !s.events {
				s.deaf = true
			}
			s.wake()
		}
		s.events = false
		w.mu.Unlock()
	}
	clear(due)
	if turn%checkFolders == 0 {
		w.checkFolders()
	}
}

// checkFolders watches the folders that have come, or come anew, since the last time.
func (w *Watcher) checkFolders() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for dir, f := range w.folders {
		if f.watched {
			if st := look(dir); st.err == nil && st.id == f.id {
				continue
			}
			w.detach(dir, f)
		}
		if w.attach(dir, f); !f.watched {
			continue
		}
		for _, s := range w.subs {
			if s.watchedFolder() == dir {
				s.wake()
			}
		}
	}
}

// look takes what a poll compares.
func look(path string) state {
	var st unix.Stat_t
	if err := ignoreEINTR(func() error { return unix.Stat(path, &st) }); err != nil {
		return state{err: err}
	}
	return state{
		id:   fileID{uint64(st.Dev), st.Ino}, //nolint:unconvert // Dev is 32 bits wide on some architectures
		size: st.Size, mtime: st.Mtim, ctime: st.Ctim,
	}
}
