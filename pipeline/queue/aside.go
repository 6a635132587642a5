package queue

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	asideDir = "aside"
	// maxAside bounds what is kept aside, in bytes, and maxAsideFiles how many files that is; the oldest go first.
	maxAside      = 64 << 20
	maxAsideFiles = 1000
)

// aside keeps what nobody will send any more in a folder of its own, for whoever wants to know what it was: a block that the backend has refused
// as a segment with that block alone, damaged bytes as they were. It does its best and never fails anybody.
type aside struct {
	dir string
	fs  filesystem
	log *slog.Logger

	mu    sync.Mutex // guards what follows, and the folder
	read  bool
	files []asideFile // oldest first
	bytes int64
	last  int64 // time in the name of the newest
	fails bool  // the last one was lost, which was told
}

type asideFile struct {
	name string
	size int64
}

// keep writes a file. reason is a short word.
func (a *aside) keep(reason string, content []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.write(reason, content)
	if err != nil && !a.fails {
		a.log.Warn("what should be kept aside is lost, until that is said to work again", "folder", a.dir, "reason", reason, "bytes", len(content), "err", err)
	} else if err == nil && a.fails {
		a.log.Info("what should be kept aside is kept again", "folder", a.dir)
	}
	a.fails = err != nil
}

func (a *aside) write(reason string, content []byte) error {
	if err := a.list(); err != nil {
		return err
	}
	if len(content) > maxAside {
		return errors.New("it is too large")
	}
	for len(a.files) > 0 && (len(a.files) >= maxAsideFiles || a.bytes+int64(len(content)) > maxAside) {
		if err := a.fs.Remove(filepath.Join(a.dir, a.files[0].name)); err != nil {
			return err
		}
		a.bytes -= a.files[0].size
		a.files = a.files[1:]
	}
	a.last = max(a.last+1, time.Now().UnixNano())
	name := fmt.Sprintf("%020d-%s", a.last, word(reason))
	f, err := a.fs.Create(filepath.Join(a.dir, name))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return errors.Join(err, a.fs.Remove(filepath.Join(a.dir, name)))
	}
	a.files = append(a.files, asideFile{name, int64(len(content))})
	a.bytes += int64(len(content))
	return nil
}

// list reads what is there from before.
func (a *aside) list() error {
	if a.read {
		return nil
	}
	if err := a.fs.MkdirAll(a.dir); err != nil {
		return err
	}
	names, err := a.fs.List(a.dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		at, _, ok := parseAsideName(name)
		if !ok {
			continue
		}
		f, err := a.fs.Open(filepath.Join(a.dir, name))
		if err != nil {
			continue
		}
		size, err := f.Size()
		f.Close()
		if err != nil {
			continue
		}
		a.files = append(a.files, asideFile{name, size})
		a.bytes += size
		a.last = max(a.last, at)
	}
	a.read = true
	return nil
}

// parseAsideName reads when and why a file was put aside.
func parseAsideName(name string) (at int64, reason string, ok bool) {
	digits, reason, ok := strings.Cut(name, "-")
	at, err := strconv.ParseInt(digits, 10, 64)
	return at, reason, ok && err == nil && len(digits) == 20
}

// copyOf keeps a part of a file aside.
func (a *aside) copyOf(reason string, f io.ReaderAt, s span) {
	b := make([]byte, min(s.to-s.from, 16<<20))
	n, err := f.ReadAt(b, s.from)
	if n == 0 && err != nil {
		return // there is nothing to be had
	}
	a.keep(reason, b[:n])
}

// word makes a part of a file's name of a reason.
func word(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			b[i] = '_'
		}
	}
	return string(b[:min(len(b), 64)])
}
