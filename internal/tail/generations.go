package tail

import (
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// generation is a file beside a log's path that may have been rotated away from it.
type generation struct {
	path  string
	id    fileID
	mtime time.Time
	links uint32
	mark  mark
}

// mark tells a file from a later one that got its inode: by its time of birth where the filesystem has one, else by what changes
// with every write.
type mark struct {
	birth, written time.Time
	size           int64
}

// born is when the file was made or, on filesystems that don't say, when it was last written to.
func (m mark) born() time.Time {
	if !m.birth.IsZero() {
		return m.birth
	}
	return m.written
}

func (m mark) same(other mark) bool {
	if !m.birth.IsZero() && !other.birth.IsZero() {
		return m.birth.Equal(other.birth)
	}
	return m.written.Equal(other.written) && m.size == other.size
}

// errNotFile is given for what isn't a regular file.
var errNotFile = errors.New("not a regular file")

// statMark looks at a file, by its path without following a symbolic link.
func statMark(path string) (generation, error) {
	return statxMark(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW)
}

func statxMark(fd int, path string, flags int) (generation, error) {
	var st unix.Statx_t
	err := ignoreEINTR(func() error {
		return statx(fd, path, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st)
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return statAtMark(fd, path, flags)
	}
	if err != nil {
		return generation{}, err
	}
	g := generation{
		path:  path,
		id:    fileID{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino},
		mtime: time.Unix(st.Mtime.Sec, int64(st.Mtime.Nsec)),
		links: st.Nlink,
	}
	g.mark = mark{written: g.mtime, size: int64(st.Size)}
	if st.Mask&unix.STATX_BTIME != 0 {
		g.mark.birth = time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
	}
	return g, regular(uint32(st.Mode))
}

// statx is the system's, but in tests.
var statx = unix.Statx

// statAtMark is for kernels before 4.11, which have no statx and call it ENOSYS, and for filters of system calls that don't know it and say EPERM. No
// time of birth can be had there.
func statAtMark(fd int, path string, flags int) (generation, error) {
	var st unix.Stat_t
	if err := ignoreEINTR(func() error { return unix.Fstatat(fd, path, &st, flags) }); err != nil {
		return generation{}, err
	}
	g := generation{
		path:  path,
		id:    fileID{uint64(st.Dev), st.Ino}, //nolint:unconvert // its type depends on the architecture
		mtime: time.Unix(st.Mtim.Unix()),
		links: uint32(st.Nlink), //nolint:gosec // as in statx
	}
	g.mark = mark{written: g.mtime, size: st.Size}
	return g, regular(st.Mode)
}

func regular(mode uint32) error {
	if mode&unix.S_IFMT != unix.S_IFREG {
		return errNotFile
	}
	return nil
}

// beside lists the generations in the folder of the log: what has a name that rotation makes, and what is one of ids under whatever name, youngest last.
// A rotation that goes on meanwhile may hide a file from a listing: two must agree. stable is false when they never did.
func (l *Log) beside(ids map[fileID]positions.Position) (found []generation, stable bool) {
	path, base := l.o.Path, filepath.Base(l.o.Path)
	rotated := func(name string) bool { return name != base && rotatedName(base, name) }
	if r := l.o.Registry; r != nil && len(ids) == 0 {
		if found, ok := r.folders.beside(path, rotated); ok {
			return found, true
		}
	}
	last := map[string]fileID{}
	for i := range 8 {
		before := look(path).id
		var all []generation
		all, stable = listBeside(path, func(name string) bool { return name != base && (len(ids) > 0 || rotated(name)) }, rotated)
		found = all[:0]
		names, missing := make(map[string]fileID, len(all)), len(ids)
		for _, g := range all {
			_, wanted := ids[g.id]
			if wanted {
				missing--
			}
			if wanted || rotated(filepath.Base(g.path)) {
				names[g.path] = g.id
				found = append(found, g)
			}
		}
		stable = stable && i > 0 && maps.Equal(names, last) && look(path).id == before
		if stable && (missing <= 0 || i > 1) {
			break
		}
		last = names
	}
	sortByAge(path, found, func(g generation) (time.Time, string) { return g.mtime, g.path })
	return found, stable
}

// sortByAge sorts files beside path, oldest first.
func sortByAge[T any](path string, files []T, age func(T) (mtime time.Time, path string)) {
	base := filepath.Base(path)
	slices.SortStableFunc(files, func(a, b T) int {
		ta, pa := age(a)
		tb, pb := age(b)
		if c := ta.Compare(tb); c != 0 {
			return c
		}
		return compareAge(base, filepath.Base(pa), filepath.Base(pb))
	})
}

// listBeside is one listing of what matches. It is unstable when a file whose name matters was renamed since the name was read.
func listBeside(path string, match, matters func(name string) bool) (found []generation, stable bool) {
	dir := filepath.Dir(path)
	d, err := os.Open(dir)
	if err != nil {
		return nil, true
	}
	names, err := d.Readdirnames(-1)
	d.Close()
	if err != nil && len(names) == 0 {
		return nil, true
	}
	stable = true
	seen := map[fileID]bool{}
	for _, name := range names {
		if !match(name) {
			continue
		}
		g, err := statMark(filepath.Join(dir, name))
		switch {
		case errors.Is(err, errNotFile) || errors.Is(err, fs.ErrPermission):
			continue
		case err != nil || seen[g.id] && g.links == 1:
			stable = stable && !matters(name)
			continue
		}
		seen[g.id] = true
		found = append(found, g)
	}
	return found, stable
}

// compareAge orders two names of one log by what the names say: app.log.2 is older than app.log.1, app.log-0101 older than
// app.log-0102, and app.log is the youngest.
func compareAge(base, a, b string) int {
	if (a == base) != (b == base) {
		if a == base {
			return 1
		}
		return -1
	}
	na, oka := number(strings.TrimPrefix(a, base+"."))
	nb, okb := number(strings.TrimPrefix(b, base+"."))
	if oka && okb {
		return cmp.Compare(nb, na)
	}
	return strings.Compare(a, b)
}

// number reads the count of a generation. More than three digits are a date.
func number(s string) (int, bool) {
	if len(s) == 0 || len(s) > 3 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// rotatedName says that a file called name is what rotation makes of one called base: base with a count, a date or "old" after it
// (logrotate, Docker, newsyslog), or with a date before its extension (lumberjack, log4j). Compressed ones are not: they can't be read
// on from a position.
func rotatedName(base, name string) bool {
	if rest, ok := strings.CutPrefix(name, base); ok {
		return rotation(rest)
	}
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	if ext == "" || stem == "" {
		return false
	}
	rest, ok := strings.CutPrefix(name, stem)
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, ext)
	return ok && rotation(rest)
}

// RotatedFrom finds the log that the file at path may be a generation of: a path in the same folder of which is says that it is one, and whose name
// rotation changes to that of path.
func RotatedFrom(path string, is func(path string) bool) (string, bool) {
	dir, name := filepath.Split(path)
	ext := filepath.Ext(name)
	for _, tail := range []string{"", ext} {
		stem := strings.TrimSuffix(name, tail)
		for i := 1; i < len(stem); i++ {
			if rotation(stem[i:]) && is(dir+stem[:i]+tail) {
				return dir + stem[:i] + tail, true
			}
		}
	}
	return "", false
}

// rotation says that what stands between two names of one log is a separator and a count or a date.
func rotation(s string) bool {
	if len(s) < 2 || !strings.ContainsRune(".-_", rune(s[0])) {
		return false
	}
	if s = s[1:]; s == "old" {
		return true
	}
	digits := false
	for _, c := range []byte(s) {
		switch {
		case '0' <= c && c <= '9':
			digits = true
		case !strings.ContainsRune(".-_:TZ+", rune(c)):
			return false
		}
	}
	return digits
}

// discover looks for files that were rotated away from the path and not read to their end, oldest first, without the one that
// stands at the path now (its id is current). A rotation that goes on meanwhile makes it look again. moved is set when that one was renamed
// too by now, so that some of the others may be younger.
func (l *Log) discover(current fileID, now time.Time) (files []*file, moved *generation) {
	l.again, l.behind = time.Time{}, nil
	stable := false
	for try := 0; try < 5 && !stable; try++ {
		var more []*file
		more, moved, stable = l.discoverOnce(current, now, files)
		files = append(files, more...)
	}
	if stable {
		l.discovered = true
	} else {
		l.again = now
	}
	l.sort(files)
	return files, moved
}

// sort puts rotated files in the order of their age.
func (l *Log) sort(files []*file) {
	sortByAge(l.o.Path, files, func(f *file) (time.Time, string) { return f.mtime, f.name })
}

// discoverOnce is one look. found are the files that the looks before it have opened.
func (l *Log) discoverOnce(current fileID, now time.Time, found []*file) (files []*file, moved *generation, stable bool) {
	resume := map[fileID]positions.Position{}
	if !l.discovered {
		for _, p := range l.o.Resume {
			if id := (fileID{p.Device, p.Inode}); id != current {
				resume[id] = p
			}
		}
	}
	if p := l.parked; p != nil && p.id != current {
		resume[p.id] = p.at
	}
	base := filepath.Base(l.o.Path)
	all, stable := l.beside(resume)
	unread := l.unreadSince(current, all)
	old := map[fileID]mark{}
	for i := range all {
		g := &all[i]
		if g.id == current {
			moved = g
			continue
		}
		if l.reads(g.id) || slices.ContainsFunc(found, func(f *file) bool { return f.id == g.id }) {
			continue
		}
		if l.parked != nil && l.parked.id == g.id {
			l.parked.found = true
		}
		_, resumed := resume[g.id]
		if !resumed && !rotatedName(base, filepath.Base(g.path)) {
			continue
		}
		if before, ok := l.old[g.id]; ok && before.same(g.mark) {
			// One that was read to its end may have grown since: some writers keep it open.
			if end, read := l.ended[g.id]; !read || g.mark.size <= end.Offset {
				old[g.id] = g.mark
				continue
			}
		}
		f, err := l.openGeneration(g, resumed || unread(g))
		switch {
		case f != nil:
			files = append(files, f)
		case err == nil:
			old[g.id] = g.mark
		case errors.Is(err, errRenamed) || errors.Is(err, fs.ErrNotExist):
			stable = false
		default:
			l.again, l.behind = now.Add(time.Second), err
		}
	}
	if !stable {
		// What this look has missed is not forgotten.
		for id, m := range l.old {
			if _, ok := old[id]; !ok {
				old[id] = m
			}
		}
	}
	l.old = old
	maps.DeleteFunc(l.ended, func(id fileID, _ positions.Position) bool { _, there := old[id]; return !there })
	return files, moved, stable
}

// unreadSince returns what says whether a generation without a position was born after what was read last.
func (l *Log) unreadSince(current fileID, all []generation) func(*generation) bool {
	if l.discovered {
		// Those that were there before are in l.old.
		return func(*generation) bool { return true }
	}
	if len(l.o.Resume) == 0 {
		return func(g *generation) bool {
			return l.o.Start == Oldest || !l.o.Since.IsZero() && !g.mark.born().Before(l.o.Since)
		}
	}
	last := slices.MaxFunc(l.o.Resume, func(a, b positions.Position) int { return cmp.Compare(a.Updated, b.Updated) })
	id := fileID{last.Device, last.Inode}
	if id == current && isFileOf(l.o.Path, last) {
		return func(*generation) bool { return false }
	}
	since := time.Unix(last.Updated, 0)
	base, name := filepath.Base(l.o.Path), ""
	for i := range all {
		if all[i].id == id && isFileOf(all[i].path, last) {
			since, name = all[i].mtime, filepath.Base(all[i].path)
		}
	}
	return func(g *generation) bool {
		if name != "" && g.mtime.Equal(since) {
			return compareAge(base, name, filepath.Base(g.path)) < 0
		}
		return !g.mtime.Before(since)
	}
}

// isFileOf says that the file at path is the one that p was noted for, be it truncated since, and not a later one with its inode.
func isFileOf(path string, p positions.Position) bool {
	f, err := openFile(path)
	if err != nil {
		return false
	}
	defer f.close()
	same, err := f.resume(p)
	return same && err == nil
}

// openGeneration opens a rotated file at its position, or at its beginning when unread says so. It returns nil when there is nothing to read
// in it.
func (l *Log) openGeneration(g *generation, unread bool) (*file, error) {
	f, err := openFile(g.path)
	if err != nil {
		return nil, err
	}
	known := false
	if f.id != g.id {
		err = errRenamed
	} else {
		known, err = l.resume(f)
	}
	if err == nil && (known || unread) && f.atEnd() {
		l.ended[f.id] = f.position(l.o.Path) // it may grow yet
	}
	if err != nil || !known && !unread || f.atEnd() || !l.claim(f) {
		f.close()
		return nil, err
	}
	if err := l.remember(f); err != nil {
		l.unclaim(f)
		f.close()
		return nil, err
	}
	f.rotated, f.mtime, f.name = true, g.mtime, g.path
	return f, nil
}

// errRenamed says that another file stands at the path of a generation by now.
var errRenamed = errors.New("it was renamed just now")
