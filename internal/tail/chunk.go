package tail

import (
	"bytes"
	"unicode/utf8"

	"github.com/hermod-agent/hermod/pipeline/positions"
)

// Chunk is a run of whole lines of one file. The zero value holds none. It lies in the memory that was given to Read.
type Chunk struct {
	data    []byte
	next    int   // what Next has gone through of data
	offset  int64 // in the file, of data[next]
	maxLine int
	// skip is how many bytes of the last line were left out of data, because the line is longer than the memory.
	skip int64
	cut  int
	more bool // there is or may be more to read at once
	text textState
	file *file
	at   positions.Position // of the file; Offset isn't set
}

type textState uint8

const (
	textUnknown textState = iota
	textClean             // valid UTF-8 without NUL: no line needs a look
	textDirty
)

// Next returns the next line without its line end (a CR before it stays) and without NUL bytes at its start, which are holes in
// the file and not text. A line of more than MaxLine bytes is cut and counted.
func (c *Chunk) Next() (line []byte, ok bool) {
	if c.next == len(c.data) {
		return nil, false
	}
	rest := c.data[c.next:]
	long := false
	if i := bytes.IndexByte(rest, '\n'); i >= 0 {
		line = rest[:i:i]
		c.next += i + 1
		c.offset += int64(i) + 1
	} else {
		line = rest[:len(rest):len(rest)]
		c.next = len(c.data)
		c.offset += int64(len(rest)) + c.skip
		long = c.skip > 0
	}
	for len(line) > 0 && line[0] == 0 {
		line = line[1:]
	}
	if long || len(line) > c.maxLine {
		line = cutLine(line, c.maxLine)
		c.cut++
	}
	return line, true
}

// cutLine shortens a line to at most n bytes, and by up to three more where a UTF-8 sequence would be cut in two.
func cutLine(line []byte, n int) []byte {
	n = min(n, len(line))
	for i := n - 1; i >= 0 && i > n-utf8.UTFMax; i-- {
		if utf8.RuneStart(line[i]) {
			if !utf8.FullRune(line[i:n]) {
				n = i
			}
			break
		}
	}
	return line[:n]
}

// NextText is Next for lines that are text: without a CR before the line end and a byte order mark at the start of the file, and
// with U+FFFD in place of NUL bytes and of what isn't UTF-8. Lines that need a change are copied to the end of arena.
func (c *Chunk) NextText(arena *[]byte) (line []byte, ok bool) {
	if c.text == textUnknown {
		c.text = textDirty
		if utf8.Valid(c.data) && bytes.IndexByte(c.data, 0) < 0 {
			c.text = textClean
		}
	}
	first := c.offset == 0
	line, ok = c.Next()
	if !ok {
		return nil, false
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[: n-1 : n-1]
	}
	if first {
		line = bytes.TrimPrefix(line, byteOrderMark)
	}
	if c.text == textDirty && (!utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0) {
		line = replaceBad(arena, line)
	}
	return line, true
}

var byteOrderMark = []byte("\uFEFF") // read only

// replaceBad appends line to the arena with U+FFFD for each NUL and each run of bytes that isn't UTF-8.
func replaceBad(arena *[]byte, line []byte) []byte {
	b := *arena
	start := len(b)
	bad := false
	for len(line) > 0 {
		r, size := utf8.DecodeRune(line)
		wrong := r == utf8.RuneError && size == 1
		if r == 0 || wrong && !bad {
			b = utf8.AppendRune(b, utf8.RuneError)
		} else if !wrong {
			b = append(b, line[:size]...)
		}
		bad = wrong
		line = line[size:]
	}
	*arena = b
	return b[start:len(b):len(b)]
}

// Empty says that the chunk came without lines.
func (c *Chunk) Empty() bool { return len(c.data) == 0 }

// Len is how many bytes of the memory given to Read the chunk takes.
func (c *Chunk) Len() int { return len(c.data) }

// More says that Read is to be called again at once: there is more, or Read stopped amid a line longer than the memory to give others their turn. What
// comes later wakes the reader.
func (c *Chunk) More() bool { return c.more }

// Offset is that of the first byte after the line that Next returned last, or of the chunk's first line before any Next.
func (c *Chunk) Offset() int64 { return c.offset }

// Cut is how many of the lines that Next has returned were longer than MaxLine.
func (c *Chunk) Cut() int { return c.cut }

// Position is where the file was read to: Path, Device, Inode, Head, HeadLen and, as Offset, c.Offset(). The caller may add its
// Time and Repeats.
func (c *Chunk) Position() positions.Position { return c.PositionAt(c.offset) }

// PositionAt is Position for an earlier offset of this chunk: the start of a record that isn't whole yet.
func (c *Chunk) PositionAt(offset int64) positions.Position {
	p := c.at
	p.Offset = offset
	return p
}

// Key names the file in a book that has a position for each file: "device:inode" in hexadecimal.
func (c *Chunk) Key() string { return c.file.key }
