package dockerlogs

import (
	"math"
	"time"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// The engine can be asked for a log only from a time on, and the times of a container's log are no order: the parts of a long line carry
// the time of the first of them, stdout and stderr are stamped before they queue for the file, and a clock may be set back. So a position is a
// place in the sequence of messages, which is the same in the file and through the API, however often it is read:
//
//	Since    the time of an anchor: a message that is newer than all before it
//	Repeats  how many messages were taken from the anchor on, itself included, leaving out those that are more than lag older than it
//	Time     the time of the message taken last
//
// and, where the file is read, the place of the anchor in the file. Where the engine rotates the log, the position stays where nothing is missing, and
// what was handed on behind it is noted, too, by which it is known again if that was all:
//
//	HeadLen  how many messages
//	Head     a sum over them
//	Born     the time of the first of them
//
// To go on, the log is read again from lag before the anchor; what
// stands before the anchor is passed over, and as many messages as were taken are replayed: they pass through the joining of parts
// without giving records. That finds the exact place, in the midst of parts and among equal lines with equal times alike, and on either
// path, whichever path the position was noted on.
const (
	// lag is far more than what separates a stamp from its turn at the file.
	lag = 5 * time.Second
	// apart is the time between two marks that may become the anchor.
	apart = 250 * time.Millisecond
	// maxMarks bounds the marks while a part waits for the rest of its line; every second one goes when it is reached.
	maxMarks = 64
)

// verdict is what becomes of a message.
type verdict uint8

const (
	fresh   verdict = iota // not taken yet
	replay                 // taken: it passes the joining of parts and gives no record
	outside                // before the anchor
	lost                   // newer than the anchor, which should have come before: the log was rotated past it, or the clock set back
	differs                // what comes behind the position isn't what was handed on: something was left out then
)

type phase uint8

const (
	passing  phase = iota // all messages are fresh
	from                  // those before since are outside, until one isn't
	seeking               // the anchor is expected
	skipping              // skip messages that are not too old are to be replayed
	counting              // skip messages of any time are to be replayed
)

// cursor knows which messages of one container's log have been taken, across readers and restarts. It is for one goroutine.
type cursor struct {
	phase phase
	since int64
	skip  int64
	until int64 // time of the last message that is to be replayed; 0 when it isn't to be checked

	taken int64 // messages that were tracked since resume
	last  int64 // time of the newest in order
	high  int64 // time of the newest by the clock
	marks []mark
}

// mark is a message that may become the anchor.
type mark struct {
	time int64
	at   int64 // messages before it
	// older is how many messages behind it are so much older that the engine leaves them out when it is asked for those around it.
	older int64
	file  positions.Position
}

// resume begins at a position, or at the log's beginning when nothing is known. exact says that what is read begins at the very place
// that the position names, without anything before it.
func (c *cursor) resume(p positions.Position, known, exact bool) {
	*c = cursor{}
	if !known {
		return
	}
	c.since, c.skip, c.last = p.Since, p.Repeats, p.Time
	switch {
	case p.Repeats > 0:
		c.phase = seeking
	case p.Since > 0 && !exact:
		c.phase = from
	}
}

// replayFirst has the first n messages of the whole log replayed.
func (c *cursor) replayFirst(n int64) {
	last := c.last
	*c = cursor{last: last}
	if n > 0 {
		c.phase, c.skip = counting, n
	}
}

// ask is the time from which on the engine is to be asked for the log.
func (c *cursor) ask() int64 {
	if c.phase == seeking {
		return c.since - int64(lag)
	}
	return c.since
}

// settle makes do without the anchor: what is more than lag older than the message taken last counts as taken.
func (c *cursor) settle() {
	c.phase, c.skip = from, 0
	c.since = c.last - int64(lag)
}

// judge says what becomes of the next message. All but those outside are then to be tracked.
func (c *cursor) judge(t int64) verdict {
	switch c.phase {
	case passing:
		return fresh
	case from:
		if t < c.since {
			return outside
		}
		c.phase = passing
		return fresh
	case seeking:
		switch {
		case t < c.since:
			return outside
		case t > c.since:
			return lost
		}
		c.phase = skipping
		fallthrough
	case skipping:
		if t < c.since-int64(lag) {
			return replay
		}
		fallthrough
	case counting:
		if c.until != 0 && t > c.until+int64(lag) {
			return lost
		}
		if c.skip--; c.skip == 0 {
			c.phase = passing
			if c.until != 0 && t != c.until {
				return lost // something is missing between
			}
		}
	}
	return replay
}

// placer tells where the message at hand lies in the file.
type placer interface{ place() positions.Position }

// track counts a message. at is asked when the message may become the anchor; it is nil where there is no file. whole says that the
// message is a line and not a part of one, waits that a line waited for its end before: its parts carry an old time, and the anchor must
// not come to lie behind them.
func (c *cursor) track(t int64, whole, waits bool, at placer) {
	if t < c.high-int64(lag) && !waits {
		// The clock was set back. Everything from here on is older than the marks, perhaps for hours.
		c.marks, c.high = c.marks[:0], 0
	}
	if t > c.high {
		c.high = t
		// A part shares its time with others, and the anchor has to be found by its time.
		if n := len(c.marks); n == 0 || whole && t-c.marks[n-1].time >= int64(apart) {
			m := mark{time: t, at: c.taken}
			if at != nil {
				m.file = at.place()
			}
			c.marks = append(c.marks, m)
			if n >= maxMarks {
				c.thin()
			}
		}
	} else {
		for i := len(c.marks) - 1; i >= 0 && t < c.marks[i].time-int64(lag); i-- {
			c.marks[i].older++
		}
	}
	c.taken++
	c.last = t
}

func (c *cursor) thin() {
	kept := c.marks[:1]
	for i := 2; i < len(c.marks); i += 2 {
		kept = append(kept, c.marks[i])
	}
	clear(c.marks[len(kept):])
	c.marks = kept
}

// none stands for no part that waits.
const none = math.MaxInt64

// position is that behind the messages that were tracked. pending is the number of messages before the first part that waits for the
// end of its line, or none. It says false when there is nothing to note.
func (c *cursor) position(pending int64) (positions.Position, bool) {
	if len(c.marks) == 0 {
		return positions.Position{}, false
	}
	anchor := 0
	for i := len(c.marks) - 1; i > 0; i-- {
		if m := &c.marks[i]; m.at <= pending && m.older == 0 {
			anchor = i
			break
		}
	}
	if anchor > 0 {
		n := copy(c.marks, c.marks[anchor:])
		clear(c.marks[n:])
		c.marks = c.marks[:n]
	}
	m := &c.marks[0]
	p := m.file
	p.Since, p.Time, p.Repeats = m.time, c.last, c.taken-m.at-m.older
	return p, true
}

// positionBefore is the position before message number at, counted from resume, of those that were tracked; prior is the time of the one before it. What
// comes after it is read again and is fresh then. It says false when there is nothing to note.
func (c *cursor) positionBefore(at, prior int64) (positions.Position, bool) {
	if len(c.marks) == 0 {
		return positions.Position{}, false
	}
	anchor := 0
	for i := len(c.marks) - 1; i > 0; i-- {
		if m := &c.marks[i]; m.at < at && m.older == 0 {
			anchor = i
			break
		}
	}
	n := copy(c.marks, c.marks[anchor:])
	clear(c.marks[n:])
	c.marks = c.marks[:n]
	m := &c.marks[0]
	if m.at >= at {
		return positions.Position{}, false // what was noted before is good as long as nothing is known to come before it
	}
	p := m.file
	// Of those that are much older some may come after it: a few too many are then read again, and none is left out.
	p.Since, p.Time, p.Repeats = m.time, prior, max(1, at-m.at-m.older)
	return p, true
}

// end is the position behind a log that was read to its end, with lines that have no line end taken as they were: what comes is newer
// than all that is there, and than started, the container's last start. file is the place in the file, if there is one. Since is then
// behind Time, and Repeats is zero.
func (c *cursor) end(file positions.Position, started int64) positions.Position {
	p := file
	p.Since, p.Time, p.Repeats = max(c.high, started)+1, c.last, 0
	c.marks = c.marks[:0]
	return p
}

// readToEnd says that p was noted by end, and that a container that was started last at started and has ended has written nothing since.
func readToEnd(p positions.Position, started int64) bool {
	return p.Repeats == 0 && p.Since > max(p.Time, started)
}
