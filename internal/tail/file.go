package tail

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// headSize is how much of a file's beginning tells it from another one that got the same inode.
const headSize = 1 << 10

// ErrShortBuffer says that the memory given to Read is too short for the line that follows. BufferSize never is.
var ErrShortBuffer = errors.New("a line doesn't fit into the memory that it is to be read into")

// ErrNotRegular is wrapped by the error for a path at which no regular file stands: a FIFO, a device, a socket or a folder.
var ErrNotRegular = errors.New("not a regular file")

// fileID is a file's identity as long as it exists.
type fileID struct{ device, inode uint64 }

func (id fileID) key() string { return fmt.Sprintf("%x:%x", id.device, id.inode) }

// file is one open file, under whatever name. Its owner's lock guards it.
type file struct {
	f   *os.File
	fd  int
	id  fileID
	key string
	// born is when the file was made, in nanoseconds since 1970; 0 on filesystems that don't say.
	born int64

	// head is the hash of the first headLen bytes, at most headSize.
	head    uint64
	headLen int64

	offset int64 // of the first byte that was not given
	// scanned is how many bytes from offset on are known to hold no line end. They stay in the file until the line is whole.
	scanned int64
	// hole is how many bytes from offset on are known to be NUL. They are passed over once something follows them: in a file that was
	// written ahead of its use they may still become text.
	hole int64
	// idle says that the last read came to the end: before the next one the head is looked at again.
	idle bool

	size        int64         // when it was last looked at
	written     unix.Timespec // its time of modification then
	compared    unix.Timespec // and when its head was last compared
	links       uint64        // names that the file has; 0 when it was deleted
	grown       time.Time     // when it was last seen to have a new size
	mtime       time.Time     // of a rotated file, when it was found beside the path
	name        string        // and its path then
	rotated     bool          // it no longer stands at its log's path
	truncations uint64
}

// openFile opens path if it is a regular file. Symbolic links are followed.
func openFile(path string) (*file, error) {
	// Looked at before it is opened: opening a device may do something, and opening a FIFO would wake its writer.
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, refuse(path, info.Mode())
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	x := &file{f: f, fd: int(f.Fd())}
	var st unix.Stat_t
	if err := unix.Fstat(x.fd, &st); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG { // it was replaced in between
		f.Close()
		return nil, refuse(path, info.Mode())
	}
	x.id = fileID{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is 32 bits wide on some architectures
	x.key = x.id.key()
	if g, err := statxMark(x.fd, "", unix.AT_EMPTY_PATH); err == nil && !g.mark.birth.IsZero() {
		x.born = g.mark.birth.UnixNano()
	}
	x.size, x.links = st.Size, uint64(st.Nlink) //nolint:unconvert // likewise
	return x, nil
}

func refuse(path string, mode fs.FileMode) error {
	what := "it is special"
	switch {
	case mode.IsDir():
		what = "it is a folder"
	case mode&fs.ModeNamedPipe != 0:
		what = "it is a FIFO"
	case mode&fs.ModeSocket != 0:
		what = "it is a socket"
	case mode&fs.ModeDevice != 0:
		what = "it is a device"
	}
	return fmt.Errorf("%s is %w: %s", path, ErrNotRegular, what)
}

func (f *file) close() { f.f.Close() }

// resume goes on at p when the file is the one that p was noted for, and says whether it is. One that was truncated or overwritten since is
// begun anew.
func (f *file) resume(p positions.Position) (bool, error) {
	same := f.sameBirth(p)
	if same == no {
		return false, nil // an inode that was used again, however the two begin
	}
	var head [headSize]byte
	n, err := f.pread(head[:], 0)
	if err != nil {
		return false, err
	}
	fits := 0 <= p.Offset && p.Offset <= f.size && 0 <= p.HeadLen && p.HeadLen <= int64(n) &&
		(p.HeadLen == 0 || xxhash.Sum64(head[:p.HeadLen]) == p.Head)
	switch {
	case fits:
		f.offset = p.Offset
	case same == yes:
		f.restart()
	default:
		return false, nil
	}
	return true, nil
}

// answer is one to a question that can't always be answered.
type answer uint8

const (
	unknown answer = iota
	yes
	no
)

// sameBirth says whether the file was made when the one was that p was noted for.
func (f *file) sameBirth(p positions.Position) answer {
	switch {
	case f.born == 0 || p.Born == 0:
		return unknown
	case f.born == p.Born:
		return yes
	}
	return no
}

// toEnd goes to the start of the line that is being written.
func (f *file) toEnd(maxLine int) error {
	back := min(f.size, int64(maxLine)+1)
	b := make([]byte, back)
	n, err := f.pread(b, f.size-back)
	if err != nil {
		return err
	}
	f.offset = f.size
	if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
		f.offset = f.size - back + int64(i) + 1
	} else if back == f.size {
		f.offset = 0
	}
	return nil
}

