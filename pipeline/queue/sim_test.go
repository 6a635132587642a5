package queue

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// disk is a filesystem in memory that knows what of it would last: a power cut leaves what was synced, and of the rest what chance says.
type disk struct {
	mu       sync.Mutex
	names    map[string]*platter
	lasting  map[string]*platter // the names that a folder's sync made last
	capacity int                 // bytes; 0 is no limit
	readonly bool

	failWrites, failSyncs, failReads int // how many of the next ones fail

	// imageIn is how many changes from now on image is taken, as the disk is before that change; 0 for none.
	imageIn int
	image   *disk
}

// change is called before each change. mu is held.
func (d *disk) change() {
	if d.imageIn > 0 {
		if d.imageIn--; d.imageIn == 0 {
			d.image = d.clone()
		}
	}
}

// clone copies the disk with what isn't synced yet. mu is held.
func (d *disk) clone() *disk {
	c := newSim()
	c.capacity, c.readonly = d.capacity, d.readonly
	copies := map[*platter]*platter{}
	for to, from := range map[*map[string]*platter]map[string]*platter{&c.names: d.names, &c.lasting: d.lasting} {
		for path, p := range from {
			if copies[p] == nil {
				copies[p] = &platter{data: slices.Clone(p.data), lasting: slices.Clone(p.lasting), pending: slices.Clone(p.pending)}
			}
			(*to)[path] = copies[p]
		}
	}
	return c
}

// platter is a file.
type platter struct {
	data    []byte // as a reader sees it
	lasting []byte
	pending []change // since the last sync
}

// change is a write, or a cut where data is nil.
type change struct {
	at   int64
	data []byte
}

func newSim() *disk { return &disk{names: map[string]*platter{}, lasting: map[string]*platter{}} }

type handle struct {
	d *disk
	p *platter
}

func (d *disk) used() (n int) {
	for _, p := range d.names {
		n += len(p.data)
	}
	return n
}

func (d *disk) MkdirAll(string) error { return nil }

func (d *disk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for path := range d.names {
		if filepath.Dir(path) == dir {
			out = append(out, filepath.Base(path))
		}
	}
	return out, nil
}

func (d *disk) Open(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.names[path]; p != nil {
		return &handle{d, p}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}

func (d *disk) OpenWrite(path string) (file, error) {
	if d.readonly {
		return nil, &fs.PathError{Op: "open", Path: path, Err: unix.EROFS}
	}
	return d.Open(path)
}

func (d *disk) Create(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.change()
	switch {
	case d.readonly:
		return nil, &fs.PathError{Op: "create", Path: path, Err: unix.EROFS}
	case d.names[path] != nil:
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	p := &platter{}
	d.names[path] = p
	return &handle{d, p}, nil
}

func (d *disk) Remove(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.change()
	switch {
	case d.readonly:
		return &fs.PathError{Op: "remove", Path: path, Err: unix.EROFS}
	case d.names[path] == nil:
		return &fs.PathError{Op: "remove", Path: path, Err: fs.ErrNotExist}
	}
	delete(d.names, path)
	return nil
}

func (d *disk) SyncDir(string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.change()
	if d.failSyncs > 0 {
		d.failSyncs--
		return unix.EIO
	}
	d.lasting = maps.Clone(d.names)
	return nil
}

func (h *handle) ReadAt(b []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.d.failReads > 0 {
		h.d.failReads--
		return 0, unix.EIO
	}
	return bytes.NewReader(h.p.data).ReadAt(b, at)
}

func (h *handle) WriteAt(b []byte, at int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.change()
	var err error
	switch {
	case h.d.readonly:
		return 0, unix.EROFS
	case h.d.failWrites > 0:
		h.d.failWrites--
		b, err = b[:len(b)/2], unix.EIO
	}
	if more := int(at) + len(b) - len(h.p.data); h.d.capacity > 0 && more > 0 {
		if room := max(h.d.capacity-h.d.used(), 0); more > room {
			b, err = b[:max(len(b)-(more-room), 0)], unix.ENOSPC
		}
	}
	c := change{at, slices.Clone(b)}
	h.p.data = c.apply(h.p.data)
	h.p.pending = append(h.p.pending, c)
	return len(b), err
}

func (c *change) apply(data []byte) []byte {
	if c.data == nil {
		return data[:min(int(c.at), len(data))]
	}
	data = append(data, make([]byte, max(0, int(c.at)+len(c.data)-len(data)))...)
	copy(data[c.at:], c.data)
	return data
}

func (h *handle) Truncate(size int64) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.change()
	if h.d.readonly || h.d.failWrites > 0 {
		return unix.EIO
	}
	c := change{at: size}
	h.p.data = c.apply(h.p.data)
	h.p.pending = append(h.p.pending, c)
	return nil
}

// Sync that fails leaves pages that are called clean and never were written, as Linux does.
func (h *handle) Sync() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.d.change()
	if h.d.failSyncs > 0 {
		h.d.failSyncs--
		h.p.pending = nil
		return unix.EIO
	}
	for _, c := range h.p.pending {
		h.p.lasting = c.apply(h.p.lasting)
	}
	h.p.pending = nil
	return nil
}

func (h *handle) Size() (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	return int64(len(h.p.data)), nil
}

func (h *handle) Close() error { return nil }

const sector = 64 // small, so that small files have many

// powerCut gives the disk as it is found afterwards. chance(n) is a number below n.
func (d *disk) powerCut(chance func(n int) int) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newSim()
	find := func(path string, p *platter) {
		data := slices.Clone(p.lasting)
		for _, c := range p.pending {
			switch chance(3) {
			case 0: // not at all
			case 1:
				data = c.apply(data)
			default: // some sectors of it, in any order; the size may be there before what it counts
				if c.data == nil {
					continue
				}
				for from := 0; from < len(c.data); from += sector {
					if chance(2) == 0 {
						piece := change{c.at + int64(from), c.data[from:min(from+sector, len(c.data))]}
						data = piece.apply(data)
					}
				}
			}
		}
		after.names[path] = &platter{data: data, lasting: slices.Clone(data)}
	}
	for _, path := range slices.Sorted(maps.Keys(d.lasting)) {
		p := d.lasting[path]
		if d.names[path] != nil || chance(2) == 0 {
			find(path, p)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(d.names)) {
		p := d.names[path]
		if d.lasting[path] == nil && chance(2) == 0 {
			find(path, p)
		}
	}
	after.lasting = maps.Clone(after.names)
	return after
}

var _ io.ReaderAt = (*handle)(nil)
