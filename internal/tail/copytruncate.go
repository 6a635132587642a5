package tail

import (
	"bytes"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// copyLag is how much older than the last note of a position a copy of the file may be: it takes time to write one.
const copyLag = 10 * time.Second

// truncated is called when a file of the log was found truncated: before is where it was read to, size how long it was last seen, 0 when
// nobody saw it. What logrotate's copytruncate has kept of it lies in a copy beside the path that begins as the file did. The copy is opened where
// the reading of the file stopped, or noted as read when it holds no more; what it doesn't hold is told as lost. What was written between
// copy and truncation, and after the file was last seen, nobody can know of.
func (l *Log) truncated(before positions.Position, size int64) *file {
	var copied *file
	have := before.Offset
	if before.HeadLen > 0 {
		beside, _ := l.beside(nil)
		for i := range beside {
			g := &beside[i]
			if f := l.openCopy(g, before); f != nil {
				have = max(have, f.size)
				if copied != nil {
					l.unclaim(copied)
					copied.close()
				}
				copied = f
			}
		}
	}
	if l.o.Lost != nil && size > have {
		l.o.Lost(Truncated, size-have)
	}
	if copied != nil && copied.atEnd() {
		l.unclaim(copied)
		copied.close()
		return nil
	}
	return copied
}

// openCopy opens a file beside the path when it is a copy of the one that was read to before, and none that was there already. It is then
// counted as known.
func (l *Log) openCopy(g *generation, before positions.Position) *file {
	if _, ok := l.old[g.id]; ok || l.reads(g.id) {
		return nil
	}
	if before.Updated != 0 && g.mark.born().Before(time.Unix(before.Updated, 0).Add(-copyLag)) {
		return nil
	}
	if before.Inode == g.id.inode && before.Device == g.id.device {
		return nil
	}
	f, err := openFile(g.path)
	if err != nil {
		return nil
	}
	begins := before
	begins.Born, begins.Offset = 0, 0
	if same, err := f.resume(begins); !same || err != nil || f.id != g.id || !l.claim(f) {
		f.close()
		return nil
	}
	f.offset = min(before.Offset, f.size)
	l.old[f.id] = g.mark
	if err := l.remember(f); err != nil {
		l.unclaim(f)
		f.close()
		return nil
	}
	f.rotated, f.mtime, f.name = true, g.mtime, g.path
	return f
}

// Resembles says that the file at path begins as the one does that the log reads, as far as it goes, and is another one: it may be a copy that is being
// made to truncate that one next.
func (l *Log) Resembles(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	current := l.current()
	if current == nil || current.headLen == 0 {
		return false
	}
	f, err := openFile(path)
	if err != nil {
		return false
	}
	defer f.close()
	if f.id == current.id {
		return false
	}
	var copied, original [headSize]byte
	n, err := f.pread(copied[:], 0)
	if err != nil {
		return false
	}
	if int64(n) >= current.headLen {
		return xxhash.Sum64(copied[:current.headLen]) == current.head
	}
	m, err := current.pread(original[:n], 0)
	return err == nil && bytes.Equal(copied[:n], original[:m])
}
