package dockerlogs

import (
	"bytes"
	"unicode/utf8"
)

// joiner puts the parts of long lines together. The engine cuts lines at 16 KiB and stamps all parts with the time of the first; a line
// that has no end because its container stopped is followed by one with another time. stdout and stderr are joined each for itself. It is for one
// goroutine.
type joiner struct {
	max int // bytes of a line that are kept
	// short says that a part that is shorter than the first one of its line is the last one. The driver `local` forgets the line end
	// behind it (20.10), and so do others whose logs the engine caches by it.
	short bool
	open  [2]part
}

// part is a line whose end hasn't come yet.
type part struct {
	waits bool
	long  bool // more came than is kept
	time  int64
	at    int64 // messages before its first
	prior int64 // time of the message before its first
	first int   // length of the first
	text  []byte
	fresh bool // one of them is
	given bool // all of them are
}

// record is a whole line, or several that belong together.
type record struct {
	stream stream
	time   int64
	at     int64 // messages before its first
	prior  int64 // time of the message before its first; 0 when there was none
	text   []byte
	long   bool
	fresh  bool // one of its messages is
	given  bool // all of its messages are
}

// add takes a message, the one behind at others of which the last had the time prior, and appends the records that it completes: none, one, or two when it shows that a
// line before it will not go on. A text that isn't copied lies where the message's did.
func (j *joiner) add(m *message, at, prior int64, out []record) []record {
	p := &j.open[m.stream]
	if p.waits && p.time != m.time {
		out = append(out, p.finish(m.stream))
	}
	if !p.waits && m.ends {
		text, long := m.text, len(m.text) > j.max
		if long {
			text = cutText(text, j.max)
		}
		return append(out, record{stream: m.stream, time: m.time, at: at, prior: prior, text: clean(text), long: long, fresh: m.fresh, given: m.given})
	}
	if !p.waits {
		*p = part{waits: true, time: m.time, at: at, prior: prior, first: len(m.text), given: true}
	}
	p.fresh, p.given = p.fresh || m.fresh, p.given && m.given
	ends := m.ends || j.short && len(m.text) < p.first
	if room := j.max - len(p.text); room >= len(m.text) {
		p.text = append(p.text, m.text...)
	} else if !p.long {
		p.text = append(p.text, cutText(m.text, room)...)
		p.long = true
	}
	if ends {
		out = append(out, p.finish(m.stream))
	}
	return out
}

// end appends the lines that wait: there is nothing more to come.
func (j *joiner) end(out []record) []record {
	for s := range j.open {
		if p := &j.open[s]; p.waits {
			out = append(out, p.finish(stream(s)))
		}
	}
	return out
}

// pending is the number of messages before the first that waits, or none.
func (j *joiner) pending() int64 {
	at := int64(none)
	for s := range j.open {
		if p := &j.open[s]; p.waits {
			at = min(at, p.at)
		}
	}
	return at
}

// earliest is the first message of the lines that wait: how many were before it, and the time of the one before.
func (j *joiner) earliest() (at, prior int64) {
	at = none
	for s := range j.open {
		if p := &j.open[s]; p.waits && p.at < at {
			at, prior = p.at, p.prior
		}
	}
	return at, prior
}

// waits says whether the message ends a line that waits for it.
func (j *joiner) waits(m *message) bool {
	p := &j.open[m.stream]
	return p.waits && p.time == m.time
}

func (j *joiner) reset() { j.open = [2]part{} }

func (p *part) finish(s stream) record {
	r := record{stream: s, time: p.time, at: p.at, prior: p.prior, text: clean(p.text), long: p.long, fresh: p.fresh, given: p.given}
	*p = part{}
	return r
}

// clean takes a carriage return off the end, which TTYs and programs from elsewhere write before a line end, and puts U+FFFD where the
// text isn't UTF-8: drivers other than json-file keep any byte.
func clean(text []byte) []byte {
	if n := len(text); n > 0 && text[n-1] == '\r' {
		text = text[:n-1]
	}
	if !utf8.Valid(text) {
		text = bytes.ToValidUTF8(text, []byte("\uFFFD"))
	}
	return text
}

// cutText shortens text to at most n bytes, without a torn UTF-8 sequence at its end.
func cutText(text []byte, n int) []byte {
	if n <= 0 {
		return nil
	}
	if n >= len(text) {
		return text
	}
	for i := n; i > 0 && i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			return text[:i]
		}
	}
	return text[:n]
}
