package positions

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hermod-agent/hermod/internal/crashpoint"
)

const (
	// keepGone is how long the position of a source is kept that no input has asked for.
	keepGone = 30 * 24 * time.Hour
	// settle is how long an agent runs before it forgets anything, so that every input has asked for what exists.
	settle = time.Hour
)

// Store is the file of all books of an agent. It is safe for concurrent use.
type Store struct {
	path   string // "" keeps the books in memory only
	log    *slog.Logger
	opened time.Time
	lock   *os.File // held by flock as long as the store is open
	made   []string // folders that were not there before, the innermost first

	mu sync.Mutex // guards what follows, and the files
	// file is what the next Save writes: what was read at Open and everything noted since.
	file   contents
	books  map[string]*Book
	forgot time.Time // when forget last looked
	closed bool
	buf    []byte
	// crash is called before each step of a save; a test ends the save there. nil otherwise.
	crash func(step string) error
}

// Open reads the store at path, or the previous copy when it is damaged (told in a log line at level error), or begins empty. An empty path makes a store
// that isn't saved. It fails only when the folder can't be made or written, or when another agent uses it; the error says what to do.
func Open(path string, log *slog.Logger) (*Store, error) {
	s := &Store{path: path, log: log, opened: time.Now(), file: contents{}, books: map[string]*Book{}}
	if path == "" {
		return s, nil
	}
	dir := filepath.Dir(path)
	s.made = missing(dir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("can't make the data folder: %w; set data_dir to a folder that this user may write", err)
	}
	lock, err := lockFolder(dir, log)
	if err != nil {
		return nil, err
	}
	s.lock = lock
	if err := s.read(); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

// missing lists the folders that would have to be made for dir, the innermost first.
func missing(dir string) (out []string) {
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return out
		}
		out = append(out, dir)
		dir = filepath.Dir(dir)
	}
}

func (s *Store) previous() string { return s.path + ".previous" }

// next is what a save writes first.
func (s *Store) next() string { return s.path + ".new" }

// read fills s.file from the file, or from a copy.
func (s *Store) read() error {
	damaged := false
	// When the agent was killed between the two renames of a save, the file to be is the newest.
	for _, path := range []string{s.path, s.next(), s.previous()} {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("can't read the saved positions: %w; run the agent as the user who owns the file, or change its owner", err)
		}
		var all contents
		if err == nil {
			all, err = decode(b)
		}
		switch {
		case err == nil:
			s.file = all
			if damaged || path == s.previous() {
				s.log.Error("positions taken from a copy: up to a few seconds of logs are read again", "file", path)
			}
			if path == s.next() {
				crashpoint.Pass("positions", "put in its place")
				if err := os.Rename(path, s.path); err != nil {
					return fmt.Errorf("can't put the file of positions in its place: %w; make the folder writable for this user", err)
				}
			}
			return nil
		case path == s.next():
			continue // a save that was cut off
		}
		damaged = true
		// Kept for whoever wants to know what happened, and out of the way: Save must not make it the previous copy of a good one.
		aside := path + ".damaged"
		s.log.Error("the file of positions is damaged", "file", path, "err", err, "kept_as", aside)
		crashpoint.Pass("positions", "put aside")
		if err := os.Rename(path, aside); err != nil {
			return fmt.Errorf("can't put the damaged file of positions aside: %w; make the folder writable for this user", err)
		}
	}
	if damaged {
		s.log.Error("no saved positions could be read: every log input begins as if it ran for the first time", "file", s.path)
	}
	return nil
}

// Book returns the book of the input at address. The same address gives the same book.
func (s *Store) Book(address string) *Book {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.books[address]; b != nil {
		return b
	}
	b := &Book{
		address: address, volatile: s.path == "", entries: map[string]*entry{}, deleted: map[string]uint64{}, saved: len(s.file[address]) > 0,
		urgent: make(chan struct{}, 1),
	}
	for key, p := range s.file[address] {
		b.entries[key] = &entry{position: p}
	}
	s.books[address] = b
	return b
}

