package dockerlogs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// The engine's log stream is frames (https://docs.docker.com/reference/api/engine, "Attach to a container", "Stream format"):
//
//	0  1  1 = stdout, 2 = stderr, 3 = a message of the engine itself
//	1  3  zero
//	4  4  length of what follows, big endian
//	8     time, a space, the text; its line end is missing where a part of a longer line stops
//
// A container with a TTY has no frames: time, a space and the text follow one another. There a part's end shows only in that the next
// part begins with the same time. The driver `local` forgets the line end of a line in parts (20.10): in a TTY's log the next line
// then follows behind the carriage return.
const (
	frameHeader = 8
	// stampSize is the length of the engine's times, which have all nine digits, and of the space behind them.
	stampSize = len("2006-01-02T15:04:05.000000000Z ")
	// maxFrame bounds what is kept of a frame, or of a line from a TTY. The engine's drivers cut at 16 KiB, `local` at 1 MB.
	maxFrame = 2 << 20
	// absurdFrame is the length from which on a header is taken for text that was read as a header.
	absurdFrame = 64 << 20
)

// frames takes the messages out of a log stream. The texts that next returns lie in its buffer until the next call of fill.
type frames struct {
	from io.Reader
	tty  bool

	buf  []byte
	r, w int // what is unread of buf
	skip int // bytes of a frame, or -1 for the rest of a line, that are passed over because it was too long
	cut  int // frames that were cut
	eof  bool
	// whole says that the stream's end is that of the log, so that what is left of a TTY's last line is all there is of it.
	whole bool

	// rest of a TTY's line whose parts are taken one at a time, and the time before it
	line   []byte
	stamp  []byte
	inPart bool // a part of it was taken
}

// engineError is what the engine says instead of a log.
type engineError string

func (e engineError) Error() string { return string(e) }

const firstBuffer = 16 << 10

func newFrames(from io.Reader, tty bool) *frames {
	return &frames{from: from, tty: tty, buf: make([]byte, firstBuffer)}
}

// fill reads once. Everything that next gave before is overwritten. An error of the stream comes when what was read before it has been
// taken.
func (f *frames) fill() error {
	if f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if f.w == len(f.buf) {
		f.buf = append(f.buf, make([]byte, len(f.buf))...)
	} else if f.w == 0 && len(f.buf) > 256<<10 {
		f.buf = make([]byte, firstBuffer)
	}
	n, err := f.from.Read(f.buf[f.w:])
	f.w += n
	f.eof = err == io.EOF && f.whole
	return err
}

// next returns the next message that is whole in the buffer; false asks for a fill. At the end of a stream that is whole it gives
// what is left of a TTY's last line.
func (f *frames) next(m *message) (bool, error) {
	if f.tty {
		return f.nextLine(m), nil
	}
	if f.skip > 0 {
		n := min(f.skip, f.w-f.r)
		f.r += n
		if f.skip -= n; f.skip > 0 {
			return false, nil
		}
	}
	have := f.buf[f.r:f.w]
	if len(have) < frameHeader {
		return false, nil
	}
	size := int(binary.BigEndian.Uint32(have[4:]))
	if have[0] > 3 || have[1]|have[2]|have[3] != 0 || size > absurdFrame {
		return false, fmt.Errorf("the log stream isn't in frames: it has % x where a header should be", have[:frameHeader])
	}
	keep := min(size, maxFrame)
	if len(have) < frameHeader+keep {
		return false, nil
	}
	body := have[frameHeader : frameHeader+keep : frameHeader+keep]
	f.r += frameHeader + keep
	if size > keep {
		f.skip = size - keep
		f.cut++
	}
	if have[0] == 3 {
		return false, engineError(bytes.TrimSpace(body[:min(len(body), 512)]))
	}
	*m = message{stream: stdout}
	if have[0] == 2 {
		m.stream = stderr
	}
	if len(body) >= stampSize {
		if t, ok := parseTime(body[:stampSize-1]); ok {
			m.time, body = t, body[stampSize:]
		}
	}
	m.setLog(body)
	if size > keep {
		m.ends = true // how it ended can't be known any more
	}
	return true, nil
}

func (f *frames) nextLine(m *message) bool {
	if f.stamp != nil {
		f.part(m)
		return true
	}
	for {
		have := f.buf[f.r:f.w]
		n := bytes.IndexByte(have, '\n')
		if f.skip < 0 { // the rest of a line that was too long
			if n < 0 {
				f.r = f.w
				return false
			}
			f.r, f.skip = f.r+n+1, 0
			continue
		}
		*m = message{}
		var line []byte
		switch {
		case n >= 0:
			line = have[: n+1 : n+1]
		case len(have) >= maxFrame:
			line, f.skip = have[:maxFrame:maxFrame], -1
			f.cut++
		case f.eof && len(have) > 0:
			line = have
		default:
			return false
		}
		f.r += len(line)
		if len(line) >= stampSize {
			if t, ok := parseTime(line[:stampSize-1]); ok {
				f.stamp, f.line, f.inPart = line[:stampSize], line[stampSize:], false
				m.time = t
				f.part(m)
				return true
			}
		}
		m.setLog(line)
		m.ends = m.ends || f.skip < 0
		return true
	}
}

// part takes the text up to where the line's time is repeated.
func (f *frames) part(m *message) {
	*m = message{}
	m.time, _ = parseTime(f.stamp[:stampSize-1])
	if n := bytes.Index(f.line, f.stamp); n >= 0 {
		m.text = f.line[:n:n]
		f.line, f.inPart = f.line[n+stampSize:], true
		return
	}
	if f.inPart {
		if n := stampBehindCR(f.line); n >= 0 {
			m.text, m.ends = f.line[:n:n], true
			f.stamp, f.line, f.inPart = f.line[n+1:n+1+stampSize], f.line[n+1+stampSize:], false
			return
		}
	}
	m.setLog(f.line)
	m.ends = m.ends || f.skip < 0
	f.stamp, f.line = nil, nil
}

// stampBehindCR finds a carriage return with one of the engine's times behind it.
func stampBehindCR(b []byte) int {
	for at := 0; ; at++ {
		n := bytes.IndexByte(b[at:], '\r')
		if n < 0 || len(b)-at-n-1 < stampSize {
			return -1
		}
		at += n
		s := b[at+1 : at+1+stampSize]
		if s[stampSize-1] == ' ' && s[stampSize-2] == 'Z' {
			if _, ok := parseTime(s[:stampSize-1]); ok {
				return at
			}
		}
	}
}