// checkHead compares the beginning of the file with what it was and notes more of it when there is more. It says whether it is the same.
// scratch is overwritten.
func (f *file) checkHead(scratch []byte) (bool, error) {
	scratch = scratch[:min(len(scratch), headSize)]
	n, err := f.pread(scratch, 0)
	if err != nil {
		return false, err
	}
	if f.headLen > 0 && (int64(n) < f.headLen || xxhash.Sum64(scratch[:f.headLen]) != f.head) {
		return false, nil
	}
	if int64(n) > f.headLen {
		f.head, f.headLen = xxhash.Sum64(scratch[:n]), int64(n)
	}
	return true, nil
}

// restart begins the file anew: it was truncated or overwritten.
func (f *file) restart() {
	f.truncations++
	f.offset, f.scanned, f.hole, f.head, f.headLen = 0, 0, 0, 0, 0
}

func (f *file) pread(b []byte, offset int64) (int, error) {
	for {
		n, err := unix.Pread(f.fd, b, offset)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, &fs.PathError{Op: "read", Path: f.f.Name(), Err: err}
		}
		return n, nil
	}
}

// look takes the file's size and names.
func (f *file) look(now time.Time) error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: f.f.Name(), Err: err}
	}
	if st.Size != f.size || f.grown.IsZero() {
		f.grown = now
	}
	f.size, f.links, f.written = st.Size, uint64(st.Nlink), st.Mtim //nolint:unconvert // Nlink is 32 bits wide on some architectures
	return nil
}

// turn is how many times read goes on amid a line or a hole that is longer than the memory before others get their turn.
const turn = 16

// read fills buf with whole lines. With final, what follows the last line end is a line too. When it finds the file truncated it begins it
// anew and reads nothing yet.
func (f *file) read(buf []byte, maxLine int, final bool, now time.Time) (Chunk, error) {
	if err := f.look(now); err != nil {
		return Chunk{}, err
	}
	if f.size < f.offset+f.scanned {
		if f.size < f.offset {
			f.restart()
			return Chunk{more: true}, nil
		}
		f.scanned = 0
	}
	if f.idle || f.headLen == 0 {
		// A file that was truncated may have its old length again.
		if f.hole == 0 && f.size == f.offset+f.scanned && !(final && f.scanned > 0) && (f.headLen == 0 || f.written == f.compared) {
			f.idle = true
			return Chunk{}, nil
		}
		same, err := f.checkHead(buf)
		if err != nil {
			return Chunk{}, err
		}
		if !same {
			f.restart()
			return Chunk{more: true}, nil
		}
		f.idle, f.compared = false, f.written
	}
	// A part of the memory is left for comparing heads, unless it is hardly more than that.
	var scratch []byte
	if n := len(buf) - headSize; n >= 4*headSize {
		buf, scratch = buf[:n:n], buf[n:]
	} else {
		scratch = make([]byte, headSize)
	}
	for range turn {
		c, again, err := f.step(buf, maxLine, final)
		if !again || err != nil {
			return f.verified(c, err, scratch)
		}
	}
	return Chunk{more: true}, nil
}

// verified gives a chunk that was just read unless the file was truncated and written anew meanwhile, up to behind where it was read: then what was read
// may be the midst of something else.
func (f *file) verified(c Chunk, err error, scratch []byte) (Chunk, error) {
	if err != nil || c.Empty() || f.headLen == 0 {
		return c, err
	}
	same, err := f.checkHead(scratch[:f.headLen])
	switch {
	case err != nil:
		f.offset, f.idle = c.offset, false
		return Chunk{}, err
	case !same:
		f.offset = c.offset // what was not read of it may be in its copy
		f.restart()
		return Chunk{more: true}, nil
	}
	return c, nil
}

