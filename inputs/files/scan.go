package files

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/component"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

const (
	// scanEvery is how often the patterns are walked without anything that calls for it. Between two walks lies in any case as much time
	// as keeps walking at a hundredth of it, a twentieth when something calls for it.
	scanEvery = 10 * time.Second
	scanShare = 100
	wakeShare = 20
	// scanPause lets a burst of new files be found in one walk.
	scanPause = 20 * time.Millisecond
	clockLag  = 50 * time.Millisecond
	// unnoticed is how long a new file may stand in a folder before a walk finds it.
	unnoticed = scanEvery + 5*time.Second
	// maxFolders bounds the folders that are watched. New files in others are found by the walk every scanEvery.
	maxFolders = 8192
	// copyWait is how long a file that may be a copy of a log is left alone after it was last written to, so that the log is truncated meanwhile;
	// copyMost is how long at most.
	copyWait = 5 * time.Second
	copyMost = 2 * time.Minute
)

// stir has the patterns walked soon. The watcher calls it.
func (r *run) stir() {
	select {
	case r.rescan <- struct{}{}:
	default:
	}
}

// untilScan is how long the next walk may wait.
func (r *run) untilScan() time.Duration {
	select {
	case <-r.rescan:
		r.stirred = true
	default:
	}
	wait := max(scanEvery, scanShare*r.scanTook)
	if r.stirred {
		wait = max(scanPause, wakeShare*r.scanTook)
	}
	return time.Until(r.scanned.Add(wait))
}

// scan walks the patterns, begins to follow what is new and lets go of what is gone and read.
func (r *run) scan(first bool) {
	began := time.Now()
	r.stirred = false
	select {
	case <-r.rescan:
	default:
	}
	w := newWalk(r.in.cfg.Exclude)
	for i := range r.in.patterns {
		w.pattern(&r.in.patterns[i])
	}
	r.watch(w.folders)

	since := r.life
	if first {
		since = r.lastLife()
		// The clock that files get their times from is a few milliseconds behind.
		if r.life = began.Add(-clockLag); !since.IsZero() {
			r.life = since
		}
	}
	fresh := first && !r.in.ran && r.env.Positions.Fresh()
	r.fresh, r.begun = fresh, fresh
	defer func() { r.fresh = false }()
	r.in.ran = true
	if first {
		// From now on the input has run, also when there was nothing to read.
		r.env.Positions.Set(firstScan, positions.Position{})
	}
	if fresh {
		r.importPromtail(w)
	}
	var saved map[string][]positions.Position // by path; made when something new is there
	if first {
		saved = r.savedPositions(w)
	}
	compressed := 0
	for _, path := range inOrder(w.found) {
		if isCompressed(path) {
			compressed++
			continue
		}
		if s := r.in.sources[path]; s != nil {
			if s.log.Stat().Shared {
				s.log.Stir()
			}
			continue
		}
		if saved == nil {
			saved = r.savedPositions(w)
		}
		start := tail.Beginning
		if fresh {
			start = r.startOf(path, began)
		}
		r.follow(path, start, since, saved[path])
		delete(saved, path)
	}
	if first {
		// What is left are paths that a pattern matches and where nothing stands: their files were renamed while nobody looked.
		for path, p := range saved {
			r.follow(path, tail.Beginning, since, p)
		}
	}
	r.letGo(w)
	r.tell(w, compressed)
	r.scanned = time.Now()
	r.scanTook = r.scanned.Sub(began)
}

// inOrder sorts paths so that a log comes before its generations: with it open it is known which of them are read already.
func inOrder(found map[string]bool) []string {
	var paths, generations []string
	for _, path := range slices.Sorted(maps.Keys(found)) {
		if _, is := tail.RotatedFrom(path, func(p string) bool { return found[p] }); is {
			generations = append(generations, path)
		} else {
			paths = append(paths, path)
		}
	}
	return append(paths, generations...)
}

// hold says that a new file is left alone for now: it may be what logrotate's copytruncate is making of a log that is followed. Once the log is
// truncated its reader finds the copy and notes where the reading of it goes on.
func (r *run) hold(path string) bool {
	log, is := tail.RotatedFrom(path, func(p string) bool { return r.in.sources[p] != nil })
	if is && !r.fresh && r.in.sources[log].log.Resembles(path) {
		now := time.Now()
		seen, before := r.copies[path]
		if !before {
			seen = now
			r.copies[path] = now
		}
		info, err := os.Stat(path)
		if wait := r.in.copyWait; now.Sub(seen) < wait || err == nil && now.Sub(info.ModTime()) < wait && now.Sub(seen) < copyMost {
			return true
		}
	}
	delete(r.copies, path)
	return false
}

// lastLife is when the positions that are noted were true at the latest, less the time in which a new file may have gone unnoticed: what was
// born since has not been read, under whatever name it is now. It is zero without positions.
func (r *run) lastLife() time.Time {
	newest := int64(0)
	r.env.Positions.Each(func(_ string, p positions.Position) bool {
		newest = max(newest, p.Updated)
		return true
	})
	if newest == 0 {
		return time.Time{}
	}
	return time.Unix(newest, 0).Add(-r.in.slack)
}

// savedPositions returns the noted positions by path, of the paths that are followed.
func (r *run) savedPositions(w *walk) map[string][]positions.Position {
	saved := map[string][]positions.Position{}
	r.env.Positions.Each(func(_ string, p positions.Position) bool {
		if w.found[p.Path] || r.wants(p.Path) {
			saved[p.Path] = append(saved[p.Path], p)
		}
		return true
	})
	return saved
}

