package tail

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// folderLag is how much older than its listing the last change of a folder has to be: a change just after it might have the same time.
const folderLag = 50 * time.Millisecond

// folders remembers the names in folders that don't change, so that thousands of logs in one can look for their generations without each listing it.
// The zero value is ready.
type folders struct {
	mu  sync.Mutex // guards all
	all map[string]listing
}

// listing is the names in a folder, sorted, as they are as long as its time of modification is this one.
type listing struct {
	changed unix.Timespec
	names   []string
}

// beside gives the generations of path in its folder, youngest last. It says false when the folder has just changed.
func (f *folders) beside(path string, match func(name string) bool) (found []generation, ok bool) {
	dir, base := filepath.Dir(path), filepath.Base(path)
	names, changed, ok := f.names(dir)
	if !ok {
		return nil, false
	}
	// Whatever rotation makes of a name begins as it does.
	stem := base
	if ext := filepath.Ext(base); ext != base {
		stem = strings.TrimSuffix(base, ext)
	}
	i, _ := slices.BinarySearch(names, stem)
	for ; i < len(names) && strings.HasPrefix(names[i], stem); i++ {
		if !match(names[i]) {
			continue
		}
		if g, err := statMark(filepath.Join(dir, names[i])); err == nil {
			found = append(found, g)
		}
	}
	if now, err := changeOf(dir); err != nil || now != changed {
		return nil, false
	}
	sortByAge(path, found, func(g generation) (time.Time, string) { return g.mtime, g.path })
	return found, true
}

// names lists a folder unless it is as it was.
func (f *folders) names(dir string) (names []string, changed unix.Timespec, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed, err := changeOf(dir)
	if err != nil {
		return nil, changed, false
	}
	if l, known := f.all[dir]; known && l.changed == changed {
		return l.names, changed, true
	}
	delete(f.all, dir)
	if since := time.Since(time.Unix(changed.Unix())); since < folderLag {
		return nil, changed, false
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, changed, false
	}
	names, err = d.Readdirnames(-1)
	d.Close()
	if now, again := changeOf(dir); err != nil || again != nil || now != changed {
		return nil, changed, false
	}
	slices.Sort(names)
	if f.all == nil {
		f.all = map[string]listing{}
	}
	f.all[dir] = listing{changed, names}
	return names, changed, true
}

// changeOf is a folder's time of modification: when a name in it last came, went or changed.
func changeOf(dir string) (unix.Timespec, error) {
	var st unix.Stat_t
	err := ignoreEINTR(func() error { return unix.Stat(dir, &st) })
	return st.Mtim, err
}
