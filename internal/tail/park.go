package tail

import (
	"golang.org/x/sys/unix"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// parked is a file at a log's path whose descriptor was given up.
type parked struct {
	id      fileID
	at      positions.Position // where it is read on
	size    int64              // when it was last looked at
	written unix.Timespec      // its time of modification then
	idle    bool               // all there was had been read, but half a line at most
	found   bool               // it was found beside the path
}

// still says that the path leads to the parked file, and that there is nothing new in it. p may be nil.
func (p *parked) still(id fileID, st *unix.Stat_t) bool {
	return p != nil && p.idle && p.id == id && p.size == st.Size && p.written == st.Mtim
}

// Park gives up descriptors. The file that stands at the path is opened again where it was read to when a Read finds that it has changed, also under
// the name that it was given meanwhile in the same folder. Those that were rotated away and are read to their ends are closed at once; what is
// written to them nevertheless is read with the next rotation. What a reader with more files than descriptors should park is what it has not
// read from for long: a parked file that is deleted can't be read any more, and what it held unread is told as lost.
func (l *Log) Park() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := 0; i < len(l.files); i++ {
		if f := l.files[i]; (f.rotated || l.missing) && f.idle && f.atEnd() {
			l.end(i)
			i--
		}
	}
	f := l.current()
	if f == nil || l.missing || f.links == 0 || l.closed {
		return
	}
	l.parked = &parked{id: f.id, at: f.position(l.o.Path), size: f.size, written: f.written, idle: f.idle}
	l.files = l.files[:len(l.files)-1]
	l.truncations += f.truncations
	f.close()
}

// Descriptors is how many the log holds.
func (l *Log) Descriptors() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.files)
}

// unpark ends the parking of a file that no longer stands at the path. opened are the generations that a look has just opened.
func (l *Log) unpark(opened []*file) {
	p := l.parked
	if p == nil || !l.again.IsZero() { // it may yet be found
		return
	}
	l.parked = nil
	for _, f := range opened {
		if f.id == p.id {
			return
		}
	}
	l.release(p.id)
	if !p.found && p.size > p.at.Offset && l.o.Lost != nil {
		l.o.Lost(Deleted, p.size-p.at.Offset)
	}
}