// Remove forgets the book of an input that left the config: its saved positions are kept for a while in case it comes back.
func (s *Store) Remove(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.books[address]; b != nil {
		b.release()
	}
}

// Save writes what was noted: new file, fsync, rename, previous copy kept, folder synced. Positions of other books stay as they were last
// saved. On an error the previous file stays valid and the noted positions count as not saved.
func (s *Store) Save(notes ...Noted) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("can't save positions: the store is closed")
	}
	for i := range notes {
		s.apply(&notes[i])
	}
	s.forget()
	if s.path != "" {
		if err := s.write(); err != nil {
			err = fmt.Errorf("can't save positions: %w", err)
			for i := range notes {
				if b := notes[i].book; b != nil {
					b.mu.Lock()
					b.saveEnded(err)
					b.mu.Unlock()
				}
			}
			return err
		}
	}
	for i := range notes {
		if notes[i].book != nil {
			notes[i].book.wrote(notes[i].change)
		}
	}
	return nil
}

// apply puts a note into s.file. When the write that follows fails they stay there: they are flushed, so any later save may write them.
func (s *Store) apply(n *Noted) {
	if n.book == nil || n.superseded() {
		return
	}
	book := s.file[n.book.address]
	if book == nil {
		book = map[string]Position{}
		s.file[n.book.address] = book
	}
	for _, key := range n.deleted {
		delete(book, key)
	}
	for _, x := range n.set {
		book[x.key] = x.position
	}
	if len(book) == 0 {
		delete(s.file, n.book.address)
	}
}

// forget drops what belongs to sources that have been gone for long.
func (s *Store) forget() {
	now := time.Now()
	if now.Sub(s.opened) < settle || now.Sub(s.forgot) < settle {
		return
	}
	s.forgot = now
	before := now.Add(-keepGone).Unix()
	for address, book := range s.file {
		if b := s.books[address]; b != nil {
			for _, key := range b.forget(before) {
				delete(book, key)
			}
		} else {
			for key, p := range book {
				if p.Updated < before {
					delete(book, key)
				}
			}
		}
		if len(book) == 0 {
			delete(s.file, address)
		}
	}
}

// write replaces the file. A crash between any two steps leaves the old or the new one, as the file or as the previous copy.
func (s *Store) write() error {
	s.buf = encode(s.buf[:0], s.file, time.Now().Unix())
	next := s.next()
	if err := s.step("create"); err != nil {
		return err
	}
	// A new file each time: after a failed fsync the kernel may call the same pages clean that it never wrote.
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if half := len(s.buf) / 2; crashpoint.Enabled {
		_, _ = f.WriteAt(s.buf[:half], 0)
		crashpoint.Pass("positions", "torn")
	}
	_, err = f.Write(s.buf)
	if err == nil {
		err = s.step("fsync")
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := s.step("keep the previous"); err != nil {
		return err
	}
	if err := os.Rename(s.path, s.previous()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.step("rename"); err != nil {
		return err
	}
	if err := os.Rename(next, s.path); err != nil {
		return err
	}
	if err := s.step("sync the folder"); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(s.path))
}

func (s *Store) step(name string) error {
	crashpoint.Pass("positions", name)
	if s.crash == nil {
		return nil
	}
	return s.crash(name)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Close releases the folder for another agent. It saves nothing, and a Save after it fails. It may be called twice.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.lock == nil {
		return nil
	}
	return s.lock.Close() // closing the only descriptor ends the flock
}

// Withdraw closes a store of an agent that could not start. Folders that were made for it go again, as far as nobody has put anything into them.
func (s *Store) Withdraw() error {
	if len(s.made) > 0 {
		// Before it is released: who opens it from now on makes another.
		_ = os.Remove(s.lock.Name())
	}
	err := s.Close()
	for _, dir := range s.made {
		if os.Remove(dir) != nil { // something is in it
			break
		}
	}
	return err
}