// wants says that a path would be followed if something stood there.
func (r *run) wants(path string) bool {
	if path == "" || excludes(r.in.cfg.Exclude, path) {
		return false
	}
	return slices.ContainsFunc(r.in.cfg.Paths, func(p string) bool {
		ok, err := doublestar.Match(p, path)
		return err == nil && ok
	})
}

// startOf says where to begin in a file that was there before the input.
func (r *run) startOf(path string, now time.Time) tail.Start {
	if r.in.recent == 0 {
		return r.in.start
	}
	info, err := os.Stat(path)
	if err != nil || now.Sub(info.ModTime()) <= r.in.recent {
		return tail.Beginning
	}
	return tail.End
}

func (r *run) follow(path string, start tail.Start, since time.Time, resume []positions.Position) {
	s := &source{path: path, stream: r.in.newStream(path)}
	s.log = tail.Open(tail.Options{
		Path: path, MaxLine: int(r.in.cfg.MaxLineSize), Resume: resume, Start: start, Since: since,
		Watcher: r.watcher, Registry: r.registry, Wake: func() { r.queue.push(s) }, Hold: func() bool { return r.hold(path) },
		Lost: func(how tail.Loss, bytes int64) { r.lost(path, how, bytes) },
		// What was born since is looked for under any name by every start, and what took the place of a file that is known, too.
		Begun: func(born time.Time) { r.begun = r.begun || len(resume) == 0 && born.Before(since) },
	})
	s.log.Position() // opens the file now: from here on no rename loses it
	r.touch(s)
	r.in.mu.Lock()
	r.in.sources[path] = s
	r.in.mu.Unlock()
	r.queue.push(s)
}

// lost counts and tells what was destroyed before it was read.
func (r *run) lost(path string, how tail.Loss, bytes int64) {
	switch how {
	case tail.Truncated:
		r.env.Losses.Add("truncated_bytes", int(bytes))
		r.env.Log.Warn("a file was truncated before all of it could be read, and no copy beside it holds the rest", "file", path, "bytes", bytes,
			"remedy", "have the file rotated by renaming (logrotate without copytruncate)")
	case tail.Deleted:
		r.env.Losses.Add("deleted_bytes", int(bytes))
		r.env.Log.Warn("a file was deleted that was not held open and not read to its end", "file", path, "bytes", bytes,
			"remedy", "raise max_open_files")
	}
}

// letGo closes the sources of paths that are gone and whose files are read to their ends.
func (r *run) letGo(w *walk) {
	for path, s := range r.in.sources {
		if w.found[path] {
			continue
		}
		if stat := s.log.Stat(); stat.Exists || stat.Files > 0 || stat.Parked {
			continue
		}
		r.failing(s, nil)
		s.log.Close()
		r.count(s)
		r.in.mu.Lock()
		delete(r.in.sources, path)
		r.in.mu.Unlock()
	}
}

// watch subscribes to the folders of the last walk.
func (r *run) watch(folders map[string]bool) {
	for dir, sub := range r.folders {
		if !folders[dir] {
			sub.Close()
			delete(r.folders, dir)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		if r.folders[dir] == nil && len(r.folders) < maxFolders {
			r.folders[dir] = r.watcher.WatchFolder(dir, r.stir)
		}
	}
}

// isCompressed says that a file's lines can't be read as they stand.
func isCompressed(path string) bool {
	switch filepath.Ext(path) {
	case ".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z", ".zip":
		return true
	}
	return false
}

// failing notes why a source can't be read, or that it can.
func (r *run) failing(s *source, err error) {
	if err == nil && s.err == nil { // only this goroutine writes it
		return
	}
	if err != nil {
		err = explain(s.path, err)
	}
	r.in.mu.Lock()
	s.err = err
	r.in.mu.Unlock()
	if err != nil && errors.Is(err, tail.ErrNotRegular) {
		r.env.Status.Note(s.path, err)
		return
	}
	r.env.Status.Fault(s.path, err)
}

// tell says what the last walk found wrong, and takes back what isn't any more.
func (r *run) tell(w *walk, compressed int) {
	now := map[string]bool{}
	for dir, err := range w.faults {
		now[dir] = true
		r.env.Status.Fault(dir, explain(dir, err))
	}
	for _, text := range r.in.cfg.Paths {
		if w.from[text] > 0 {
			continue
		}
		now[text] = true
		r.env.Status.Note(text, component.WithRemedy(errors.New("no file matches the pattern yet"),
			"check it for a typing error if there should be one; a file that comes is followed at once"))
	}
	if compressed > 0 {
		now[compressedKey] = true
		r.env.Status.Note(compressedKey, component.WithRemedy(fmt.Errorf("%d compressed files match and are not read", compressed),
			`name their endings in exclude, like "*.gz"`))
	}
	if len(w.folders) > maxFolders {
		now[foldersKey] = true
		r.env.Status.Note(foldersKey, component.WithRemedy(
			fmt.Errorf("the patterns lead through %d folders, of which %d are watched; new files in others are found every %s", len(w.folders), maxFolders, scanEvery),
			"write patterns that lead through fewer folders"))
	}
	for key := range r.noted {
		if !now[key] {
			r.env.Status.Fault(key, nil)
		}
	}
	r.noted = now
}

// firstScan is the key of the position that says that the input has run: what has no position was born since.
const firstScan = "first scan"

// The keys of notes that are not about one path.
const (
	compressedKey = "compressed files"
	foldersKey    = "folders"
	promtailKey   = "positions of Promtail"
)
