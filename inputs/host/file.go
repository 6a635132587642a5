package host

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile bounds what is read of a pseudo-file. The largest are mountinfo of a machine with thousands of containers, and vmstat and
// stat of hundreds of CPUs: some hundred KiB.
const maxFile = 16 << 20

// scratch is the buffer into which every file is read. What it held is gone after the next read.
type scratch struct{ buf []byte }

// file is a pseudo-file that stays open: the kernel makes its text anew for a pread at offset 0, which spares the open, the look-up and
// the close.
type file struct {
	path    string
	scratch *scratch
	f       *os.File
}

// read returns the whole file. It is valid until the next read of any file of the same input. A file that fails is opened again once: what it stood
// for may have gone and come back.
func (f *file) read() ([]byte, error) {
	if f.f != nil {
		if data, err := f.scratch.readAll(f.f); err == nil {
			return data, nil
		}
		f.close()
	}
	opened, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	data, err := f.scratch.readAll(opened)
	if err != nil {
		opened.Close()
		return nil, err
	}
	f.f = opened
	return data, nil
}

func (f *file) close() {
	if f.f != nil {
		f.f.Close()
		f.f = nil
	}
}

// readOnce reads a file that isn't worth keeping open.
func (s *scratch) readOnce(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.readAll(f)
}

var errTooLarge = errors.New("larger than anything that is expected there")

// readAll reads from offset 0 to the end. Files of /proc give a page or so at a time and 0 bytes at their end.
func (s *scratch) readAll(f *os.File) ([]byte, error) {
	if s.buf == nil {
		s.buf = make([]byte, 32<<10)
	}
	n := 0
	for {
		k, err := f.ReadAt(s.buf[n:], int64(n))
		n += k
		switch {
		case err == io.EOF:
			return s.buf[:n], nil
		case err != nil:
			return nil, err
		case len(s.buf) >= maxFile:
			return nil, fmt.Errorf("read %s: %w", f.Name(), errTooLarge)
		}
		grown := make([]byte, 2*len(s.buf))
		copy(grown, s.buf[:n])
		s.buf = grown
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
