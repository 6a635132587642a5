package queue

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Contents is what a queue's folder holds, as somebody sees it who looks from outside.
type Contents struct {
	Dir      string
	Owner    int // process that has the queue open; 0 for none, -1 for one that isn't known
	Blocks   []BlockInfo
	Items    int   // that wait
	Bytes    int64 // of all segments
	Damaged  int64 // bytes between blocks that are none
	Segments int
	Aside    []AsideInfo // what was damaged or refused, oldest first
}

// BlockInfo is a block that waits.
type BlockInfo struct {
	Seq              uint64
	Shard, Items     int
	Size             int64
	Oldest, Newest   time.Time // of its items
	Queued           time.Time
	Protocol, Tenant string
}

// AsideInfo is a file of what nobody will send.
type AsideInfo struct {
	Path   string
	Reason string
	At     time.Time
	Size   int64
}

// Inspect looks into a queue's folder without a change to it, also while an agent uses it; what moves meanwhile may be missing.
func Inspect(dir string) (Contents, error) {
	c := Contents{Dir: dir}
	disk := system{}
	position, _, err := readCursor(disk, dir)
	if err != nil {
		return c, err
	}
	segments, err := listSegments(disk, dir)
	if err != nil {
		return c, err
	}
	c.Segments = len(segments)
	last := map[uint64]int{}
	for _, s := range segments {
		f, err := disk.Open(filepath.Join(dir, segmentName(s.number, s.salt)))
		if errors.Is(err, fs.ErrNotExist) {
			continue // delivered meanwhile
		}
		if err != nil {
			return c, err
		}
		err = c.segment(f, s.salt, &position, last)
		f.Close()
		if err != nil {
			return c, err
		}
	}
	slices.SortFunc(c.Blocks, func(a, b BlockInfo) int { return cmp.Compare(a.Seq, b.Seq) })
	for _, b := range c.Blocks {
		c.Items += b.Items
	}
	c.Owner = ownerOf(dir)
	c.Aside, err = listAside(filepath.Join(dir, asideDir))
	return c, err
}

func (c *Contents) segment(f file, salt uint32, position *cursor, last map[uint64]int) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	c.Bytes += size
	var failed error
	got, err := scan(f, size, salt, func(r record, at int64) {
		if r.seq < position.at(r.shard) || failed != nil {
			return
		}
		names := make([]byte, r.protocol+r.tenant)
		if err := readFull(f, names, at+blockHeader); err != nil {
			failed = err
			return
		}
		info := BlockInfo{
			Seq: r.seq, Shard: r.shard, Items: r.items, Size: r.length - int64(blockHeader+len(names)),
			Oldest: time.Unix(0, r.oldest), Newest: time.Unix(0, r.newest), Queued: time.Unix(0, r.queued),
			Protocol: string(names[:r.protocol]), Tenant: string(names[r.protocol:]),
		}
		if i, twice := last[r.seq]; twice {
			c.Blocks[i] = info
			return
		}
		last[r.seq] = len(c.Blocks)
		c.Blocks = append(c.Blocks, info)
	})
	for _, d := range got.damaged {
		c.Damaged += d.to - d.from
	}
	return errors.Join(err, failed)
}

func listAside(dir string) ([]AsideInfo, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []AsideInfo
	for _, e := range entries { // sorted by name, which begins with the time
		at, reason, ok := parseAsideName(e.Name())
		info, err := e.Info()
		if !ok || err != nil {
			continue
		}
		out = append(out, AsideInfo{Path: filepath.Join(dir, e.Name()), Reason: reason, At: time.Unix(0, at), Size: info.Size()})
	}
	return out, err
}

// ownerOf says which process holds the lock: 0 is none, -1 one that isn't known. It holds it itself for a moment.
func ownerOf(dir string) int {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return 0
	}
	if pid := lockOwner(f); pid > 0 {
		return pid
	}
	return -1
}

// ReadBlock reads a block that waits in a queue's folder, with its body.
func ReadBlock(dir string, seq uint64) (*Block, error) {
	disk := system{}
	segments, err := listSegments(disk, dir)
	if err != nil {
		return nil, err
	}
	for _, s := range slices.Backward(segments) { // the later copy counts
		f, err := disk.Open(filepath.Join(dir, segmentName(s.number, s.salt)))
		if err != nil {
			return nil, err
		}
		b, err := findBlock(f, s.salt, seq)
		f.Close()
		if b != nil || err != nil {
			return b, err
		}
	}
	return nil, fmt.Errorf("there is no block %d in %s", seq, dir)
}

func findBlock(f file, salt uint32, seq uint64) (*Block, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	var header record
	at := int64(-1)
	if _, err := scan(f, size, salt, func(r record, found int64) {
		if r.seq == seq {
			header, at = r, found
		}
	}); err != nil || at < 0 {
		return nil, err
	}
	rest := make([]byte, header.length-blockHeader)
	if err := readFull(f, rest, at+blockHeader); err != nil {
		return nil, err
	}
	return header.block(salt, rest)
}

// Drop empties a queue's folder of what waits in it, and of what is kept aside where that is asked for. It says what it was, and fails with a
// LockedError while an agent uses the queue.
func Drop(dir string, aside bool, log *slog.Logger) (Recovered, error) {
	q, found, err := OpenDisk(DiskOptions{Dir: dir, Limits: Limits{MaxSize: diskSize, WhenFull: Wait, Sync: SyncBatch}, Log: log})
	if err != nil {
		return found, err
	}
	q.mu.Lock()
	for i := range q.shards {
		for len(q.shards[i].entries) > 0 {
			q.giveUp(q.shards[i].entries[0], lostFull)
		}
	}
	q.mu.Unlock()
	if err := q.Close(); err != nil {
		return found, err
	}
	if !aside {
		return found, nil
	}
	files, err := listAside(filepath.Join(dir, asideDir))
	for _, f := range files {
		err = errors.Join(err, os.Remove(f.Path))
	}
	return found, err
}

// IsQueue says that a folder is that of a queue.
func IsQueue(dir string) bool {
	names, err := system{}.List(dir)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool {
		return name == cursorFile || strings.HasSuffix(name, segmentSuffix)
	})
}
