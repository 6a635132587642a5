package containers

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read of a pseudo-file. The largest is diskstats of a machine with thousands of disks.
const maxFile = 4 << 20

// reader reads pseudo-files into one buffer. What it held is gone after the next read.
//
// Files are opened by their folder's descriptor, by system calls of its own: package os would register each with the runtime's poller,
// which the kernel wakes whenever a cgroup's pressure or events change, and would allocate at every opening.
type reader struct {
	buf []byte
	// open is how many descriptors are kept, most how many may be: beyond, a file is opened for each read.
	open, most int
}

// folder is an open folder; the zero value is none.
type folder struct{ fd int } // + 1

// file is a pseudo-file of a folder. Once read it stays open: the kernel makes its text anew for a pread at offset 0, which spares the
// look-up and the close.
type file struct {
	fd     int32 // + 1
	absent bool  // the folder has no such file, and won't get one
}

// The names end in a zero byte, as the kernel wants them.
type fileName string

var errTooLarge = errors.New("larger than anything that is expected there")

// openFolder opens a folder as a place to open files in.
func (r *reader) openFolder(path string) (folder, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return folder{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	r.open++
	return folder{fd + 1}, nil
}

func (r *reader) closeFolder(d *folder) {
	if d.fd > 0 {
		_ = unix.Close(d.fd - 1) // it was only looked in
		r.open--
		d.fd = 0
	}
}

// openAt opens a file of a folder.
func openAt(d folder, name fileName) (int, error) {
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(d.fd-1), uintptr(unsafe.Pointer(unsafe.StringData(string(name)))), //nolint:gosec // the name ends in a zero byte
			unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0, 0, 0)
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EINTR {
			return 0, errno
		}
	}
}

// read returns the whole file. It is valid until the next read. The error is the system's own number, without the file's name.
func (r *reader) read(d folder, f *file, name fileName) ([]byte, error) {
	switch {
	case f.absent:
		return nil, unix.ENOENT
	case f.fd > 0:
		return r.readAll(int(f.fd) - 1)
	case d.fd == 0:
		return nil, unix.ENOENT
	}
	fd, err := openAt(d, name)
	if err != nil {
		return nil, err
	}
	data, err := r.readAll(fd)
	if err != nil || r.open >= r.most {
		_ = unix.Close(fd)
		return data, err
	}
	f.fd = int32(fd) + 1
	r.open++
	return data, nil
}

// readOnce reads a file that isn't kept open.
func (r *reader) readOnce(d folder, name fileName) ([]byte, error) {
	fd, err := openAt(d, name)
	if err != nil {
		return nil, err
	}
	data, err := r.readAll(fd)
	_ = unix.Close(fd)
	return data, err
}

// readPath reads a file by its path; it allocates.
func (r *reader) readPath(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	data, err := r.readAll(fd)
	_ = unix.Close(fd)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return data, nil
}

func (r *reader) close(f *file) {
	if f.fd > 0 {
		_ = unix.Close(int(f.fd) - 1)
		r.open--
	}
	*f = file{}
}

func (r *reader) readAll(fd int) ([]byte, error) {
	if r.buf == nil {
		r.buf = make([]byte, 16<<10)
	}
	n := 0
	for {
		k, err := unix.Pread(fd, r.buf[n:], int64(n))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case k == 0:
			return r.buf[:n], nil
		}
		n += k
		// The kernel makes these texts a record or a page at a time, so that a read of less than half a page was the last one.
		if n < len(r.buf) && k < 2048 {
			return r.buf[:n], nil
		}
		if n < len(r.buf) {
			continue
		}
		if len(r.buf) >= maxFile {
			return nil, errTooLarge
		}
		grown := make([]byte, 2*len(r.buf))
		copy(grown, r.buf[:n])
		r.buf = grown
	}
}

// shrink gives back a buffer that an unusually large file has made large.
func (r *reader) shrink() {
	if len(r.buf) > 64<<10 {
		r.buf = nil
	}
}

// vanished says that an error of a read means that the cgroup or the process is no more: a file that is still open answers ENODEV once
// its cgroup was removed, and ESRCH when its process was.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH)
}

// badFile says which file could not be understood; text is cut to a length that can be shown.
func badFile(dir string, name fileName, text []byte) error {
	const most = 120
	if len(text) > most {
		text = text[:most]
	}
	return fmt.Errorf("%s/%s holds what isn't expected there: %q", dir, name[:len(name)-1], text)
}
