package files

import (
	"container/list"
	"time"

	"github.com/hermod-agent/hermod/internal/multiline"
	"github.com/hermod-agent/hermod/internal/tail"
	"github.com/hermod-agent/hermod/pipeline/logs"
	"github.com/hermod-agent/hermod/pipeline/positions"
)

// maxUnfinished bounds the memory of the records that wait for more lines, over all files. Beyond it those that wait longest are handed on.
const maxUnfinished = 16 << 20

// unfinished holds the record at the end of each file that may get more lines. The position of such a file stays at the start of its record:
// after a stop it is read again. It belongs to the goroutine of Run.
type unfinished struct {
	*multiline.Config
	max   int                      // bytes of a record that are kept
	files map[string]*list.Element // of *unfinishedRecord, by the file's key
	wait  list.List                // the one that waits longest first
	bytes int
	spare []*unfinishedRecord
}

// unfinishedRecord is a record that may get more lines.
type unfinishedRecord struct {
	source      *source
	key         string
	text        []byte
	long        bool // it was cut
	start, next positions.Position
	due         time.Time
}

func newUnfinished(c *multiline.Config, max int) *unfinished {
	if c == nil {
		return nil
	}
	return &unfinished{Config: c, max: max, files: map[string]*list.Element{}}
}

// startOf is where the file's record begins that isn't whole. u may be nil.
func (u *unfinished) startOf(key string) (positions.Position, bool) {
	if u == nil || u.files[key] == nil {
		return positions.Position{}, false
	}
	return u.files[key].Value.(*unfinishedRecord).start, true
}

// begin looks at the first line of a chunk: does it go on where the file's record ends? One that is read again, under another path, is
// forgotten; before a gap, where the file was truncated, it is whole.
func (r *run) begin(s *source, c *tail.Chunk) {
	e := r.unfinished.files[c.Key()]
	if e == nil {
		return
	}
	rec := e.Value.(*unfinishedRecord)
	switch {
	case c.Offset() == rec.next.Offset && rec.source == s:
	case c.Offset() == rec.start.Offset && rec.source != s:
		r.unfinished.drop(e)
	default:
		r.finish(e)
	}
}

// join takes a line that starts at a position. cut says that it was cut already.
func (r *run) join(s *source, c *tail.Chunk, start positions.Position, line []byte, cut bool) {
	u, key := r.unfinished, c.Key()
	e := u.files[key]
	if e != nil && u.Begins(line) {
		r.finish(e)
		e = nil
	}
	first := e == nil
	if first {
		rec := &unfinishedRecord{}
		if n := len(u.spare); n > 0 {
			rec, u.spare = u.spare[n-1], u.spare[:n-1]
		}
		rec.source, rec.key, rec.start, rec.long, rec.text = s, key, start, false, rec.text[:0]
		e = u.wait.PushBack(rec)
		u.files[key] = e
	}
	rec := e.Value.(*unfinishedRecord)
	before := len(rec.text)
	var long bool
	rec.text, long = multiline.Append(rec.text, line, first, u.max)
	rec.long = rec.long || long || cut
	rec.next = c.Position()
	u.bytes += len(rec.text) - before
}

// settleChunk gives the records that the chunk has left unfinished their time, and bounds them.
func (r *run) settleChunk(key string) {
	u := r.unfinished
	if e := u.files[key]; e != nil {
		e.Value.(*unfinishedRecord).due = time.Now().Add(u.Wait())
		u.wait.MoveToBack(e)
	}
	for u.bytes > maxUnfinished && u.wait.Len() > 0 {
		r.finish(u.wait.Front())
	}
}

// finish puts a record into the batch.
func (r *run) finish(e *list.Element) {
	rec := e.Value.(*unfinishedRecord)
	start := len(r.text)
	r.text = append(r.text, rec.text...)
	r.batch.Add(logs.Record{Stream: rec.source.stream, Line: r.text[start:len(r.text):len(r.text)]})
	if rec.long {
		r.cut++
	}
	r.taken = append(r.taken, taken{rec.source, rec.key, rec.next})
	r.unfinished.drop(e)
}

func (u *unfinished) drop(e *list.Element) {
	rec := u.wait.Remove(e).(*unfinishedRecord)
	delete(u.files, rec.key)
	u.bytes -= len(rec.text)
	if rec.source = nil; cap(rec.text) <= 64<<10 && len(u.spare) < 64 {
		u.spare = append(u.spare, rec)
	}
}

// finishDue puts the records into the batch whose time is over. A file that is to be read next may hold more of its record.
func (r *run) finishDue() {
	u := r.unfinished
	if u == nil || u.wait.Len() == 0 {
		return
	}
	now := time.Now()
	for e := u.wait.Front(); e != nil; {
		rec, next := e.Value.(*unfinishedRecord), e.Next()
		if rec.due.After(now) {
			return
		}
		if !r.queue.holds(rec.source) {
			r.finish(e)
		}
		e = next
	}
}

// untilDue is how long it is until the first record's time is over, or limit.
func (u *unfinished) untilDue(limit time.Duration) time.Duration {
	if u == nil || u.wait.Len() == 0 {
		return limit
	}
	return min(limit, time.Until(u.wait.Front().Value.(*unfinishedRecord).due))
}