// step is one look at the bytes that follow. It asks to be called again when it has only learnt something about them.
func (f *file) step(buf []byte, maxLine int, final bool) (c Chunk, again bool, err error) {
	if f.scanned > 0 {
		return f.stepLong(buf, maxLine, final)
	}
	if f.hole > 0 {
		if again, err := f.stepHole(buf, final); !again || err != nil {
			return Chunk{}, again, err
		}
	}
	n, err := f.pread(buf[:min(int64(len(buf)), f.size-f.offset)], f.offset)
	if err != nil {
		return Chunk{}, false, err
	}
	if n == 0 {
		f.idle = true
		return Chunk{}, false, nil
	}
	if buf[0] == 0 {
		f.hole = 1
		return Chunk{}, true, nil
	}
	end := bytes.LastIndexByte(buf[:n], '\n') + 1
	atEnd := f.offset+int64(n) == f.size
	switch {
	case end > 0:
	case atEnd && final && (n < len(buf) || n <= maxLine):
		end = n
	case n < len(buf) || len(buf) > maxLine:
		f.scanned = int64(n)
		return Chunk{}, true, nil
	default:
		return Chunk{}, false, ErrShortBuffer
	}
	c = f.chunk(buf[:end], maxLine, 0)
	return c, false, nil
}

// stepLong looks for the end of a line of which the first f.scanned bytes hold none.
func (f *file) stepLong(buf []byte, maxLine int, final bool) (c Chunk, again bool, err error) {
	n, err := f.pread(buf[:min(int64(len(buf)), f.size-f.offset-f.scanned)], f.offset+f.scanned)
	if err != nil {
		return Chunk{}, false, err
	}
	var length int64 // of the line with its end
	if i := bytes.IndexByte(buf[:n], '\n'); i >= 0 {
		length = f.scanned + int64(i) + 1
	} else if n > 0 {
		f.scanned += int64(n)
		return Chunk{}, true, nil
	} else if final {
		length = f.scanned
	} else {
		f.idle = true
		return Chunk{}, false, nil
	}
	keep := min(length, int64(maxLine)+1)
	if int64(len(buf)) < keep {
		return Chunk{}, false, ErrShortBuffer
	}
	if n, err = f.pread(buf[:keep], f.offset); err != nil {
		return Chunk{}, false, err
	}
	if int64(n) < keep { // it shrank just now
		f.scanned = 0
		f.idle = true
		return Chunk{}, false, nil
	}
	f.scanned = 0
	return f.chunk(buf[:keep], maxLine, length-keep), false, nil
}

// stepHole looks for the end of a run of NUL bytes of which f.hole are known. It asks to go on when it has found it.
func (f *file) stepHole(buf []byte, final bool) (again bool, err error) {
	// The first of them may have been written to since.
	if n, err := f.pread(buf[:1], f.offset); err != nil || n == 0 || buf[0] != 0 {
		f.hole = 0
		return n > 0, err
	}
	for range turn {
		at := f.offset + f.hole
		// Where the filesystem knows holes there is no need to read them. ENXIO: no data up to the end.
		if data, err := unix.Seek(f.fd, at, unix.SEEK_DATA); err == nil && data > at {
			at = min(data, f.size)
		} else if err == unix.ENXIO {
			at = f.size
		}
		f.hole = at - f.offset
		n, err := f.pread(buf[:min(int64(len(buf)), f.size-at)], at)
		if err != nil {
			return false, err
		}
		if n == 0 {
			if final {
				f.offset, f.hole = f.size, 0
			}
			f.idle = true
			return false, nil
		}
		for i, b := range buf[:n] {
			if b != 0 {
				f.offset, f.hole = at+int64(i), 0
				return true, nil
			}
		}
		f.hole += int64(n)
	}
	return true, nil
}

// chunk makes a chunk of data, which lies at f.offset and is followed by skip bytes of its last line, and moves on.
func (f *file) chunk(data []byte, maxLine int, skip int64) Chunk {
	c := Chunk{
		data: data, offset: f.offset, maxLine: maxLine, skip: skip, file: f,
		at: f.position(""),
	}
	f.offset += int64(len(data)) + skip
	f.idle = f.offset >= f.size
	return c
}

// position is where the next chunk begins.
func (f *file) position(path string) positions.Position {
	return positions.Position{
		Path: path, Device: f.id.device, Inode: f.id.inode, Born: f.born, Head: f.head, HeadLen: f.headLen, Offset: f.offset,
	}
}

// atEnd says that nothing follows what was given, not even half a line.
func (f *file) atEnd() bool { return f.size <= f.offset }
