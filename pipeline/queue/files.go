package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// filesystem is what the queue asks of a disk; tests put one in its place that tears, reorders, fills up and fails.
type filesystem interface {
	MkdirAll(dir string) error
	// List gives the names in a folder in any order.
	List(dir string) ([]string, error)
	// Open opens a file for reading, OpenWrite for writing too.
	Open(path string) (file, error)
	OpenWrite(path string) (file, error)
	// Create makes a file that isn't there yet.
	Create(path string) (file, error)
	Remove(path string) error
	// SyncDir makes the names in a folder last.
	SyncDir(dir string) error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Size() (int64, error)
}

// system is the filesystem of the machine.
type system struct{}

type systemFile struct{ *os.File }

func (f systemFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// MkdirAll makes the folders that are missing on the way to dir, and makes their names last: what is synced below a folder that is gone after a
// power cut is gone, too.
func (s system) MkdirAll(dir string) error {
	if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
		return err
	}
	parent := filepath.Dir(dir)
	if err := s.MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return s.SyncDir(parent)
}

func (system) List(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func openFile(path string, flags int) (file, error) {
	f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(fmt.Errorf("%s is not a file", path), err)
	}
	return systemFile{f}, nil
}

func (system) Open(path string) (file, error)      { return openFile(path, os.O_RDONLY) }
func (system) OpenWrite(path string) (file, error) { return openFile(path, os.O_RDWR) }
func (system) Create(path string) (file, error) {
	return openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}
func (system) Remove(path string) error { return os.Remove(path) }

func (system) SyncDir(dir string) error {
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

const lockFile = "lock"

// LockedError says that a queue is in the hands of another process.
type LockedError struct {
	Dir string
	PID int // 0 when that isn't known
}

func (e *LockedError) Error() string {
	by := "another process"
	if e.PID > 0 {
		by = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("the queue in %s is in use by %s", e.Dir, by)
}

// lockDir takes the folder's lock: a file that holds the process id of its owner, under flock(2), which the kernel releases when the owner
// ends in whatever way. The file stays: removing it would let two owners hold two files of one name.
func lockDir(dir string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	for range 5 { // somebody who looks into the queue has it for a moment
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		time.Sleep(20 * time.Millisecond)
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		pid := lockOwner(f)
		f.Close()
		return nil, &LockedError{Dir: dir, PID: pid}
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOLCK):
		return f, nil // some network filesystems have no locks; positions warn of that
	case err != nil:
		f.Close()
		return nil, err
	}
	// For people alone: a full disk is no reason not to go on.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

func lockOwner(f *os.File) int {
	b, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
