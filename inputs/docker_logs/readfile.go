package dockerlogs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// fileReader is the reading of a json-file log from disk.
type fileReader struct {
	*follower
	log   *tail.Log
	chunk tail.Chunk
	at    int64 // offset of the line at hand
	// begun says that the cursor knows what it reads.
	begun  bool
	anyhow bool
	p      positions.Position
	known  bool
	read   positions.Position // behind the newest line
}

func (r *fileReader) place() positions.Position { return r.chunk.PositionAt(r.at) }

// readFile reads the log at path until the container has ended, which it returns nil for, or is gone. Any other error that isn't ctx's
// says why the file can't be read.
func (f *follower) readFile(ctx context.Context, path string) error {
	err := f.readFileFrom(ctx, path, false, true)
	if errors.Is(err, errDiffers) {
		err = f.readFileFrom(ctx, path, false, false)
	}
	if errors.Is(err, errLost) {
		err = f.readFileFrom(ctx, path, true, false)
	}
	return err
}

// readFileFrom is readFile. anyhow says that the anchor isn't there: what isn't much older than the message taken last is read. checks says that what the
// engine gave behind the position counts as read if it is what is there.
func (f *follower) readFileFrom(ctx context.Context, path string, anyhow, checks bool) error {
	r := fileReader{follower: f, anyhow: anyhow}
	r.p, r.known = f.begin()
	f.audit.end()
	f.check, f.first = check{}, 0
	switch {
	case !uncertain(r.p) || anyhow:
	case checks:
		f.check = check{n: r.p.HeadLen, sum: r.p.Head}
	default:
		f.first = r.p.Born
	}
	o := tail.Options{Path: path, Start: tail.Oldest, Watcher: f.in.watcher, Wake: f.poke}
	switch {
	case r.p.Inode != 0:
		o.Resume = []positions.Position{r.p}
	case f.atEnd:
		// What was written between the moment that counts as the start and now is wanted.
		buf := f.in.buffers.Get().(*[]byte)
		if begin, ok := nearEnd(path, r.p.Since, *buf); ok {
			o.Resume = []positions.Position{begin}
		} else {
			o.Start = tail.End
		}
		f.in.buffers.Put(buf)
	}
	f.atEnd = false
	r.log = tail.Open(o)
	defer r.log.Close()
	f.mu.Lock()
	f.file = r.log
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.file = nil
		f.mu.Unlock()
	}()
	f.show("following", "file "+path, "")

	for {
		c := f.container() // before the read: what was written before the end of the container is there when the end is known
		f.rename(&c)
		some, err := r.step(ctx)
		switch {
		case errors.Is(err, io.EOF):
			if err := f.finish(ctx, &c, r.read); err != nil {
				return err
			}
			return errGone
		case err != nil:
			return err
		case some:
			continue
		case f.check.n > 0:
			return errDiffers
		case c.Gone:
			r.log.Finish() // the next read gives what is left, half a line too, and then io.EOF
			continue
		case !c.Running:
			return f.finish(ctx, &c, r.read)
		}
		f.pause(ctx, f.untilDue())
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.flushDue(ctx); err != nil {
			return err
		}
	}
}

// nearEnd finds a line of a log from which on nothing is missing that was written since a time, and before which little or nothing of it stands,
// so that a large file isn't read from its beginning. It is false when there is no file that can be read.
func nearEnd(path string, since int64, buf []byte) (positions.Position, bool) {
	file, err := os.Open(path)
	if err != nil {
		return positions.Position{}, false
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return positions.Position{}, false
	}
	p := positions.Position{Path: path, Device: uint64(st.Dev), Inode: st.Ino} //nolint:unconvert // Dev is 32 bits wide on some architectures
	for back := int64(firstLook); back < st.Size; back *= 4 {
		n, err := file.ReadAt(buf, st.Size-back)
		if err != nil && !errors.Is(err, io.EOF) {
			return positions.Position{}, false
		}
		begin := bytes.IndexByte(buf[:n], '\n') + 1
		length := bytes.IndexByte(buf[begin:n], '\n')
		var m message
		if begin > 0 && length > 0 && decodeLine(buf[begin:begin+length], &m) && 0 < m.time && m.time < since {
			p.Offset = st.Size - back + int64(begin)
			break
		}
	}
	return p, true
}

// firstLook is how far from the end of a log nearEnd looks first.
const firstLook = 64 << 10

// step reads a chunk and hands it on. It says false when there is nothing to read now.
func (r *fileReader) step(ctx context.Context) (bool, error) {
	buf := r.in.buffers.Get().(*[]byte)
	defer r.in.buffers.Put(buf)
	var err error
	r.chunk, err = r.log.Read(*buf)
	if err != nil {
		return false, err
	}
	if r.chunk.Empty() {
		return r.chunk.More(), nil
	}
	if !r.begun {
		r.begun = true
		first := r.chunk.Position()
		exact := r.p.Inode != 0 && first.Inode == r.p.Inode && first.Offset == r.p.Offset
		r.cursor.resume(r.p, r.known, exact)
		if r.anyhow || r.p.Inode != 0 && !exact && r.cursor.phase == seeking {
			r.cursor.settle()
		}
	}
	var m message
	for {
		r.at = r.chunk.Offset()
		line, ok := r.chunk.Next()
		if !ok {
			break
		}
		if len(line) == 0 {
			continue
		}
		if !decodeLine(line, &m) {
			r.in.undecodable(r.follower, line)
			// After a power cut a torn line may go on with NUL bytes and then with a whole one.
			hole := bytes.LastIndexByte(line, 0)
			if hole < 0 || !decodeLine(line[hole+1:], &m) {
				continue
			}
		}
		switch r.take(&m, r) {
		case lost:
			return false, errLost // nothing was taken yet
		case differs:
			return false, errDiffers // nor here
		}
	}
	r.read = r.chunk.Position()
	return true, r.flush(ctx)
}
